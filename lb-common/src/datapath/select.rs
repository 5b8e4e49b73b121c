//! Which service, which backend: look-ups by address, port and protocol, and the slot of a flow.

use super::{
    Detour, Packet, Step, Tables,
    moving::{self, Question, Turn},
    probe, refuse,
};
use crate::{
    DropReason,
    backend::Header,
    bits,
    directory::{Kind, Way},
    hash,
    maps::Feature,
    range,
    row::Row,
    wire::{Ip, IpAddress, Ports, Transport},
};

/// What the directory says of a service. A single port comes before a range, a range before all ports.
#[inline(always)]
pub(super) fn service<A: IpAddress, T: Tables>(
    address: A,
    port: [u8; 2],
    protocol: u8,
    tables: &T,
) -> Option<u64> {
    let key = address.key(Kind::Service, port, protocol);
    let found = tables.find(&key, A::V6);
    found.or_else(|| in_ranges(Kind::Ranges, address, port, protocol, tables))
}

/// What the front way says, where it is this service's: this spares the CPU the wait for the look-up, and
/// all that comes before it.
#[inline(always)]
pub(super) fn front<I: Ip, T: Tables>(packet: &Packet<'_, I>, tables: &T) -> Option<u64> {
    let Packet { ip, transport, .. } = packet;
    let port = transport.ports().destination;
    let key = ip
        .destination()
        .key(Kind::Service, port, transport.protocol);
    let way = tables.front(key.tag)?;
    way.is(&key, I::V6).then_some(way.value)
}

/// The pair of a NAT backend.
#[inline(always)]
pub(super) fn backend<A: IpAddress, T: Tables>(
    address: A,
    port: [u8; 2],
    protocol: u8,
    tables: &T,
) -> Option<u32> {
    let key = address.key(Kind::Backend, port, protocol);
    let found = tables.find(&key, A::V6);
    let found = found.or_else(|| in_ranges(Kind::BackendRanges, address, port, protocol, tables));
    found.map(bits::low_half)
}

#[inline(always)]
fn in_ranges<A: IpAddress, T: Tables>(
    kind: Kind,
    address: A,
    port: [u8; 2],
    protocol: u8,
    tables: &T,
) -> Option<u64> {
    if !tables.uses(Feature::Ranges) {
        return None;
    }
    let key = address.key(kind, [0; 2], protocol);
    let element = tables.find(&key, A::V6)?;
    range::find(tables.ranges(bits::low_half(element))?, port)
}

/// What of a packet names its backend.
#[derive(Clone, Copy, Debug)]
pub(super) struct Selector<'p> {
    /// What its row goes by: the hash of its flow, or of its client alone.
    pub(super) hash: u64,
    /// The hash of its flow.
    pub(super) flow: u64,
    /// What opens or closes a connection; `None`: an error about one.
    pub(super) transport: Option<&'p Transport<'p>>,
    /// What becomes of its flow where its row moves.
    pub(super) turn: Turn,
    /// The program that sees the packet.
    pub(super) program: Detour,
}

/// A flow's five-tuple, as its client sends it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tuple<A> {
    pub(super) client: A,
    pub(super) vip: A,
    pub(super) ports: Ports,
    pub(super) protocol: u8,
}

impl<A: IpAddress> Tuple<A> {
    /// Its hash, and the one that its service goes by: where clients are to stay with one backend, that of the
    /// client alone, or of its prefix.
    #[inline(always)]
    pub(super) fn hashes<T: Tables>(self, service: u64, tables: &T) -> (u64, u64) {
        let flow = self.hash(tables);
        match affinity(service, tables) {
            0 => (flow, flow),
            bits => {
                let client = Self {
                    client: self.client.first_bits(bits),
                    ports: Ports::from_bytes([0; 4]),
                    ..self
                };
                (flow, client.hash(tables))
            }
        }
    }

    #[inline(always)]
    fn hash<T: Tables>(self, tables: &T) -> u64 {
        let Self {
            client,
            vip,
            ports,
            protocol,
        } = self;
        hash::flow(tables.hash_key(), client, vip, ports, protocol)
    }
}

/// Bits of a client's address that a service's backends are chosen by, and nothing else; 0: by the flow.
#[inline(always)]
fn affinity<T: Tables>(service: u64, tables: &T) -> u8 {
    if !tables.uses(Feature::Affinity) {
        return 0;
    }
    let Some(header) = tables.backend(Way::extent(service)) else {
        return 0;
    };
    let header: &Header = zerocopy::transmute_ref!(header);
    header.affinity
}

impl Selector<'_> {
    #[inline(always)]
    fn question(&self, service: u64) -> Question {
        Question {
            hash: self.hash,
            service,
            sequence: self.transport.map_or(0, Transport::sequence),
            signal: self.transport.map_or(0, moving::signal),
            turn: self.turn as u8,
            back: self.program as u8,
            reserved: 0,
            owner: 0,
            other: 0,
            answer: 0,
        }
    }
}

/// The pair that has a flow, and in a moving row the other one that may have it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Choice {
    /// The pair that has the flow.
    pub(super) pair: u32,
    /// The other one; 0, which is a header's: none.
    pub(super) second: u32,
}

impl Choice {
    /// There is no other.
    #[inline(always)]
    pub(super) const fn only(pair: u32) -> Self {
        Self { pair, second: 0 }
    }
}

/// The pair that has the flow.
///
/// # Errors
///
/// Where the row moves: the program that knows more.
#[inline(always)]
pub(super) fn owner<T: Tables>(
    packet: &Selector<'_>,
    service: u64,
    tables: &T,
) -> Result<Choice, Step> {
    if let Some(pair) = probe::pair(packet.transport, tables) {
        return Ok(Choice::only(pair));
    }
    let row = row(packet.hash, service, tables)?;
    let extent = Way::extent(service);
    if row.is_stable() {
        Ok(Choice::only(extent.wrapping_add(row.primary())))
    } else if row == Row::EMPTY {
        Err(refuse::or_drop(packet.turn, tables))
    } else if !tables.uses(Feature::Tracking) {
        Err(DropReason::TableError.into())
    } else {
        let (owner, other) = moving::owner(&packet.question(service), tables)?;
        Ok(Choice {
            pair: extent.wrapping_add(owner),
            second: other.map_or(0, |other| extent.wrapping_add(other)),
        })
    }
}

/// The pair that the row of a hash names.
#[inline(always)]
pub(super) fn primary<T: Tables>(hash: u64, service: u64, tables: &T) -> Result<u32, DropReason> {
    match row(hash, service, tables)?.primary() {
        owner if owner == u32::from(Row::NONE) => Err(DropReason::NoBackend),
        owner => Ok(Way::extent(service).wrapping_add(owner)),
    }
}

#[inline(always)]
fn row<T: Tables>(hash: u64, service: u64, tables: &T) -> Result<Row, DropReason> {
    let table = Way::table(service);
    let row = tables.row(table.element(), table.slot(hash));
    row.ok_or(DropReason::TableError)
}
