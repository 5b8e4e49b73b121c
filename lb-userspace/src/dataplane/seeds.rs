//! What flow hash and slot tables are seeded with.

use std::{fmt, fs::File, io, io::Read as _};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// Keys of the flow hash and seed of the slot tables. Balancers with equal seeds agree on the
/// backend of every flow.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seeds {
    /// The flow hash's key.
    pub hash_key: [u64; 2],
    /// Seed of the slot tables.
    pub slots: u64,
}

/// Keeps the digest apart from other uses of the same text.
const DOMAIN: &[u8] = b"xlb hash_seed 1\0";

impl Seeds {
    /// The seeds of a text: the first 24 bytes of SHA-256 over `xlb hash_seed 1`, a zero byte and
    /// the text, as three little-endian numbers: the key's two halves, then the slot tables' seed.
    #[must_use]
    pub fn derive(text: &str) -> Self {
        let digest = Sha256::new()
            .chain_update(DOMAIN)
            .chain_update(text)
            .finalize();
        Self::from_bytes(digest.first_chunk().copied().unwrap_or_default())
    }

    /// A number that tells other seeds apart, and nothing of these.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        let [first, second] = self.hash_key;
        let mut digest = Sha256::new().chain_update(b"xlb seeds 1\0");
        for word in [first, second, self.slots] {
            digest.update(word.to_be_bytes());
        }
        let digest = digest.finalize();
        digest.first_chunk().copied().map_or(0, u64::from_be_bytes)
    }

    /// Seeds that nobody knows.
    ///
    /// # Errors
    /// Where the kernel gives no random bytes.
    pub fn random() -> io::Result<Self> {
        let mut bytes = [0; 24];
        File::open("/dev/urandom")?.read_exact(&mut bytes)?;
        Ok(Self::from_bytes(bytes))
    }

    const fn from_bytes(bytes: [u8; 24]) -> Self {
        let [first, second, slots] = words(bytes);
        Self {
            hash_key: [first, second],
            slots,
        }
    }
}

const fn words(bytes: [u8; 24]) -> [u64; 3] {
    let [first, second, third]: [[u8; 8]; 3] = zerocopy::transmute!(bytes);
    [
        u64::from_le_bytes(first),
        u64::from_le_bytes(second),
        u64::from_le_bytes(third),
    ]
}

impl fmt::Debug for Seeds {
    /// Without the values: who knows them can aim flows at a backend.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seeds(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every host must come to these numbers for ever.
    #[test]
    fn the_derivation_is_fixed() {
        let seeds = Seeds::derive("edge-fleet-1");
        let words = [seeds.hash_key[0], seeds.hash_key[1], seeds.slots];
        assert_eq!(words, EDGE_FLEET_1);
        assert_ne!(seeds, Seeds::derive("edge-fleet-2"));
    }

    #[test]
    fn random_seeds_differ() {
        assert_ne!(Seeds::random().unwrap(), Seeds::random().unwrap());
    }

    /// `printf 'xlb hash_seed 1\0edge-fleet-1' | sha256sum`
    const EDGE_FLEET_1: [u64; 3] = [
        0x0744_646f_90e2_af7f,
        0x07c4_eada_2bcb_1530,
        0x6d69_947f_30dd_21d1,
    ];
}
