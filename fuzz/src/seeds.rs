//! Inputs to begin with: for each scene, and each of its services, frames that go the whole way.

mod odd;

use std::net::SocketAddr;

use lb_tests::{
    frame::{Body, Frame, TcpHeader, extension},
    packet::TCP,
    world::Service,
};

use crate::{
    input::{Arrival, write_input},
    scene::{self, Scene},
};

const SOUND: u8 = Arrival::OURS | Arrival::SUMMED;
const REPLY: u8 = SOUND | Arrival::ANSWER;

/// Every seed, by name.
#[must_use]
pub fn all() -> Vec<(String, Vec<u8>)> {
    let scenes = scene::all().iter().enumerate();
    let seeds = scenes.flat_map(|(number, scene)| of_scene(number as u8, scene));
    seeds.collect()
}

fn of_scene(number: u8, scene: &Scene) -> Vec<(String, Vec<u8>)> {
    let services = scene.world.services.iter();
    let stories = services.flat_map(|service| {
        let common = stories(service).into_iter().enumerate();
        let common = common.map(|(n, story)| (HOSTS[n % HOSTS.len()], story));
        common.chain(odd::stories(service))
    });
    let named = stories.enumerate().map(|(n, (host, frames))| {
        let name = format!("{number}-{n}");
        (name, write_input(number, host, &frames))
    });
    named.collect()
}

/// What the kernel's forwarding table says, and room before frames.
const HOSTS: [u8; 4] = [0, 2, 3, 7 << 2];

/// Frames and their flags.
type Story = Vec<(u8, Vec<u8>)>;

/// What happens to every service.
fn stories(service: &Service) -> Vec<Story> {
    let ask = request(service);
    let plain = |frame: &Frame| (SOUND, frame.bytes());
    let answer = (REPLY, b"sixteen bytes ok".to_vec());
    let with_options = if ask.source.is_ipv6() {
        let extensions = [0, 43, 60].map(|kind| extension(kind, 1)).into();
        Frame {
            extensions,
            ..ask.clone()
        }
    } else {
        let options = vec![1; 8];
        Frame {
            options,
            ..ask.clone()
        }
    };
    vec![
        vec![plain(&ask), answer.clone(), plain(&ask), answer.clone()],
        vec![plain(&Frame {
            hops: 1,
            ..ask.clone()
        })],
        vec![plain(&Frame {
            payload: vec![0; 1480],
            do_not_fragment: true,
            ..ask.clone()
        })],
        vec![plain(&Frame {
            tags: vec![5, 7],
            ..ask.clone()
        })],
        vec![plain(&syn(&ask)), answer],
        fragments(&ask),
        vec![plain(&echo(&ask))],
        vec![plain(&ask), (SOUND, error(&turned(&ask)).bytes())],
        vec![plain(&with_options)],
    ]
}

fn client(v6: bool) -> SocketAddr {
    sock(if v6 {
        "[2001:db8:c::7]:40000"
    } else {
        "198.51.100.7:40000"
    })
}

fn request(service: &Service) -> Frame {
    Frame::new(service.protocol, client(service.vip.is_ipv6()), service.vip)
}

fn syn(ask: &Frame) -> Frame {
    if ask.body.protocol() != TCP {
        return ask.clone();
    }
    let mut header = TcpHeader::new(0, 0, 7, 8192);
    header.syn = true;
    header
        .set_options_raw(&[2, 4, 5, 0xb4, 1, 1, 4, 2])
        .expect("options that fit");
    Frame {
        body: Body::Tcp(header),
        ..ask.clone()
    }
}

/// The first fragment, the others, and one of another packet.
fn fragments(ask: &Frame) -> Story {
    let part = |offset: u16, more: bool, identification: u32| {
        let mut frame = ask.clone();
        frame.payload = vec![7; 16];
        if ask.source.is_ipv6() {
            let [a, b, c, d] = identification.to_be_bytes();
            let [high, low] = (offset << 3 | u16::from(more)).to_be_bytes();
            frame.extensions = vec![(44, vec![0, high, low, a, b, c, d])];
        } else {
            frame.fragment = (offset, more);
            frame.identification = identification as u16;
        }
        if offset > 0 {
            frame.body = Body::Other(ask.body.protocol());
        }
        (SOUND, frame.bytes())
    };
    vec![
        part(0, true, 1),
        part(3, true, 1),
        part(5, false, 1),
        part(3, false, 2),
    ]
}

fn echo(ask: &Frame) -> Frame {
    let (protocol, kind) = if ask.source.is_ipv6() {
        (58, 128)
    } else {
        (1, 8)
    };
    Frame {
        body: Body::Other(protocol),
        payload: [&[kind, 0, 0, 0, 1, 2, 3, 4][..], b"are you there?"].concat(),
        ..ask.clone()
    }
}

/// A router says that a packet is too long for what comes next.
fn error(about: &Frame) -> Frame {
    let quoted = &about.bytes()[14..];
    let (protocol, head, router) = if about.source.is_ipv6() {
        (58, [2, 0, 0, 0, 0, 0, 5, 0], "[2001:db8:e::1]:0")
    } else {
        (1, [3, 4, 0, 0, 0, 0, 5, 0], "198.51.100.254:0")
    };
    Frame {
        body: Body::Other(protocol),
        payload: [&head[..], quoted].concat(),
        ..Frame::new(protocol, sock(router), about.source)
    }
}

/// From its receiver to its sender.
fn turned(frame: &Frame) -> Frame {
    Frame {
        source: frame.destination,
        destination: frame.source,
        ..frame.clone()
    }
}

fn sock(text: &str) -> SocketAddr {
    text.parse().expect("an address and a port")
}
