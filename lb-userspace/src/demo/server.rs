//! What answers: a name, and then an echo.

use std::{future, io, net::SocketAddr};

use anyhow::{Context as _, Result};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream, UdpSocket},
};

use super::load;

/// Longest datagram that is answered, and longest piece of a stream that is sent back at once.
const PIECE_BYTES: usize = 2048;

/// Serves TCP and UDP until the process is ended.
///
/// TCP: the name and a newline as soon as a connection is there, then what it sends. UDP: the name,
/// a newline, and the datagram.
///
/// # Errors
/// If an address cannot be bound.
pub(super) fn run(name: &str, addresses: &[SocketAddr]) -> Result<()> {
    load::runtime()?.block_on(async {
        for &address in addresses {
            let taken = || format!("cannot listen on {address}");
            let listener = TcpListener::bind(address).await.with_context(taken)?;
            let socket = UdpSocket::bind(address).await.with_context(taken)?;
            tokio::spawn(accept(listener, greeting(name)));
            tokio::spawn(answer(socket, greeting(name)));
        }
        future::pending().await
    })
}

fn greeting(name: &str) -> Vec<u8> {
    format!("{name}\n").into_bytes()
}

async fn accept(listener: TcpListener, greeting: Vec<u8>) {
    loop {
        // A client that left before it was accepted, or too many at once: the next one may do.
        if let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(echo(stream, greeting.clone()));
        }
    }
}

/// Ends with the client's end of the stream, or with an error that the client sees too.
async fn echo(mut stream: TcpStream, greeting: Vec<u8>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.write_all(&greeting).await?;
    let mut piece = [0; PIECE_BYTES];
    loop {
        match stream.read(&mut piece).await? {
            0 => return Ok(()),
            length => {
                let read = piece.get(..length).unwrap_or_default();
                stream.write_all(read).await?;
            }
        }
    }
}

async fn answer(socket: UdpSocket, greeting: Vec<u8>) {
    let mut datagram = [0; PIECE_BYTES];
    loop {
        // Errors here are ICMP messages about answers that nobody wanted any more.
        if let Ok((length, client)) = socket.recv_from(&mut datagram).await {
            let read = datagram.get(..length).unwrap_or_default();
            let sent = socket.send_to(&[&greeting, read].concat(), client).await;
            drop(sent);
        }
    }
}
