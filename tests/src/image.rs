//! The contents of all maps, and the host build's view of them.

use std::cell::RefCell;

use lb_common::{
    Verdict,
    backend::Backend,
    counters::Traffic,
    datapath::{self, Direction, Fib, Tables},
    directory::{Filter, Key, Seed, Set, WAYS, Way},
    interface::Interface,
    maps::{Constants, Control},
    route::{self, Routes},
    row::{ROWS_PER_ELEMENT, Row},
    wire::{Ip, slice::SliceFrame},
};

/// The contents of all maps that the daemon writes.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "each field is the map of its name")]
pub struct Image {
    pub constants: Constants,
    pub control: Control,
    pub directory: Vec<Set>,
    pub slots: Vec<[u32; ROWS_PER_ELEMENT as usize]>,
    pub backends: Vec<Backend>,
    pub routes: Vec<Routes>,
    pub interfaces: Vec<Interface>,
}

/// Room before a frame, as the kernel's test runner leaves it.
const HEADROOM: usize = 256;

/// What the host build made of a packet.
#[derive(Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The verdict.
    pub verdict: Verdict,
    /// The frame afterwards.
    pub frame: Vec<u8>,
    /// What was counted, under which pair.
    pub counted: Vec<(u32, Traffic)>,
}

impl Image {
    /// Runs the host build on a frame that came in by interface `ingress`, where the kernel does not
    /// forward.
    #[must_use]
    pub fn run(&self, ingress: u32, frame: &[u8]) -> Outcome {
        self.run_with(Fib::Unroutable, ingress, frame)
    }

    /// The same where the kernel's forwarding table says `fib` of every client.
    #[must_use]
    pub fn run_with(&self, fib: Fib, ingress: u32, frame: &[u8]) -> Outcome {
        self.run_in(HEADROOM, fib, ingress, frame)
    }

    /// The same with `room` bytes before the frame.
    ///
    /// # Panics
    ///
    /// Never.
    #[must_use]
    pub fn run_in(&self, room: usize, fib: Fib, ingress: u32, frame: &[u8]) -> Outcome {
        let tables = HostTables {
            image: self,
            fib,
            ingress,
            counted: RefCell::default(),
        };
        let mut buffer = vec![0; room];
        buffer.extend(frame);
        let mut frame = SliceFrame::new(&mut buffer, room).expect("a place within the buffer");
        let verdict = datapath::forward(&mut frame, &tables);
        Outcome {
            verdict,
            frame: frame.bytes().to_vec(),
            counted: tables.counted.into_inner(),
        }
    }
}

struct HostTables<'a> {
    image: &'a Image,
    fib: Fib,
    ingress: u32,
    counted: RefCell<Vec<(u32, Traffic)>>,
}

impl Tables for HostTables<'_> {
    fn ingress(&self) -> u32 {
        self.ingress
    }

    fn interface(&self) -> Interface {
        self.image
            .interfaces
            .get(self.ingress as usize)
            .copied()
            .unwrap_or_default()
    }

    fn serves(&self, v6: bool) -> bool {
        if v6 {
            self.image.constants.ipv6 != 0
        } else {
            self.image.constants.ipv4 != 0
        }
    }

    fn modes(&self) -> u32 {
        self.image.constants.modes
    }

    fn hash_key(&self) -> [u64; 2] {
        self.image.constants.hash_key
    }

    fn addresses(&self) -> Filter {
        Filter(self.image.control.addresses)
    }

    fn front(&self) -> Option<&Way> {
        let front = self.image.control.front as usize;
        self.image
            .directory
            .get(front / WAYS)?
            .ways
            .get(front % WAYS)
    }

    fn find(&self, key: &Key, v6: bool) -> Option<u64> {
        let seed = Seed(self.image.control.directory);
        let set = seed.set(key.tag, self.image.constants.set_shift);
        self.image.directory.get(set as usize)?.find(key, v6)
    }

    fn row(&self, element: u32, index: u32) -> Option<Row> {
        let rows = self
            .image
            .slots
            .get((element + index / ROWS_PER_ELEMENT) as usize)?;
        rows.get((index % ROWS_PER_ELEMENT) as usize)
            .map(|row| Row(*row))
    }

    fn backend(&self, pair: u32) -> Option<&Backend> {
        self.image.backends.get(pair as usize)
    }

    fn mac(&self, ifindex: u32) -> u64 {
        self.image
            .interfaces
            .get(ifindex as usize)
            .copied()
            .unwrap_or_default()
            .mac()
    }

    fn routes(&self, v6: bool) -> Option<&Routes> {
        let half = self.image.control.routes as u32 & 1;
        self.image.routes.get(route::list(half, v6) as usize)
    }

    fn fib<I: Ip>(&self, _: I::Address, _: I::Address) -> Fib {
        self.fib
    }

    fn count(&self, pair: u32, direction: Direction, bytes: usize) {
        if pair as usize >= self.image.backends.len() {
            return;
        }
        let bytes = bytes as u64;
        let traffic = match direction {
            Direction::Forward => Traffic {
                packets: 1,
                bytes,
                ..Traffic::default()
            },
            Direction::Return => Traffic {
                return_packets: 1,
                return_bytes: bytes,
                ..Traffic::default()
            },
        };
        self.counted.borrow_mut().push((pair, traffic));
    }
}
