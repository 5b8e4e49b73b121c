//! Hears peers.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, oneshot},
    task::JoinSet,
    time::{sleep, timeout},
};
use tracing::{info, warn};

use super::{
    Event, Shared,
    dial::PATIENCE,
    fault::Fault,
    frame::Frame,
    hearing::Hearing,
    secure::{Ear, Mouth, Side, shake_hands},
};

/// Callers that have not said yet who they are.
const STRANGERS: usize = 16;

/// A peer that tells nothing for so long is gone: it says so every second that there is nothing.
const SILENCE: Duration = Duration::from_secs(10);

/// From one attempt to listen to the next: the address may come later.
const BETWEEN_BINDS: Duration = Duration::from_secs(2);

/// Listens, again and again.
pub(super) async fn run(shared: Arc<Shared>) {
    let listener = listen(shared.settings.listen).await;
    let strangers = Arc::new(Semaphore::new(STRANGERS));
    let mut callers = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, caller)) => match Arc::clone(&strangers).try_acquire_owned() {
                    Ok(permit) => {
                        callers.spawn(hear(stream, caller, permit, Arc::clone(&shared)));
                    }
                    Err(_none_left) => shared.board.refuse(caller, &Fault::TooMany),
                },
                // The process has no more files, say.
                Err(_) => sleep(BETWEEN_BINDS).await,
            },
            Some(_) = callers.join_next() => {}
        }
    }
}

async fn listen(address: SocketAddr) -> TcpListener {
    let mut is_told = false;
    loop {
        match TcpListener::bind(address).await {
            Ok(listener) => {
                info!(%address, "listening for peers");
                return listener;
            }
            Err(error) if !is_told => {
                warn!(%address, %error, "cannot listen for peers yet");
                is_told = true;
            }
            Err(_) => {}
        }
        sleep(BETWEEN_BINDS).await;
    }
}

async fn hear(
    stream: TcpStream,
    caller: SocketAddr,
    permit: OwnedSemaphorePermit,
    shared: Arc<Shared>,
) {
    let greeted = timeout(PATIENCE, greet(stream, &shared)).await;
    drop(permit);
    match greeted.unwrap_or(Err(Fault::Silent)) {
        Err(fault) => shared.board.refuse(caller, &fault),
        Ok(teller) => {
            let peer = teller.peer;
            let epoch = shared.board.hears(peer);
            let guard = Gone(peer, epoch, Arc::clone(&shared));
            let Err(fault) = teller.run(&shared).await;
            drop(guard);
            shared.board.refuse(peer, &fault);
        }
    }
}

/// Takes note, also where the task is cut off.
struct Gone(SocketAddr, u64, Arc<Shared>);

impl Drop for Gone {
    fn drop(&mut self) {
        let Self(peer, epoch, shared) = self;
        shared.board.hears_no_more(*peer, *epoch);
    }
}

async fn greet(stream: TcpStream, shared: &Shared) -> Result<Teller, Fault> {
    stream.set_nodelay(true)?;
    let (mut mouth, mut ear) = shake_hands(stream, Side::Accepts, &shared.settings.key).await?;
    mouth.say(&shared.hello()).await?;
    let (peer, _) = shared.greeted(ear.hear().await?)?;
    if !shared.settings.others.contains(&peer) {
        return Err(Fault::UnknownPeer(peer));
    }
    Ok(Teller { peer, mouth, ear })
}

struct Teller {
    peer: SocketAddr,
    mouth: Mouth<TcpStream>,
    ear: Ear<TcpStream>,
}

enum Never {}

impl Teller {
    async fn run(mut self, shared: &Shared) -> Result<Never, Fault> {
        // What it tells can be judged once it is known which backends are up here.
        let mut ready = shared.ready.clone();
        if ready.wait_for(|ready| *ready).await.is_err() {
            return Err(Fault::Silent);
        }
        self.say(Frame::Want).await?;
        let mut hearing = Hearing::default();
        loop {
            let frame = timeout(SILENCE, self.ear.hear()).await;
            let frame = frame.map_err(|_elapsed| Fault::Silent)??;
            let Some((sequence, news)) = hearing.take(frame)? else {
                continue;
            };
            let (done, taken) = oneshot::channel();
            let event = Event::Tells {
                peer: self.peer,
                news,
                done,
            };
            // Without a loop the daemon ends.
            drop(shared.events.send(event).await);
            if taken.await.is_ok() {
                self.say(Frame::Seen { sequence }).await?;
            }
        }
    }

    async fn say(&mut self, frame: Frame) -> Result<(), Fault> {
        let said = timeout(PATIENCE, self.mouth.say(&frame)).await;
        said.map_err(|_elapsed| Fault::Slow)?
    }
}
