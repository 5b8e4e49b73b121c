//! Fragments: the first one has ports and goes the way of a whole packet; later ones go where it went.
//! Whole packets with IPv4 options or IPv6 extension headers come along.
//!
//! A later fragment that comes before the first, or more than half a minute after it, cannot be told
//! whose it is: it is dropped, and counted by a reason of its own.

use super::{
    Decision, Detour, Direction, Fate, Obstacle, Packet, Pass, Tables, balance, conclude, other,
    rewrite,
    to_backend::{self, FULL_NAT, GUE, IPIP, L2_DSR, NAT},
    to_client::{self, exit, is_genuine},
    transport, tunnel,
};
use crate::{
    DropReason, PassReason,
    backend::Backend,
    checksum::Delta,
    fragment::{Fragment, FragmentKey, LIFETIME_NS},
    maps::Feature,
    wire::{Cursor, Eth, Ip, IpAddress, ip::Piece},
};

/// The program of fragments.
pub(super) struct Fragments;

impl Pass for Fragments {
    #[inline(always)]
    fn packet<'p, 't, I: Ip + 'p, C: Cursor<'p>, T: Tables>(
        eth: &'p mut Eth,
        ip: &'p mut I,
        mut cursor: C,
        tables: &'t T,
    ) -> Decision<'t> {
        let piece = match ip.piece(&mut cursor) {
            Ok(piece) => piece,
            Err(portless) => return other::portless(portless, ip, tables),
        };
        if piece.later || piece.more {
            let Some(mut draft) = tables.draft() else {
                return DropReason::TableError.into();
            };
            draft.fragment_key = key(ip, piece);
        }
        if piece.later {
            let len = cursor.frame_len();
            return conclude(later(eth, ip, len, tables));
        }
        first(eth, ip, piece, cursor, tables)
    }
}

/// By what fragments of a packet are found.
#[inline(always)]
fn key<I: Ip>(ip: &I, piece: Piece) -> FragmentKey {
    FragmentKey {
        source: ip.source().to_table(),
        destination: ip.destination().to_table(),
        identification: piece.identification,
        protocol: piece.protocol.into(),
    }
}

/// A first fragment, or a whole packet with a fragment header (RFC 6946).
#[inline(always)]
fn first<'p, 't, I: Ip + 'p, C: Cursor<'p>, T: Tables>(
    eth: &'p mut Eth,
    ip: &'p mut I,
    piece: Piece,
    mut cursor: C,
    tables: &'t T,
) -> Decision<'t> {
    let mut transport = match transport(piece.payload, &mut cursor, tables) {
        Ok(transport) => transport,
        Err(portless) if !piece.more => return other::portless(portless, ip, tables),
        Err(_) => return without_ports(ip, tables),
    };
    // The verifier would walk what follows once for each answer: 794,000 instructions on Linux 6.1, of a million.
    if tables.uses(Feature::Quic) {
        transport.settle::<C>();
    }
    let packet = Packet {
        eth,
        ip,
        transport,
        len: cursor.frame_len(),
        transport_len: piece.payload.len,
        // Likewise.
        is_whole: C::settled(piece.more.into()) & 1 == 0,
        program: Detour::Fragment,
    };
    conclude(balance(packet, tables))
}

/// A fragment that no service can be found by.
#[inline(always)]
fn without_ports<'t, I: Ip, T: Tables>(ip: &I, tables: &T) -> Decision<'t> {
    let local = PassReason::LocalFragment.into();
    other::by_owner(ip, tables, local, DropReason::Fragment.into()).into()
}

/// What became of the first fragment, by the key in the draft.
#[inline(always)]
fn known<T: Tables>(tables: &T) -> Option<Fragment> {
    let first = tables.fragment(&tables.draft()?.fragment_key)?;
    let age_ns = tables.now_ns().saturating_sub(first.born_ns);
    (age_ns < LIFETIME_NS).then_some(first)
}

#[inline(always)]
fn later<'t, I: Ip, T: Tables>(eth: &mut Eth, ip: &mut I, len: usize, tables: &'t T) -> Fate<'t> {
    let Some(first) = known(tables) else {
        let local = PassReason::LocalFragment.into();
        return Err(other::by_owner(ip, tables, local, DropReason::FragmentEarly.into()).into());
    };
    let backend = tables.backend(first.pair).ok_or(DropReason::TableError)?;
    if first.direction == Direction::Forward as u32 {
        let decision = forward(eth, ip, &first, backend, tables)?;
        tables.count(first.pair, Direction::Forward, len);
        return Ok(decision);
    }
    let decision = back(eth, ip, &first, backend, tables)?;
    tables.count(first.pair, Direction::Return, len);
    Ok(decision)
}

#[inline(always)]
fn forward<'t, I: Ip, T: Tables>(
    eth: &mut Eth,
    ip: &mut I,
    first: &Fragment,
    backend: &'t Backend,
    tables: &'t T,
) -> Fate<'t> {
    let mode = tables.mode(backend);
    to_backend::may_go(ip, mode, backend, tables).map_err(Obstacle::quiet)?;
    match mode {
        NAT | FULL_NAT | L2_DSR => {
            let delta = readdress(ip, first);
            rewrite::leave_by(eth, backend.next_hop, tables);
            ip.spend_hop(delta);
            Ok(rewrite::emit(backend.next_hop.ifindex(), tables).into())
        }
        IPIP | GUE => Ok(Decision::Encapsulate(tunnel::Inner::of_ip(
            ip,
            backend,
            first.entropy,
        ))),
        _ => Err(DropReason::ModeUnknown.into()),
    }
}

#[inline(always)]
fn back<'t, I: Ip, T: Tables>(
    eth: &mut Eth,
    ip: &mut I,
    first: &Fragment,
    backend: &Backend,
    tables: &T,
) -> Fate<'t> {
    is_genuine(eth, backend, tables)?;
    let vip = I::Address::from_table(&first.source);
    let client = I::Address::from_table(&first.destination);
    to_client::may_go(ip).map_err(Obstacle::quiet)?;
    let route = to_client::route(client, tables);
    let exit = exit(ip, vip, client, route, tables).map_err(Obstacle::quiet)?;
    let delta = readdress(ip, first);
    rewrite::leave(eth, ip, delta, exit);
    Ok(to_client::leaves(exit, tables))
}

/// Gives a fragment the addresses that the first one got; what that adds to the header's checksum.
#[inline(always)]
fn readdress<I: Ip>(ip: &mut I, first: &Fragment) -> Delta {
    let source = I::Address::from_table(&first.source);
    rewrite::readdress(ip, source, I::Address::from_table(&first.destination))
}
