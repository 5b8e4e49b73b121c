//! Packets that have to do with earlier ones: answers to what was sent, errors about it, and the rest of
//! packets in fragments.

use std::{
    collections::VecDeque,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use lb_tests::{
    frame::{Complaint, Frame},
    image::Outcome,
    packet::{TCP, UDP},
    random::Random,
    world::World,
};

use super::{adorned, client, damage, noise, outside, sound, tcp};

/// Packets that are remembered.
const SEEN: usize = 64;
/// Fragments that are held back.
const HELD: usize = 24;

/// What left, and what is held back.
#[derive(Debug, Default)]
pub(crate) struct History {
    seen: VecDeque<Seen>,
    held: Vec<Frame>,
}

/// An IP packet that left.
#[derive(Clone, Debug)]
struct Seen {
    /// Whom the frame was for.
    to: [u8; 6],
    source: SocketAddr,
    destination: SocketAddr,
    protocol: u8,
    header: usize,
    packet: Vec<u8>,
}

impl History {
    /// Takes note of what became of a frame.
    pub(crate) fn note(&mut self, outcome: &Outcome) {
        if outcome.counted.is_empty() {
            return;
        }
        if let Some(seen) = Seen::of(&outcome.frame) {
            self.seen.push_back(seen);
            if self.seen.len() > SEEN {
                self.seen.pop_front();
            }
        }
    }

    /// The next frame, perhaps with something wrong.
    pub(crate) fn packet(&mut self, random: &mut Random, world: &World) -> Vec<u8> {
        if random.chance(2) {
            return noise(random);
        }
        let mut bytes = self.sound(random, world).bytes();
        if random.chance(15) {
            damage::some(random, &mut bytes);
        }
        bytes
    }

    fn sound(&mut self, random: &mut Random, world: &World) -> Frame {
        if !self.held.is_empty() && random.chance(20) {
            let place = random.below(self.held.len());
            return self.held.swap_remove(place);
        }
        match (random.below(20), self.any(random)) {
            (0..3, Some(seen)) if seen.has_ports() => seen.answered(random),
            (3..6, Some(seen)) => seen.complained_about(random),
            (6, _) => self.in_pieces(random, world),
            _ => sound(random, world),
        }
    }

    fn any(&self, random: &mut Random) -> Option<Seen> {
        if self.seen.is_empty() {
            return None;
        }
        self.seen.get(random.below(self.seen.len())).cloned()
    }

    /// One fragment of a packet; the others come later.
    fn in_pieces(&mut self, random: &mut Random, world: &World) -> Frame {
        let mut whole = match self.any(random) {
            Some(seen) if seen.has_ports() && random.chance(40) => seen.answered(random),
            _ => sound(random, world),
        };
        let len = 24 + random.below(200);
        whole.payload = random.bytes(len);
        whole.fragment = (0, false);
        let mut cuts: Vec<usize> = (0..=random.below(3))
            .map(|_| 8 * (1 + random.below(len / 8)))
            .collect();
        cuts.sort_unstable();
        cuts.dedup();
        let mut pieces = whole.pieces(&cuts);
        let place = if random.chance(80) {
            0
        } else {
            random.below(pieces.len())
        };
        let piece = pieces.swap_remove(place);
        self.held.extend(pieces);
        self.held.truncate(HELD);
        piece
    }
}

impl Seen {
    fn of(frame: &[u8]) -> Option<Self> {
        let to = frame.first_chunk().copied()?;
        let mut rest = frame.get(12..)?;
        while let [0x81, 0, _, _, inner @ ..] = rest {
            rest = inner;
        }
        let (kind, packet) = rest.split_first_chunk::<2>()?;
        let (protocol, header, source, destination) = match kind {
            [0x08, 0x00] => {
                let header = 4 * usize::from(packet.first()? & 0xf);
                let [a, b] = [12, 16].map(|at| ipv4(packet, at));
                (*packet.get(9)?, header, a?, b?)
            }
            [0x86, 0xdd] => {
                let [a, b] = [8, 24].map(|at| ipv6(packet, at));
                (*packet.get(6)?, 40, a?, b?)
            }
            _ => return None,
        };
        let port = |at: usize| {
            let bytes = packet.get(header + at..)?.first_chunk()?;
            Some(u16::from_be_bytes(*bytes))
        };
        Some(Self {
            to,
            source: SocketAddr::new(source, port(0)?),
            destination: SocketAddr::new(destination, port(2)?),
            protocol,
            header,
            packet: packet.to_vec(),
        })
    }

    /// Whether it is of a flow, and not of a tunnel.
    const fn has_ports(&self) -> bool {
        const GUE: u16 = 6080;
        matches!(self.protocol, TCP | UDP) && self.destination.port() != GUE
    }

    /// The other end's packet, as the next hop sends it.
    fn answered(&self, random: &mut Random) -> Frame {
        let protocol = if random.chance(95) {
            self.protocol
        } else {
            random.pick(&[TCP, UDP])
        };
        let mut frame = Frame::new(protocol, self.destination, self.source);
        frame.body = match protocol {
            TCP => lb_tests::frame::Body::Tcp(tcp(random)),
            _ => frame.body,
        };
        if random.chance(95) {
            frame.from = self.to;
        }
        adorned(random, frame)
    }

    /// An error about it, of a router or of its receiver.
    fn complained_about(&self, random: &mut Random) -> Frame {
        let v6 = self.source.is_ipv6();
        let complaint = if random.chance(50) {
            let mtu = random.pick(&[0, 68, 552, 600, 1280, 1300, 1400, 9000, u32::MAX]);
            Complaint::TooBig(mtu)
        } else {
            random.pick(&Complaint::ALL)
        };
        let from = if random.chance(40) {
            self.destination.ip()
        } else {
            client(random, v6).ip()
        };
        let behind = random.pick(&[0, 7, 8, 8, 8, 17, 18, 20, 28, 64, 600]);
        let mut quoted = self.packet.clone();
        quoted.truncate(self.header + behind);
        if random.chance(5) {
            damage::some(random, &mut quoted);
        }
        let to = if random.chance(97) {
            self.source.ip()
        } else {
            client(random, v6).ip()
        };
        let mut frame = Frame::message(complaint.message(v6), from, to, quoted);
        if random.chance(70) {
            frame.from = self.to;
        }
        frame.hops = random.pick(&[1, 2, 64, 255]);
        outside(random, &mut frame);
        frame
    }
}

fn ipv4(packet: &[u8], at: usize) -> Option<IpAddr> {
    let octets: [u8; 4] = packet.get(at..)?.first_chunk().copied()?;
    Some(Ipv4Addr::from(octets).into())
}

fn ipv6(packet: &[u8], at: usize) -> Option<IpAddr> {
    let octets: [u8; 16] = packet.get(at..)?.first_chunk().copied()?;
    Some(Ipv6Addr::from(octets).into())
}
