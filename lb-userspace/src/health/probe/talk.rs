//! Bytes there, bytes back, over TCP and UDP.

use std::{io, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UdpSocket,
    time::timeout,
};

use super::{Way, any, tcp};
use crate::{config::model::Talk, health::Outcome};

/// Bytes of an answer that are looked at.
const MOST: usize = 64 << 10;
/// The largest datagram (RFC 768).
const DATAGRAM: usize = 1 << 16;
/// From one copy of a question to the next: datagrams get lost.
const AGAIN: Duration = Duration::from_millis(200);

/// A connection; then what is said, and heard, as far as anything is.
pub(super) async fn over_tcp(way: &Way, check: &Talk) -> Result<(), Outcome> {
    let mut stream = tcp::connect(way).await?;
    if let Some(send) = &check.send {
        let sent = stream.write_all(send.as_bytes()).await;
        sent.map_err(|error| Outcome::from_stream_error(&error))?;
    }
    let Some(expect) = &check.expect else {
        return Ok(());
    };
    let mut heard = Vec::new();
    while heard.len() < MOST {
        let read = stream.read_buf(&mut heard).await;
        let read = read.map_err(|error| Outcome::from_stream_error(&error))?;
        if expect.is_in(&heard) {
            return Ok(());
        }
        if read == 0 {
            return Err(match heard.as_slice() {
                [] => Outcome::Closed,
                _ => Outcome::Unexpected,
            });
        }
    }
    Err(Outcome::Unexpected)
}

/// A datagram, said again and again until another one comes back.
pub(super) async fn over_udp(way: &Way, check: &Talk) -> Result<(), Outcome> {
    let said = check.send.as_deref().unwrap_or_default().as_bytes();
    let heard = exchange(way, said).await?;
    let is_good = check.expect.as_ref().is_none_or(|it| it.is_in(&heard));
    is_good.then_some(()).ok_or(Outcome::Unexpected)
}

/// The first datagram that answers another one.
pub(super) async fn exchange(way: &Way, said: &[u8]) -> Result<Vec<u8>, Outcome> {
    let error = |error| Outcome::from_connect_error(&error);
    let socket = socket(way).await.map_err(error)?;
    socket.connect(way.to).await.map_err(error)?;
    let mut heard = vec![0; DATAGRAM];
    loop {
        socket.send(said).await.map_err(error)?;
        if let Ok(length) = timeout(AGAIN, socket.recv(&mut heard)).await {
            heard.truncate(length.map_err(error)?);
            return Ok(heard);
        }
    }
}

async fn socket(way: &Way) -> io::Result<UdpSocket> {
    match &way.through {
        Some((portal, from)) => portal.udp(*from).await,
        None => UdpSocket::bind(any(way.to)).await,
    }
}
