//! Full NAT: a flow gets an address and a port of a pool as its source, so that replies come back by
//! themselves.
//!
//! Two entries of `FLOWS` hold a flow: the client's side says what its packets get, the backend's side
//! what replies get. The backend's side is claimed first: its key is what must not be given twice.

use super::{
    Claim, Detour, Direction, Draft, Fate, Packet, Tables,
    flow::Asks,
    rewrite,
    to_backend::{self, FULL_NAT},
    to_client::Exit,
};
use crate::{
    DropReason,
    address::Address,
    backend::{Backend, Mode, State},
    bits,
    checksum::Delta,
    flow::{Flow, FlowKey, Side},
    pool::{Pool, TRIES},
    wire::{Ip, IpAddress, Ports},
};

/// Whether a backend is reached like this: a load-time constant.
#[inline(always)]
pub(super) fn is_used<T: Tables>(tables: &T) -> bool {
    tables.modes() & Mode::FullNat.bit() != 0
}

/// The flow that a packet is a reply of.
#[inline(always)]
pub(super) fn reply<I: Ip, T: Tables>(packet: &Packet<'_, I>, tables: &T) -> Option<Flow> {
    if !is_used(tables) {
        return None;
    }
    let marks = packet.transport.marks();
    tables.flow(&packet.flow_key(Side::Backend), Some(marks))
}

/// A flow that an error is about, which refreshes nothing.
#[inline(always)]
pub(super) fn asked<T: Tables>(key: &FlowKey, tables: &T) -> Option<Flow> {
    if is_used(tables) {
        tables.flow(key, None)
    } else {
        None
    }
}

/// Sends a client's packet on, where its flow is remembered. `owner`: the pair that has the flow's slot.
#[inline(always)]
pub(super) fn send<'t, I: Ip, T: Tables>(
    packet: Packet<'_, I>,
    owner: u32,
    tables: &'t T,
) -> Fate<'t> {
    packet.has_due_checksum()?;
    let key = packet.flow_key(Side::Client);
    let marks = packet.transport.marks();
    if let Some(flow) = tables.flow(&key, Some(marks))
        && let Some(backend) = current(&flow, owner, tables)
    {
        return forward(packet, &flow, backend, tables);
    }
    Err(Detour::Flow.into())
}

/// The backend of a flow, if the flow may still go there: its entry may have become another backend's,
/// or the backend died, and another one has its slots.
#[inline(always)]
fn current<'t, T: Tables>(flow: &Flow, owner: u32, tables: &'t T) -> Option<&'t Backend> {
    let backend = tables.backend(flow.pair)?;
    let is_same = tables.mode(backend) == FULL_NAT
        && backend.address == flow.destination
        && (!backend.standing.is(State::Down) || flow.pair == owner);
    is_same.then_some(backend)
}

#[inline(always)]
fn forward<'t, I: Ip, T: Tables>(
    packet: Packet<'_, I>,
    flow: &Flow,
    backend: &'t Backend,
    tables: &'t T,
) -> Fate<'t> {
    to_backend::may_go(packet.ip, FULL_NAT, backend, tables)
        .map_err(|it| it.told(packet.ip.destination(), tables))?;
    packet.count(flow.pair, Direction::Forward, backend.mss, tables)?;
    let ends = (
        I::Address::from_table(&flow.source),
        I::Address::from_table(&flow.destination),
    );
    packet.remember(ends, flow.pair, Direction::Forward, 0, tables);
    let ifindex = backend.next_hop.ifindex();
    let link = rewrite::link(backend.next_hop, tables);
    rewrite::by_flow(packet, flow, Exit::Link { link, ifindex });
    Ok(rewrite::emit(ifindex, tables).into())
}

/// Forgets a flow whose backend is gone.
#[inline(always)]
fn forget<T: Tables>(key: &FlowKey, flow: &Flow, tables: &T) {
    tables.release(&reply_key(flow, key.protocol()));
    tables.release(key);
}

/// The key of a flow's replies.
#[inline(always)]
const fn reply_key(flow: &Flow, protocol: u8) -> FlowKey {
    FlowKey::new(
        Side::Backend,
        flow.destination,
        flow.source,
        flow.ports().reversed(),
        protocol,
    )
}

