//! Random frames: sound ones that go the whole way, and hostile ones.

use std::net::SocketAddr;

use lb_tests::{
    frame::{Body, Frame, TcpHeader, extension},
    packet::{OUR_MAC, TCP, UDP},
    random::Random,
    world::{Service, World},
};

use super::worlds::{Net, PORTS};

/// A frame, perhaps with something wrong.
pub(crate) fn packet(random: &mut Random, world: &World) -> Vec<u8> {
    if random.chance(2) {
        return noise(random);
    }
    let mut bytes = sound(random, world).bytes();
    if random.chance(20) {
        for _ in 0..=random.below(3) {
            damage(random, &mut bytes);
        }
    }
    bytes
}

/// Random bytes, mostly under our address as if they were IP.
fn noise(random: &mut Random) -> Vec<u8> {
    let len = 14 + random.below(100);
    let mut bytes = random.bytes(len);
    if random.chance(90) {
        write(&mut bytes, 0, &OUR_MAC);
        write(&mut bytes, 12, &random.pick(&[[8, 0], [0x86, 0xdd]]));
    }
    bytes
}

/// A well-formed frame: a request, an answer, or what is neither.
pub(crate) fn sound(random: &mut Random, world: &World) -> Frame {
    let service = &world.services[random.below(world.services.len())];
    let frame = match random.below(20) {
        0..11 => request(random, service),
        11..19 => answer(random, service),
        _ => stranger(random, service),
    };
    adorned(random, frame)
}

fn request(random: &mut Random, service: &Service) -> Frame {
    let client = client(random, service.vip.is_ipv6());
    let mut frame = Frame::new(service.protocol, client, service.vip);
    if random.chance(4) {
        frame.destination.set_port(random.pick(&PORTS));
    }
    let backend = service.backends.first().map(|(backend, _)| *backend);
    let of_a_family = |backend: &SocketAddr| backend.is_ipv6() == service.vip.is_ipv6();
    if let Some(backend) = backend.filter(of_a_family).filter(|_| random.chance(2)) {
        frame.source = backend;
    }
    if random.chance(1) {
        frame.source = service.vip;
    }
    frame
}

fn answer(random: &mut Random, service: &Service) -> Frame {
    if service.backends.is_empty() {
        return request(random, service);
    }
    let (backend, next_hop) = service.backends[random.below(service.backends.len())];
    let client = client(random, backend.is_ipv6());
    let mut frame = Frame::new(service.protocol, backend, client);
    if random.chance(95) {
        let [mac @ .., _, _] = next_hop.mac().to_le_bytes();
        frame.from = mac;
    }
    if random.chance(3) {
        frame.source.set_port(random.pick(&PORTS));
    }
    frame
}

fn stranger(random: &mut Random, service: &Service) -> Frame {
    let v6 = service.vip.is_ipv6() ^ random.chance(20);
    let source = client(random, v6);
    let net = random.pick(&[Net::Vips, Net::Backends, Net::Elsewhere]);
    let address = net.address(v6, random.below(6) as u16);
    let destination = SocketAddr::new(address, random.pick(&PORTS));
    let protocol = random.pick(&[TCP, UDP, 1, 58, 47, 132, 255]);
    Frame::new(protocol, source, destination)
}

fn client(random: &mut Random, v6: bool) -> SocketAddr {
    if random.chance(2) {
        return SocketAddr::new(Net::Backends.address(v6, 1), 40000);
    }
    let net = match random.below(20) {
        0 => Net::Backends,
        1 => Net::Elsewhere,
        _ => Net::Clients,
    };
    let host = random.below(0x1000) as u16;
    SocketAddr::new(net.address(v6, host), random.bits() as u16)
}

/// The same frame with all that a sound frame may have.
fn adorned(random: &mut Random, mut frame: Frame) -> Frame {
    let len = random.below(64);
    frame.payload = random.bytes(len);
    frame.class = random.bits() as u8;
    frame.hops = match random.below(20) {
        0 => random.below(4) as u8,
        _ => random.pick(&[64, 128, 255]),
    };
    match frame.body {
        Body::Tcp(_) => frame.body = Body::Tcp(tcp(random)),
        Body::Udp(_) => frame.body = Body::Udp(random.chance(70)),
        Body::Icmp(_) | Body::Other(_) => {}
    }
    if random.chance(20) {
        frame.padding = vec![0; random.below(40)];
    }
    if random.chance(10) {
        frame.tags = vec![random.bits() as u16; 1 + random.below(2)];
    }
    if random.chance(2) {
        frame.fragment = (random.below(0x2000) as u16, random.chance(50));
    }
    if random.chance(10) {
        frame.options = vec![1; 4 * random.below(11)];
    }
    if random.chance(12) {
        frame.extensions = (0..random.below(7))
            .map(|_| random_extension(random))
            .collect();
    }
    if random.chance(2) {
        frame.to = [random.bits() as u8, 0, 0, 0, 0, 0x10];
    }
    frame
}

fn tcp(random: &mut Random) -> TcpHeader {
    let bits = random.bits();
    let mut header = TcpHeader::new(0, 0, bits as u32, (bits >> 32) as u16);
    header.acknowledgment_number = random.bits() as u32;
    (header.syn, header.ack, header.fin) = (
        bits >> 48 & 1 != 0,
        bits >> 49 & 1 != 0,
        bits >> 50 & 1 != 0,
    );
    (header.rst, header.psh, header.urg) = (
        bits >> 51 & 1 != 0,
        bits >> 52 & 1 != 0,
        bits >> 53 & 1 != 0,
    );
    if random.chance(30) {
        let options = vec![1; 4 * random.below(11)];
        header.set_options_raw(&options).expect("options that fit");
    }
    header
}

fn random_extension(random: &mut Random) -> (u8, Vec<u8>) {
    match random.below(12) {
        0 => (44, random.bytes(7)),
        1 => (random.bits() as u8, random.bytes(7)),
        _ => extension(random.pick(&[0, 43, 60]), random.below(5) as u8),
    }
}

/// What a hostile sender, or a broken one, makes of a frame.
fn damage(random: &mut Random, bytes: &mut Vec<u8>) {
    match random.below(7) {
        0 => bytes.truncate(14 + random.below(bytes.len() - 13)),
        1 => {
            let tail = random.below(60);
            bytes.extend(random.bytes(tail));
        }
        2 => write(
            bytes,
            14 + random.below(8),
            &random.bits().to_le_bytes()[..2],
        ),
        3 => {
            let at = 14 + random.below(bytes.len().max(15) - 14);
            write(bytes, at, &random.bits().to_le_bytes()[..1]);
        }
        4 => {
            let at = 14 + random.below(bytes.len().max(15) - 14);
            write(bytes, at, &[random.below(12) as u8]);
        }
        5 => {
            let at = random.below(bytes.len());
            bytes[at] ^= 1 << random.below(8);
        }
        _ => checksum(random, bytes),
    }
}

/// A transport checksum of all zeros or all ones.
fn checksum(random: &mut Random, bytes: &mut [u8]) {
    let ip = if bytes[12] == 0x86 { 54 } else { 34 };
    let value = random.pick(&[[0, 0], [0xff, 0xff]]);
    write(bytes, ip + random.pick(&[6, 16]), &value);
}

/// Writes what fits.
fn write(bytes: &mut [u8], at: usize, value: &[u8]) {
    if let Some(place) = bytes.get_mut(at..at + value.len()) {
        place.copy_from_slice(value);
    }
}
