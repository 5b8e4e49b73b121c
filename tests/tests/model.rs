//! Flows against an oracle: whatever happens to a service, a packet of a flow goes to the backend that the
//! flow began with, as long as that keeps its flows.
//!
//! The planner's stores go into maps in the host's memory, and packets take the host build's way over
//! them: all that is missing is the kernel. Time is counted, not waited for.
#![expect(
    clippy::cast_possible_truncation,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "tests panic, so that the place is known; numbers are small"
)]

use std::{
    collections::{BTreeMap, HashMap},
    net::{IpAddr, Ipv4Addr, SocketAddr},
};

use lb_common::{
    Verdict,
    datapath::Fib,
    interface::Interface,
    maps::{Constants, Control, Feature},
    next_hop::NextHop,
    row::{ROWS_PER_ELEMENT, Times},
    tracked::{ENTRIES, Tracked},
    verdict::TrackEvent,
};
use lb_tests::{
    frame::{Body, Frame, TcpHeader},
    image::{Host, Image},
    kernel::INGRESS,
    packet::{OUR_MAC, TCP, UDP},
    random::Random,
};
use lb_userspace::{
    config::model::{Ports, Protocol, Vip},
    dataplane::sizes::Sizes,
    desired::{
        self, Backend, Forwarding, Installed, Moment, Patience, Region, Rested, Routes, Service,
        Specialisation, State, Tracks,
    },
    health::Health,
};
use zerocopy::FromZeros;

const SEED: u64 = 0x5eed;
const IDLE: u32 = 60;
const SLOTS: u32 = 1 << 10;
const BACKENDS: u8 = 12;
/// The first backends of all, which the service may have.
const VIP: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);
const PORT: u16 = 80;

/// How much there is of everything.
#[derive(Clone, Copy, Debug)]
struct Scale {
    seed: u64,
    protocol: u8,
    /// Flows that begin, all in all.
    flows: usize,
    /// Changes of the configuration and of health.
    changes: usize,
    /// Seconds after each.
    seconds: u32,
    /// Seconds from one packet of a flow to its next.
    beat: u32,
    /// Buckets of the table.
    buckets: usize,
}

const FEW: Scale = Scale {
    seed: 1,
    protocol: TCP,
    flows: 20_000,
    changes: 100,
    seconds: 5,
    beat: 20,
    buckets: 1 << 12,
};

#[test]
fn tcp_flows_stay_where_they_began() {
    Model::play(FEW);
}

#[test]
fn a_table_without_room_breaks_nothing() {
    Model::play(Scale {
        seed: 2,
        buckets: 4,
        ..FEW
    });
}

#[test]
fn udp_flows_stay_where_they_began() {
    Model::play(Scale {
        seed: 3,
        protocol: UDP,
        seconds: 40,
        ..FEW
    });
}

#[test]
fn udp_flows_stay_though_the_table_has_no_room() {
    Model::play(Scale {
        seed: 4,
        protocol: UDP,
        seconds: 40,
        buckets: 4,
        ..FEW
    });
}

#[test]
fn a_million_flows_and_a_thousand_changes() {
    Model::play(Scale {
        seed: 5,
        flows: 1_000_000,
        changes: 1000,
        seconds: 1,
        beat: 30,
        buckets: 1 << 15,
        ..FEW
    });
}

/// A backend, as the oracle knows it.
#[derive(Clone, Copy, Debug, Default)]
struct Server {
    /// Whether the file has it; else it is gone, or on its way out.
    is_configured: bool,
    weight: u16,
    is_drained: bool,
    is_down: bool,
    /// How often it has died.
    deaths: u32,
}

/// A flow, and the server that it began with, in which of its lives.
#[derive(Clone, Copy, Debug)]
struct Flow {
    number: u32,
    server: u8,
    life: u32,
    seen: u32,
}

struct Model {
    scale: Scale,
    random: Random,
    image: Image,
    installed: Installed,
    servers: [Server; BACKENDS as usize],
    tracks: Tracks,
    refused: (u64, u32),
    now: u32,
    flows: Vec<Flow>,
    begun: u32,
    log: Vec<String>,
    stats: Stats,
}

#[derive(Debug, Default)]
struct Stats {
    packets: u64,
    lost_with_their_server: u64,
    refused: u64,
    reconnected: u64,
    most_tracked: u64,
    most_moving: u32,
    restarts: u64,
}

impl Model {
    fn play(scale: Scale) {
        let mut model = Self::new(scale);
        let at_a_time = scale.flows / scale.changes;
        for _ in 0..scale.changes {
            model.change();
            for second in 0..scale.seconds {
                model.tick(if second == 0 { at_a_time } else { 0 });
            }
        }
        println!("{scale:?}: {:?}", model.stats);
        let Stats {
            packets, refused, ..
        } = model.stats;
        assert!(packets > scale.flows as u64);
        assert!(refused > 0 || scale.buckets > 100, "{:?}", model.stats);
        model.settle();
    }

