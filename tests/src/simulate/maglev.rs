//! Maglev hashing: D. Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load Balancer", NSDI 2016,
//! §3.4. A weight alters how often a backend has its turn.

use lb_common::hash;

use super::{Design, site::Packet};
use crate::balancer::Server;

/// Entries of the table: the smaller size of the paper, a prime.
const SIZE: usize = 65_537;

/// Independent hashes of backends, and that of flows.
const OFFSET: u64 = 0x0ff5_e700_0000_0001;
const SKIP: u64 = 0x5c19_0000_0000_0003;
const FLOW: u64 = 0xf10e_0000_0000_0005;

const fn hashed(what: u64, seed: u64) -> usize {
    hash::mix(hash::mix(what ^ seed).wrapping_add(seed)) as usize
}

/// The table over the backends that take flows.
#[derive(Debug)]
pub(super) struct Table {
    /// Empty where nobody takes flows.
    owners: Vec<u8>,
}

/// A backend that fills the table.
struct Turn {
    server: u8,
    weight: u16,
    /// Of its turn: it has one when that has grown to the largest weight.
    credit: u16,
    /// The entry that it prefers of those that it has not asked for.
    next: usize,
    skip: usize,
}

impl Turn {
    fn new(number: u8, weight: u16) -> Self {
        Self {
            server: number,
            weight,
            credit: 0,
            next: hashed(number.into(), OFFSET) % SIZE,
            skip: hashed(number.into(), SKIP) % (SIZE - 1) + 1,
        }
    }

    /// Takes the free entry that it prefers.
    fn take(&mut self, owners: &mut [Option<u8>]) {
        loop {
            let place = self.next;
            self.next = (place + self.skip) % SIZE;
            if owners[place].is_none() {
                owners[place] = Some(self.server);
                return;
            }
        }
    }
}

impl Table {
    /// "Pseudocode 1: Populate Maglev hashing lookup table".
    pub(super) fn new(servers: &[Server]) -> Self {
        let taking = (0..).zip(servers).filter(|(_, it)| it.takes_flows());
        let mut turns: Vec<Turn> = taking.map(|(n, it)| Turn::new(n, it.weight)).collect();
        let most = turns.iter().map(|turn| turn.weight).max();
        let Some(most) = most else {
            return Self { owners: Vec::new() };
        };
        let mut owners = vec![None; SIZE];
        let mut free = SIZE;
        while free > 0 {
            for turn in &mut turns {
                turn.credit += turn.weight;
                if turn.credit >= most && free > 0 {
                    turn.credit -= most;
                    turn.take(&mut owners);
                    free -= 1;
                }
            }
        }
        Self {
            owners: owners.into_iter().flatten().collect(),
        }
    }

    /// Who has a flow.
    pub(super) fn owner(&self, flow: u32) -> Option<u8> {
        let place = hashed(flow.into(), FLOW) % SIZE;
        self.owners.get(place).copied()
    }

    /// What it takes where an entry is a word, as in Katran.
    pub(super) const fn bytes() -> usize {
        SIZE * size_of::<u32>()
    }

    /// Entries that each server has.
    #[cfg(test)]
    fn shares(&self, servers: usize) -> Vec<usize> {
        let mut shares = vec![0; servers];
        for owner in &self.owners {
            shares[usize::from(*owner)] += 1;
        }
        shares
    }
}

/// The table alone.
#[derive(Debug)]
pub(super) struct Maglev(Table);

impl Maglev {
    /// Over these servers.
    pub(super) fn new(servers: &[Server]) -> Self {
        Self(Table::new(servers))
    }
}

impl Design for Maglev {
    fn change(&mut self, servers: &[Server]) {
        self.0 = Table::new(servers);
    }

    fn pass(&mut self, packets: &[Packet], _: &[Server]) -> Vec<Option<u8>> {
        packets.iter().map(|it| self.0.owner(it.flow)).collect()
    }

    fn entries(&self) -> usize {
        0
    }

    fn bytes(&self) -> usize {
        Table::bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_even_or_as_the_weights() {
        let mut servers = [Server::READY; 10];
        let shares = Table::new(&servers).shares(10);
        assert_eq!(shares.iter().sum::<usize>(), SIZE);
        assert!(shares.iter().all(|share| share.abs_diff(SIZE / 10) <= 1));
        servers[3].weight = 3;
        let shares = Table::new(&servers).shares(10);
        assert!(shares[3].abs_diff(3 * SIZE / 12) <= 3, "{shares:?}");
        servers[3].is_down = true;
        assert_eq!(Table::new(&servers).shares(10)[3], 0);
    }

    /// The paper's §3.4: a change of the set moves little more than it must.
    #[test]
    fn a_backend_that_leaves_moves_few_entries_of_others() {
        let mut servers = [Server::READY; 100];
        let before = Table::new(&servers);
        servers[42].is_drained = true;
        let after = Table::new(&servers);
        let owners = before.owners.iter().zip(&after.owners);
        let moved = owners.filter(|(before, after)| before != after).count();
        let least = before.shares(100)[42];
        assert!(moved > least && moved < 2 * least, "{moved} of {least}");
    }

    #[test]
    fn without_backends_nobody_has_a_flow() {
        assert_eq!(Table::new(&[Server::default()]).owner(7), None);
    }
}
