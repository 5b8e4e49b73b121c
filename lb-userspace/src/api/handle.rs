//! How requests reach the daemon's loop: commands with a place for the answer.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use super::{
    chronicle::Chronicle,
    error::{Code, Error},
    types::{
        Applied, ApplyRequest, BackendDetail, BackendRequest, BackendSetup, BalancerChanged,
        BalancerRequest, Changed, Detached, Observation, Why, WhyRequest,
    },
};

/// A request on its way to the daemon's loop.
#[derive(Debug)]
pub enum Command {
    /// Tell all there is to see.
    Observe(Reply<Observation>),
    /// Tell all there is to see of a backend of a service, both as operators call them.
    Show([String; 2], Reply<BackendDetail>),
    /// Tell what backends need for their modes.
    Setup(Reply<Vec<BackendSetup>>),
    /// Change a backend.
    Change(BackendRequest, Reply<Changed>),
    /// Change the balancer itself.
    Administer(BalancerRequest, Reply<BalancerChanged>),
    /// Apply a configuration.
    Apply(ApplyRequest, Reply<Applied>),
    /// Tell what becomes of a packet.
    Why(WhyRequest, Reply<Why>),
    /// Take the data path down and exit.
    Detach(Reply<Detached>),
}

/// Where an answer goes.
pub type Reply<T> = oneshot::Sender<Result<T, Error>>;

/// Sends commands to the daemon's loop.
#[derive(Clone, Debug)]
pub struct Handle {
    commands: mpsc::Sender<Command>,
    chronicle: Arc<Chronicle>,
}

/// Commands that may wait for the loop.
const WAITING: usize = 64;

impl Handle {
    /// A handle, and the loop's end of it.
    #[must_use]
    pub fn channel(chronicle: Arc<Chronicle>) -> (Self, mpsc::Receiver<Command>) {
        let (commands, receiver) = mpsc::channel(WAITING);
        let handle = Self {
            commands,
            chronicle,
        };
        (handle, receiver)
    }

    /// What happened.
    #[must_use]
    pub fn chronicle(&self) -> &Chronicle {
        &self.chronicle
    }

    /// Asks for all there is to see.
    ///
    /// # Errors
    /// Where the loop cannot read it, or ended.
    pub async fn observe(&self) -> Result<Observation, Error> {
        self.ask(Command::Observe).await
    }

    /// Asks for all there is to see of a backend of a service, both as operators call them.
    ///
    /// # Errors
    /// Where there is no such backend, the loop cannot read it, or ended.
    pub async fn show(&self, whom: [String; 2]) -> Result<BackendDetail, Error> {
        self.ask(|reply| Command::Show(whom, reply)).await
    }

    /// Asks what backends need for their modes.
    ///
    /// # Errors
    /// Where the loop ended.
    pub async fn setup(&self) -> Result<Vec<BackendSetup>, Error> {
        self.ask(Command::Setup).await
    }

    /// Changes a backend.
    ///
    /// # Errors
    /// Where it does not exist, a guard refuses, or the data path cannot be written.
    pub async fn change(&self, request: BackendRequest) -> Result<Changed, Error> {
        self.ask(|reply| Command::Change(request, reply)).await
    }

    /// Changes the balancer itself.
    ///
    /// # Errors
    /// Where it announces nothing, or routes cannot be written.
    pub async fn administer(&self, request: BalancerRequest) -> Result<BalancerChanged, Error> {
        self.ask(|reply| Command::Administer(request, reply)).await
    }

    /// Applies a configuration.
    ///
    /// # Errors
    /// Where it has mistakes or cannot be applied.
    pub async fn apply(&self, request: ApplyRequest) -> Result<Applied, Error> {
        self.ask(|reply| Command::Apply(request, reply)).await
    }

    /// Asks what becomes of a packet.
    ///
    /// # Errors
    /// Where the packet cannot be, or the programs cannot be loaded.
    pub async fn why(&self, request: WhyRequest) -> Result<Why, Error> {
        self.ask(|reply| Command::Why(request, reply)).await
    }

    /// Takes the data path down; the daemon exits.
    ///
    /// # Errors
    /// Where a link or pin cannot be removed.
    pub async fn detach(&self) -> Result<Detached, Error> {
        self.ask(Command::Detach).await
    }

    async fn ask<T>(&self, command: impl FnOnce(Reply<T>) -> Command) -> Result<T, Error> {
        let (reply, answer) = oneshot::channel();
        if self.commands.send(command(reply)).await.is_err() {
            return Err(stopping());
        }
        answer.await.unwrap_or_else(|_| Err(stopping()))
    }
}

fn stopping() -> Error {
    Error::new(Code::Unreachable, "the daemon is stopping")
}
