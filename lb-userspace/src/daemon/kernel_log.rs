//! What the program says: rare events only, from its ring buffer into the daemon's log.

use std::time::Duration;

use aya_log::EbpfLogger;
use tokio::{task::JoinHandle, time::sleep};
use tracing::debug;

/// The ring buffer holds a burst; what it says is not urgent.
const BETWEEN_LOOKS: Duration = Duration::from_millis(500);

/// Reads a program's log until dropped.
#[derive(Debug)]
pub(super) struct KernelLog(JoinHandle<()>);

impl KernelLog {
    /// Reads the log of a loaded program; `None` where it has none.
    pub(super) fn follow(program: u32) -> Option<Self> {
        match EbpfLogger::init_from_id(program) {
            Ok(logger) => Some(Self(tokio::spawn(read(logger)))),
            Err(error) => {
                debug!(program, %error, "the program has no log");
                None
            }
        }
    }
}

impl Drop for KernelLog {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn read(mut logger: EbpfLogger<&'static dyn tracing_log::log::Log>) {
    loop {
        logger.flush();
        sleep(BETWEEN_LOOKS).await;
    }
}
