//! The least that a server can do: one byte for every connection.

use std::{
    io::Write as _,
    net::{Ipv4Addr, TcpListener},
    os::fd::AsRawFd as _,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    thread::{self, JoinHandle},
};

use lb_userspace::lab::Namespace;
use nix::sys::socket;

/// A thread that answers; ended when dropped.
pub(super) struct Server {
    listener: Arc<TcpListener>,
    answered: Arc<AtomicU32>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Starts it at a port of all IPv4 addresses of the namespace.
    pub(super) fn start(namespace: &Namespace, port: u16) -> Self {
        let bind = || TcpListener::bind((Ipv4Addr::UNSPECIFIED, port));
        let listener = namespace.enter(bind).expect("the namespace");
        let listener = Arc::new(listener.expect("a free port"));
        let answered = Arc::new(AtomicU32::new(0));
        let (own, count) = (Arc::clone(&listener), Arc::clone(&answered));
        let thread = thread::spawn(move || {
            // Until the socket is shut down.
            while let Ok((mut stream, _)) = own.accept() {
                if stream.write_all(b"x").is_ok() {
                    count.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        Self {
            listener,
            answered,
            thread: Some(thread),
        }
    }

    /// Connections that it has answered.
    pub(super) fn answered(&self) -> u32 {
        self.answered.load(Ordering::Relaxed)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        socket::shutdown(self.listener.as_raw_fd(), socket::Shutdown::Both).unwrap_or_default();
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap_or_default();
        }
    }
}
