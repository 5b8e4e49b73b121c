//! A balancer in memory: the planner's stores go into images of the maps, and packets take the host build's way
//! over them. All that is missing is the kernel. Time is counted, not waited for.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use lb_common::{
    Verdict,
    backend::Mode,
    datapath::Fib,
    interface::Interface,
    maps::{Constants, Control, Feature},
    next_hop::NextHop,
    row::{ROWS_PER_ELEMENT, Times},
    tracked::{ENTRIES, Tracked},
    verdict::TrackEvent,
};
use lb_userspace::{
    config::model::{Ports, Protocol, Vip},
    dataplane::sizes::Sizes,
    desired::{
        self, Backend, Forwarding, Installed, InstalledService, Moment, Patience, Region, Rested,
        Routes, Service, Specialisation, State, Tracks,
    },
    health::Health,
    slot_table::Part,
};
use zerocopy::{FromZeros, IntoBytes as _};

use crate::{
    frame::{Body, Frame, TcpHeader},
    image::{Host, Image},
    kernel::INGRESS,
    packet::{OUR_MAC, TCP, UDP},
};

const SEED: u64 = 0x5eed;
const VIP: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);
const PORT: u16 = 80;
/// Entries of `BACKENDS`: those that leave have theirs for a while.
const BACKENDS: u32 = 1024;

/// A backend, as the file and its probes say.
#[derive(Clone, Copy, Debug, Default)]
pub struct Server {
    /// Whether the file has it; else it is gone, or on its way out.
    pub is_configured: bool,
    /// Its weight.
    pub weight: u16,
    /// Whether it gets no new flows.
    pub is_drained: bool,
    /// Whether it is down.
    pub is_down: bool,
    /// How often it has died.
    pub deaths: u32,
}

impl Server {
    /// One that takes its part.
    pub const READY: Self = Self {
        is_configured: true,
        weight: 1,
        is_drained: false,
        is_down: false,
        deaths: 0,
    };

    /// Whether it gets new flows.
    #[must_use]
    pub const fn takes_flows(&self) -> bool {
        self.is_configured && !self.is_drained && !self.is_down && self.weight > 0
    }

    /// It dies.
    pub const fn die(&mut self) {
        self.is_down = true;
        self.deaths += 1;
    }
}

/// How large everything is.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    /// IP protocol number of the one service.
    pub protocol: u8,
    /// Its slots: a power of two.
    pub slots: u32,
    /// Seconds that its flows may be silent.
    pub idle: u16,
    /// Buckets of tracked flows: a power of two.
    pub buckets: u32,
}

/// A balancer with one service.
#[derive(Debug)]
pub struct Balancer {
    setup: Setup,
    image: Image,
    installed: Installed,
    tracks: Tracks,
    now: u32,
    refused: u64,
    last_refused: u32,
    tracked: usize,
}

impl Balancer {
    /// One that was just started, in front of these servers.
    #[must_use]
    pub fn new(setup: Setup, servers: &[Server]) -> Self {
        let sizes = sizes(setup);
        let mut balancer = Self {
            setup,
            image: empty(&sizes),
            installed: Installed::empty(SEED, &sizes),
            tracks: Tracks::default(),
            now: 1000,
            refused: 0,
            last_refused: 0,
            tracked: 0,
        };
        balancer.image.control.clock = balancer.now.into();
        balancer.install(servers);
        balancer
    }

    /// The second that it is.
    #[must_use]
    pub const fn now(&self) -> u32 {
        self.now
    }

    /// New flows that found no place in the table.
    #[must_use]
    pub const fn refused(&self) -> u64 {
        self.refused
    }

    /// Tracked flows, as of the last look at all of them.
    #[must_use]
    pub const fn tracked(&self) -> usize {
        self.tracked
    }

    /// Rows that move.
    #[must_use]
    pub fn moving_rows(&self) -> u32 {
        self.service().map_or(0, InstalledService::moving_rows)
    }

    /// Backends that the maps name, also those on their way out.
    #[must_use]
    pub fn backends(&self) -> usize {
        let service = self.service();
        service.map_or(0, |service| service.backends().count())
    }

    /// Whether nobody's flow stands in the table.
    #[must_use]
    pub fn remembers_nothing(&self) -> bool {
        self.image.tracked.iter().flatten().all(|entry| *entry == 0)
    }

