//! All counters of the data path, to be compared before, after, and between kernel and host.

use lb_common::{counters::Traffic, verdict::FIRST_EVENT};

use crate::{
    image,
    kernel::{self, Kernel},
};

/// What the maps `REASONS`, but for events, and `STATS` say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counters {
    /// Packets by reason's number.
    pub reasons: Vec<u64>,
    /// Traffic by pair.
    pub traffic: Vec<Traffic>,
}

impl Counters {
    /// Nothing counted yet, for so many pairs.
    #[must_use]
    pub fn zero(pairs: usize) -> Self {
        Self {
            reasons: vec![0; FIRST_EVENT as usize],
            traffic: vec![Traffic::default(); pairs],
        }
    }

    /// What the kernel has counted since the program was loaded.
    #[must_use]
    pub fn of(kernel: &Kernel) -> Self {
        Self {
            reasons: (0..FIRST_EVENT)
                .map(|reason| kernel.reason(reason))
                .collect(),
            traffic: (0..kernel.pairs())
                .map(|pair| kernel.traffic(pair))
                .collect(),
        }
    }

    /// Adds what the host build made of a packet.
    pub fn add(&mut self, outcome: &image::Outcome) {
        if let (_, Some(reason)) = kernel::action(outcome.verdict) {
            self.reasons[reason as usize] += 1;
        }
        for (pair, traffic) in &outcome.counted {
            self.traffic[*pair as usize] += *traffic;
        }
    }

    /// Where other counters are not these, in words.
    #[must_use]
    pub fn difference(&self, found: &Self) -> String {
        let reasons = self.reasons.iter().zip(&found.reasons).enumerate();
        let reasons = reasons
            .filter(|(_, (expected, found))| expected != found)
            .map(|(number, (expected, found))| {
                format!("    reason {number}: {found}, expected {expected}\n")
            });
        let traffic = self.traffic.iter().zip(&found.traffic).enumerate();
        let traffic = traffic
            .filter(|(_, (expected, found))| expected != found)
            .map(|(pair, (expected, found))| {
                format!("    pair {pair}: {found:?}, expected {expected:?}\n")
            });
        reasons.chain(traffic).collect()
    }
}
