//! ICMP: echo requests for a VIP are answered; an error goes to whom the packet that it quotes came from
//! or went through.
//!
//! | the error is for | it quotes a packet | it goes to |
//! |---|---|---|
//! | a VIP | from the VIP to a client | the backend of that flow |
//! | the source of a tunnel | of xlb's own, to a backend | its path MTU is noted, and it ends here |
//! | an address of a pool | from the pool to a backend (full NAT) | the client, as from the VIP |
//! | a client | from the client to a backend (NAT) | the client, as from the VIP |
//!
//! A flow is looked up for an error, never remembered or refreshed. Of the quoted packet, its IP header
//! and eight bytes more are enough (RFC 792).

mod quoted;
mod report;

use self::{quoted::Quoted, report::Report};
use super::{Decision, Pass, Tables, conclude, other, owner, to_backend};
use crate::{
    AnswerReason, DropReason, PassReason,
    checksum::Delta,
    directory::VIP,
    maps::Feature,
    wire::{
        Cursor, Eth, Ip,
        icmp::{self, Kind},
    },
};

/// The program of ICMP and ICMPv6.
pub(super) struct Icmp;

impl Pass for Icmp {
    #[inline(always)]
    fn packet<'p, 't, I: Ip + 'p, C: Cursor<'p>, T: Tables>(
        eth: &'p mut Eth,
        ip: &'p mut I,
        mut cursor: C,
        tables: &'t T,
    ) -> Decision<'t> {
        let len = cursor.frame_len();
        let piece = match ip.piece(&mut cursor) {
            Ok(piece) => piece,
            Err(portless) => return other::portless(portless, ip, tables),
        };
        let Some(message) = cursor.take::<icmp::Icmp>() else {
            return PassReason::Malformed.into();
        };
        if piece.payload.len < icmp::Icmp::LEN {
            return PassReason::Malformed.into();
        }
        match message.about::<I>() {
            Kind::Echo => echo(eth, ip, message, tables),
            Kind::Other => others(ip, tables),
            Kind::Error | Kind::TooBig => {
                let room = piece.payload.len - icmp::Icmp::LEN;
                let Some(quoted) = Quoted::take(room, &mut cursor) else {
                    return unmatched(ip, tables);
                };
                let report = Report {
                    eth,
                    ip,
                    message,
                    quoted,
                    len,
                };
                conclude(report.follow(tables))
            }
        }
    }
}

/// Hops to live of an answer (RFC 1700).
const HOPS: u8 = 64;

/// Answers an echo request for a VIP, where the configuration says so: the same message under another
/// type, so that nobody gets more than was sent in his name.
#[inline(always)]
fn echo<'t, I: Ip, T: Tables>(
    eth: &mut Eth,
    ip: &mut I,
    message: &mut icmp::Icmp,
    tables: &T,
) -> Decision<'t> {
    let is_vip = owner(ip.destination(), tables) & VIP != 0;
    if !is_vip || !tables.uses(Feature::Echo) || !ip.has_no_options() {
        return others(ip, tables);
    }
    if let Err(reason) = to_backend::may_ask(ip.source(), tables) {
        return reason.into();
    }
    *eth = eth.returned();
    let (asks, vip) = (ip.source(), ip.destination());
    ip.set_source(vip);
    ip.set_destination(asks);
    ip.set_hops(HOPS);
    let (request, reply) = icmp::Icmp::echo::<I>();
    let [old, new] = [request, reply].map(u16::from_ne_bytes);
    message.kind = reply;
    message.update_checksum(Delta::between(old, new));
    if message.checksum == [0; 2] {
        // The other zero is right for every sum, and the only one for a message of zeros.
        message.checksum = [0xff; 2];
    }
    AnswerReason::Echo.into()
}

/// A message that is neither an echo request nor an error.
#[inline(always)]
fn others<'t, I: Ip, T: Tables>(ip: &I, tables: &T) -> Decision<'t> {
    other::by_owner(ip, tables, PassReason::Icmp.into(), PassReason::Icmp.into()).into()
}

/// An error that speaks of no flow.
#[inline(always)]
fn unmatched<'t, I: Ip, T: Tables>(ip: &I, tables: &T) -> Decision<'t> {
    let foreign = DropReason::IcmpUnmatched.into();
    other::by_owner(ip, tables, PassReason::Icmp.into(), foreign).into()
}