    /// Bytes of the maps that grow with slots, backends and flows.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let Image {
            slots,
            times,
            tracked,
            backends,
            directory,
            ..
        } = &self.image;
        let rows = size_of_val(slots.as_slice()) + size_of_val(times.as_slice());
        let backends = backends.as_bytes().len() + directory.as_bytes().len();
        rows + backends + size_of_val(tracked.as_slice())
    }

    fn service(&self) -> Option<&InstalledService> {
        self.installed.service(vip(self.setup.protocol))
    }

    /// Another daemon takes over what it finds in the maps.
    ///
    /// # Panics
    ///
    /// Where they are inconsistent.
    pub fn restart(&mut self) {
        let adopted = desired::adopt(&self.image, SEED, &sizes(self.setup));
        self.installed = adopted.expect("consistent");
        self.tracks = Tracks::default();
    }

    /// Makes the maps say what the servers are.
    ///
    /// # Panics
    ///
    /// Where they do not fit.
    pub fn install(&mut self, servers: &[Server]) {
        let state = state(self.setup, servers);
        let moment = Moment {
            now: self.now,
            tracks: &self.tracks,
            has_traffic: &|_| true,
        };
        let plan = desired::diff(&self.installed, &state, &moment).expect("it fits");
        for change in &plan.changes {
            change.apply(&mut self.image).expect("a place in the maps");
        }
        self.installed = plan.after;
        if plan.ends_flows {
            self.now += 1;
            self.image.control.clock = self.now.into();
        }
    }

    /// A second passes: what packets find in the next one.
    pub fn next_second(&mut self) -> Image {
        self.now += 1;
        self.image.control.clock = self.now.into();
        self.image.clone()
    }

    /// What the daemon does at the end of a second, in which packets left this.
    ///
    /// # Panics
    ///
    /// Where the servers do not fit.
    pub fn look_after(&mut self, left: Host<'_>, servers: &[Server]) {
        let events = left.events();
        let refused = events.get(&TrackEvent::Refused).copied().unwrap_or(0);
        (self.image.times, self.image.tracked) = left.left();
        if refused > 0 {
            self.refused += refused;
            self.last_refused = self.now;
        }
        if self.now.is_multiple_of(2) {
            self.look();
        }
        let has_changed = self.rest();
        if self.installed.lingers() || has_changed {
            self.install(servers);
        }
    }

    /// Lets rows rest; whether any does.
    fn rest(&mut self) -> bool {
        let image = &self.image;
        let times = |element: u32, slot: u32| -> Times {
            let rows = image.times[(element + slot / ROWS_PER_ELEMENT) as usize];
            zerocopy::transmute!(rows[(slot % ROWS_PER_ELEMENT) as usize])
        };
        let Rested { changes, after, .. } =
            desired::rest(&self.installed, times, self.now, self.last_refused);
        for change in &changes {
            change.apply(&mut self.image).expect("a place in the maps");
        }
        self.installed = after;
        !changes.is_empty()
    }

    /// Looks at all tracked flows, and takes out what is over.
    fn look(&mut self) {
        self.tracks = Tracks {
            began: self.now,
            ..Tracks::default()
        };
        self.tracked = 0;
        for entry in self.image.tracked.iter_mut().flatten() {
            if Tracked(*entry).is_live(self.now, self.setup.idle.into()) {
                self.tracked += 1;
                let owner = Tracked(*entry).owner();
                self.tracks.owners.insert(owner as u16);
            } else {
                *entry = 0;
            }
        }
    }
}

/// What the servers are to the planner.
fn state(setup: Setup, servers: &[Server]) -> State {
    let configured = (0u8..).zip(servers);
    let backends = configured.filter(|(_, server)| server.is_configured);
    let vip = vip(setup.protocol);
    State {
        services: vec![Service {
            vip,
            slots: setup.slots,
            mss: 0,
            patience: Patience {
                idle: setup.idle,
                deadline: 0,
                resets: false,
                learns: setup.protocol == UDP,
                hands_over: false,
                refuses: false,
                affinity: 0,
            },
            backends: backends
                .map(|(number, server)| backend(number, server))
                .collect(),
        }],
        addresses: [(vip.address, lb_common::directory::VIP)].into(),
        pools: Vec::new(),
        interfaces: [(INGRESS, Interface::new(OUR_MAC, 1500, true))].into(),
        routes: Routes::default(),
        flows: 0,
        tracks: true,
        cut: None,
        specialisation: Specialisation::default(),
    }
}

