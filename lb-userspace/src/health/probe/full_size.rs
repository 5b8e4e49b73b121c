//! A SYN as long as a packet may be: whether the way takes it.
//!
//! Who listens leaves what a SYN carries aside, and answers it all the same (RFC 9293, §3.10.7.2): the answer says that
//! the whole packet arrived, and no server is bothered. The kernel of the portal's namespace, which knows of no such
//! connection, resets it.

use std::{
    collections::HashMap,
    hash::{BuildHasher as _, RandomState},
    io,
    net::{IpAddr, SocketAddr},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use lb_common::checksum;
use tokio::{net::UdpSocket, time::timeout};

use crate::{health::Outcome, net::Doorway};

/// Probes of a path from one of full size to the next.
const EVERY: u8 = 5;
/// From one copy to the next: packets get lost.
const AGAIN: Duration = Duration::from_millis(200);

const TCP: u8 = 6;
const HEADER: usize = 20;
const SYN: u8 = 1 << 1;
const RST: u8 = 1 << 2;
const ACK: u8 = 1 << 4;

/// Which paths it is time for.
#[derive(Debug, Default)]
pub(super) struct Turns(Mutex<HashMap<SocketAddr, u8>>);

impl Turns {
    /// Whether it is time for the path that begins here. Where it failed, it stays so.
    pub(super) fn is_due(&self, from: SocketAddr) -> bool {
        let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let turn = turns.entry(from).or_insert(EVERY);
        *turn = turn.saturating_add(1).min(EVERY);
        *turn == EVERY
    }

    /// It arrived.
    pub(super) fn arrived(&self, from: SocketAddr) {
        let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        turns.insert(from, 0);
    }
}

/// Sends it again and again until it is answered. `bytes`: its IP header included.
pub(super) async fn ask(
    portal: &Doorway,
    from: SocketAddr,
    to: SocketAddr,
    bytes: u16,
) -> Result<(), Outcome> {
    let error = |error: io::Error| Outcome::from_connect_error(&error);
    let socket = portal.raw(from).await.map_err(error)?;
    socket
        .connect(SocketAddr::new(to.ip(), 0))
        .await
        .map_err(error)?;
    let sequence = RandomState::new().hash_one((from, to)).to_be_bytes();
    let [sequence @ .., _, _, _, _] = sequence;
    let segment = segment(from, to, sequence, bytes);
    loop {
        match socket.send(&segment).await {
            // A router said how long it may be: path MTU discovery works.
            Err(error) if error.raw_os_error() == Some(libc::EMSGSIZE) => return Ok(()),
            sent => sent.map_err(error)?,
        };
        let answer = answer(&socket, from, to, sequence);
        if let Ok(answer) = timeout(AGAIN, answer).await {
            return answer;
        }
    }
}

/// Waits for the answer.
async fn answer(
    socket: &UdpSocket,
    from: SocketAddr,
    to: SocketAddr,
    sequence: [u8; 4],
) -> Result<(), Outcome> {
    let mut buffer = [0; 256];
    loop {
        match socket.recv(&mut buffer).await {
            Ok(length) => {
                let packet = buffer.get(..length).unwrap_or_default();
                if let Some(answer) = judge(packet, from, to, sequence) {
                    return answer;
                }
            }
            Err(error) if error.raw_os_error() == Some(libc::EMSGSIZE) => return Ok(()),
            Err(error) => return Err(Outcome::from_connect_error(&error)),
        }
    }
}

/// A SYN that makes an IP packet of so many bytes.
fn segment(from: SocketAddr, to: SocketAddr, sequence: [u8; 4], bytes: u16) -> Vec<u8> {
    let ip = if to.is_ipv4() { 20 } else { 40 };
    let length = usize::from(bytes).saturating_sub(ip).max(HEADER);
    let header = [
        &from.port().to_be_bytes()[..],
        &to.port().to_be_bytes(),
        &sequence,
        // No acknowledgement; a header of five words; SYN; a whole window.
        &[0, 0, 0, 0, 5 << 4, SYN, 0xff, 0xff],
    ];
    let mut segment = header.concat();
    segment.resize(length, 0);
    let sums = [
        pseudo_header(from.ip(), to.ip(), length),
        checksum::sum(&segment),
    ];
    let sum = !checksum::fold(sums.into_iter().map(u32::from).sum());
    if let Some(place) = segment.get_mut(16..18) {
        place.copy_from_slice(&sum.to_ne_bytes());
    }
    segment
}

/// The sum over what a checksum covers of the IP header (RFC 9293, §3.1; RFC 8200, §8.1).
fn pseudo_header(from: IpAddr, to: IpAddr, length: usize) -> u16 {
    let length = u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
    let octets = |address: IpAddr| match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    };
    checksum::sum(&[&octets(from)[..], &octets(to), &length, &[0, 0, 0, TCP]].concat())
}