    fn new(scale: Scale) -> Self {
        let sizes = sizes(scale.buckets as u32);
        let mut servers = [Server::default(); BACKENDS as usize];
        for server in &mut servers[..6] {
            server.is_configured = true;
            server.weight = 1;
        }
        let mut model = Self {
            scale,
            random: Random::new(scale.seed),
            image: empty(&sizes),
            installed: Installed::empty(SEED, &sizes),
            servers,
            tracks: Tracks::default(),
            refused: (0, 0),
            now: 1000,
            flows: Vec::new(),
            begun: 0,
            log: Vec::new(),
            stats: Stats::default(),
        };
        model.image.control.clock = model.now.into();
        model.install();
        model
    }

    /// One of the things that happen to services.
    fn change(&mut self) {
        let number = self.random.below(usize::from(BACKENDS));
        let what = self.random.below(8);
        let server = &mut self.servers[number];
        match what {
            0 => server.is_drained = true,
            1 => server.is_drained = false,
            2 => server.weight = 1 + self.random.below(4) as u16,
            3 if !server.is_configured => {
                // What comes back begins anew.
                *server = Server {
                    is_configured: true,
                    weight: 1,
                    deaths: server.deaths,
                    ..Server::default()
                };
            }
            3 => server.is_configured = false,
            4 if !server.is_down && server.is_configured => {
                server.is_down = true;
                server.deaths += 1;
            }
            4 | 5 => server.is_down = false,
            6 => {
                let sizes = sizes(self.scale.buckets as u32);
                self.installed = desired::adopt(&self.image, SEED, &sizes).expect("consistent");
                self.tracks = Tracks::default();
                self.stats.restarts += 1;
            }
            _ => server.is_drained ^= true,
        }
        self.log.push(format!("{}: {what} of {number}", self.now));
        // What died on its way out has no flows that could go on.
        self.install();
    }

