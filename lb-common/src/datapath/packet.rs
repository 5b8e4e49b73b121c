//! What the way holds of a packet.

use super::{
    Detour, Direction, Tables,
    moving::Turn,
    select::{Selector, Tuple},
};
use crate::{
    PassReason,
    flow::{FlowKey, Side},
    fragment::Fragment,
    wire::{Eth, Ip, IpAddress as _, Transport},
};

/// A TCP or UDP packet, or the first fragment of one, its headers held apart.
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
    /// Whether it is no fragment.
    pub is_whole: bool,
    /// The program that sees it.
    pub(super) program: Detour,
}

impl<I: Ip> Packet<'_, I> {
    /// Whether its addresses may be rewritten: over IPv6 a checksum must cover them (RFC 8200, §8.1).
    ///
    /// # Errors
    ///
    /// The kernel gets it, and counts it.
    #[inline(always)]
    pub const fn has_due_checksum(&self) -> Result<(), PassReason> {
        if I::V6 && !self.transport.has_checksum() {
            return Err(PassReason::Malformed);
        }
        Ok(())
    }

    /// Remembers for later fragments where the first one goes; what they are found by is in the draft.
    #[inline(always)]
    pub(super) fn remember<T: Tables>(
        &self,
        (source, destination): (I::Address, I::Address),
        pair: u32,
        direction: Direction,
        entropy: u32,
        tables: &T,
    ) {
        if self.is_whole {
            return;
        }
        let Some(mut draft) = tables.draft() else {
            return;
        };
        draft.fragment = Fragment {
            source: source.to_table(),
            destination: destination.to_table(),
            pair,
            direction: direction as u32,
            entropy,
            reserved: 0,
            born_ns: tables.now_ns(),
        };
        tables.remember(&draft.fragment_key, &draft.fragment);
    }

    /// What names its backend.
    #[inline(always)]
    pub(super) fn selector<T: Tables>(&self, service: u64, tables: &T) -> Selector<'_> {
        let tuple = Tuple {
            client: self.ip.source(),
            vip: self.ip.destination(),
            ports: self.transport.ports(),
            protocol: self.transport.protocol,
        };
        let (flow, hash) = tuple.hashes(service, tables);
        Selector {
            hash,
            flow,
            transport: Some(&self.transport),
            turn: if self.is_whole {
                Turn::Track
            } else {
                Turn::Follow
            },
            program: self.program,
        }
    }

    /// Its key among remembered flows.
    #[inline(always)]
    #[must_use]
    pub fn flow_key(&self, side: Side) -> FlowKey {
        FlowKey::new(
            side,
            self.ip.source().to_table(),
            self.ip.destination().to_table(),
            self.transport.ports(),
            self.transport.protocol,
        )
    }
}