const fn backend(number: u8, server: &Server) -> Backend {
    Backend {
        address: SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, number)), 8080),
        forwarding: Forwarding::Nat,
        shared: false,
        weight: server.weight,
        health: if server.is_down {
            Health::Down
        } else {
            Health::Up
        },
        live: !server.is_down && !server.is_drained,
        part: Part::WHOLE,
        keeps: !server.is_down,
        leaving: false,
        next_hop: NextHop::new([2, 0, 0, 0, 0, number], INGRESS, true),
        mtu: 1500,
    }
}

fn vip(protocol: u8) -> Vip {
    Vip {
        address: VIP.into(),
        ports: Ports::One(PORT),
        protocol: if protocol == UDP {
            Protocol::Udp
        } else {
            Protocol::Tcp
        },
    }
}

/// What a TCP packet says of its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// It goes on.
    None,
    /// It begins.
    Syn,
    /// It ends.
    Fin,
}

/// Sends a packet of a flow to the service; the number of the server that gets it.
///
/// # Panics
///
/// Where it is neither sent nor dropped.
#[must_use]
pub fn send(host: &Host<'_>, protocol: u8, flow: u32, signal: Signal) -> Option<u8> {
    let outcome = host.run(INGRESS, &frame(protocol, flow, signal));
    match outcome.verdict {
        Verdict::Transmit => Some(outcome.frame[33]),
        Verdict::Drop(_) => None,
        other => panic!("{other:?}"),
    }
}

/// The host build over the maps as they are in a second.
#[must_use]
pub fn host(image: &Image) -> Host<'_> {
    image.host(Fib::Unroutable)
}

/// A packet of a flow, whose number is the client's address and port.
#[must_use]
pub fn frame(protocol: u8, flow: u32, signal: Signal) -> Vec<u8> {
    let [a, b, c, d] = flow.to_be_bytes();
    let client = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(198, a, b, c)), 1024 + u16::from(d));
    let body = if protocol == TCP {
        Body::Tcp(TcpHeader {
            syn: signal == Signal::Syn,
            fin: signal == Signal::Fin,
            ack: signal != Signal::Syn,
            ..TcpHeader::new(
                0,
                0,
                flow.wrapping_add(u32::from(signal != Signal::Syn)),
                8192,
            )
        })
    } else {
        Body::of(UDP)
    };
    let frame = Frame {
        body,
        payload: Vec::new(),
        ..Frame::new(protocol, client, SocketAddr::new(VIP.into(), PORT))
    };
    frame.bytes()
}

const fn sizes(setup: Setup) -> Sizes {
    Sizes {
        sets: 64,
        elements: 2 * setup.slots / ROWS_PER_ELEMENT,
        backends: BACKENDS,
        interfaces: 16,
        lists: 4,
        pools: 4,
        paths: 4,
        flows: 64,
        buckets: setup.buckets,
    }
}

fn zeros<T: FromZeros>(entries: usize) -> Vec<T> {
    (0..entries).map(|_| T::new_zeroed()).collect()
}

/// Maps that say nothing.
fn empty(sizes: &Sizes) -> Image {
    let entries = |region: Region| sizes.entries(region) as usize;
    let constants = Constants {
        hash_key: [7, 9],
        set_shift: 64 - sizes.sets.ilog2(),
        ipv4: 1,
        modes: Mode::Nat.bit(),
        features: Feature::Tracking as u32,
        bucket_mask: sizes.buckets - 1,
        ..Constants::new_zeroed()
    };
    Image {
        constants,
        control: Control::default(),
        directory: zeros(entries(Region::Directory)),
        slots: vec![[0; ROWS_PER_ELEMENT as usize]; entries(Region::Slots)],
        times: vec![[0; ROWS_PER_ELEMENT as usize]; entries(Region::Times)],
        tracked: vec![[0; ENTRIES]; entries(Region::Tracked)],
        origins: vec![[0; ENTRIES]; entries(Region::Origins)],
        backends: zeros(entries(Region::Backends)),
        routes: zeros(4),
        interfaces: vec![Interface::default(); entries(Region::Interfaces)],
        ranges: zeros(entries(Region::Ranges)),
        pools: zeros(entries(Region::Pools)),
        paths: zeros(entries(Region::Paths)),
        flows: 64,
    }
}
