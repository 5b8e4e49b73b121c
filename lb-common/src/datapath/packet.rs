//! What the way holds of a packet.

use crate::{
    directory::{Key, Kind},
    wire::{Eth, Ip, IpAddress as _, Transport},
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
    /// Bytes of the TCP or UDP header and what it carries.
    pub transport_len: usize,
}

impl<I: Ip> Packet<'_, I> {
    /// What a service is found by.
    #[inline(always)]
    #[must_use]
    pub fn service_key(&self) -> Key {
        self.ip.destination().key(
            Kind::Service,
            self.transport.ports.destination,
            self.transport.protocol,
        )
    }

    /// What a backend is found by.
    #[inline(always)]
    #[must_use]
    pub fn backend_key(&self) -> Key {
        self.ip.source().key(
            Kind::Backend,
            self.transport.ports.source,
            self.transport.protocol,
        )
    }
}