/// Gives a flow a place of the pool that no other flow to this backend has.
#[inline(always)]
pub(super) fn remember<A: IpAddress, T: Tables>(
    asks: &Asks<A>,
    hash: u64,
    pair: u32,
    backend: &Backend,
    tables: &T,
) -> Result<(), DropReason> {
    // Nothing is remembered of what cannot go anyway.
    if !backend.next_hop.is_resolved() {
        return Err(DropReason::BackendUnresolved);
    }
    let pool = tables.pool(backend.index).ok_or(DropReason::TableError)?;
    let mut draft = tables.draft().ok_or(DropReason::TableError)?;
    begin(&mut draft, asks, pair, backend, tables);
    if let Some(gone) = tables.flow(&draft.key, None) {
        forget(&draft.key, &gone, tables);
    }
    find_place(&mut draft, asks, pool, hash, tables)
}

/// Tries some of the pool's places, where to begin being the hash's to say.
#[inline(always)]
fn find_place<A: IpAddress, T: Tables>(
    draft: &mut Draft,
    asks: &Asks<A>,
    pool: &Pool,
    hash: u64,
    tables: &T,
) -> Result<(), DropReason> {
    let (places, stride) = (pool.places(), pool.stride());
    let mut number = bits::low_half((hash & 0xffff_ffff).wrapping_mul(places.into()) >> 32);
    for _ in 0..TRIES {
        let Some((address, port)) = pool.place(number) else {
            break;
        };
        put(draft, asks, &address, port);
        match claim(draft, tables) {
            Claim::Made => return Ok(()),
            Claim::Taken => {}
            Claim::Full => return Err(DropReason::FlowsFull),
        }
        number = next(number, stride, places);
    }
    Err(DropReason::PoolExhausted)
}

#[inline(always)]
const fn next(number: u32, stride: u32, places: u32) -> u32 {
    let number = number + stride;
    if number < places {
        number
    } else {
        number - places
    }
}

/// Writes what does not depend on the place.
#[inline(always)]
fn begin<A: IpAddress, T: Tables>(
    draft: &mut Draft,
    asks: &Asks<A>,
    pair: u32,
    backend: &Backend,
    tables: &T,
) {
    let (client, vip) = (asks.client.to_table(), asks.vip.to_table());
    draft.key = FlowKey::new(Side::Client, client, vip, asks.ports, asks.protocol);
    draft.flow = Flow {
        source: Address::default(),
        destination: backend.address,
        ports: Ports {
            source: [0; 2],
            destination: backend.port_for(asks.ports.destination),
        }
        .bytes(),
        pair,
        ip_delta: 0,
        l4_delta: 0,
        pool: backend.index,
        reserved: 0,
        seen: tables.clock(),
        marks: asks.marks,
    };
    draft.reply = Flow {
        source: vip,
        destination: client,
        ports: asks.ports.reversed().bytes(),
        seen: 0,
        marks: 0,
        ..draft.flow
    };
}

/// Gives the draft a place of the pool.
#[inline(always)]
fn put<A: IpAddress>(draft: &mut Draft, asks: &Asks<A>, address: &Address, port: [u8; 2]) {
    draft.flow.source = *address;
    let ports = Ports {
        source: port,
        ..draft.flow.ports()
    };
    draft.flow.ports = ports.bytes();
    let to = A::from_table(&draft.flow.destination);
    let addresses = rewrite::of_addresses((asks.client, asks.vip), (A::from_table(address), to));
    let ends = addresses.and(Delta::between(asks.ports.sum(), ports.sum()));
    (draft.flow.ip_delta, draft.flow.l4_delta) = (addresses.0, ends.0);
    (draft.reply.ip_delta, draft.reply.l4_delta) = (addresses.reversed().0, ends.reversed().0);
    draft.reply_key = reply_key(&draft.flow, draft.key.protocol());
}

/// Claims both sides; of two CPUs that see the flow begin, one succeeds, and the other goes by what that
/// one remembered.
#[inline(always)]
fn claim<T: Tables>(draft: &Draft, tables: &T) -> Claim {
    match tables.claim(&draft.reply_key, &draft.reply) {
        Claim::Made => {}
        other => return other,
    }
    match tables.claim(&draft.key, &draft.flow) {
        Claim::Made => Claim::Made,
        other => {
            tables.release(&draft.reply_key);
            if other == Claim::Taken {
                Claim::Made
            } else {
                other
            }
        }
    }
}
