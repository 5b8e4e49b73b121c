//! NAT backends that several services share: a reply alone does not tell whose it is.
//!
//! The service that the directory names for a reply is the default; flows of the others are remembered
//! in `FLOWS`. Two flows of one client that would look alike to the backend cannot both go there: the
//! later one takes another backend, which goes by its row alone.

use super::{
    Claim, Detour, Fate, Packet, Tables,
    flow::Asks,
    select::{self, Choice},
    to_backend,
};
use crate::{
    DropReason,
    backend::{Backend, Mode},
    checksum::Delta,
    flow::{Flow, FlowKey, Side},
    hash,
    maps::Feature,
    wire::{Ip, IpAddress, Ports},
};

/// Backends that are tried for a flow.
const TRIES: u32 = 4;

/// Whether other services have a backend, too.
#[inline(always)]
pub(super) fn is<T: Tables>(backend: &Backend, tables: &T) -> bool {
    tables.uses(Feature::Shared)
        && backend.mode == Mode::Nat as u8
        && backend.flags & Backend::SHARED != 0
}

/// Sends a client's packet to a backend from which its replies can be told from others.
#[inline(always)]
pub(super) fn send<'t, I: Ip, T: Tables>(
    packet: Packet<'_, I>,
    owner: u32,
    hash: u64,
    service: u64,
    tables: &'t T,
) -> Fate<'t> {
    let asks = Asks {
        client: packet.ip.source(),
        vip: packet.ip.destination(),
        ports: packet.transport.ports(),
        protocol: packet.transport.protocol,
        marks: packet.transport.marks(),
    };
    let refresh = Some(asks.marks);
    match choose(&asks, refresh, owner, hash, service, tables)? {
        (pair, backend, Standing::Apart) => to_backend::deliver(
            packet,
            hash,
            Choice::only(pair),
            (tables.mode(backend), backend),
            tables,
        ),
        (_, _, Standing::Unknown) => Err(Detour::Flow.into()),
    }
}

/// Remembers the flow at the first backend where it can be told from the client's others.
#[inline(always)]
pub(super) fn remember<A: IpAddress, T: Tables>(
    asks: &Asks<A>,
    owner: u32,
    hash: u64,
    service: u64,
    tables: &T,
) -> Result<(), DropReason> {
    let (pair, backend, Standing::Unknown) = choose(asks, None, owner, hash, service, tables)?
    else {
        return Ok(());
    };
    let mut draft = tables.draft().ok_or(DropReason::TableError)?;
    draft.reply_key = reply_key(asks, backend);
    draft.reply = Flow {
        source: backend.vip,
        destination: asks.client.to_table(),
        ports: asks.ports.reversed().bytes(),
        pair,
        ip_delta: Delta(backend.ip_delta).reversed().0,
        l4_delta: Delta(backend.l4_delta).reversed().0,
        pool: Flow::NO_POOL,
        reserved: 0,
        seen: tables.clock(),
        marks: asks.marks,
    };
    match tables.claim(&draft.reply_key, &draft.reply) {
        // Taken: by another packet of this flow, or by one that it has to give way to.
        Claim::Made | Claim::Taken => Ok(()),
        Claim::Full => Err(DropReason::FlowsFull),
    }
}

/// How a flow stands at a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Its replies can be told from others.
    Apart,
    /// They could be if it was remembered.
    Unknown,
}

/// The first backend where no other flow of the client looks the same: that of its row, `owner`, and of
/// rows that follow from it.
#[inline(always)]
pub(super) fn choose<'t, A: IpAddress, T: Tables>(
    asks: &Asks<A>,
    refresh: Option<u32>,
    owner: u32,
    hash: u64,
    service: u64,
    tables: &'t T,
) -> Result<(u32, &'t Backend, Standing), DropReason> {
    let (mut pair, mut key) = (owner, hash);
    for _ in 0..TRIES {
        let backend = tables.backend(pair).ok_or(DropReason::TableError)?;
        if let Some(standing) = standing(asks, refresh, pair, backend, tables) {
            return Ok((pair, backend, standing));
        }
        key = hash::mix(key.rotate_left(32));
        pair = select::primary(key, service, tables)?;
    }
    Err(DropReason::NatCollision)
}

/// How a flow stands at a backend; `None` where another one looks the same.
#[inline(always)]
fn standing<A: IpAddress, T: Tables>(
    asks: &Asks<A>,
    refresh: Option<u32>,
    pair: u32,
    backend: &Backend,
    tables: &T,
) -> Option<Standing> {
    if !is(backend, tables) {
        return Some(Standing::Apart);
    }
    let reply = reply_key(asks, backend);
    if let Some(flow) = tables.flow(&reply, refresh) {
        // Not by its pair, which changes when the service's backends move in the table.
        let is_ours =
            flow.source == asks.vip.to_table() && flow.ports == asks.ports.reversed().bytes();
        return is_ours.then_some(Standing::Apart);
    }
    let port = Ports::from_bytes(reply.ports).source;
    let address = A::from_table(&backend.address);
    let default = select::backend(address, port, asks.protocol, tables);
    Some(if default == Some(pair) {
        Standing::Apart
    } else {
        Standing::Unknown
    })
}

/// What the backend's replies are found by.
#[inline(always)]
fn reply_key<A: IpAddress>(asks: &Asks<A>, backend: &Backend) -> FlowKey {
    let ports = Ports {
        source: backend.port_for(asks.ports.destination),
        destination: asks.ports.source,
    };
    let client = asks.client.to_table();
    FlowKey::new(Side::Backend, backend.address, client, ports, asks.protocol)
}

/// Whose reply it is: that of the remembered flow, else that of the default, `pair`.
#[inline(always)]
pub(super) fn answering<'t, T: Tables>(
    reply: &FlowKey,
    refresh: Option<u32>,
    pair: u32,
    backend: &'t Backend,
    tables: &'t T,
) -> Result<(u32, &'t Backend), DropReason> {
    match tables.flow(reply, refresh) {
        Some(flow) => {
            let other = tables.backend(flow.pair).ok_or(DropReason::TableError)?;
            Ok((flow.pair, other))
        }
        None => Ok((pair, backend)),
    }
}
