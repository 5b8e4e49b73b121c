//! What packets show of a backend beside their number: whether connections to it open, and whether it ends them.

use super::{Decision, Direction, Packet, Tables, probe, syn};
use crate::{
    attempt::{Signal, Step},
    hash,
    maps::Feature,
    wire::{Ip, transport::TCP},
};

impl<I: Ip> Packet<'_, I> {
    /// Counts it under the pair that gets it, or whose it is, unless it has to be changed first. `mss`: as of
    /// [`syn::check`]. Two features in one question: where neither is used, that is all that they cost.
    #[inline(always)]
    pub(super) fn count<'t, T: Tables>(
        &self,
        pair: u32,
        direction: Direction,
        mss: u16,
        tables: &T,
    ) -> Result<(), Decision<'t>> {
        if tables.uses_any(Feature::Mss as u32 | Feature::Signals as u32) {
            syn::check(self, mss, tables)?;
            self.signal(pair, direction, tables);
        }
        tables.count(pair, direction, self.len);
        Ok(())
    }

    #[inline(always)]
    fn signal<T: Tables>(&self, pair: u32, direction: Direction, tables: &T) {
        if !tables.uses(Feature::Signals) || self.transport.protocol != TCP {
            return;
        }
        let signal = match direction {
            Direction::Forward => self.attempt(pair, tables),
            Direction::Return => self.transport.is_reset().then_some(Signal::Reset),
        };
        if let Some(signal) = signal {
            tables.note_signal(pair, signal);
        }
    }

    /// What a client's packet shows; this host's own probes show nothing of clients.
    #[inline(always)]
    fn attempt<T: Tables>(&self, pair: u32, tables: &T) -> Option<Signal> {
        if probe::pair(Some(&self.transport), tables).is_some() {
            return None;
        }
        let (source, destination) = (self.ip.source(), self.ip.destination());
        let ports = self.transport.ports();
        let flow = hash::flow(tables.hash_key(), source, destination, ports, TCP);
        let before = tables.attempt(flow);
        let (after, signal) = before.after(Step {
            flow,
            sequence: self.transport.sequence(),
            opens: self.transport.opens(),
            pair,
            clock: tables.clock(),
        });
        if after != before {
            tables.set_attempt(flow, after);
        }
        signal
    }
}
