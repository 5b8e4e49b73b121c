//! Bytes as frames.
//!
//! | bytes | |
//! |---|---|
//! | 1 | the scene |
//! | 1 | what the kernel's forwarding table says, and the room before frames |
//! | 1 for each frame | [`Arrival`]'s flags |
//! | 2 for each frame | bytes of the frame, big-endian; the rest of the input where there are fewer |
//!
//! Flags let a frame be sound however its bytes were changed: without them nearly none would be.

use lb_common::{datapath::Fib, next_hop::Link};

use lb_tests::image::Outcome;

use crate::{
    BACK, FRONT, INGRESS,
    oracle::{self, Packet},
    scene::{self, Scene},
};

/// Frames of one input at most.
const FRAMES: usize = 12;
/// Bytes of a frame at most.
const LONGEST: usize = 2048;
/// Room before a frame, as the kernel's test runner leaves it, and less.
const ROOMS: [usize; 8] = [256, 256, 256, 256, 64, 40, 20, 0];

/// An input.
#[derive(Debug)]
pub struct Input<'a> {
    /// Where it plays.
    pub scene: &'static Scene,
    /// What the kernel's forwarding table says.
    pub fib: Fib,
    /// Bytes before each frame.
    pub room: usize,
    /// The frames.
    pub arrivals: Vec<Arrival<'a>>,
}

/// A frame that comes in.
#[derive(Clone, Copy, Debug)]
pub struct Arrival<'a> {
    flags: u8,
    bytes: &'a [u8],
}

impl Arrival<'_> {
    /// Flag: it is for the interface's MAC address.
    pub const OURS: u8 = 1;
    /// Flag: checksums are right.
    pub const SUMMED: u8 = 2;
    /// Flag: from the MAC address that its source has.
    pub const GENUINE: u8 = 4;
    /// Flag: it is an answer to the frame that was sent last; its bytes are behind that one's ports.
    pub const ANSWER: u8 = 8;
    /// Two bits: the interface that it comes in by.
    pub const INTERFACE: u8 = 0x30;
    /// Flag: long after the frame before.
    pub const LATER: u8 = 0x40;

    /// The interface that it comes in by.
    #[must_use]
    pub const fn ingress(&self) -> u32 {
        match (self.flags & Self::INTERFACE) >> 4 {
            0 | 1 => INGRESS,
            2 => BACK,
            _ => FRONT,
        }
    }

    /// Nanoseconds since the frame before.
    #[must_use]
    pub const fn pause_ns(&self) -> u64 {
        if self.flags & Self::LATER != 0 {
            16_000_000_000
        } else {
            1_000
        }
    }

    const fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// The frame's bytes; `sent`: what was sent last.
    #[must_use]
    pub fn frame(&self, scene: &Scene, sent: Option<&Outcome>) -> Vec<u8> {
        let answer = sent.filter(|_| self.has(Self::ANSWER));
        let answer = answer.and_then(|sent| oracle::answer(&sent.frame, self.bytes));
        let mut frame = answer.unwrap_or_else(|| self.bytes.to_vec());
        if self.has(Self::OURS) {
            let own = scene.image.interfaces[self.ingress() as usize].mac();
            write(&mut frame, 0, own);
        }
        if self.has(Self::GENUINE)
            && let Some(packet) = Packet::read(&frame)
            && let Some(mac) = scene.mac_of(packet.source)
        {
            write(&mut frame, 6, mac);
        }
        if self.has(Self::SUMMED) {
            oracle::sum_up(&mut frame);
        }
        frame
    }
}

/// Writes a MAC address as tables hold it.
fn write(frame: &mut [u8], at: usize, mac: u64) {
    if let Some(place) = frame.get_mut(at..at + 6) {
        place.copy_from_slice(&mac.to_le_bytes()[..6]);
    }
}

impl<'a> Input<'a> {
    /// Reads it; `None` where it ends before the first frame.
    #[must_use]
    pub fn read(bytes: &'a [u8]) -> Option<Self> {
        let [scene, host, rest @ ..] = bytes else {
            return None;
        };
        let scenes = scene::all();
        let scene = &scenes[usize::from(*scene) % scenes.len()];
        Some(Self {
            scene,
            fib: fib(*host),
            room: ROOMS[usize::from(host >> 2) % ROOMS.len()],
            arrivals: arrivals(rest),
        })
    }
}

fn fib(byte: u8) -> Fib {
    match byte & 3 {
        0 | 1 => Fib::Unroutable,
        2 => Fib::Unresolved,
        _ => Fib::Resolved {
            link: Link {
                to: 0x9900_0000_0002,
                from: 0x0201_0000_0002,
            },
            ifindex: BACK,
        },
    }
}

fn arrivals(mut bytes: &[u8]) -> Vec<Arrival<'_>> {
    let mut arrivals = Vec::new();
    while let [flags, high, low, rest @ ..] = bytes
        && arrivals.len() < FRAMES
    {
        let len = usize::from(u16::from_be_bytes([*high, *low]));
        let (frame, others) = rest.split_at(len.min(rest.len()).min(LONGEST));
        arrivals.push(Arrival {
            flags: *flags,
            bytes: frame,
        });
        bytes = others;
    }
    arrivals
}

/// Writes an input: the reverse of [`Input::read`].
#[must_use]
pub fn write_input(scene: u8, host: u8, frames: &[(u8, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = vec![scene, host];
    for (flags, frame) in frames {
        bytes.push(*flags);
        bytes.extend((frame.len() as u16).to_be_bytes());
        bytes.extend(frame);
    }
    bytes
}
