//! Fragments.

use super::{Body, Frame};

/// Protocol number of the IPv6 fragment header.
pub const FRAGMENT: u8 = 44;

impl Frame {
    /// Its fragments, cut at these offsets (multiples of eight) of what its IP header carries.
    #[must_use]
    pub fn pieces(&self, cuts: &[usize]) -> Vec<Self> {
        let carried = self.packet().split_off(self.header_len());
        let starts = std::iter::once(0).chain(cuts.iter().copied());
        let ends = cuts.iter().copied().chain([carried.len()]);
        starts
            .zip(ends)
            .map(|(start, end)| self.piece(&carried, start, end))
            .collect()
    }

    /// The same frame, whole, but with an IPv6 fragment header (RFC 6946).
    #[must_use]
    pub fn atomic(&self) -> Self {
        let mut frame = self.clone();
        frame.extensions.push(self.fragment_header(0, false));
        frame
    }

    fn piece(&self, carried: &[u8], start: usize, end: usize) -> Self {
        let mut piece = Self {
            body: Body::Other(self.body.protocol()),
            payload: carried[start..end].to_vec(),
            ..self.clone()
        };
        let (offset, more) = ((start / 8) as u16, end < carried.len());
        if self.source.is_ipv6() {
            piece.extensions.push(self.fragment_header(offset, more));
        } else {
            piece.fragment = (offset, more);
        }
        piece
    }

    /// RFC 8200, §4.5.
    fn fragment_header(&self, offset: u16, more: bool) -> (u8, Vec<u8>) {
        let [high, low] = (offset << 3 | u16::from(more)).to_be_bytes();
        let [a, b] = self.identification.to_be_bytes();
        (FRAGMENT, vec![0, high, low, 0x5a, 0xa5, a, b])
    }
}
