//! Frame → [`Packet`].

use crate::{
    directory::{Key, Kind},
    wire::{Cursor, Eth, Ip, IpAddress as _, Portless, Transport},
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
    let payload = ip.payload(cursor)?;
    Transport::take(payload, cursor)
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
