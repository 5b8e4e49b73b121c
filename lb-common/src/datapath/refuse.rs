//! What the sender of a packet that no backend takes is told, where its service says so: as a host would say on
//! whose port nobody listens, an RST of TCP (RFC 9293, §3.10.7.1), port unreachable of UDP (RFC 1122, §4.1.3.1).
//!
//! Of TCP behind an extension header of IPv6, and of fragments of it, nobody is told.

use super::{Detour, Note, Program, Step, Tables, moving::Turn, reset, select};
use crate::{
    AnswerReason, DropReason,
    backend::Header,
    directory::Way,
    maps::Feature,
    wire::{
        Cursor, Eth, Frame, Ip, IpAddress, Ipv4, Ipv6, Ports,
        icmp::Icmp,
        transport::{TCP, UDP},
    },
};

/// What becomes of a packet that no backend takes. Of an error nobody is told (RFC 1122, §3.2.2).
#[inline(always)]
pub(super) fn or_drop<T: Tables>(turn: Turn, tables: &T) -> Step {
    if tables.uses(Feature::Refusal) && turn != Turn::Ask {
        Detour::Refuse.into()
    } else {
        DropReason::NoBackend.into()
    }
}

/// The program of packets that no backend takes.
pub(super) struct Refuse;

impl Program for Refuse {
    #[inline(always)]
    fn run<F: Frame, T: Tables>(frame: &mut F, tables: &T) -> Step {
        let told = match frame.head::<Eth>().map(|eth| eth.ether_type()) {
            Some(Eth::IPV4) => refuse::<Ipv4, _, _>(frame, tables),
            Some(Eth::IPV6) => refuse::<Ipv6, _, _>(frame, tables),
            _ => None,
        };
        told.unwrap_or_else(|| DropReason::NoBackend.into())
    }
}

#[inline(always)]
fn refuse<I: Ip, F: Frame, T: Tables>(frame: &mut F, tables: &T) -> Option<Step> {
    let (vip, protocol) = asked::<I, _, _>(frame.cursor(), tables)?;
    if protocol == TCP {
        reset::make::<I, _>(frame, reset::Answers::All)?;
        return Some(AnswerReason::Refused.into());
    }
    if tables.icmp_rate() == 0 {
        return None;
    }
    tables.leave_note(Note {
        source: vip.to_table(),
        mtu: Icmp::NO_PORT,
        clamped: 0,
    });
    Some(Detour::Answer.into())
}

/// The VIP and protocol of the service that a packet is for, which tells its clients.
#[inline(always)]
fn asked<'p, I: Ip + 'p, C: Cursor<'p>, T: Tables>(
    mut cursor: C,
    tables: &T,
) -> Option<(I::Address, u8)> {
    cursor.take::<Eth>()?;
    let ip = cursor.take::<I>()?;
    let piece = ip.piece(&mut cursor).ok()?;
    let protocol = piece.payload.protocol;
    if piece.later || !matches!(protocol, TCP | UDP) {
        return None;
    }
    let port = cursor.peek::<Ports>()?.destination;
    let vip = ip.destination();
    let service = select::service(vip, port, protocol, tables)?;
    let header: &Header = zerocopy::transmute_ref!(tables.backend(Way::extent(service))?);
    (header.flags & Header::REFUSES != 0).then_some((vip, protocol))
}
