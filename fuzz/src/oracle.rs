//! What a frame says, read and summed by code that knows nothing of the data path.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// TCP's protocol number.
pub const TCP: u8 = 6;
/// UDP's protocol number.
pub const UDP: u8 = 17;
/// ICMP's protocol number.
pub const ICMP: u8 = 1;
/// `ICMPv6`'s protocol number.
pub const ICMP6: u8 = 58;

/// An IP packet in a frame; places are offsets into the frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Where the IP header begins.
    pub ip: usize,
    /// Whether it is IPv6.
    pub v6: bool,
    /// Where it ends, by its own length.
    pub end: usize,
    /// Where its payload begins, behind options and extension headers.
    pub payload: usize,
    /// The payload's protocol.
    pub protocol: u8,
    /// Hops that it may still take.
    pub hops: u8,
    /// Whether it is a part of a packet, and whether not the first.
    pub fragment: Option<bool>,
    /// Whether the IPv4 header has options, or the IPv6 header others behind it.
    pub has_options: bool,
    /// Sender.
    pub source: IpAddr,
    /// Receiver.
    pub destination: IpAddr,
}

impl Packet {
    /// Reads a frame's packet; `None` where it is no IP or does not fit the frame.
    #[must_use]
    pub fn read(frame: &[u8]) -> Option<Self> {
        let mut at = 12;
        for _ in 0..2 {
            match word(frame, at)? {
                0x8100 | 0x88a8 => at += 4,
                _ => break,
            }
        }
        match word(frame, at)? {
            0x0800 => Self::v4(frame, at + 2),
            0x86dd => Self::v6(frame, at + 2),
            _ => None,
        }
    }

    /// Reads an IPv4 packet at a place.
    #[must_use]
    pub fn v4(frame: &[u8], ip: usize) -> Option<Self> {
        let header = frame.get(ip..ip + 20)?;
        let payload = ip + 4 * usize::from(header[0] & 15);
        let end = ip + usize::from(word(frame, ip + 2)?);
        let offset = word(frame, ip + 6)?;
        let address =
            |at: usize| Ipv4Addr::from(<[u8; 4]>::try_from(&header[at..at + 4]).expect("4"));
        let is_sound = header[0] >> 4 == 4 && payload >= ip + 20 && payload <= end;
        (is_sound && end <= frame.len()).then(|| Self {
            ip,
            v6: false,
            end,
            payload,
            protocol: header[9],
            hops: header[8],
            fragment: (offset & 0x3fff != 0).then_some(offset & 0x1fff != 0),
            has_options: payload > ip + 20,
            source: address(12).into(),
            destination: address(16).into(),
        })
    }

    /// Reads an IPv6 packet at a place.
    #[must_use]
    pub fn v6(frame: &[u8], ip: usize) -> Option<Self> {
        let header = frame.get(ip..ip + 40)?;
        let end = ip + 40 + usize::from(word(frame, ip + 4)?);
        let address =
            |at: usize| Ipv6Addr::from(<[u8; 16]>::try_from(&header[at..at + 16]).expect("16"));
        if header[0] >> 4 != 6 || end > frame.len() {
            return None;
        }
        let mut packet = Self {
            ip,
            v6: true,
            end,
            payload: ip + 40,
            protocol: header[6],
            hops: header[7],
            fragment: None,
            has_options: false,
            source: address(8).into(),
            destination: address(24).into(),
        };
        packet.skip_extensions(frame)?;
        Some(packet)
    }

    fn skip_extensions(&mut self, frame: &[u8]) -> Option<()> {
        while matches!(self.protocol, 0 | 43 | 44 | 60) && self.fragment != Some(true) {
            let header = frame.get(self.payload..self.payload + 8)?;
            let mut len = 8;
            if self.protocol == 44 {
                let offset = word(frame, self.payload + 2)?;
                self.fragment = (offset & 0xfff9 != 0).then_some(offset & 0xfff8 != 0);
            } else {
                len += 8 * usize::from(header[1]);
            }
            self.protocol = header[0];
            self.payload += len;
            self.has_options = true;
            if self.payload > self.end {
                return None;
            }
        }
        Some(())
    }

