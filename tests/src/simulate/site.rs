//! Balancers behind a router that gives each flow to one of those that live, and moves no flow but those of a
//! balancer that dies or returns.

use lb_common::hash;

use super::{Design, Kind, Plan};
use crate::balancer::Server;

/// A packet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Packet {
    /// Its flow.
    pub(super) flow: u32,
    /// Whether it is a SYN.
    pub(super) opens: bool,
}

/// The balancers.
pub(super) struct Site {
    kind: Kind,
    /// `None`: dead, and all that it knew is lost.
    balancers: Vec<Option<Box<dyn Design>>>,
    /// Of those that died.
    refused: u64,
}

impl Site {
    /// All live.
    pub(super) fn new(kind: Kind, plan: &Plan, servers: &[Server]) -> Self {
        let balancers = (0..plan.balancers).map(|_| Some(kind.start(servers)));
        Self {
            kind,
            balancers: balancers.collect(),
            refused: 0,
        }
    }

    /// All live but this one.
    pub(super) fn live(&mut self, dead: Option<u32>, servers: &[Server]) {
        for (number, balancer) in (0..).zip(&mut self.balancers) {
            if Some(number) == dead {
                let refused = balancer.take().map_or(0, |balancer| balancer.refused());
                self.refused += refused;
            } else {
                balancer.get_or_insert_with(|| self.kind.start(servers));
            }
        }
    }

    /// The servers are others now.
    pub(super) fn change(&mut self, servers: &[Server]) {
        for balancer in self.balancers.iter_mut().flatten() {
            balancer.change(servers);
        }
    }

    /// The server that gets each packet.
    pub(super) fn pass(&mut self, packets: &[Packet], servers: &[Server]) -> Vec<Option<u8>> {
        let mut found = vec![None; packets.len()];
        let ways: Vec<Option<usize>> = packets.iter().map(|it| self.way(it.flow)).collect();
        for (number, balancer) in self.balancers.iter_mut().enumerate() {
            let Some(balancer) = balancer else {
                continue;
            };
            let mine = |place: &usize| ways[*place] == Some(number);
            let places: Vec<usize> = (0..packets.len()).filter(mine).collect();
            let packets: Vec<Packet> = places.iter().map(|place| packets[*place]).collect();
            for (place, server) in places.into_iter().zip(balancer.pass(&packets, servers)) {
                found[place] = server;
            }
        }
        found
    }

    /// The live balancer that comes first in a flow's ranking.
    fn way(&self, flow: u32) -> Option<usize> {
        let score = |number: &usize| hash::mix(hash::mix(flow.into()) ^ hash::mix(*number as u64));
        let live = |number: &usize| self.balancers[*number].is_some();
        (0..self.balancers.len()).filter(live).max_by_key(score)
    }

    /// Flows that the one that remembers most of them does.
    pub(super) fn entries(&self) -> usize {
        let live = self.balancers.iter().flatten();
        live.map(|balancer| balancer.entries()).max().unwrap_or(0)
    }

    /// Flows that could not be remembered.
    pub(super) fn refused(&self) -> u64 {
        let live = self.balancers.iter().flatten();
        self.refused + live.map(|balancer| balancer.refused()).sum::<u64>()
    }

    /// Bytes of one balancer's tables.
    pub(super) fn bytes(&self) -> usize {
        let live = self.balancers.iter().flatten();
        live.map(|balancer| balancer.bytes()).max().unwrap_or(0)
    }
}
