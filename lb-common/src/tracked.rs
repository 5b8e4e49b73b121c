//! Flows of moving rows: who has those that are not on the row's `old` owner. The map `TRACKED`.
//!
//! Buckets of eight entries of eight bytes, one cache line: no allocator, no lock, and nothing is ever
//! evicted. A flow that finds no place goes to `old`, so that a full table delays the shift of load and
//! breaks no connection. An entry counts while it is younger than its idle time; then its place may be
//! taken by compare-and-swap.
//!
//! ```text
//! 63        34 33     19  18  17                 0
//! ┌───────────┬─────────┬───┬────────────────────┐
//! │ tag       │ owner   │ 1 │ closing │ seen     │  confirmed: 1 bit, seconds modulo 2¹⁷
//! │           │         │ 0 │ sequence │ seen    │  half open: 10 bits, seconds modulo 2⁸
//! └───────────┴─────────┴───┴────────────────────┘
//! ```
//!
//! A half-open entry was made by a SYN alone. It keeps ten bits of the SYN's sequence number: a packet that
//! does not follow it goes to `old` and confirms nothing, so that a forged SYN cannot lead a connection
//! astray. One that its client ended, by FIN or RST, gives way to the next SYN of the same ports, and lasts a
//! minute.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{bits, hash};

/// Entries of a bucket.
pub const ENTRIES: usize = 8;

/// Entries that a flow may have.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(64))]
pub struct Bucket(pub [u64; ENTRIES]);

/// Seconds that a half-open entry lasts.
pub const HALF_OPEN: u32 = 10;

/// Seconds that an entry lasts whose flow was ended.
pub const CLOSING: u32 = 60;

/// One entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tracked(pub u64);

/// Where a flow's entry stands, and what it is told by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Any number; the table has fewer buckets, a power of two of them.
    pub bucket: u32,
    /// 30 bits.
    pub tag: u64,
}

impl Place {
    /// Of the flow with this hash, whose top bits name its row.
    #[inline(always)]
    #[must_use]
    pub const fn of(hash: u64) -> Self {
        let mixed = mixed(hash);
        Self {
            bucket: bits::low_half(mixed >> 32),
            tag: mixed & Tracked::TAG,
        }
    }
}

#[inline(always)]
const fn mixed(hash: u64) -> u64 {
    hash::mix(hash.rotate_left(32))
}

/// What an entry does not say: the rest of its flow's hash, and its service. In the map `ORIGINS`, at the
/// entry's place in `TRACKED`; written behind the entry, so that a reader may find that of the entry before.
///
/// The mixed hash, with the extent in place of bits that bucket and tag say anyway: the 15 lowest of the
/// bucket's number, the 9 lowest of the tag. The other 21 of the tag stay, and tell whether origin and
/// entry belong together.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(transparent)]
pub struct Origin(pub u64);

impl Origin {
    /// Extents are below this number.
    pub const EXTENTS: u32 = 1 << 24;
    /// The least number of buckets from which hashes are told.
    pub const LEAST_BUCKETS: u32 = 1 << Self::BUCKET_BITS;

    const BUCKET_BITS: u32 = 15;
    const BUCKET: u64 = (1 << Self::BUCKET_BITS) - 1;
    const LOW_BITS: u32 = 9;
    const LOW: u64 = (1 << Self::LOW_BITS) - 1;
    const SAID: u64 = Self::BUCKET << 32 | Self::LOW;

    /// Of the flow with this hash, of the service with this extent.
    #[inline(always)]
    #[must_use]
    pub const fn of(hash: u64, extent: u32) -> Self {
        let extent = extent as u64;
        let (low, high) = (extent & Self::LOW, extent >> Self::LOW_BITS & Self::BUCKET);
        Self(mixed(hash) & !Self::SAID | high << 32 | low)
    }

    /// Hash and extent, where this is the origin of an entry with `tag` in bucket `bucket`.
    #[must_use]
    pub const fn of_entry(self, bucket: u32, tag: u64) -> Option<(u64, u32)> {
        let said = (bucket as u64 & Self::BUCKET) << 32 | tag & Self::LOW;
        let mixed = self.0 & !Self::SAID | said;
        if mixed & Tracked::TAG != tag {
            return None;
        }
        let extent = (self.0 >> 32 & Self::BUCKET) << Self::LOW_BITS | self.0 & Self::LOW;
        Some((hash::unmix(mixed).rotate_right(32), bits::low_half(extent)))
    }
}