    fn install(&mut self) {
        let state = self.state();
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

    fn state(&self) -> State {
        let configured = (0u8..).zip(&self.servers);
        let backends = configured.filter(|(_, server)| server.is_configured);
        let backend = |(number, server): (u8, &Server)| Backend {
            address: address(number),
            forwarding: Forwarding::Nat,
            shared: false,
            weight: server.weight,
            health: if server.is_down {
                Health::Down
            } else {
                Health::Up
            },
            live: !server.is_down && !server.is_drained,
            keeps: !server.is_down,
            leaving: false,
            next_hop: NextHop::new([2, 0, 0, 0, 0, number], INGRESS, true),
            mtu: 1500,
        };
        let vip = vip(self.scale.protocol);
        State {
            services: vec![Service {
                vip,
                slots: SLOTS,
                mss: 0,
                patience: Patience {
                    idle: IDLE as u16,
                    deadline: 0,
                    resets: false,
                    learns: self.scale.protocol == UDP,
                    affinity: 0,
                },
                backends: backends.map(backend).collect(),
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

    /// A second passes: some flows begin, others go on, and the daemon looks after the maps.
    fn tick(&mut self, begin: usize) {
        self.now += 1;
        self.image.control.clock = self.now.into();
        let image = self.image.clone();
        let host = image.host(Fib::Unroutable);
        self.go_on(&host);
        for _ in 0..begin {
            self.begin(&host);
        }
        let events = host.events();
        let refused = events.get(&TrackEvent::Refused).copied().unwrap_or(0);
        (self.image.times, self.image.tracked) = host.left();
        if refused > 0 {
            self.refused = (self.refused.0 + refused, self.now);
            self.stats.refused += refused;
        }
        self.look_after();
    }

    /// The flows whose turn it is send their next packet.
    fn go_on(&mut self, host: &Host<'_>) {
        let beat = self.scale.beat;
        let mut flows = std::mem::take(&mut self.flows);
        flows.retain_mut(|flow| {
            // Seconds may be left out.
            if !(self.now + flow.number).is_multiple_of(beat) && self.now < flow.seen + beat {
                return true;
            }
            let server = self.servers[usize::from(flow.server)];
            if server.deaths != flow.life {
                self.stats.lost_with_their_server += 1;
                return false;
            }
            assert!(self.now - flow.seen < IDLE);
            flow.seen = self.now;
            let found = self.send(host, flow.number, Signal::None);
            if found != Some(flow.server) {
                let first = self.log.len().saturating_sub(30);
                panic!(
                    "{flow:?} went to {found:?} at {}, after\n{}",
                    self.now,
                    self.log[first..].join("\n")
                );
            }
            if self.scale.protocol == TCP && self.random.chance(5) {
                self.reconnect(host, flow);
            }
            true
        });
        self.flows = flows;
    }

    /// The client ends a connection, and opens another one from the same port, which may go elsewhere.
    fn reconnect(&mut self, host: &Host<'_>, flow: &mut Flow) {
        assert_eq!(self.send(host, flow.number, Signal::Fin), Some(flow.server));
        if let Some(server) = self.send(host, flow.number, Signal::Syn) {
            assert_eq!(
                self.send(host, flow.number, Signal::None),
                Some(server),
                "{:?}",
                self.log.last()
            );
            flow.server = server;
            flow.life = self.servers[usize::from(server)].deaths;
            self.stats.reconnected += 1;
        } else {
            // Nobody takes new ones: it goes on as it was.
            assert_eq!(
                self.send(host, flow.number, Signal::None),
                Some(flow.server)
            );
        }
    }

    fn begin(&mut self, host: &Host<'_>) {
        let number = self.begun;
        self.begun += 1;
        let Some(server) = self.send(host, number, Signal::Syn) else {
            return;
        };
        // The client's next packet comes at once.
        if self.scale.protocol == TCP {
            assert_eq!(self.send(host, number, Signal::None), Some(server));
        }
        self.flows.push(Flow {
            number,
            server,
            life: self.servers[usize::from(server)].deaths,
            seen: self.now,
        });
    }

    /// Sends a packet; the server that gets it.
    fn send(&mut self, host: &Host<'_>, flow: u32, signal: Signal) -> Option<u8> {
        self.stats.packets += 1;
        let outcome = host.run(INGRESS, &frame(self.scale.protocol, flow, signal));
        match outcome.verdict {
            Verdict::Transmit => Some(outcome.frame[33]),
            Verdict::Drop(_) => None,
            other => panic!("{other:?}"),
        }
    }

    /// What the daemon does every second, and the looks at the tracked flows.
    fn look_after(&mut self) {
        if self.now.is_multiple_of(2) {
            self.look();
        }
        let image = &self.image;
        let times = |element: u32, slot: u32| -> Times {
            let rows = image.times[(element + slot / ROWS_PER_ELEMENT) as usize];
            zerocopy::transmute!(rows[(slot % ROWS_PER_ELEMENT) as usize])
        };
        let Rested { changes, after, .. } =
            desired::rest(&self.installed, times, self.now, self.refused.1);
        for change in &changes {
            change.apply(&mut self.image).expect("a place in the maps");
        }
        self.installed = after;
        let service = self.installed.service(vip(self.scale.protocol));
        let moving = service.map_or(0, desired::InstalledService::moving_rows);
        self.stats.most_moving = self.stats.most_moving.max(moving);
        if self.installed.lingers() || !changes.is_empty() {
            self.install();
        }
    }

    fn look(&mut self) {
        self.tracks = Tracks {
            began: self.now,
            ..Tracks::default()
        };
        let mut live = 0;
        for entry in self.image.tracked.iter_mut().flatten() {
            if Tracked(*entry).is_live(self.now, IDLE) {
                live += 1;
                let owner = Tracked(*entry).owner();
                self.tracks.owners.insert(owner as u16);
            } else {
                *entry = 0;
            }
        }
        self.stats.most_tracked = self.stats.most_tracked.max(live);
    }

    /// Without flows and changes everything comes to rest, and nobody is named who is not configured.
    fn settle(&mut self) {
        self.flows.clear();
        for _ in 0..4 * IDLE {
            self.tick(0);
        }
        let service = self.installed.service(vip(self.scale.protocol));
        let service = service.expect("it is there");
        assert_eq!(service.moving_rows(), 0);
        let configured = self.servers.iter().filter(|server| server.is_configured);
        assert_eq!(service.backends().count(), configured.count());
        assert!(self.image.tracked.iter().flatten().all(|entry| *entry == 0));
    }
}

fn vip(protocol: u8) -> Vip {
    Vip {
        address: VIP.into(),
        ports: Ports::One(PORT),
        protocol: if protocol == TCP {
            Protocol::Tcp
        } else {
            Protocol::Udp
        },
    }
}

const fn address(number: u8) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, number)), 8080)
}

/// What a TCP packet says of its connection.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Signal {
    None,
    Syn,
    Fin,
}

/// A packet of a flow, whose number is the client's address and port.
fn frame(protocol: u8, flow: u32, signal: Signal) -> Vec<u8> {
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

const fn sizes(buckets: u32) -> Sizes {
    Sizes {
        sets: 64,
        elements: 2 * SLOTS / ROWS_PER_ELEMENT,
        backends: 256,
        interfaces: 16,
        lists: 4,
        pools: 4,
        paths: 4,
        flows: 64,
        buckets,
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
        modes: lb_common::backend::Mode::Nat.bit(),
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

#[test]
fn each_flow_has_a_frame_of_its_own() {
    let frames: HashMap<Vec<u8>, u32> = (0..2000)
        .map(|flow| (frame(TCP, flow, Signal::None), flow))
        .collect();
    assert_eq!(frames.len(), 2000);
    let by_server: BTreeMap<SocketAddr, u8> = (0..BACKENDS).map(|n| (address(n), n)).collect();
    assert_eq!(by_server.len(), usize::from(BACKENDS));
}
