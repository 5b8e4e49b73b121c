//! Frames in words, for tables of cases.
//!
//! A [`Frame`] says what a frame is; [`Frame::bytes`] forms it anew, every checksum summed in full by
//! a library that knows nothing of the data path. So the bytes of a changed `Frame` are an
//! independent prediction of what incremental updates must come to.

mod icmp;
mod pieces;

use std::net::{IpAddr, SocketAddr};

use etherparse::{IpFragOffset, IpNumber, Ipv4Header, Ipv6FlowLabel, Ipv6Header};
pub use etherparse::{TcpHeader, UdpHeader};

pub use self::{
    icmp::{Complaint, ICMP, ICMPV6, Message, sum},
    pieces::FRAGMENT,
};
use crate::packet::{OUR_MAC, TCP, THEIR_MAC, UDP};

/// An Ethernet frame with an IP packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Destination MAC address.
    pub to: [u8; 6],
    /// Source MAC address.
    pub from: [u8; 6],
    /// VLAN identifiers of 802.1Q tags, the outermost first.
    pub tags: Vec<u16>,
    /// Sender.
    pub source: SocketAddr,
    /// Receiver, of the sender's family.
    pub destination: SocketAddr,
    /// Type of service, or traffic class.
    pub class: u8,
    /// Time to live, or hop limit.
    pub hops: u8,
    /// IPv4 identification, and half of that of IPv6 fragments.
    pub identification: u16,
    /// IPv4: routers must not cut it into fragments.
    pub do_not_fragment: bool,
    /// IPv6 flow label.
    pub label: u32,
    /// IPv4 fragment: offset in units of eight bytes, and whether more follow.
    pub fragment: (u16, bool),
    /// IPv4 options; a multiple of four bytes.
    pub options: Vec<u8>,
    /// IPv6 extension headers: kind, and what follows their first byte.
    pub extensions: Vec<(u8, Vec<u8>)>,
    /// What the packet carries.
    pub body: Body,
    /// What stands behind the TCP or UDP header, or behind IP.
    pub payload: Vec<u8>,
    /// Bytes behind the packet.
    pub padding: Vec<u8>,
    /// Bytes written over the finished frame, checksums included, at an offset.
    pub edits: Vec<(usize, Vec<u8>)>,
}

/// What an IP packet carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// TCP; ports and checksum of the header are set as the frame is formed.
    Tcp(TcpHeader),
    /// UDP; whether it has a checksum.
    Udp(bool),
    /// ICMP, of which `payload` is the body.
    Icmp(Message),
    /// Another protocol, by its number.
    Other(u8),
}

impl Body {
    /// TCP or UDP by its number: an ACK, a datagram with its checksum.
    #[must_use]
    pub fn of(protocol: u8) -> Self {
        match protocol {
            TCP => Self::Tcp(TcpHeader {
                ack: true,
                ..TcpHeader::new(0, 0, 1000, 8192)
            }),
            UDP => Self::Udp(true),
            other => Self::Other(other),
        }
    }

    /// IP protocol number.
    #[must_use]
    pub const fn protocol(&self) -> u8 {
        match self {
            Self::Tcp(_) => TCP,
            Self::Udp(_) => UDP,
            Self::Icmp(message) => message.number(),
            Self::Other(protocol) => *protocol,
        }
    }
}

/// An IPv6 extension header of `8 * (1 + units)` bytes, filled with zeros (Pad1 options).
#[must_use]
pub fn extension(kind: u8, units: u8) -> (u8, Vec<u8>) {
    let mut rest = vec![0; 8 * (1 + usize::from(units)) - 1];
    rest[0] = units;
    (kind, rest)
}

impl Frame {
    /// A plain packet to the balancer, 64 hops to live.
    #[must_use]
    pub fn new(protocol: u8, source: SocketAddr, destination: SocketAddr) -> Self {
        Self {
            to: OUR_MAC,
            from: THEIR_MAC,
            tags: Vec::new(),
            source,
            destination,
            class: 0,
            hops: 64,
            identification: 0x1234,
            do_not_fragment: false,
            label: 0x54321,
            fragment: (0, false),
            options: Vec::new(),
            extensions: Vec::new(),
            body: Body::of(protocol),
            payload: b"sixteen bytes ok".to_vec(),
            padding: Vec::new(),
            edits: Vec::new(),
        }
    }

    /// The same with options, of IPv6 in an extension header.
    #[must_use]
    pub fn with_options(mut self) -> Self {
        const DESTINATION_OPTIONS: u8 = 60;
        if self.source.is_ipv6() {
            self.extensions = vec![extension(DESTINATION_OPTIONS, 2)];
        } else {
            self.options = vec![1; 8];
        }
        self
    }

