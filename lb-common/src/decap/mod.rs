//! A backend's side of tunnels: packets out of `ipip` and `gue`, for the VIPs and from the sources that
//! were named.
//!
//! ```text
//! frame ─ outer header ─► tunnel? ─ source allowed? ─► inner header ─ a VIP? ─ congestion? ─► kernel
//!                            └ no: untouched ─► kernel                  │
//!                                        a connection of somebody else's? ┴► forwarded to the second backend
//! ```
//!
//! The balancer's packet loses its outer headers and goes on to the host's own stack, where the VIP is
//! an address. Its time to live stays: the balancer took the hop (RFC 2003, §3.1).
//!
//! The UDP checksum of GUE is not looked at: of what is used, the IPv4 header checksum and the inner
//! checksums cover all but an outer IPv6 source, which a tunnel may leave uncovered (RFC 6935).

mod ecn;
mod outcome;
mod rules;
mod second;
mod tunnel;

pub use outcome::{Fate, OUTCOMES, Outcome};
pub use rules::{COUNTERS, GUE_PORT, PROGRAM, Rules, SETTINGS, SOURCES, Settings, VIPS};

use self::tunnel::Carried;
use crate::{
    datapath::Tags,
    wire::{
        Cursor, Eth, Frame, Ip, IpAddress as _, Ipv4, Ipv6, Portless,
        ip::Payload,
        transport::{TCP, Tcp},
    },
};

/// Takes a packet out of its tunnel, or tells why not. What is not of ours stays as it is.
#[inline(always)]
pub fn decapsulate<F: Frame, R: Rules>(frame: &mut F, rules: &R) -> Outcome {
    let Some(tags) = Tags::take_off(frame) else {
        return Outcome::Malformed;
    };
    let outcome = decapsulate_untagged(frame, rules);
    match tags.put_back(frame) {
        Some(()) => outcome,
        None => Outcome::NoHeadroom,
    }
}

#[inline(always)]
fn decapsulate_untagged<F: Frame, R: Rules>(frame: &mut F, rules: &R) -> Outcome {
    let inner = match open(frame.cursor(), rules) {
        Ok(inner) => inner,
        Err(outcome) => return outcome,
    };
    match inner.uncover(frame) {
        Some(()) => inner.outcome,
        None => Outcome::InnerMalformed,
    }
}

/// A packet that is to lose the headers before it.
#[derive(Clone, Copy, Debug)]
struct Inner {
    outcome: Outcome,
    v6: bool,
    /// Bytes between the Ethernet header and the packet.
    before: usize,
}

impl Inner {
    /// Moves the Ethernet header to the packet.
    #[inline(always)]
    fn uncover<F: Frame>(self, frame: &mut F) -> Option<()> {
        let eth: Eth = frame.head()?;
        let ether_type = if self.v6 { Eth::IPV6 } else { Eth::IPV4 };
        if !frame.pull(self.before) {
            return None;
        }
        frame.set_head(Eth {
            ether_type: ether_type.to_ne_bytes(),
            ..eth
        })
    }
}

/// Finds the inner packet; the outcome where there is none for us.
#[inline(always)]
fn open<'p, C: Cursor<'p>, R: Rules>(mut cursor: C, rules: &R) -> Result<Inner, Outcome> {
    let eth = cursor.take::<Eth>().ok_or(Outcome::Malformed)?;
    if !eth.is_for(rules.settings().interface) {
        return Err(Outcome::NotOurMac);
    }
    match eth.ether_type() {
        Eth::IPV4 => outer::<Ipv4, _, _>(cursor, rules),
        Eth::IPV6 => outer::<Ipv6, _, _>(cursor, rules),
        _ => Err(Outcome::NotTunnel),
    }
}

#[inline(always)]
fn outer<'p, O: Ip + 'p, C: Cursor<'p>, R: Rules>(
    mut cursor: C,
    rules: &R,
) -> Result<Inner, Outcome> {
    let ip = cursor.take::<O>().ok_or(Outcome::Malformed)?;
    let piece = ip.piece(&mut cursor);
    let piece = piece.map_err(|portless| match portless {
        Portless::Malformed => Outcome::Malformed,
        _ => Outcome::NotTunnel,
    })?;
    if piece.later || piece.more {
        return Err(Outcome::Fragment);
    }
    let carried = tunnel::carried::<O, _>(piece.payload, &mut cursor, rules.settings().gue_port)?;
    if !ip.is_plain() {
        return Err(Outcome::Malformed);
    }
    if !rules.is_allowed(ip.source().to_table()) {
        return Err(Outcome::SourceNotAllowed);
    }
    let inner = if carried.v6 {
        inner::<Ipv6, _, _, _>(&carried, ip.class(), cursor, rules)
    } else {
        inner::<Ipv4, _, _, _>(&carried, ip.class(), cursor, rules)
    };
    if let (Err(Outcome::HandedOver), Some(second)) = (&inner, carried.second) {
        second.hand_over(ip);
    }
    inner
}

/// Judges the inner packet by the whole of its own header, and hands it the outer one's congestion mark.
#[inline(always)]
fn inner<'p, I: Ip + 'p, A, C: Cursor<'p>, R: Rules>(
    carried: &Carried<'_, A>,
    outer_class: u8,
    mut cursor: C,
    rules: &R,
) -> Result<Inner, Outcome> {
    let before = cursor.frame_len() - cursor.rest() - Eth::LEN;
    let ip = cursor.take::<I>().ok_or(Outcome::InnerMalformed)?;
    let payload = ip.payload(&mut cursor);
    if payload == Err(Portless::Malformed) || ip.total_len() > carried.len {
        return Err(Outcome::InnerMalformed);
    }
    if !rules.is_vip(ip.destination().to_table()) {
        return Err(Outcome::NotOurVip);
    }
    if carried.second.is_some() && is_strange(ip, payload, cursor, rules) {
        return Err(Outcome::HandedOver);
    }
    let class = ecn::combine(ip.class(), outer_class).ok_or(Outcome::EcnIllegal)?;
    if class != ip.class() {
        ip.set_class(class);
    }
    Ok(Inner {
        outcome: carried.outcome,
        v6: I::V6,
        before,
    })
}

/// Whether a packet is of a connection that this host does not know: of TCP, whole, and no SYN.
#[inline(always)]
fn is_strange<'p, I: Ip, C: Cursor<'p>, R: Rules>(
    ip: &I,
    payload: Result<Payload, Portless>,
    mut cursor: C,
    rules: &R,
) -> bool {
    let Ok(Payload { protocol: TCP, .. }) = payload else {
        return false;
    };
    let tcp = cursor.take::<Tcp>();
    tcp.is_some_and(|tcp| !tcp.is_syn() && !rules.knows(ip, tcp))
}
