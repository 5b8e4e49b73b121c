//! What balancers tell each other.

use std::{fmt, net::SocketAddr};

use crate::config::model::Vip;

/// A backend of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Owner {
    /// The service.
    pub vip: Vip,
    /// The backend.
    pub address: SocketAddr,
}

/// A moving row, or one that has come to rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowNews {
    /// Who has its older flows, of one at rest all: a place in [`News::owners`].
    pub owner: u32,
    /// Its slot.
    pub slot: u32,
    /// Logarithm of the slots of its table.
    pub log2_slots: u8,
    /// Seconds since a packet of it went elsewhere than to its owner; [`RowNews::AT_REST`].
    pub quiet: u16,
    /// Seconds since it changed; of one at rest: 0, or [`RowNews::ALL_ALONG`].
    pub age: u16,
}

impl RowNews {
    /// In the place of seconds: the row does not move any more, so that its new flows are not tracked.
    pub const AT_REST: u16 = u16::MAX;
    /// In the place of an age: it is not that it has come to rest, but that it was at rest when another balancer said
    /// that it moves.
    pub const ALL_ALONG: u16 = 1;
}

/// A tracked flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowNews {
    /// Who has it: a place in [`News::owners`].
    pub owner: u32,
    /// Its hash, which names row, bucket and tag.
    pub hash: u64,
    /// Seconds since it was seen.
    pub age: u16,
    /// Whether its client ended it.
    pub closing: bool,
}

/// A service's slot table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableNews {
    /// The service.
    pub vip: Vip,
    /// Its slots.
    pub slots: u32,
    /// Checksum of who owns them.
    pub checksum: u64,
}

/// News of one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct News {
    /// All slot tables, where they are told.
    pub tables: Option<Vec<TableNews>>,
    /// The backends that rows and flows name.
    pub owners: Vec<Owner>,
    /// Moving rows.
    pub rows: Vec<RowNews>,
    /// Tracked flows.
    pub flows: Vec<FlowNews>,
    /// Whether it is the end of all that was known when the peer asked.
    pub completes: bool,
}

impl News {
    /// Rows and flows.
    #[must_use]
    pub const fn entries(&self) -> usize {
        self.rows.len() + self.flows.len()
    }

    /// Whether there is nothing in it.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.entries() == 0 && self.tables.is_none() && !self.completes
    }
}

/// Why news of a peer was not taken over, and how often.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// Flows that are known now, and were not before.
    pub flows: u64,
    /// Rows that move now, and did not before.
    pub rows: u64,
    /// What was not taken, by [`Left`].
    pub left: [u64; Left::ALL.len()],
}

/// Why an entry was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// The service is not one of this balancer's, or has another number of slots.
    UnknownService,
    /// The backend is not one of the service's here.
    UnknownBackend,
    /// The backend is down here.
    BackendDown,
    /// This balancer's own flows say otherwise.
    KnownOtherwise,
    /// There is no place among the tracked flows.
    NoRoom,
}

impl Left {
    /// Every one.
    pub const ALL: [Self; 5] = [
        Self::UnknownService,
        Self::UnknownBackend,
        Self::BackendDown,
        Self::KnownOtherwise,
        Self::NoRoom,
    ];

    /// The label of metrics.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::UnknownService => "unknown_service",
            Self::UnknownBackend => "unknown_backend",
            Self::BackendDown => "backend_down",
            Self::KnownOtherwise => "known_otherwise",
            Self::NoRoom => "no_room",
        }
    }
}

impl Taken {
    /// Counts an entry that was not taken.
    pub const fn leave(&mut self, why: Left) {
        let [service, backend, down, otherwise, room] = &mut self.left;
        let count = match why {
            Left::UnknownService => service,
            Left::UnknownBackend => backend,
            Left::BackendDown => down,
            Left::KnownOtherwise => otherwise,
            Left::NoRoom => room,
        };
        *count += 1;
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.address, self.vip)
    }
}