    /// The same with other bytes at an offset, after all checksums were formed.
    #[must_use]
    pub fn edited(mut self, offset: usize, bytes: &[u8]) -> Self {
        self.edits.push((offset, bytes.to_vec()));
        self
    }

    /// The frame.
    ///
    /// # Panics
    ///
    /// Where it cannot be: two families, lengths that do not fit, edits outside.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let transport = self.transport();
        let (ether_type, ip) = match (self.source.ip(), self.destination.ip()) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let header = self.ipv4(source.octets(), destination.octets(), transport.len());
                (0x0800, header)
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                let header = self.ipv6(source.octets(), destination.octets(), transport.len());
                (0x86dd, header)
            }
            _ => panic!("two families: {self:?}"),
        };
        let mut bytes = [self.ethernet(ether_type), ip, transport].concat();
        bytes.extend(&self.padding);
        for (offset, edit) in &self.edits {
            bytes[*offset..offset + edit.len()].copy_from_slice(edit);
        }
        bytes
    }

    fn ethernet(&self, ether_type: u16) -> Vec<u8> {
        let mut bytes = [self.to, self.from].concat();
        for tag in &self.tags {
            bytes.extend([0x81, 0x00]);
            bytes.extend(tag.to_be_bytes());
        }
        bytes.extend(ether_type.to_be_bytes());
        bytes
    }

    fn ipv4(&self, source: [u8; 4], destination: [u8; 4], payload: usize) -> Vec<u8> {
        let mut header = Ipv4Header::new(
            u16::try_from(payload).expect("a payload that fits"),
            self.hops,
            IpNumber(self.body.protocol()),
            source,
            destination,
        )
        .expect("a payload that fits");
        header.dscp = (self.class >> 2).try_into().expect("six bits");
        header.ecn = (self.class & 3).try_into().expect("two bits");
        header.identification = self.identification;
        header.fragment_offset = IpFragOffset::try_new(self.fragment.0).expect("13 bits");
        header.more_fragments = self.fragment.1;
        header.dont_fragment = self.do_not_fragment;
        header.options = self.options[..].try_into().expect("options that fit");
        header
            .set_payload_len(payload)
            .expect("a payload that fits");
        header.header_checksum = header.calc_header_checksum();
        header.to_bytes().to_vec()
    }

    fn ipv6(&self, source: [u8; 16], destination: [u8; 16], payload: usize) -> Vec<u8> {
        let kinds = self.extensions.iter().map(|(kind, _)| *kind);
        let mut chain = kinds.chain([self.body.protocol()]);
        let next_header = chain.next().expect("a protocol at least");
        let mut extensions = Vec::new();
        for (next, (_, rest)) in chain.zip(&self.extensions) {
            extensions.push(next);
            extensions.extend(rest);
        }
        let header = Ipv6Header {
            traffic_class: self.class,
            flow_label: Ipv6FlowLabel::try_new(self.label).expect("20 bits"),
            payload_length: u16::try_from(extensions.len() + payload).expect("it fits"),
            next_header: IpNumber(next_header),
            hop_limit: self.hops,
            source,
            destination,
        };
        [&header.to_bytes()[..], &extensions].concat()
    }

    fn transport(&self) -> Vec<u8> {
        let header = match &self.body {
            Body::Tcp(header) => self.tcp(header.clone()).to_bytes().to_vec(),
            Body::Udp(checksum) => self.udp(*checksum).to_bytes().to_vec(),
            Body::Icmp(message) => {
                let (source, destination) = (self.source.ip(), self.destination.ip());
                return message.bytes(source, destination, &self.payload);
            }
            Body::Other(_) => Vec::new(),
        };
        [&header[..], &self.payload].concat()
    }

    fn tcp(&self, mut header: TcpHeader) -> TcpHeader {
        header.source_port = self.source.port();
        header.destination_port = self.destination.port();
        header.checksum = match (self.source.ip(), self.destination.ip()) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                header.calc_checksum_ipv4_raw(source.octets(), destination.octets(), &self.payload)
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                header.calc_checksum_ipv6_raw(source.octets(), destination.octets(), &self.payload)
            }
            _ => panic!("two families: {self:?}"),
        }
        .expect("a payload that fits");
        header
    }

    fn udp(&self, checksum: bool) -> UdpHeader {
        let mut header = UdpHeader {
            source_port: self.source.port(),
            destination_port: self.destination.port(),
            length: u16::try_from(8 + self.payload.len()).expect("a payload that fits"),
            checksum: 0,
        };
        if !checksum {
            return header;
        }
        header.checksum = match (self.source.ip(), self.destination.ip()) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                header.calc_checksum_ipv4_raw(source.octets(), destination.octets(), &self.payload)
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                header.calc_checksum_ipv6_raw(source.octets(), destination.octets(), &self.payload)
            }
            _ => panic!("two families: {self:?}"),
        }
        .expect("a payload that fits");
        header
    }
}
