//! A connection from beginning to end.

use std::{
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use nix::sys::socket::{setsockopt, sockopt::Linger};

/// No answer is waited for longer.
const PATIENCE: Duration = Duration::from_secs(2);

/// Connects, says something, and reads a byte. The end is a reset, so that no port is left waiting
/// (TIME-WAIT, RFC 9293 §3.6.1): many short connections would run out of them.
pub(super) fn visit(address: SocketAddr, word: &[u8]) -> io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let reset = libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    setsockopt(&stream, Linger, &reset)?;
    stream.write_all(word)?;
    stream.read_exact(&mut [0])
}
