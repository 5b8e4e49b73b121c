//! The second chance of a packet: as the slot of its flow changes hands, the balancer names the other backend that
//! may have the flow. A host that does not know the connection has the kernel forward the packet there, once.

use crate::{
    address::Address,
    checksum::Delta,
    wire::{Cursor, Ip, IpAddress, gue::Hop, transport::Udp},
};

use super::Outcome;

/// Who else may know a flow: an address that was not tried yet, and the headers that change with that.
#[derive(Debug)]
pub(super) struct Second<'p, A> {
    udp: &'p mut Udp,
    hop: &'p mut Hop,
    address: A,
}

impl<'p, A: IpAddress> Second<'p, A> {
    /// Reads private data of `len` bytes, where `cursor` stands; `None` where its address was tried.
    ///
    /// # Errors
    ///
    /// Where it is something else.
    #[inline(always)]
    pub(super) fn take<O: Ip<Address = A>, C: Cursor<'p>>(
        len: usize,
        udp: &'p mut Udp,
        cursor: &mut C,
    ) -> Result<Option<Self>, Outcome> {
        if len != size_of::<Hop>() + size_of::<A>() {
            return Err(Outcome::GueUnknown);
        }
        let hop = cursor.take::<Hop>().ok_or(Outcome::GueUnknown)?;
        let address = if O::V6 {
            cursor.take::<[u8; 16]>().map(|bytes| Address(*bytes))
        } else {
            cursor
                .take::<[u8; 4]>()
                .map(|bytes| Address::from_v4(*bytes))
        };
        let address = address.ok_or(Outcome::GueUnknown)?;
        if !hop.is_one::<O>() {
            return Err(Outcome::GueUnknown);
        }
        Ok(hop.is_due().then_some(Self {
            udp,
            hop,
            address: O::Address::from_table(&address),
        }))
    }

    /// Addresses the outer packet, whose IP header is given, to it.
    #[inline(always)]
    pub(super) fn hand_over<O: Ip<Address = A>>(self, ip: &mut O) {
        let moved = Delta::between(ip.destination().sum(), self.address.sum());
        ip.set_destination(self.address);
        ip.update_checksum(moved);
        let spent = self.hop.spend();
        self.udp.update_checksum(moved.and(spent));
    }
}
