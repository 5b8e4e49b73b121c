//! A TCP connection that leaves nothing behind.
//!
//! It is closed with RST (`SO_LINGER` of zero seconds, `socket(7)`): neither side is left in `TIME_WAIT`,
//! however often it is probed.

use std::{io, net::SocketAddr};

use tokio::net::{TcpSocket, TcpStream};

use super::Way;
use crate::health::Outcome;

/// Connects.
pub(crate) async fn connect(way: &Way) -> Result<TcpStream, Outcome> {
    let stream = try_connect(way).await;
    let stream = stream.map_err(|error| Outcome::from_connect_error(&error))?;
    judge(&stream, way.to).map(|()| stream)
}

async fn try_connect(way: &Way) -> io::Result<TcpStream> {
    let socket = match (&way.through, way.to) {
        (Some((portal, from)), _) => portal.tcp(*from).await,
        (None, SocketAddr::V4(_)) => TcpSocket::new_v4(),
        (None, SocketAddr::V6(_)) => TcpSocket::new_v6(),
    }?;
    socket.set_zero_linger()?;
    socket.connect(way.to).await
}

/// A connect to a local port in which nobody listens may meet itself: the kernel may choose that very
/// port as the source, and a simultaneous open (RFC 9293, §3.5) succeeds.
fn judge(stream: &TcpStream, to: SocketAddr) -> Result<(), Outcome> {
    match stream.local_addr() {
        Ok(local) if local == to => Err(Outcome::Refused),
        Ok(_) => Ok(()),
        Err(_) => Err(Outcome::Reset),
    }
}