    /// Bytes of the packet.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.end - self.ip
    }

    /// Whether it has no bytes.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.end == self.ip
    }

    /// Whether it has ports: TCP or UDP, and not a later fragment.
    #[must_use]
    pub const fn has_ports(&self) -> bool {
        matches!(self.protocol, TCP | UDP)
            && !matches!(self.fragment, Some(true))
            && self.payload + 4 <= self.end
    }

    /// Source and destination port.
    #[must_use]
    pub fn ports(&self, frame: &[u8]) -> Option<(u16, u16)> {
        let is_there = self.has_ports();
        let ports = (word(frame, self.payload)?, word(frame, self.payload + 2)?);
        is_there.then_some(ports)
    }

    /// Where the payload's checksum is, if the payload has one and it is there.
    #[must_use]
    pub fn checksum_at(&self) -> Option<usize> {
        let offset = match self.protocol {
            _ if self.fragment == Some(true) => return None,
            TCP => 16,
            UDP => 6,
            ICMP if !self.v6 => 2,
            ICMP6 if self.v6 => 2,
            _ => return None,
        };
        let at = self.payload + offset;
        (at + 2 <= self.end).then_some(at)
    }

    /// What is missing from the payload's checksum, modulo 0xffff: 0 where it is right. Of a first
    /// fragment, the sum of what is not here. `None`: no checksum.
    #[must_use]
    pub fn residue(&self, frame: &[u8]) -> Option<u16> {
        let at = self.checksum_at()?;
        if self.protocol == UDP && frame[at..at + 2] == [0, 0] {
            return None;
        }
        let end = match self.protocol {
            // Its own length, which may be less than the packet's.
            UDP if self.fragment.is_none() => {
                let len = usize::from(word(frame, self.payload + 4)?);
                let end = self.payload + len;
                Some(end).filter(|end| len >= 8 && *end <= self.end)?
            }
            _ => self.end,
        };
        let pseudo = if self.protocol == ICMP {
            0
        } else {
            self.pseudo(end - self.payload)
        };
        Some(rest(sum(&frame[self.payload..end]) + u64::from(pseudo)))
    }

    fn pseudo(&self, len: usize) -> u32 {
        let addresses = match (self.source, self.destination) {
            (IpAddr::V4(a), IpAddr::V4(b)) => [a.octets(), b.octets()].concat(),
            (IpAddr::V6(a), IpAddr::V6(b)) => [a.octets(), b.octets()].concat(),
            _ => Vec::new(),
        };
        (sum(&addresses) + u64::from(self.protocol) + len as u64) as u32
    }

    /// What is missing from the IPv4 header's checksum: 0 where it is right, and of IPv6.
    #[must_use]
    pub fn header_residue(&self, frame: &[u8]) -> u16 {
        if self.v6 {
            return 0;
        }
        let header = self.ip + 4 * usize::from(frame[self.ip] & 15);
        rest(sum(&frame[self.ip..header]))
    }

    /// Whether an ICMP message is an error.
    #[must_use]
    pub fn is_icmp_error(&self, frame: &[u8]) -> bool {
        let kind = frame.get(self.payload).copied();
        match self.protocol {
            ICMP if !self.v6 => matches!(kind, Some(3..=5 | 11 | 12)),
            ICMP6 if self.v6 => matches!(kind, Some(0..=127)),
            _ => false,
        }
    }
}

/// A word of two bytes in network byte order.
#[must_use]
pub fn word(bytes: &[u8], at: usize) -> Option<u16> {
    let bytes = bytes.get(at..at + 2)?;
    Some(u16::from_be_bytes([bytes[0], bytes[1]]))
}

/// The sum of words (RFC 1071), not yet folded.
#[must_use]
pub fn sum(bytes: &[u8]) -> u64 {
    let words = bytes.chunks(2);
    words
        .map(|word| u64::from(word[0]) << 8 | u64::from(word.get(1).copied().unwrap_or(0)))
        .sum()
}

/// What a sum lacks to all ones, modulo 0xffff: 0 for a right checksum.
const fn rest(sum: u64) -> u16 {
    (sum % 0xffff) as u16
}

/// Makes checksums right.
pub fn sum_up(frame: &mut [u8]) {
    let Some(packet) = Packet::read(frame) else {
        return;
    };
    if !packet.v6 {
        let header = packet.ip + 4 * usize::from(frame[packet.ip] & 15);
        put(frame, packet.ip + 10, 0);
        let checksum = complement(sum(&frame[packet.ip..header]));
        put(frame, packet.ip + 10, checksum);
    }
    let Some(at) = packet.checksum_at() else {
        return;
    };
    put(frame, at, 0xffff);
    let Some(residue) = packet.residue(frame) else {
        return;
    };
    let checksum = complement(u64::from(residue));
    put(frame, at, if checksum == 0 { 0xffff } else { checksum });
}

/// The complement of a folded sum.
const fn complement(sum: u64) -> u16 {
    let folded = (sum % 0xffff) as u16;
    if folded == 0 && sum != 0 { 0 } else { !folded }
}

fn put(frame: &mut [u8], at: usize, value: u16) {
    frame[at..at + 2].copy_from_slice(&value.to_be_bytes());
}

/// A packet from the receiver of another one back to its sender, with other bytes behind the ports.
#[must_use]
pub fn answer(frame: &[u8], bytes: &[u8]) -> Option<Vec<u8>> {
    let packet = Packet::read(frame)?;
    let mut answer = frame.to_vec();
    let (len, at) = if packet.v6 { (16, 8) } else { (4, 12) };
    let (source, destination) = (packet.ip + at, packet.ip + at + len);
    for i in 0..len {
        answer.swap(source + i, destination + i);
    }
    for i in 0..6 {
        answer.swap(i, 6 + i);
    }
    let hops = packet.ip + if packet.v6 { 7 } else { 8 };
    answer[hops] = 64;
    if packet.has_ports() {
        for i in 0..2 {
            answer.swap(packet.payload + i, packet.payload + 2 + i);
        }
        let behind = &mut answer[packet.payload + 4..packet.end];
        for (old, new) in behind.iter_mut().zip(bytes) {
            *old = *new;
        }
    }
    sum_up(&mut answer);
    Some(answer)
}