/// What a packet says, if it is the answer. Over IPv4, a raw socket gives the IP header, too.
fn judge(
    packet: &[u8],
    from: SocketAddr,
    to: SocketAddr,
    sequence: [u8; 4],
) -> Option<Result<(), Outcome>> {
    let ip = match (from, packet.first()) {
        (SocketAddr::V4(_), Some(first)) => usize::from(first & 0xf) * 4,
        _ => 0,
    };
    let header = packet.get(ip..ip + HEADER)?;
    let ports = [to.port().to_be_bytes(), from.port().to_be_bytes()].concat();
    let expected = u32::from_be_bytes(sequence).wrapping_add(1).to_be_bytes();
    let flags = *header.get(13)?;
    if header.get(..4)? != ports {
        None
    } else if flags & RST != 0 {
        Some(Err(Outcome::Refused))
    } else {
        let is_answer = flags & (SYN | ACK) == SYN | ACK && header.get(8..12)? == expected;
        is_answer.then_some(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(v6: bool) -> (SocketAddr, SocketAddr) {
        let (from, to) = if v6 {
            ("[2001:db8::9]:61001", "[2001:db8::1]:80")
        } else {
            ("192.0.2.9:61001", "203.0.113.1:80")
        };
        (from.parse().unwrap(), to.parse().unwrap())
    }

    #[test]
    fn a_segment_is_as_long_as_it_should_be_and_its_checksum_is_right() {
        for (v6, ip) in [(false, 20), (true, 40)] {
            let (from, to) = ends(v6);
            let segment = segment(from, to, [1, 2, 3, 4], 1500);
            assert_eq!(segment.len(), 1500 - ip);
            let sums = [
                pseudo_header(from.ip(), to.ip(), segment.len()),
                checksum::sum(&segment),
            ];
            let sum = checksum::fold(sums.into_iter().map(u32::from).sum());
            assert_eq!(sum, 0xffff);
        }
    }

    #[test]
    fn the_answer_is_told_from_other_packets() {
        let (from, to) = ends(true);
        let sequence = [0, 0, 0, 7];
        let answer = |ports: [u16; 2], acknowledged: u8, flags| {
            let ports = ports.map(u16::to_be_bytes).concat();
            let rest = [
                0,
                0,
                0,
                0,
                0,
                0,
                0,
                acknowledged,
                5 << 4,
                flags,
                0,
                0,
                0,
                0,
                0,
                0,
            ];
            judge(&[&ports[..], &rest].concat(), from, to, sequence)
        };
        assert_eq!(answer([80, 61_001], 8, SYN | ACK), Some(Ok(())));
        assert_eq!(answer([80, 61_001], 9, SYN | ACK), None);
        assert_eq!(answer([80, 61_002], 8, SYN | ACK), None);
        assert_eq!(answer([80, 61_001], 8, ACK), None);
        assert_eq!(
            answer([80, 61_001], 8, RST | ACK),
            Some(Err(Outcome::Refused))
        );
        assert_eq!(
            judge(&[0x45; 30], ends(false).0, ends(false).1, sequence),
            None
        );
        assert_eq!(judge(&[], from, to, sequence), None);
    }

    #[test]
    fn every_so_often_it_is_time_and_stays_so_until_it_arrived() {
        let turns = Turns::default();
        let (from, _) = ends(false);
        assert!(turns.is_due(from) && turns.is_due(from));
        turns.arrived(from);
        let due: Vec<bool> = (0..6).map(|_| turns.is_due(from)).collect();
        assert_eq!(due, [false, false, false, false, true, true]);
    }
}
