//! Packets, built by a library that knows nothing of the data path.

use std::net::{IpAddr, SocketAddr};

use etherparse::{IpHeaders, PacketBuilder, PacketBuilderStep};
use lb_common::next_hop::Macs;

/// The balancer's MAC address on the interface of test runs.
pub const OUR_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0x10];
/// Whoever sent the frame.
pub const THEIR_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0x20];

/// Protocol number of TCP.
pub const TCP: u8 = 6;
/// Protocol number of UDP.
pub const UDP: u8 = 17;

/// An Ethernet frame with a TCP (an ACK) or UDP packet, all checksums right.
///
/// # Panics
///
/// Where the addresses are of two families.
#[must_use]
pub fn packet(
    source: SocketAddr,
    destination: SocketAddr,
    protocol: u8,
    payload: &[u8],
) -> Vec<u8> {
    let ip = ip(source.ip(), destination.ip());
    transport(ip, source.port(), destination.port(), protocol, payload)
}

/// The step behind Ethernet and IP, time to live 64.
///
/// # Panics
///
/// Where the addresses are of two families.
#[must_use]
pub fn ip(source: IpAddr, destination: IpAddr) -> PacketBuilderStep<IpHeaders> {
    let eth = PacketBuilder::ethernet2(THEIR_MAC, OUR_MAC);
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            eth.ipv4(source.octets(), destination.octets(), 64)
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            eth.ipv6(source.octets(), destination.octets(), 64)
        }
        _ => panic!("{source} and {destination} are of two families"),
    }
}

/// Puts TCP or UDP behind an IP header.
///
/// # Panics
///
/// Where the payload is too long.
#[must_use]
pub fn transport(
    ip: PacketBuilderStep<IpHeaders>,
    source: u16,
    destination: u16,
    protocol: u8,
    payload: &[u8],
) -> Vec<u8> {
    let mut frame = Vec::new();
    if protocol == TCP {
        ip.tcp(source, destination, 1000, 8192)
            .ack(2000)
            .write(&mut frame, payload)
    } else {
        ip.udp(source, destination).write(&mut frame, payload)
    }
    .expect("a payload that fits");
    frame
}

/// Destination and source MAC address as a frame holds them.
#[must_use]
pub fn macs(destination: [u8; 6], source: [u8; 6]) -> Macs {
    let word = |[a, b, c, d, e, f]: [u8; 6]| u64::from_le_bytes([a, b, c, d, e, f, 0, 0]);
    Macs::new(word(destination), word(source))
}
