//! Flows against an oracle: whatever happens to a service, a packet of a flow goes to the backend that the
//! flow began with, as long as that keeps its flows.
//!
//! The planner's stores go into maps in the host's memory, and packets take the host build's way over
//! them: all that is missing is the kernel. Time is counted, not waited for.
#![expect(
    clippy::cast_possible_truncation,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "tests panic, so that the place is known; numbers are small"
)]

use std::collections::HashSet;

use lb_tests::{
    balancer::{self, Balancer, Server, Setup, Signal},
    image::Host,
    packet::{TCP, UDP},
    random::Random,
};

const IDLE: u32 = 60;
const SLOTS: u32 = 1 << 10;
const BACKENDS: u8 = 12;

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
    buckets: u32,
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
    balancer: Balancer,
    servers: [Server; BACKENDS as usize],
    flows: Vec<Flow>,
    begun: u32,
    log: Vec<String>,
    stats: Stats,
}

#[derive(Debug, Default)]
struct Stats {
    packets: u64,
    lost_with_their_server: u64,
    reconnected: u64,
    most_tracked: usize,
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
        let refused = model.balancer.refused();
        println!("{scale:?}: {refused} refused, {:?}", model.stats);
        let packets = model.stats.packets;
        assert!(packets > scale.flows as u64);
        assert!(refused > 0 || scale.buckets > 100, "{:?}", model.stats);
        model.settle();
    }

    fn new(scale: Scale) -> Self {
        let mut servers = [Server::default(); BACKENDS as usize];
        servers[..6].fill(Server::READY);
        let setup = Setup {
            protocol: scale.protocol,
            slots: SLOTS,
            idle: IDLE as u16,
            buckets: scale.buckets,
        };
        Self {
            scale,
            random: Random::new(scale.seed),
            balancer: Balancer::new(setup, &servers),
            servers,
            flows: Vec::new(),
            begun: 0,
            log: Vec::new(),
            stats: Stats::default(),
        }
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
                    deaths: server.deaths,
                    ..Server::READY
                };
            }
            3 => server.is_configured = false,
            4 if !server.is_down && server.is_configured => {
                server.die();
            }
            4 | 5 => server.is_down = false,
            6 => {
                self.balancer.restart();
                self.stats.restarts += 1;
            }
            _ => server.is_drained ^= true,
        }
        let now = self.balancer.now();
        self.log.push(format!("{now}: {what} of {number}"));
        // What died on its way out has no flows that could go on.
        self.balancer.install(&self.servers);
    }

    /// A second passes: some flows begin, others go on, and the daemon looks after the maps.
    fn tick(&mut self, begin: usize) {
        let image = self.balancer.next_second();
        let host = balancer::host(&image);
        self.go_on(&host);
        for _ in 0..begin {
            self.begin(&host);
        }
        self.balancer.look_after(host, &self.servers);
        let Stats {
            most_tracked,
            most_moving,
            ..
        } = &mut self.stats;
        *most_tracked = self.balancer.tracked().max(*most_tracked);
        *most_moving = self.balancer.moving_rows().max(*most_moving);
    }

    /// The flows whose turn it is send their next packet.
    fn go_on(&mut self, host: &Host<'_>) {
        let (beat, now) = (self.scale.beat, self.balancer.now());
        let mut flows = std::mem::take(&mut self.flows);
        flows.retain_mut(|flow| {
            // Seconds may be left out.
            if !(now + flow.number).is_multiple_of(beat) && now < flow.seen + beat {
                return true;
            }
            let server = self.servers[usize::from(flow.server)];
            if server.deaths != flow.life {
                self.stats.lost_with_their_server += 1;
                return false;
            }
            assert!(now - flow.seen < IDLE);
            flow.seen = now;
            let found = self.send(host, flow.number, Signal::None);
            if found != Some(flow.server) {
                let first = self.log.len().saturating_sub(30);
                panic!(
                    "{flow:?} went to {found:?} at {now}, after\n{}",
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
            seen: self.balancer.now(),
        });
    }

    /// Sends a packet; the server that gets it.
    fn send(&mut self, host: &Host<'_>, flow: u32, signal: Signal) -> Option<u8> {
        self.stats.packets += 1;
        balancer::send(host, self.scale.protocol, flow, signal)
    }

    /// Without flows and changes everything comes to rest, and nobody is named who is not configured.
    fn settle(&mut self) {
        self.flows.clear();
        for _ in 0..4 * IDLE {
            self.tick(0);
        }
        assert_eq!(self.balancer.moving_rows(), 0);
        let configured = self.servers.iter().filter(|server| server.is_configured);
        assert_eq!(self.balancer.backends(), configured.count());
        assert!(self.balancer.remembers_nothing());
    }
}

#[test]
fn each_flow_has_a_frame_of_its_own() {
    let frame = |flow| balancer::frame(TCP, flow, Signal::None);
    let frames: HashSet<Vec<u8>> = (0..2000).map(frame).collect();
    assert_eq!(frames.len(), 2000);
}
