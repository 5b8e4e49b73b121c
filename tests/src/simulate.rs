//! Designs of balancers, each under the same trace of flows and changes: how many connections each breaks, and
//! what it remembers for that.
//!
//! * [`Plan`], [`trace`]: what happens. It does not depend on the design.
//! * [`Kind`], [`Design`]: who decides where packets go: [`maglev`], [`lru`], and xlb itself ([`xlb`]).
//! * [`play`]: the flows, and the judge: a flow is broken whose packet goes to another backend than its first one,
//!   though that lives. It is counted once, and ends.

mod lru;
mod maglev;
mod site;
mod trace;
mod xlb;

use std::fmt;

use self::{
    site::{Packet, Site},
    trace::{Second, Trace},
};
use crate::balancer::Server;

/// Slots of the table of xlb.
pub const SLOTS: u32 = 1 << 16;

/// How much there is of everything.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Of everything that is drawn.
    pub seed: u64,
    /// How long it takes.
    pub seconds: u32,
    /// Backends at the beginning.
    pub backends: u8,
    /// Backends that may be added.
    pub spare: u8,
    /// Flows that begin in each second.
    pub flows: u32,
    /// Seconds from one change to the next.
    pub pause: u32,
    /// SYNs of random clients, if any.
    pub flood: Option<Flood>,
    /// Balancers, each of which has its share of the flows.
    pub balancers: u32,
    /// Seconds from one balancer's death to that of the next; 0: all live.
    pub death: u32,
}

/// SYNs of random clients.
#[derive(Clone, Copy, Debug)]
pub struct Flood {
    /// The second in which it begins.
    pub from: u32,
    /// And that after its end.
    pub until: u32,
    /// SYNs in each second.
    pub rate: u32,
}

/// A design.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A Maglev table over the backends that take flows, and no memory.
    Maglev,
    /// The same, and the backends of so many flows, those that were seen last.
    Lru(usize),
    /// xlb, with so many buckets of tracked flows.
    Xlb(u32),
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Maglev => f.write_str("Maglev, no memory"),
            Self::Lru(entries) => write!(f, "Maglev and an LRU of {entries} flows"),
            Self::Xlb(buckets) => write!(f, "xlb, a table of {} flows", 8 * buckets),
        }
    }
}

impl Kind {
    /// A balancer of this design that was just started.
    fn start(self, servers: &[Server]) -> Box<dyn Design> {
        match self {
            Self::Maglev => Box::new(maglev::Maglev::new(servers)),
            Self::Lru(entries) => Box::new(lru::Lru::new(entries, servers)),
            Self::Xlb(buckets) => Box::new(xlb::Xlb::new(buckets, servers)),
        }
    }
}

/// A balancer: who gets a packet.
trait Design {
    /// The servers are others now.
    fn change(&mut self, servers: &[Server]);

    /// The packets of a second, in their order: the server that gets each, if any does.
    fn pass(&mut self, packets: &[Packet], servers: &[Server]) -> Vec<Option<u8>>;

    /// Flows that it remembers.
    fn entries(&self) -> usize;

    /// Flows that it had to remember, and could not.
    fn refused(&self) -> u64 {
        0
    }

    /// Bytes of its tables.
    fn bytes(&self) -> usize;
}

/// What came of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Flows that began.
    pub flows: u64,
    /// Those that broke though their backend lived.
    pub broken: u64,
    /// Those whose backend died.
    pub died: u64,
    /// Flows that were open at most.
    pub most_open: usize,
    /// Flows that one balancer remembered at most.
    pub most_entries: usize,
    /// Flows that had to be remembered, and could not.
    pub refused: u64,
    /// Bytes of one balancer's tables.
    pub bytes: usize,
}

/// A flow that is open.
#[derive(Clone, Copy, Debug)]
struct Flow {
    number: u32,
    /// The second in which it ends.
    ends: u32,
    /// Seconds from one packet to the next.
    beat: u32,
    server: u8,
    /// How often that had died before.
    life: u32,
}

/// Plays a plan to a design.
#[must_use]
pub fn play(kind: Kind, plan: &Plan) -> Outcome {
    let mut trace = Trace::new(plan);
    let mut run = Run {
        site: Site::new(kind, plan, trace.servers()),
        flows: Vec::new(),
        outcome: Outcome::default(),
    };
    while let Some(second) = trace.next_second() {
        run.second(&second, trace.servers());
    }
    run.outcome.refused = run.site.refused();
    run.outcome
}

struct Run {
    site: Site,
    flows: Vec<Flow>,
    outcome: Outcome,
}

impl Run {
    fn second(&mut self, second: &Second, servers: &[Server]) {
        self.site.live(second.dead, servers);
        if second.has_changed {
            self.site.change(servers);
        }
        let now = second.number;
        self.flows.retain(|flow| flow.ends > now);
        let died = |flow: &Flow| servers[usize::from(flow.server)].deaths != flow.life;
        let before = self.flows.len();
        self.flows.retain(|flow| !died(flow));
        self.outcome.died += (before - self.flows.len()) as u64;
        let (due, rest): (Vec<Flow>, Vec<Flow>) = std::mem::take(&mut self.flows)
            .into_iter()
            .partition(|flow| (now + flow.number).is_multiple_of(flow.beat));
        let packets = packets(&due, second);
        let found = self.site.pass(&packets, servers);
        self.flows = rest;
        self.judge(&due, &found);
        self.begin(second, &found[due.len()..], servers);
        let Outcome {
            most_open,
            most_entries,
            bytes,
            ..
        } = &mut self.outcome;
        *most_open = self.flows.len().max(*most_open);
        *most_entries = self.site.entries().max(*most_entries);
        *bytes = self.site.bytes();
    }

    /// Keeps the flows whose packets went where they belong.
    fn judge(&mut self, due: &[Flow], found: &[Option<u8>]) {
        for (flow, found) in due.iter().zip(found) {
            if *found == Some(flow.server) {
                self.flows.push(*flow);
            } else {
                self.outcome.broken += 1;
            }
        }
    }

    /// Flows begin: a SYN, and a packet that must go after it.
    fn begin(&mut self, second: &Second, found: &[Option<u8>], servers: &[Server]) {
        for (begun, found) in second.begun.iter().zip(found.chunks(2)) {
            let &[Some(server), then] = found else {
                continue;
            };
            self.outcome.flows += 1;
            if then != Some(server) {
                self.outcome.broken += 1;
                continue;
            }
            self.flows.push(Flow {
                number: begun.number,
                ends: second.number + begun.seconds,
                beat: begun.beat,
                server,
                life: servers[usize::from(server)].deaths,
            });
        }
    }
}

/// Those of flows that go on, of those that begin, and of the flood.
fn packets(due: &[Flow], second: &Second) -> Vec<Packet> {
    let packet = |flow, opens| Packet { flow, opens };
    let due = due.iter().map(|flow| packet(flow.number, false));
    let begun = second.begun.iter().map(|begun| begun.number);
    let begun = begun.flat_map(|flow| [packet(flow, true), packet(flow, false)]);
    let flood = second.flood.clone().map(|flow| packet(flow, true));
    due.chain(begun).chain(flood).collect()
}
