//! What happens, second by second: the same for every design.

use std::ops::Range;

use super::{Flood, Plan};
use crate::{balancer::Server, random::Random};

/// Seconds that a backend is down.
const DOWN: u32 = 10;
/// Seconds that a balancer is.
const DEAD: u32 = 30;
/// Numbers of flows from here on are those of a flood.
const FLOOD: u32 = 1 << 31;

/// Flows of a class: of each hundred so many, their mean life, and the time from packet to packet; seconds.
#[derive(Clone, Copy)]
struct Class {
    percent: usize,
    life: f64,
    beat: u32,
}

/// Requests that are soon over, and sessions that say something now and then.
const CLASSES: [Class; 2] = [
    Class {
        percent: 80,
        life: 5.0,
        beat: 1,
    },
    Class {
        percent: 20,
        life: 80.0,
        beat: 20,
    },
];

/// What happens in a second.
#[derive(Clone, Debug)]
pub(super) struct Second {
    /// Its number.
    pub(super) number: u32,
    /// Whether servers are others than before.
    pub(super) has_changed: bool,
    /// The balancer that is dead, if any is.
    pub(super) dead: Option<u32>,
    /// Flows that begin.
    pub(super) begun: Vec<Begun>,
    /// Flows that a flood opens and forgets.
    pub(super) flood: Range<u32>,
}

/// A flow that begins.
#[derive(Clone, Copy, Debug)]
pub(super) struct Begun {
    pub(super) number: u32,
    /// How long it lasts.
    pub(super) seconds: u32,
    /// From one packet to the next.
    pub(super) beat: u32,
}

/// All that happens.
#[derive(Clone, Debug)]
pub(super) struct Trace {
    plan: Plan,
    random: Random,
    servers: Vec<Server>,
    /// Which come back, and when.
    down: Vec<(u32, usize)>,
    second: u32,
    flows: u32,
    flood: u32,
}

impl Trace {
    /// From its beginning.
    pub(super) fn new(plan: &Plan) -> Self {
        let mut servers = vec![Server::READY; plan.backends.into()];
        servers.resize((plan.backends + plan.spare).into(), Server::default());
        Self {
            plan: *plan,
            random: Random::new(plan.seed),
            servers,
            down: Vec::new(),
            second: 0,
            flows: 0,
            flood: FLOOD,
        }
    }

    /// The servers, as they are in the second that came last.
    pub(super) fn servers(&self) -> &[Server] {
        &self.servers
    }

    /// The next second, if there is one.
    pub(super) fn next_second(&mut self) -> Option<Second> {
        self.second += 1;
        let number = self.second;
        if number > self.plan.seconds {
            return None;
        }
        let returned = self.come_back();
        let changes = number.is_multiple_of(self.plan.pause);
        if changes {
            self.change();
        }
        Some(Second {
            number,
            has_changed: returned || changes,
            dead: self.dead(),
            begun: (0..self.plan.flows).map(|_| self.begin()).collect(),
            flood: self.flood(),
        })
    }

    /// Servers come back that were down; whether any does.
    fn come_back(&mut self) -> bool {
        let (back, down) = self
            .down
            .iter()
            .partition(|(second, _)| *second <= self.second);
        self.down = down;
        let back: Vec<(u32, usize)> = back;
        for (_, server) in &back {
            self.servers[*server].is_down = false;
        }
        !back.is_empty()
    }

    /// One of the things that happen to backends.
    fn change(&mut self) {
        let number = self.random.below(self.servers.len());
        let what = self.random.below(4);
        let (taking, all) = (self.taking(), self.servers.len());
        let server = &mut self.servers[number];
        let spare = taking > all / 2;
        match what {
            _ if !server.is_configured => {
                *server = Server {
                    deaths: server.deaths,
                    ..Server::READY
                }
            }
            _ if server.is_drained => server.is_drained = false,
            0 | 1 if spare => server.is_drained = true,
            2 if spare && !server.is_down => {
                server.die();
                self.down.push((self.second + DOWN, number));
            }
            _ => server.weight = 1 + self.random.below(4) as u16,
        }
    }

    fn taking(&self) -> usize {
        let taking = self.servers.iter().filter(|server| server.takes_flows());
        taking.count()
    }

    /// Balancers die in turn.
    fn dead(&self) -> Option<u32> {
        let Plan {
            death, balancers, ..
        } = self.plan;
        if death == 0 {
            return None;
        }
        let (deaths, since) = (self.second / death, self.second % death);
        (deaths > 0 && since < DEAD).then_some(deaths % balancers)
    }

    fn begin(&mut self) -> Begun {
        let number = self.flows;
        self.flows += 1;
        let [short, long] = CLASSES;
        let class = if self.random.chance(short.percent) {
            short
        } else {
            long
        };
        Begun {
            number,
            seconds: 1 + self.exponential(class.life),
            beat: class.beat,
        }
    }

    /// Seconds that are distributed exponentially.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_sign_loss,
        reason = "53 of 64 random bits, and positive numbers below 4,000"
    )]
    fn exponential(&mut self, mean: f64) -> u32 {
        let uniform = ((self.random.bits() >> 11) + 1) as f64 / (1u64 << 53) as f64;
        (-uniform.ln() * mean) as u32
    }

    fn flood(&mut self) -> Range<u32> {
        let is_on = |flood: &Flood| (flood.from..flood.until).contains(&self.second);
        let rate = self.plan.flood.filter(is_on).map_or(0, |flood| flood.rate);
        let first = self.flood;
        self.flood += rate;
        first..self.flood
    }
}

const _: () = assert!(CLASSES[0].percent + CLASSES[1].percent == 100);
