//! A network namespace of a test's own. It has no name and ends with its thread, whatever happens.

use std::{process::Command, thread};

use nix::sched::{CloneFlags, unshare};

/// Runs `test` on a thread of its own in a fresh network namespace.
///
/// # Panics
/// Without root, or when `test` does.
pub(crate) fn run(test: impl AsyncFnOnce() + Send + 'static) {
    let body = move || {
        unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace needs root");
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

/// Runs `ip` with these words in the calling thread's namespace.
///
/// # Panics
/// When it fails.
pub(crate) fn ip(words: &str) {
    let output = Command::new("ip").args(words.split_whitespace()).output();
    let output = output.expect("`ip` of iproute2");
    assert!(
        output.status.success(),
        "ip {words}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}
