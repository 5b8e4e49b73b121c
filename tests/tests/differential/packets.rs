//! Random frames: sound ones that go the whole way, and hostile ones.

mod damage;
mod history;
mod options;

use std::net::SocketAddr;

use lb_common::backend::Mode;
use lb_tests::{
    frame::{Body, Frame, TcpHeader, extension},
    packet::{OUR_MAC, TCP, UDP},
    random::Random,
    world::{Service, World},
};

pub(crate) use self::history::History;
use super::worlds::{Net, PORTS};

/// Random bytes, mostly under our address as if they were IP.
fn noise(random: &mut Random) -> Vec<u8> {
    let len = 14 + random.below(100);
    let mut bytes = random.bytes(len);
    if random.chance(90) {
        damage::write(&mut bytes, 0, &OUR_MAC);
        damage::write(&mut bytes, 12, &random.pick(&[[8, 0], [0x86, 0xdd]]));
    }
    bytes
}

/// A well-formed frame: a request, an answer, or what is neither.
pub(crate) fn sound(random: &mut Random, world: &World) -> Frame {
    let service = &world.services[random.below(world.services.len())];
    let frame = match random.below(20) {
        0..11 => request(random, service),
        11..18 => answer(random, service),
        18 => ping(random, service),
        _ => stranger(random, service),
    };
    adorned(random, frame)
}

fn request(random: &mut Random, service: &Service) -> Frame {
    let client = client(random, service.vip.is_ipv6());
    let mut frame = Frame::new(service.protocol, client, service.vip);
    frame.destination.set_port(port(random, service));
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

/// One of a service's ports, or nearly.
fn port(random: &mut Random, service: &Service) -> u16 {
    let (first, last) = (service.vip.port(), service.last_port);
    let ports = usize::from(last.wrapping_sub(first)) + 1;
    first.wrapping_add(random.below(ports) as u16)
}

/// What a backend sends; mostly one whose packets come back.
fn answer(random: &mut Random, service: &Service) -> Frame {
    let any = random.chance(15);
    let backends: Vec<_> = service
        .backends
        .iter()
        .zip(service.links())
        .filter(|(_, link)| any || link.mode == Mode::Nat)
        .map(|(backend, _)| *backend)
        .collect();
    if backends.is_empty() {
        return request(random, service);
    }
    let (mut backend, next_hop) = random.pick(&backends);
    let client = client(random, backend.is_ipv6());
    let distance = port(random, service).wrapping_sub(service.vip.port());
    backend.set_port(backend.port().wrapping_add(distance));
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

fn ping(random: &mut Random, service: &Service) -> Frame {
    let source = client(random, service.vip.is_ipv6()).ip();
    let bits = random.bits();
    Frame::echo(source, service.vip.ip(), bits as u16, (bits >> 16) as u16)
}

fn stranger(random: &mut Random, service: &Service) -> Frame {
    let v6 = service.vip.is_ipv6() ^ random.chance(20);
    let source = client(random, v6);
    let net = random.pick(&[Net::Vips, Net::Backends, Net::Pools, Net::Elsewhere]);
    let address = net.address(v6, random.below(6) as u16);
    let destination = SocketAddr::new(address, random.pick(&PORTS));
    let protocol = random.pick(&[TCP, UDP, 1, 58, 47, 132, 255]);
    Frame::new(protocol, source, destination)
}

/// A client: of few, whose flows meet again, or of many.
fn client(random: &mut Random, v6: bool) -> SocketAddr {
    if random.chance(2) {
        return SocketAddr::new(Net::Backends.address(v6, 1), 40000);
    }
    if random.chance(1) {
        return SocketAddr::new(nobody(random, v6), 40000);
    }
    if random.chance(40) {
        let address = Net::Clients.address(v6, random.below(3) as u16);
        return SocketAddr::new(address, 40000 + random.below(4) as u16);
    }
    let net = match random.below(40) {
        0 | 1 => Net::Backends,
        2 | 3 => Net::Elsewhere,
        4 => Net::Vips,
        _ => Net::Clients,
    };
    let host = match net {
        Net::Vips => random.below(4),
        _ => random.below(0x1000),
    };
    SocketAddr::new(net.address(v6, host as u16), random.bits() as u16)
}

/// An address that no client has.
fn nobody(random: &mut Random, v6: bool) -> std::net::IpAddr {
    let addresses = if v6 {
        ["::", "::1", "ff02::1", "ffff::1"]
    } else {
        ["0.0.0.0", "127.0.0.1", "224.0.0.1", "255.255.255.255"]
    };
    random.pick(&addresses).parse().expect("an address")
}

/// The same frame with all that a sound frame may have.
fn adorned(random: &mut Random, mut frame: Frame) -> Frame {
    let len = match random.below(50) {
        0 => random.below(1500),
        1 => 1400 + random.below(100),
        _ => random.below(64),
    };
    frame.payload = random.bytes(len);
    frame.class = random.bits() as u8;
    frame.identification = random.bits() as u16;
    frame.hops = match random.below(20) {
        0 => random.below(4) as u8,
        _ => random.pick(&[64, 128, 255]),
    };
    match frame.body {
        Body::Tcp(_) => frame.body = Body::Tcp(tcp(random)),
        Body::Udp(_) => frame.body = Body::Udp(random.chance(80)),
        Body::Icmp(_) | Body::Other(_) => {}
    }
    outside(random, &mut frame);
    frame
}

/// What stands outside of TCP, UDP and ICMP.
fn outside(random: &mut Random, frame: &mut Frame) {
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
    if random.chance(50) {
        let options = options::random(random);
        header.set_options_raw(&options).expect("options that fit");
    }
    header
}

fn random_extension(random: &mut Random) -> (u8, Vec<u8>) {
    match random.below(12) {
        0 => (44, random.bytes(7)),
        1 => (random.bits() as u8, random.bytes(7)),
        2 => (44, vec![0; 7]),
        _ => extension(random.pick(&[0, 43, 60]), random.below(5) as u8),
    }
}
