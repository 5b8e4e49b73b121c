//! The keyed mixing that tells backends and slots apart: identities, slot keys and draws.

use std::net::SocketAddr;

use lb_common::address::Address;

/// 2^64 divided by the golden ratio, odd: the step of `SplitMix64`.
pub(super) const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// Who a backend is, wherever it stands in a list: a keyed 64-bit id, told apart from its equals by
/// the address itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Identity {
    /// Keyed mix of seed, address and port.
    pub(super) id: u64,
    address: Address,
    port: u16,
}

impl Identity {
    pub(super) fn new(seed: u64, endpoint: SocketAddr) -> Self {
        let address = Address::from(endpoint.ip());
        let (halves, _) = address.0.as_chunks();
        let words = halves.iter().map(|&half| u64::from_be_bytes(half));
        let id = words
            .chain([u64::from(endpoint.port())])
            .fold(seed, |state, word| mix(state.wrapping_add(GOLDEN) ^ word));
        Self {
            id,
            address,
            port: endpoint.port(),
        }
    }
}

/// The well-mixed keys of the slots under one seed: `SplitMix64`'s sequence, so that no two slots
/// share one.
#[derive(Clone, Copy, Debug)]
pub(super) struct SlotKeys(u64);

impl SlotKeys {
    /// The complement keeps the sequence apart from the states that identities go through.
    pub(super) const fn new(seed: u64) -> Self {
        Self(mix(!seed))
    }

    #[inline]
    pub(super) const fn key(self, slot: u32) -> u64 {
        mix(self.0.wrapping_add(GOLDEN.wrapping_mul(slot as u64 + 1)))
    }
}

/// How a backend draws its lot for a slot.
#[derive(Clone, Copy, Debug)]
pub(super) struct Draw {
    mask: u64,
    /// Odd, so that one backend never draws the same lot for two slots.
    multiplier: u64,
}

impl Draw {
    pub(super) const fn new(id: u64) -> Self {
        let mask = mix(id.wrapping_add(GOLDEN));
        let multiplier = mix(id.wrapping_add(GOLDEN.wrapping_mul(2))) | 1;
        Self { mask, multiplier }
    }

    /// The lot: uniform on 64 bits, its high bits the random ones.
    ///
    /// Multiplicative hashing (Dietzfelbinger et al., "A Reliable Randomized Algorithm for the
    /// Closest-Pair Problem", 1997) with a multiplier of its own for every backend; one multiplication,
    /// because a table draws slots × backends lots.
    #[inline(always)]
    pub(super) const fn lot(self, slot_key: u64) -> u64 {
        (slot_key ^ self.mask).wrapping_mul(self.multiplier)
    }
}

/// A bijection in which every input bit moves every output bit: David Stafford's variant 13 of
/// `MurmurHash3`'s finalizer, as in `SplitMix64`.
#[inline]
pub(super) const fn mix(word: u64) -> u64 {
    let word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ word >> 31
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mix_is_the_finalizer_of_splitmix64() {
        // The first outputs of SplitMix64 seeded with 1234567 (Java's SplittableRandom).
        let outputs =
            [1, 2, 3].map(|step| mix(1_234_567_u64.wrapping_add(GOLDEN.wrapping_mul(step))));
        assert_eq!(
            outputs,
            [
                6_457_827_717_110_365_317,
                3_203_168_211_198_807_973,
                9_817_491_932_198_370_423
            ]
        );
    }

    #[test]
    fn seed_address_and_port_each_change_the_id() {
        let id = |seed, endpoint: &str| Identity::new(seed, endpoint.parse().unwrap()).id;
        let ids = [
            id(1, "10.0.0.1:80"),
            id(2, "10.0.0.1:80"),
            id(1, "10.0.0.2:80"),
            id(1, "10.0.0.1:81"),
            id(1, "[2001:db8::1]:80"),
            id(1, "[2001:db9::1]:80"),
        ];
        let distinct: std::collections::BTreeSet<_> = ids.into_iter().collect();
        assert_eq!(distinct.len(), ids.len());
    }

    #[test]
    fn a_mapped_address_is_the_ipv4_address() {
        let of = |endpoint: &str| Identity::new(7, endpoint.parse().unwrap());
        assert_eq!(of("10.0.0.1:80"), of("[::ffff:10.0.0.1]:80"));
    }
}
