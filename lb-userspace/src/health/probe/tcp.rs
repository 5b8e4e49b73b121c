//! A TCP connect: SYN, SYN-ACK, and a reset.
//!
//! The connection is closed with RST (`SO_LINGER` of zero seconds, `socket(7)`): neither side is left
//! in `TIME_WAIT`, however often it is probed, and nothing is ever sent on it.

use std::{io, net::SocketAddr, time::Duration};

use tokio::{
    net::{TcpSocket, TcpStream},
    time::{Instant, timeout_at},
};

use super::{Answer, Probe};
use crate::health::Outcome;

/// The probe `type: tcp`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tcp;

impl Probe for Tcp {
    async fn probe(&self, address: SocketAddr, timeout: Duration) -> Answer {
        let asked = Instant::now();
        let outcome = match timeout_at(asked + timeout, connect(address)).await {
            Ok(Ok(stream)) => judge(&stream),
            Ok(Err(error)) => Outcome::from_connect_error(&error),
            Err(_elapsed) => Outcome::Timeout,
        };
        Answer {
            outcome,
            latency: asked.elapsed(),
        }
    }
}

async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }?;
    socket.set_zero_linger()?;
    socket.connect(address).await
}

/// A connect to a local port in which nobody listens may meet itself: the kernel may choose that very
/// port as the source, and a simultaneous open (RFC 9293, §3.5) succeeds.
fn judge(stream: &TcpStream) -> Outcome {
    match (stream.local_addr(), stream.peer_addr()) {
        (Ok(local), Ok(peer)) if local == peer => Outcome::Refused,
        (Ok(_), Ok(_)) => Outcome::Ok,
        // The peer reset the connection as soon as it stood.
        (Err(_), _) | (_, Err(_)) => Outcome::Reset,
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, net::TcpListener};

    use socket2::{Domain, Socket, Type};

    use super::*;
    use crate::net::sandbox;

    const TIMEOUT: Duration = Duration::from_secs(2);

    #[tokio::test]
    async fn a_listener_is_ok_and_a_closed_port_refuses() {
        for host in ["127.0.0.1:0", "[::1]:0"] {
            let listener = TcpListener::bind(host).unwrap();
            let address = listener.local_addr().unwrap();
            let answer = Tcp.probe(address, TIMEOUT).await;
            assert_eq!(answer.outcome, Outcome::Ok);
            assert!(answer.latency < TIMEOUT);

            drop(listener);
            let answer = Tcp.probe(address, TIMEOUT).await;
            assert_eq!(answer.outcome, Outcome::Refused);
        }
    }

    #[tokio::test]
    async fn silence_is_a_timeout() {
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        listener.bind(&any.into()).unwrap();
        listener.listen(0).unwrap();
        let address = listener.local_addr().unwrap().as_socket().unwrap();
        // A queue of length 0 holds one connection; every further SYN is dropped.
        let _waiting = TcpStream::connect(address).await.unwrap();

        let wait = Duration::from_millis(50);
        let answer = Tcp.probe(address, wait).await;
        assert_eq!(answer.outcome, Outcome::Timeout);
        assert!(answer.latency >= wait);
    }

    #[test]
    fn an_address_without_route_is_unreachable() {
        sandbox::run(async || {
            let answer = Tcp.probe("192.0.2.1:80".parse().unwrap(), TIMEOUT).await;
            assert_eq!(answer.outcome, Outcome::Unreachable);
        });
    }

    /// In a namespace of its own: a table that others change while it is read has a line twice now and then.
    #[test]
    fn a_probe_leaves_no_connection_behind() {
        sandbox::run(async || {
            sandbox::ip("link set lo up");
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap();
            for _ in 0..20 {
                assert_eq!(Tcp.probe(address, TIMEOUT).await.outcome, Outcome::Ok);
            }
            let table = fs::read_to_string("/proc/thread-self/net/tcp").unwrap();
            let lines = table.lines().skip(1);
            let states: Vec<_> = lines.map(|line| line.split_whitespace().nth(3)).collect();
            assert_eq!(states, [Some("0A")], "only the listener");
        });
    }
}
