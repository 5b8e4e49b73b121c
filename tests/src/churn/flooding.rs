//! A flood that follows the traffic from balancer to balancer.

use std::net::SocketAddr;

use anyhow::Result;

use crate::{
    flood::{Bound, Flood, Flooded},
    pair::{Balancer, Second},
};

pub(super) struct Flooding<'t> {
    pair: &'t Second<'t>,
    vip: SocketAddr,
    bound: Bound,
    flood: Option<Flood<'t>>,
    before: Flooded,
}

impl<'t> Flooding<'t> {
    /// Nothing yet.
    pub(super) fn new(pair: &'t Second<'t>, vip: SocketAddr, bound: Bound) -> Self {
        Self {
            pair,
            vip,
            bound,
            flood: None,
            before: Flooded::default(),
        }
    }

    /// Floods this balancer, and no other one.
    pub(super) fn lead_through(&mut self, balancer: Balancer) -> Result<()> {
        self.stop()?;
        let wire = self.pair.wire(balancer)?;
        self.flood = Some(Flood::start(wire, self.vip, self.bound)?);
        Ok(())
    }

    /// Ends it; what it was.
    pub(super) fn stop(&mut self) -> Result<Flooded> {
        if let Some(flood) = self.flood.take() {
            self.before = self.before.and(flood.stop()?);
        }
        Ok(self.before)
    }
}
