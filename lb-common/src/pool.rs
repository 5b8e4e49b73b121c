//! Source addresses and ports of full NAT: the map `POOLS`.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::address::Address;

/// Addresses of one pool: a power of two.
pub const ADDRESSES: usize = 16;

/// A pool. Written before a backend names it, and then left alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(8))]
pub struct Pool {
    /// Source addresses of one family.
    pub addresses: [Address; ADDRESSES],
    /// How many of them there are; 0: the entry is free.
    pub count: u32,
    /// First port, host byte order.
    pub first: u16,
    /// Ports of each address.
    pub ports: u16,
}

const _: () = assert!(size_of::<Pool>() == 264);

/// Places that are tried for a new flow before the pool counts as exhausted.
pub const TRIES: u32 = 32;

impl Pool {
    /// Places: an address and a port each.
    #[inline(always)]
    #[must_use]
    pub const fn places(&self) -> u32 {
        self.count * self.ports as u32
    }

    /// A place of the pool by its number, which is below [`Self::places`]; `None` above.
    #[inline(always)]
    #[must_use]
    pub fn place(&self, number: u32) -> Option<(Address, [u8; 2])> {
        let ports = u32::from(self.ports);
        if ports == 0 || number >= self.places() {
            return None;
        }
        // The mask changes nothing, and shows the verifier that the index is inside.
        let index = (number / ports) as usize & (ADDRESSES - 1);
        let address = self.addresses.get(index)?;
        let port = u32::from(self.first).wrapping_add(number % ports);
        let [_, _, high, low] = port.to_be_bytes();
        Some((*address, [high, low]))
    }

    /// How far apart tries are: so that [`TRIES`] of them are all places of a small pool, and spread
    /// over a large one.
    #[inline(always)]
    #[must_use]
    pub const fn stride(&self) -> u32 {
        let stride = self.places() / TRIES;
        if stride == 0 { 1 } else { stride }
    }
}
