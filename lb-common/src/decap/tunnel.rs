//! Which tunnel a packet came through, by what stands behind its outer IP header.

use network_types::ip::IpProto;

use super::{Outcome, second::Second};
use crate::wire::{
    Cursor, Ip,
    gue::Gue,
    ip::Payload,
    transport::{UDP, Udp},
};

const IPV4: u8 = IpProto::Ipv4 as u8;
const IPV6: u8 = IpProto::Ipv6 as u8;

/// An inner packet, which begins where the cursor stands.
#[derive(Debug)]
pub(super) struct Carried<'p, A> {
    /// [`Outcome::Ipip`] or [`Outcome::Gue`].
    pub(super) outcome: Outcome,
    /// Its family.
    pub(super) v6: bool,
    /// Bytes that it may have, by the outer headers' account.
    pub(super) len: usize,
    /// Who else may know its flow, if it was not asked yet.
    pub(super) second: Option<Second<'p, A>>,
}

/// Reads the tunnel's headers, where `cursor` stands, up to the inner packet.
///
/// # Errors
///
/// The outcome where this is no tunnel of ours, or one that cannot be read.
#[inline(always)]
pub(super) fn carried<'p, O: Ip, C: Cursor<'p>>(
    payload: Payload,
    cursor: &mut C,
    gue_port: [u8; 2],
) -> Result<Carried<'p, O::Address>, Outcome> {
    match payload.protocol {
        IPV4 | IPV6 => Ok(Carried {
            outcome: Outcome::Ipip,
            v6: payload.protocol == IPV6,
            len: payload.len,
            second: None,
        }),
        UDP => {
            let udp = cursor.take::<Udp>().ok_or(Outcome::Malformed)?;
            if udp.ports.destination != gue_port {
                return Err(Outcome::NotTunnel);
            }
            gue::<O, _>(udp, payload.len, cursor)
        }
        _ => Err(Outcome::NotTunnel),
    }
}

/// Behind a UDP header: at once an IP header, whose version is that of variant 1, or a header of
/// variant 0. `len`: bytes from the UDP header on.
#[inline(always)]
fn gue<'p, O: Ip, C: Cursor<'p>>(
    udp: &'p mut Udp,
    len: usize,
    cursor: &mut C,
) -> Result<Carried<'p, O::Address>, Outcome> {
    let header: Gue = cursor.peek().ok_or(Outcome::GueUnknown)?;
    let (protocol, before, second) = match header.version() {
        4 => (IPV4, 0, None),
        6 => (IPV6, 0, None),
        _ => {
            cursor.skip(size_of::<Gue>());
            let private = header.private_data().ok_or(Outcome::GueUnknown)?;
            let second = match private {
                0 => None,
                _ => Second::take::<O, _>(private, udp, cursor)?,
            };
            (header.protocol, size_of::<Gue>() + private, second)
        }
    };
    let v6 = match protocol {
        IPV4 => false,
        IPV6 => true,
        _ => return Err(Outcome::GueUnknown),
    };
    let len = len.checked_sub(size_of::<Udp>() + before);
    Ok(Carried {
        outcome: Outcome::Gue,
        v6,
        len: len.ok_or(Outcome::GueUnknown)?,
        second,
    })
}
