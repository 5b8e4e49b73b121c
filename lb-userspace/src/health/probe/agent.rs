//! A line that a port of a backend says: HAProxy's `agent-check`.

use std::net::SocketAddr;

use tokio::io::AsyncReadExt as _;

use super::{Way, tcp};
use crate::health::feedback::Advice;

/// Longer lines are none.
const MOST: usize = 256;

/// Connects, and reads a line, or what comes until the end.
pub(super) async fn ask(address: SocketAddr) -> Advice {
    let Ok(mut stream) = tcp::connect(&Way::to(address)).await else {
        return Advice::Invalid;
    };
    let mut heard = Vec::new();
    while heard.len() < MOST && !heard.contains(&b'\n') {
        match stream.read_buf(&mut heard).await {
            Ok(0) => break,
            Ok(_) => {}
            Err(_) => return Advice::Invalid,
        }
    }
    let line = heard.split(|byte| *byte == b'\n').next();
    let line = line.and_then(|line| str::from_utf8(line).ok());
    line.map_or(Advice::Invalid, |line| Advice::parse(line.trim()))
}
