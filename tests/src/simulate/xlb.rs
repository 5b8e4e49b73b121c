//! xlb itself: its planner, and the host build of its data path.

use super::{Design, SLOTS, site::Packet};
use crate::{
    balancer::{self, Balancer, Server, Setup, Signal},
    packet::TCP,
};

/// Seconds that a flow may be silent: three times as long as sessions of the trace are.
const IDLE: u16 = 60;

/// The maps, and the planner.
#[derive(Debug)]
pub(super) struct Xlb(Balancer);

impl Xlb {
    /// With so many buckets of tracked flows.
    pub(super) fn new(buckets: u32, servers: &[Server]) -> Self {
        let setup = Setup {
            protocol: TCP,
            slots: SLOTS,
            idle: IDLE,
            buckets,
        };
        Self(Balancer::new(setup, servers))
    }
}

impl Design for Xlb {
    fn change(&mut self, servers: &[Server]) {
        self.0.install(servers);
    }

    fn pass(&mut self, packets: &[Packet], servers: &[Server]) -> Vec<Option<u8>> {
        let image = self.0.next_second();
        let host = balancer::host(&image);
        let send = |packet: &Packet| {
            let signal = if packet.opens {
                Signal::Syn
            } else {
                Signal::None
            };
            balancer::send(&host, TCP, packet.flow, signal)
        };
        let found = packets.iter().map(send).collect();
        self.0.look_after(host, servers);
        found
    }

    fn entries(&self) -> usize {
        self.0.tracked()
    }

    fn refused(&self) -> u64 {
        self.0.refused()
    }

    fn bytes(&self) -> usize {
        self.0.bytes()
    }
}
