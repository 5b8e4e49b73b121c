//! An ICMP error about a packet that can go nowhere, made of that packet: time exceeded, fragmentation
//! needed, packet too big, port unreachable.
//!
//! It goes back where the packet came from, in the name of the VIP. It quotes no more than the packet
//! had, and is rationed (RFC 1812, §4.3.2.8; RFC 4443, §2.4(f)).

use super::{Note, Program, Step, Tables, sum};
use crate::{
    AnswerReason, DropReason, bits,
    checksum::fold,
    wire::{
        Cursor, Eth, Frame, Ip, IpAddress, Ipv4, Ipv6,
        icmp::{Icmp, number},
        ip::ICMP_CLASS,
    },
};

/// The program of answers.
pub(super) struct Answer;

impl Program for Answer {
    /// Makes the answer that the note asks for, as long as the ration lasts.
    #[inline(always)]
    fn run<F: Frame, T: Tables>(frame: &mut F, tables: &T) -> Step {
        let note = tables.note();
        let (reason, silent) = match note.mtu {
            0 => (AnswerReason::TimeExceeded, DropReason::TtlExpired),
            Icmp::NO_PORT => (AnswerReason::Refused, DropReason::NoBackend),
            _ => (AnswerReason::PacketTooBig, DropReason::MtuExceeded),
        };
        if !tables.may_answer() {
            return silent.into();
        }
        let Some(eth) = frame.head::<Eth>() else {
            return silent.into();
        };
        let made = match eth.ether_type() {
            Eth::IPV4 => make::<Ipv4, _>(frame, note),
            Eth::IPV6 => make::<Ipv6, _>(frame, note),
            _ => None,
        };
        match made {
            Some(()) => reason.into(),
            None => silent.into(),
        }
    }
}

/// Words of four bytes that are quoted at most: of IPv4 as many as fit a message of 576 bytes (RFC 1812,
/// §4.3.2.3), of IPv6 as fit one of 1280 (RFC 4443, §3.2).
const fn most<I: Ip>() -> usize {
    let message = if I::V6 { 1280 } else { 576 };
    (message - size_of::<I>() - Icmp::LEN) / 4
}

/// Headers before the quoted packet.
const fn pushed<I: Ip>() -> usize {
    size_of::<I>() + Icmp::LEN
}

#[inline(always)]
fn make<I: Ip, F: Frame>(frame: &mut F, note: Note) -> Option<()> {
    let (eth, ip) = headers::<I, _>(frame.cursor())?;
    let words = (ip.total_len() / 4).min(most::<I>());
    if !frame.truncate(Eth::LEN + 4 * words) {
        return None;
    }
    let quoted = sum::of_bytes(frame, Eth::LEN, 4 * words, most::<I>());
    if !frame.push(pushed::<I>()) {
        return None;
    }
    let len = Icmp::LEN + 4 * words;
    let source = I::Address::from_table(&note.source);
    let mut cursor = frame.cursor();
    *cursor.take::<Eth>()? = eth.returned();
    *cursor.take::<I>()? = I::of_own(source, ip.source(), (number::<I>(), ICMP_CLASS), len);
    *cursor.take::<Icmp>()? = message::<I>(note.mtu, quoted, source, ip.source(), len);
    Some(())
}

#[inline(always)]
fn headers<'p, I: Ip, C: Cursor<'p>>(mut cursor: C) -> Option<(Eth, I)> {
    let eth = cursor.take::<Eth>()?;
    Some((*eth, cursor.peek()?))
}

#[inline(always)]
fn message<I: Ip>(
    mtu: u32,
    quoted: u16,
    source: I::Address,
    destination: I::Address,
    len: usize,
) -> Icmp {
    let error = Icmp::error::<I>(mtu);
    let [a, b, c, d] = error.rest;
    let own = u32::from(u16::from_ne_bytes(error.kind))
        + u32::from(u16::from_ne_bytes([a, b]))
        + u32::from(u16::from_ne_bytes([c, d]));
    let pseudo = if I::V6 {
        u32::from(source.sum())
            + u32::from(destination.sum())
            + u32::from(bits::length(len).to_be())
            + u32::from(u16::from(number::<I>()).to_be())
    } else {
        0
    };
    Icmp {
        checksum: (!fold(u32::from(quoted) + own + pseudo)).to_ne_bytes(),
        ..error
    }
}
