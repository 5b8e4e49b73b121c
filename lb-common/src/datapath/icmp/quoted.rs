//! The packet that an error quotes, as far as it is there.

use super::super::rewrite;
use crate::{
    checksum::Delta,
    wire::{
        Cursor, Ip, Ports,
        transport::{TCP, UDP},
    },
};

/// A quoted packet: its IP header and at least eight bytes of what it carried.
pub(super) struct Quoted<'p, I> {
    pub(super) ip: &'p mut I,
    /// Of TCP and UDP. Other protocols have other things there.
    pub(super) ports: &'p mut Ports,
    pub(super) protocol: u8,
    /// The TCP or UDP checksum, where it is there and not the one that says that there is none.
    checksum: Option<&'p mut [u8; 2]>,
}

/// Bytes of a TCP header between what every quotation has and its checksum.
const TCP_BEFORE_CHECKSUM: usize = 8;

impl<'p, I: Ip + 'p> Quoted<'p, I> {
    /// Reads the quotation where the cursor stands, of which the message has `room` bytes.
    #[inline(always)]
    pub(super) fn take<C: Cursor<'p>>(room: usize, cursor: &mut C) -> Option<Self> {
        let all = cursor.rest();
        let ip = cursor.take::<I>()?;
        let payload = ip.quoted(cursor).ok()?;
        let protocol = payload.protocol;
        let ports = cursor.take::<Ports>()?;
        let [_, _, udp @ ..] = cursor.take::<[[u8; 1]; 4]>()?;
        let udp: &mut [u8; 2] = zerocopy::transmute_mut!(udp);
        let left = room.checked_sub(all.wrapping_sub(cursor.rest()))?;
        let checksum = match protocol {
            UDP => Some(udp),
            TCP if left >= TCP_BEFORE_CHECKSUM + 2 => {
                cursor.skip(TCP_BEFORE_CHECKSUM);
                cursor.take::<[u8; 2]>()
            }
            _ => None,
        };
        Some(Self {
            ip,
            ports,
            protocol,
            checksum: checksum.filter(|sum| protocol == TCP || **sum != [0; 2]),
        })
    }

    /// Gives it other addresses and ports; what that adds to a checksum over the quotation.
    #[inline(always)]
    pub(super) fn turn(
        &mut self,
        source: I::Address,
        destination: I::Address,
        ports: Ports,
    ) -> Delta {
        let before = self.ip.checksum();
        let addresses = rewrite::readdress(self.ip, source, destination);
        self.ip.update_checksum(addresses);
        let header = addresses.and(Delta::between(before, self.ip.checksum()));
        let ends = Delta::between(self.ports.sum(), ports.sum());
        *self.ports = ports;
        header
            .and(ends)
            .and(self.update_transport(addresses.and(ends)))
    }

    #[inline(always)]
    const fn update_transport(&mut self, delta: Delta) -> Delta {
        let Some(checksum) = &mut self.checksum else {
            return Delta::NONE;
        };
        let old = u16::from_ne_bytes(**checksum);
        let new = match delta.update(old) {
            0 if self.protocol == UDP => 0xffff,
            new => new,
        };
        **checksum = new.to_ne_bytes();
        Delta::between(old, new)
    }
}
