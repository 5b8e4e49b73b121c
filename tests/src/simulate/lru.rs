//! Maglev, and a table of the flows that were seen last, as Katran has it: a SYN goes by the Maglev table, any
//! other packet by its entry, or by the table where it has none; what goes by the table is remembered.
//!
//! Katran remembers no more than 125,000 new flows a second on each CPU: floods of the simulation stay below. It
//! has an approximate LRU for each CPU; this one is exact, and one, which is to the design's advantage.

use std::num::NonZeroUsize;

use lru::LruCache;

use super::{Design, maglev::Table, site::Packet};
use crate::balancer::Server;

/// What the kernel accounts for an entry of `BPF_MAP_TYPE_LRU_HASH` with Katran's key of 40 bytes and value of 16:
/// they, the element's head, and a bucket's (`htab_map_mem_usage` in `kernel/bpf/hashtab.c`).
const ENTRY: usize = 40 + 16 + 48 + 16;

/// A server, in which of its lives.
#[derive(Clone, Copy, Debug)]
struct Owner {
    server: u8,
    life: u32,
}

/// The table and the flows.
#[derive(Debug)]
pub(super) struct Lru {
    table: Table,
    flows: LruCache<u32, Owner>,
}

impl Lru {
    /// With room for so many flows.
    pub(super) fn new(entries: usize, servers: &[Server]) -> Self {
        let entries = NonZeroUsize::new(entries).unwrap_or(NonZeroUsize::MIN);
        Self {
            table: Table::new(servers),
            flows: LruCache::new(entries),
        }
    }

    fn owner(&mut self, packet: Packet, servers: &[Server]) -> Option<u8> {
        if !packet.opens
            && let Some(owner) = self.flows.get(&packet.flow)
        {
            let server = servers[usize::from(owner.server)];
            if !server.is_down && server.deaths == owner.life {
                return Some(owner.server);
            }
        }
        let server = self.table.owner(packet.flow)?;
        let life = servers[usize::from(server)].deaths;
        self.flows.put(packet.flow, Owner { server, life });
        Some(server)
    }
}

impl Design for Lru {
    fn change(&mut self, servers: &[Server]) {
        self.table = Table::new(servers);
    }

    fn pass(&mut self, packets: &[Packet], servers: &[Server]) -> Vec<Option<u8>> {
        packets.iter().map(|it| self.owner(*it, servers)).collect()
    }

    fn entries(&self) -> usize {
        self.flows.len()
    }

    fn bytes(&self) -> usize {
        Table::bytes() + ENTRY * self.flows.cap().get()
    }
}