impl Tracked {
    /// Nobody's.
    pub const FREE: Self = Self(0);

    const TAG: u64 = (1 << 30) - 1;
    const TAG_SHIFT: u32 = 34;
    const OWNER: u64 = 0x7fff;
    const OWNER_SHIFT: u32 = 19;
    const CONFIRMED: u64 = 1 << 18;
    const CLOSING: u64 = 1 << 17;
    const SEEN: u64 = Self::CLOSING - 1;
    const HALF_OPEN_SEEN: u64 = 0xff;
    const SEQUENCE_SHIFT: u32 = 8;
    const SEQUENCE: u64 = 0x3ff;
    /// Another CPU may have read a later clock.
    const SLACK: u64 = 2;

    /// A flow that was opened by a SYN with this sequence number.
    #[inline(always)]
    #[must_use]
    pub const fn half_open(tag: u64, owner: u32, now: u32, sequence: u32) -> Self {
        let sequence = Self::bits_of(sequence) << Self::SEQUENCE_SHIFT;
        Self(Self::of(tag, owner) | sequence | now as u64 & Self::HALF_OPEN_SEEN)
    }

    /// A flow that is known to be one.
    #[inline(always)]
    #[must_use]
    pub const fn confirmed(tag: u64, owner: u32, now: u32) -> Self {
        Self(Self::of(tag, owner) | Self::CONFIRMED | now as u64 & Self::SEEN)
    }

    #[inline(always)]
    const fn of(tag: u64, owner: u32) -> u64 {
        (tag & Self::TAG) << Self::TAG_SHIFT | (owner as u64 & Self::OWNER) << Self::OWNER_SHIFT
    }

    /// What it is told by.
    #[inline(always)]
    #[must_use]
    pub const fn tag(self) -> u64 {
        self.0 >> Self::TAG_SHIFT
    }

    /// Its backend, as rows name it.
    #[inline(always)]
    #[must_use]
    pub const fn owner(self) -> u32 {
        bits::low_half(self.0 >> Self::OWNER_SHIFT & Self::OWNER)
    }

    /// Whether more than a SYN was seen of it.
    #[inline(always)]
    #[must_use]
    pub const fn is_confirmed(self) -> bool {
        self.0 & Self::CONFIRMED != 0
    }

    /// The same, seen now. `closes`: to be ended.
    #[inline(always)]
    #[must_use]
    pub const fn seen_at(self, now: u32, closes: bool) -> Self {
        let seen = Self::confirmed(self.tag(), self.owner(), now).0;
        let closing = closes || self.is_closing();
        Self(seen | (closing as u64 * Self::CLOSING))
    }

    /// Whether its client ended it.
    #[inline(always)]
    #[must_use]
    pub const fn is_closing(self) -> bool {
        self.is_confirmed() && self.0 & Self::CLOSING != 0
    }

    /// Whether both, confirmed ones, say the same, whenever they were seen.
    #[must_use]
    pub const fn is_alike(self, other: Self) -> bool {
        (self.0 ^ other.0) & !Self::SEEN == 0
    }

    /// Seconds since it was seen.
    #[inline(always)]
    #[must_use]
    pub const fn age(self, now: u32) -> u32 {
        let seen = if self.is_confirmed() {
            Self::SEEN
        } else {
            Self::HALF_OPEN_SEEN
        };
        let age = (now as u64 + Self::SLACK).wrapping_sub(self.0) & seen;
        bits::low_half(age.saturating_sub(Self::SLACK))
    }

    /// Whether it counts: a free place does not. `idle`: seconds that a confirmed one lasts.
    #[inline(always)]
    #[must_use]
    pub const fn is_live(self, now: u32, idle: u32) -> bool {
        let most = if !self.is_confirmed() {
            HALF_OPEN
        } else if self.is_closing() && CLOSING < idle {
            CLOSING
        } else {
            idle
        };
        self.0 != 0 && self.age(now) < most
    }

