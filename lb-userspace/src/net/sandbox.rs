//! Network namespaces of a test's own. They have no name and end with their threads, whatever
//! happens.

use std::{
    process::Command,
    sync::mpsc::{Receiver, Sender, channel},
    thread,
};

use nix::{
    sched::{CloneFlags, unshare},
    unistd::{Pid, gettid},
};

/// Runs `test` on a thread of its own in a fresh network namespace.
///
/// # Panics
/// Without root, or when `test` does.
pub(crate) fn run(test: impl AsyncFnOnce() + Send + 'static) {
    let body = move || {
        enter_fresh_namespace();
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
            .block_on(test());
    };
    if let Err(panic) = thread::spawn(body).join() {
        std::panic::resume_unwind(panic);
    }
}

/// Runs `ip` with these words in the calling thread's namespace and returns what it prints.
///
/// # Panics
/// When it fails.
pub(crate) fn ip(words: &str) -> String {
    let output = Command::new("ip").args(words.split_whitespace()).output();
    let output = output.expect("`ip` of iproute2");
    assert!(
        output.status.success(),
        "ip {words}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Another namespace, the home of a neighbour.
pub(crate) struct Neighbourhood {
    /// The thread whose namespace it is.
    pub(crate) id: Pid,
    orders: Sender<String>,
    done: Receiver<()>,
}

impl Neighbourhood {
    pub(crate) fn new() -> Self {
        let (orders, words) = channel::<String>();
        let (finished, done) = channel();
        let (tell, id) = channel();
        thread::spawn(move || {
            enter_fresh_namespace();
            tell.send(gettid()).unwrap();
            for words in words {
                ip(&words);
                finished.send(()).unwrap();
            }
        });
        let id = id.recv().expect("a namespace");
        Self { id, orders, done }
    }

    /// Runs `ip` with these words in it.
    pub(crate) fn ip(&self, words: &str) {
        self.orders.send(words.to_owned()).unwrap();
        self.done.recv().expect("`ip` succeeded");
    }
}

fn enter_fresh_namespace() {
    unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace needs root");
}
