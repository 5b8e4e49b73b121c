//! Congestion notification on the way out of a tunnel (RFC 6040, §4.2).

const MASK: u8 = 0b11;
const NOT_ECT: u8 = 0b00;
const ECT_1: u8 = 0b01;
const ECT_0: u8 = 0b10;
const CE: u8 = 0b11;

/// The inner packet's type of service, or traffic class, after decapsulation; `None` where the packet
/// must be dropped: it met congestion, and its endpoints could not be told.
#[inline(always)]
pub(super) const fn combine(inner: u8, outer: u8) -> Option<u8> {
    let mark = match (inner & MASK, outer & MASK) {
        (NOT_ECT, CE) => return None,
        (ECT_0 | ECT_1, CE) => CE,
        (ECT_0, ECT_1) => ECT_1,
        (mark, _) => mark,
    };
    Some(inner & !MASK | mark)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 6040, figure 4; rows: inner Not-ECT, ECT(0), ECT(1), CE; columns: the outer ones.
    #[test]
    fn every_combination_is_that_of_the_rfc() {
        const ORDER: [u8; 4] = [NOT_ECT, ECT_0, ECT_1, CE];
        let figure = [
            [Some(NOT_ECT), Some(NOT_ECT), Some(NOT_ECT), None],
            [Some(ECT_0), Some(ECT_0), Some(ECT_1), Some(CE)],
            [Some(ECT_1), Some(ECT_1), Some(ECT_1), Some(CE)],
            [Some(CE), Some(CE), Some(CE), Some(CE)],
        ];
        for (inner, row) in ORDER.iter().zip(figure) {
            for (outer, expected) in ORDER.iter().zip(row) {
                assert_eq!(combine(*inner, *outer), expected, "{inner:02b} {outer:02b}");
            }
        }
    }

    #[test]
    fn the_inner_services_code_point_stays() {
        assert_eq!(combine(0xb8 | ECT_0, CE), Some(0xb8 | CE));
        assert_eq!(combine(0xb8, 0x20), Some(0xb8));
    }
}
