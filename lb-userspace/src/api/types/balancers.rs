//! This balancer among others: what it announces, whom it tells, and what is changed about it.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use super::{Item, OverrideItem};

/// VIPs that routing software is to announce.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnnouncementItem {
    /// The table that has their routes.
    pub table: u32,
    /// The number that marks the routes as xlb's.
    pub protocol: u8,
    /// The metric of the routes.
    pub metric: u32,
    /// Whether an operator took this balancer out of routing.
    pub drained: Option<OverrideItem>,
    /// Each of them.
    pub vips: Vec<VipItem>,
    /// What keeps routes from being written.
    pub problem: Option<String>,
}

/// An address of services.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VipItem {
    /// The address.
    pub address: IpAddr,
    /// Whether its route is there.
    pub announced: bool,
    /// Since when, seconds since 1970; at most since this daemon started.
    pub since: Option<u64>,
    /// Why it is not.
    pub reason: Option<String>,
}

/// The other balancers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeersItem {
    /// Where this one listens for them; `None`: there are none.
    pub listen: Option<SocketAddr>,
    /// Each of them.
    pub items: Vec<PeerItem>,
    /// Connections that ended by a fault, by its reason.
    pub refused: Vec<CountItem>,
    /// Entries of theirs that were not taken over, by the reason.
    pub not_taken: Vec<CountItem>,
}

/// Another balancer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerItem {
    /// Where it listens.
    pub address: String,
    /// What its instance is called.
    pub name: Option<String>,
    /// Whether it is told what is new here.
    pub told: bool,
    /// Whether it tells what is new there.
    pub heard: bool,
    /// Whether it has told all that it knew when it was asked.
    pub complete: bool,
    /// Seconds since both are so.
    pub connected_seconds: Option<u64>,
    /// Rows and flows told since the daemon started.
    pub sent: u64,
    /// Rows and flows heard.
    pub received: u64,
    /// Flows that came up here so long ago are known there: microseconds.
    pub lag_us: Option<u64>,
    /// Services whose slot tables differ there.
    pub tables_differ: Vec<String>,
    /// Why it is not connected.
    pub error: Option<String>,
}

impl PeerItem {
    /// Whether both tell each other.
    #[must_use]
    pub const fn is_connected(&self) -> bool {
        self.told && self.heard
    }
}

/// How often something happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CountItem {
    /// The reason's label.
    pub reason: String,
    /// How often.
    pub count: u64,
}

/// A change to the balancer itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BalancerRequest {
    /// What to do.
    pub verb: BalancerVerb,
    /// Undone after so many seconds.
    #[serde(default)]
    pub for_seconds: Option<u64>,
}

/// What to do with the balancer itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BalancerVerb {
    /// Announce no VIP; what arrives is forwarded.
    Drain,
    /// Announce VIPs.
    Ready,
}

words!(BalancerVerb { Drain = "drain", Ready = "ready" });

/// What a [`BalancerRequest`] did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BalancerChanged {
    /// What was done.
    pub verb: String,
    /// Whether that made a difference.
    pub changed: bool,
    /// The revision in force.
    pub revision: u64,
    /// VIPs that are announced now.
    pub announced: Vec<IpAddr>,
    /// Seconds until it is undone by itself.
    pub expires_in_seconds: Option<u64>,
    /// Words after `xlb` that undo it.
    pub undo: Option<Vec<String>>,
}

impl Item for BalancerChanged {
    const KIND: &'static str = "BalancerChangeList";
}
