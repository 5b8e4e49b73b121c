//! Frame → [`Packet`].

use crate::{
    directory::{Key, Kind},
    wire::{
        Checksum, Cursor, Eth, Ip, IpAddress as _, Ports,
        ip::Obstacle,
        transport::{TCP, UDP},
    },
};

/// A TCP or UDP packet, its headers held apart.
#[derive(Debug)]
pub struct Packet<'p, I> {
    /// Ethernet.
    pub eth: &'p mut Eth,
    /// IP.
    pub ip: &'p mut I,
    /// TCP or UDP.
    pub transport: Transport<'p>,
    /// Bytes of the whole frame.
    pub len: usize,
}

/// What stands behind the IP header of a TCP or UDP packet.
#[derive(Debug)]
pub struct Transport<'p> {
    /// Ports.
    pub ports: &'p mut Ports,
    /// Checksum of the header.
    pub checksum: Checksum<'p>,
    /// IP protocol number: TCP or UDP.
    pub protocol: u8,
}

/// What has no ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Portless {
    /// Cut short, or in contradiction to itself.
    Malformed,
    /// A fragment.
    Fragment,
    /// Too many extension headers.
    ExtensionHeaders,
    /// Another protocol, by its number.
    Other(u8),
}

/// Takes the transport header off a frame, behind an IP header where `cursor` stands.
///
/// # Errors
///
/// [`Portless`] says what it is instead.
#[inline(always)]
pub fn transport<'p, I: Ip, C: Cursor<'p>>(
    ip: &I,
    cursor: &mut C,
) -> Result<Transport<'p>, Portless> {
    let payload = ip.payload(cursor).map_err(|obstacle| match obstacle {
        Obstacle::Malformed => Portless::Malformed,
        Obstacle::Fragment => Portless::Fragment,
        Obstacle::ExtensionHeaders => Portless::ExtensionHeaders,
    })?;
    let protocol = payload.protocol;
    if protocol != TCP && protocol != UDP {
        return Err(Portless::Other(protocol));
    }
    let ports = cursor.take().ok_or(Portless::Malformed)?;
    let checksum = Checksum::take(protocol, payload.len, cursor).ok_or(Portless::Malformed)?;
    Ok(Transport {
        ports,
        checksum,
        protocol,
    })
}

impl<I: Ip> Packet<'_, I> {
    /// What a service is found by.
    #[inline(always)]
    pub fn service_key(&self) -> Key {
        self.ip.destination().key(
            Kind::Service,
            self.transport.ports.destination,
            self.transport.protocol,
        )
    }

    /// What a backend is found by.
    #[inline(always)]
    pub fn backend_key(&self) -> Key {
        self.ip.source().key(
            Kind::Backend,
            self.transport.ports.source,
            self.transport.protocol,
        )
    }
}