    /// Whether it was seen after this second.
    #[inline(always)]
    #[must_use]
    pub const fn is_since(self, since: u32, now: u32) -> bool {
        now.wrapping_sub(self.age(now)) > since
    }

    /// Whether a packet with this sequence number follows the SYN of a half-open entry: it is in the same
    /// 64 KiB, or in the next.
    #[inline(always)]
    #[must_use]
    pub const fn is_followed_by(self, sequence: u32) -> bool {
        let opening = self.0 >> Self::SEQUENCE_SHIFT & Self::SEQUENCE;
        Self::bits_of(sequence).wrapping_sub(opening) & Self::SEQUENCE <= 1
    }

    #[inline(always)]
    const fn bits_of(sequence: u32) -> u64 {
        sequence as u64 >> 16 & Self::SEQUENCE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDLE: u32 = 900;

    #[test]
    fn an_entry_says_what_it_was_made_of() {
        let tag = 0x2abc_def1;
        for entry in [
            Tracked::half_open(tag, 0x1234, 77, 0xffff_ffff),
            Tracked::confirmed(tag, 0x1234, 77),
        ] {
            assert_eq!((entry.tag(), entry.owner()), (tag, 0x1234));
            assert_eq!(entry.age(80), 3);
        }
    }

    #[test]
    fn a_half_open_entry_lasts_ten_seconds_and_a_confirmed_one_its_idle_time() {
        let half_open = Tracked::half_open(1, 1, 1000, 0);
        assert!(half_open.is_live(1009, IDLE) && !half_open.is_live(1010, IDLE));
        let confirmed = Tracked::confirmed(1, 1, 1000);
        assert!(confirmed.is_live(1899, IDLE) && !confirmed.is_live(1900, IDLE));
        assert!(!Tracked::FREE.is_live(0, IDLE));
    }

    #[test]
    fn an_entry_that_was_ended_lasts_a_minute() {
        let ended = Tracked::half_open(1, 1, 990, 0).seen_at(1000, true);
        assert!(ended.is_closing() && ended.is_live(1059, IDLE) && !ended.is_live(1060, IDLE));
        assert!(ended.seen_at(1001, false).is_closing());
        assert!(!ended.is_live(1030, 30));
        assert!(!Tracked::half_open(1, 1, 0, u32::MAX).is_closing());
    }

    #[test]
    fn a_clock_that_lags_behind_makes_nothing_old() {
        assert_eq!(Tracked::confirmed(1, 1, 1000).age(999), 0);
        assert_eq!(Tracked::half_open(1, 1, 256, 0).age(255), 0);
    }

    #[test]
    fn what_was_seen_before_its_backend_came_back_does_not_count() {
        let entry = Tracked::confirmed(1, 1, 1000);
        assert!(entry.is_since(999, 1005));
        assert!(!entry.is_since(1000, 1005));
    }

    #[test]
    fn what_follows_a_syn_is_near_it() {
        let syn = 0xffff_fff0;
        let entry = Tracked::half_open(1, 1, 0, syn);
        assert!(entry.is_followed_by(syn.wrapping_add(1)));
        assert!(entry.is_followed_by(syn.wrapping_add(0x1_0000)));
        assert!(!entry.is_followed_by(syn.wrapping_add(0x4_0000)));
        assert!(!entry.is_followed_by(syn.wrapping_sub(0x1_0000)));
    }

    #[test]
    fn an_origin_says_what_its_entry_does_not() {
        for n in 0..10_000u32 {
            let hash = hash::mix(n.into()).rotate_left(17);
            let (place, extent) = (Place::of(hash), (n * 1677) % Origin::EXTENTS);
            let origin = Origin::of(hash, extent);
            let bucket = place.bucket & (Origin::LEAST_BUCKETS - 1);
            assert_eq!(origin.of_entry(bucket, place.tag), Some((hash, extent)));
            assert_eq!(origin.of_entry(bucket, place.tag ^ 1 << 9), None);
        }
    }

    #[test]
    fn flows_that_share_a_row_part_in_bucket_and_tag() {
        let places: std::collections::HashSet<(u32, u64)> = (0..10_000u64)
            .map(|n| Place::of(0xabcd << 48 | n))
            .map(|place| (place.bucket & 0xff, place.tag))
            .collect();
        assert_eq!(places.len(), 10_000);
    }
}
