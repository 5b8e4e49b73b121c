//! Which tunnel a packet came through, by what stands behind its outer IP header.

use network_types::ip::IpProto;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::Outcome;
use crate::wire::{
    Cursor,
    ip::Payload,
    transport::{UDP, Udp},
};

const IPV4: u8 = IpProto::Ipv4 as u8;
const IPV6: u8 = IpProto::Ipv6 as u8;

/// An inner packet, which begins where the cursor stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Carried {
    /// [`Outcome::Ipip`] or [`Outcome::Gue`].
    pub(super) outcome: Outcome,
    /// Its family.
    pub(super) v6: bool,
    /// Bytes that it may have, by the outer headers' account.
    pub(super) len: usize,
}

/// The first four bytes of Generic UDP Encapsulation, variant 0 (draft-ietf-intarea-gue, §3.1).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Gue {
    /// Two bits of variant, one that tells control messages, five of length of the extension fields.
    variant_control_length: u8,
    /// Protocol number of what it carries.
    protocol: u8,
    /// Which extension fields there are.
    flags: [u8; 2],
}

/// Reads the tunnel's headers, where `cursor` stands, up to the inner packet.
///
/// # Errors
///
/// The outcome where this is no tunnel of ours, or one that cannot be read.
#[inline(always)]
pub(super) fn carried<'p, C: Cursor<'p>>(
    payload: Payload,
    cursor: &mut C,
    gue_port: [u8; 2],
) -> Result<Carried, Outcome> {
    match payload.protocol {
        IPV4 | IPV6 => Ok(Carried {
            outcome: Outcome::Ipip,
            v6: payload.protocol == IPV6,
            len: payload.len,
        }),
        UDP => {
            let udp = cursor.take::<Udp>().ok_or(Outcome::Malformed)?;
            if udp.ports.destination != gue_port {
                return Err(Outcome::NotTunnel);
            }
            let len = payload.len.checked_sub(size_of::<Udp>());
            gue(len.ok_or(Outcome::Malformed)?, cursor)
        }
        _ => Err(Outcome::NotTunnel),
    }
}

/// Behind a UDP header: at once an IP header, whose version is that of variant 1, or a header of
/// variant 0.
#[inline(always)]
fn gue<'p, C: Cursor<'p>>(len: usize, cursor: &mut C) -> Result<Carried, Outcome> {
    let gue: Gue = cursor.peek().ok_or(Outcome::GueUnknown)?;
    let (protocol, header) = match gue.variant_control_length >> 4 {
        4 => (IPV4, 0),
        6 => (IPV6, 0),
        _ if gue.is_bare() => (gue.protocol, size_of::<Gue>()),
        _ => return Err(Outcome::GueUnknown),
    };
    cursor.skip(header);
    let v6 = match protocol {
        IPV4 => false,
        IPV6 => true,
        _ => return Err(Outcome::GueUnknown),
    };
    Ok(Carried {
        outcome: Outcome::Gue,
        v6,
        len: len.checked_sub(header).ok_or(Outcome::GueUnknown)?,
    })
}

impl Gue {
    /// Variant 0, no control message, no extension fields.
    #[inline(always)]
    const fn is_bare(self) -> bool {
        self.variant_control_length == 0 && u16::from_ne_bytes(self.flags) == 0
    }
}
