//! What holds of a packet that is sent on.

use lb_common::{
    address::Address,
    backend::{Backend, Mode, Tunnel},
};
use zerocopy::transmute_ref;

use super::{Change, mode};
use crate::oracle::{self, Packet, UDP};

/// The same packet with other ends: what is missing from each checksum is what was missing.
pub(super) fn translated(change: &Change<'_>, was: &Packet, is: &Packet) {
    let Change { before, after, .. } = change;
    assert_eq!(before.len(), after.len(), "length");
    assert_eq!(
        was.header_residue(before),
        is.header_residue(after),
        "header checksum"
    );
    assert_eq!(was.residue(before), is.residue(after), "checksum");
    if let Some(at) = is.checksum_at()
        && is.v6
        && is.protocol == UDP
    {
        assert_ne!(after[at..at + 2], [0, 0], "no checksum over IPv6");
    }
    if was.is_icmp_error(before) {
        return;
    }
    let tail = if was.has_ports() { 18 } else { 0 };
    let body = |packet: &Packet| (packet.payload + tail).min(packet.end);
    assert!(
        before[body(was)..] == after[body(is)..] || is_syn(before, was),
        "payload"
    );
}

/// The same packet in another frame.
pub(super) fn direct(change: &Change<'_>, was: &Packet, is: &Packet) {
    let Change { before, after, .. } = change;
    assert_eq!(was.hops - 1, is.hops, "one hop");
    let mut expected = before.to_vec();
    expected[..12].copy_from_slice(&after[..12]);
    assert!(
        differs_by_a_hop(&expected, after, was) || is_syn(before, was),
        "more than a hop"
    );
    assert_eq!(was.header_residue(before), is.header_residue(after));
    assert_eq!(was.residue(before), is.residue(after));
}

/// The packet in outer headers, less a hop.
pub(super) fn wrapped(change: &Change<'_>, was: &Packet, backend: &Backend) {
    let Change { before, after, .. } = change;
    let tunnel: &Tunnel = transmute_ref!(backend);
    let outer = Packet::read(after).expect("an outer packet");
    assert_eq!(outer.v6, tunnel.v6 != 0, "the outer family");
    assert_eq!(outer.header_residue(after), 0, "outer header checksum");
    assert_eq!(outer.fragment, None);
    let address = Address::from(outer.destination);
    assert_eq!(address, tunnel.destination, "the tunnel's end");
    let gue = mode(backend) == Mode::Gue;
    let named = if gue { named(after, &outer) } else { 0 };
    let overhead = usize::from(Tunnel::overhead(mode(backend), outer.v6, false)) + named;
    let most = usize::from(Tunnel::overhead(mode(backend), outer.v6, true));
    assert!(overhead <= most, "{overhead} bytes of outer headers");
    let start = outer.ip + overhead;
    if gue {
        assert_eq!(outer.protocol, UDP);
        // It is worked out from the inner one.
        let is_right = was.residue(before) == Some(0) && was.header_residue(before) == 0;
        let residue = outer.residue(after).filter(|_| is_right);
        assert_eq!(residue.unwrap_or(0), 0, "outer checksum");
    }
    let inner = if was.v6 {
        Packet::v6(after, start)
    } else {
        Packet::v4(after, start)
    };
    let inner = inner.expect("an inner packet");
    assert_eq!(inner.len(), was.len(), "inner length");
    assert_eq!(outer.len(), was.len() + overhead, "outer length");
    assert_eq!(inner.header_residue(after), was.header_residue(before));
    assert_eq!(inner.residue(after), was.residue(before));
    let carried = [&before[..was.ip], &after[start..inner.end]].concat();
    assert!(
        differs_by_a_hop(&before[..was.end], &carried, was) || is_syn(before, was),
        "more than a hop"
    );
}

/// Bytes of the header that names another backend, which has one address of the outer family.
fn named(frame: &[u8], outer: &Packet) -> usize {
    let header = &frame[outer.payload + 8..];
    if header[0] >> 6 != 0 {
        return 0;
    }
    assert_eq!(header[2..4], [0, 0], "extension fields");
    let address = if outer.v6 { 16 } else { 4 };
    assert_eq!(4 * usize::from(header[0]), 4 + address, "private data");
    let kind = u8::from(outer.v6);
    assert_eq!(header[4..8], [0, kind, 0, 1], "one address, not tried");
    8 + address
}

/// An RST for a segment of which nobody knows (RFC 9293, §3.10.7.1).
pub(super) fn refused(change: &Change<'_>, was: &Packet, is: &Packet) {
    let Change { before, after, .. } = change;
    assert_eq!(is.residue(after), Some(0), "checksum");
    assert!(after.len() <= before.len(), "longer than what it answers");
    let (tcp, asked) = (&after[is.payload..], &before[was.payload..was.end]);
    assert_eq!(tcp[..4], [&asked[2..4], &asked[..2]].concat(), "ports");
    let flags = asked[13];
    assert_eq!(flags & 4, 0, "an RST is answered");
    if flags & 16 != 0 {
        assert_eq!((&tcp[4..8], tcp[13]), (&asked[8..12], 4), "its own number");
        return;
    }
    let number = |bytes: &[u8]| u32::from_be_bytes(bytes[..4].try_into().expect("4"));
    let data = asked.len() - 4 * usize::from(asked[12] >> 4);
    let counts = data as u32 + u32::from(flags & 1) + u32::from(flags >> 1 & 1);
    assert_eq!((number(&tcp[4..]), tcp[13]), (0, 4 | 16));
    assert_eq!(number(&tcp[8..]), number(&asked[4..]).wrapping_add(counts));
}

/// Whether two frames with a packet at the same place differ by a hop and its checksum at most.
fn differs_by_a_hop(before: &[u8], after: &[u8], was: &Packet) -> bool {
    let mut expected = before.to_vec();
    let hop = was.ip + if was.v6 { 7 } else { 8 };
    expected[hop] = expected[hop].wrapping_sub(1);
    if !was.v6 {
        expected[was.ip + 10..was.ip + 12].copy_from_slice(&after[was.ip + 10..was.ip + 12]);
    }
    expected == after
}

/// A SYN, of which the announced segment size may change.
pub(super) fn is_syn(frame: &[u8], packet: &Packet) -> bool {
    let flags = frame.get(packet.payload + 13);
    packet.protocol == oracle::TCP && flags.is_some_and(|flags| flags & 2 != 0)
}
