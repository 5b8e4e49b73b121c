//! The largest segment that a SYN announces (RFC 9293, §3.7.1), made smaller: so that the other end's
//! packets fit a way that the announcer does not know of.

use super::{Decision, Detour, Note, Packet, Program, Step, Tables};
use crate::{
    PassReason, bits,
    checksum::Delta,
    maps::Feature,
    wire::{
        Cursor, Eth, Frame, Ip, Ipv4, Ipv6,
        transport::{TCP, Tcp},
    },
};

/// Options that are looked through. Every stack that is known puts the segment size first; each one more
/// doubles the ways that the verifier walks.
const MAX_OPTIONS: usize = 6;

const END: u8 = 0;
const NOTHING: u8 = 1;
const SEGMENT_SIZE: u8 = 2;

/// Lets a SYN through whose segment size is as it should be; others take a detour. `mss`: the largest, in
/// bytes; 0: any.
#[inline(always)]
pub(super) fn check<'t, I: Ip, T: Tables>(
    packet: &Packet<'_, I>,
    mss: u16,
    tables: &T,
) -> Result<(), Decision<'t>> {
    if !tables.uses(Feature::Mss) || mss == 0 || !packet.transport.is_syn() {
        return Ok(());
    }
    if tables.note().clamped != 0 {
        tables.leave_note(Note::default());
        return Ok(());
    }
    tables.leave_note(Note {
        mtu: mss.into(),
        ..Note::default()
    });
    Err(Detour::Syn.into())
}

/// The program of SYNs.
pub(super) struct Clamp;

impl Program for Clamp {
    /// Makes the segment size no larger than the note says, and hands the packet back to the common path.
    #[inline(always)]
    fn run<F: Frame, T: Tables>(frame: &mut F, tables: &T) -> Step {
        let most = bits::low_word(tables.note().mtu);
        let Some(eth) = frame.head::<Eth>() else {
            return PassReason::Malformed.into();
        };
        match eth.ether_type() {
            Eth::IPV4 => clamp_in::<Ipv4, _>(frame.cursor(), most),
            Eth::IPV6 => clamp_in::<Ipv6, _>(frame.cursor(), most),
            _ => None,
        };
        tables.leave_note(Note {
            clamped: 1,
            ..Note::default()
        });
        Detour::Common.into()
    }
}

#[inline(always)]
fn clamp_in<'p, I: Ip + 'p, C: Cursor<'p>>(mut cursor: C, most: u16) -> Option<()> {
    cursor.take::<Eth>()?;
    let ip = cursor.take::<I>()?;
    let piece = ip.piece(&mut cursor).ok()?;
    if piece.later || piece.payload.protocol != TCP {
        return None;
    }
    let tcp = cursor.take::<Tcp>()?;
    let header = usize::from(tcp.segment.flags_window[0] >> 4) * 4;
    if header > piece.payload.len {
        return None;
    }
    let mut left = header.checked_sub(size_of::<Tcp>())?;
    let mut is_odd = false;
    for _ in 0..MAX_OPTIONS {
        if left < 4 {
            return None;
        }
        let [kind, length] = cursor.peek::<[u8; 2]>()?;
        let length = match kind {
            END => return None,
            NOTHING => 1,
            SEGMENT_SIZE if length == 4 => return set(tcp, &mut cursor, most, is_odd),
            _ => usize::from(length).max(2),
        };
        cursor.skip(length);
        left = left.checked_sub(length)?;
        is_odd ^= length & 1 != 0;
    }
    None
}

/// Writes a smaller size into the option where the cursor stands; `is_odd`: it begins at an odd byte of
/// the TCP header, so that its size's bytes lie in two words' other halves (RFC 1071, §2(B)).
#[inline(always)]
fn set<'p, C: Cursor<'p>>(tcp: &mut Tcp, cursor: &mut C, most: u16, is_odd: bool) -> Option<()> {
    cursor.skip(2);
    let size = cursor.take::<[u8; 2]>()?;
    let old = *size;
    if u16::from_be_bytes(old) <= most {
        return None;
    }
    *size = most.to_be_bytes();
    let [old, new] = [old, *size].map(|bytes| {
        let word = u16::from_ne_bytes(bytes);
        if is_odd { word.swap_bytes() } else { word }
    });
    let delta = Delta::between(old, new);
    tcp.checksum = delta.update(u16::from_ne_bytes(tcp.checksum)).to_ne_bytes();
    Some(())
}
