//! The laws of checksums: what a change adds, against sums formed in full and by the book.

use lb_common::checksum::{Delta, sum};
use proptest::{collection::vec, prelude::*};

/// RFC 1071, §1, as it stands there: 16-bit words in network order, end-around carries, padded with
/// zero.
fn by_the_book(bytes: &[u8]) -> u16 {
    let sum = bytes.chunks(2).fold(0u32, |sum, pair| {
        let (high, low) = match *pair {
            [high, low] => (high, low),
            [high] => (high, 0),
            _ => (0, 0),
        };
        let sum = sum + u32::from(u16::from_be_bytes([high, low]));
        (sum & 0xffff) + (sum >> 16)
    });
    let [_, _, high, low] = sum.to_be_bytes();
    u16::from_be_bytes([high, low])
}

/// The checksum field over `bytes`, as it lies in memory.
fn field(bytes: &[u8]) -> u16 {
    u16::from_ne_bytes((!by_the_book(bytes)).to_be_bytes())
}

#[test]
fn the_rfc_s_own_example_sums_as_it_says() {
    let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
    assert_eq!(sum(&bytes).to_ne_bytes(), [0xdd, 0xf2]);
}

/// RFC 1624, §4: the case in which eqn. 2 of RFC 1141 goes wrong.
#[test]
fn the_corner_that_rfc_1624_mends_stays_mended() {
    let delta = Delta::of(&[0x55, 0x55], &[0x32, 0x85]);
    let old = u16::from_ne_bytes([0xdd, 0x2f]);
    assert_eq!(delta.update(old).to_ne_bytes(), [0x00, 0x00]);
}

/// Sums are numbers modulo 65,535 in which nothing but nothing is 0. Every checksum, with changes that
/// make the sum carry once, twice and not at all.
#[test]
fn every_checksum_takes_changes_whatever_they_carry() {
    let modulus = |sum: u32| if sum == 0 { 0 } else { (sum - 1) % 0xffff + 1 };
    let changes = [0, 1, 2, 0x7fff, 0x8000, 0xfffd, 0xfffe, 0xffff];
    for (one, other) in changes
        .iter()
        .flat_map(|one| changes.map(|other| (*one, other)))
    {
        for checksum in 0..=u16::MAX {
            let sum = u32::from(!checksum) + u32::from(one) + u32::from(other);
            let updated = Delta(one).update_with(Delta(other), checksum);
            assert_eq!(
                u32::from(!updated),
                modulus(sum),
                "{one:x} {other:x} {checksum:x}"
            );
        }
    }
}

/// Two runs of bytes of one even length.
fn change() -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
    (0..20usize).prop_flat_map(|words| (vec(any::<u8>(), 2 * words), vec(any::<u8>(), 2 * words)))
}

/// Bytes that do not change; some are not zero, as in every packet.
fn constant() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 1..80).prop_filter("not all zero", |bytes| bytes.iter().any(|byte| *byte != 0))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4096, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_sum_is_that_of_the_book(bytes in vec(any::<u8>(), 0..200)) {
        prop_assert_eq!(sum(&bytes).to_ne_bytes(), by_the_book(&bytes).to_be_bytes());
    }

    #[test]
    fn an_update_is_a_sum_formed_afresh((old, new) in change(), constant in constant()) {
        let before = field(&[&old[..], &constant].concat());
        let after = field(&[&new[..], &constant].concat());
        prop_assert_eq!(Delta::of(&old, &new).update(before), after);
    }

    #[test]
    fn an_update_keeps_an_error_s_size((old, new) in change(), constant in constant(), error: u16) {
        let before = field(&[&old[..], &constant].concat());
        let after = field(&[&new[..], &constant].concat());
        let wrong = Delta(error).update(before);
        prop_assert_eq!(Delta::of(&old, &new).update(wrong), Delta(error).update(after));
    }

    #[test]
    fn there_and_back_changes_nothing((old, new) in change(), constant in constant()) {
        let before = field(&[&old[..], &constant].concat());
        let delta = Delta::of(&old, &new);
        prop_assert_eq!(delta.reversed().update(delta.update(before)), before);
    }

    #[test]
    fn two_changes_at_once_are_one_after_the_other(
        first in change(), second in change(), constant in constant(),
    ) {
        let before = field(&[&first.0[..], &second.0, &constant].concat());
        let after = field(&[&first.1[..], &second.1, &constant].concat());
        let (one, other) = (Delta::of(&first.0, &first.1), Delta::of(&second.0, &second.1));
        prop_assert_eq!(one.update_with(other, before), after);
        prop_assert_eq!(other.update(one.update(before)), after);
    }

    #[test]
    fn no_change_adds_nothing(bytes in vec(any::<u8>(), 20), constant in constant()) {
        let before = field(&[&bytes[..], &constant].concat());
        prop_assert_eq!(Delta::of(&bytes, &bytes).update(before), before);
        prop_assert_eq!(Delta::NONE.update(before), before);
    }
}
