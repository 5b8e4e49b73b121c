//! The way back to clients, compiled from the routes for the data path's short list.
//!
//! Every address leaves as [`View::resolve`] says, or the FIB helper is asked, or (in `direct:`) it is
//! left to the kernel. The first entry that contains an address decides, so the list is sorted by
//! falling prefix length, and the default route stands last.

use std::{cmp::Reverse, collections::BTreeMap, fmt};

use ipnet::IpNet;
use lb_common::route::LEN;

use super::view::{Hop, NextHop, Resolution, Route, View};

/// One prefix and what to do with packets for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientRoute {
    /// The prefix, host bits zero.
    pub prefix: IpNet,
    /// What to do.
    pub action: ClientAction,
}

/// What a [`ClientRoute`] says; the counterpart of [`lb_common::route::Action`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAction {
    /// Left to the kernel without translation.
    Direct,
    /// The FIB helper decides: neighbours on a link, several next hops, a gateway that is unresolved.
    Fib,
    /// By a gateway that is resolved.
    NextHop(NextHop),
}

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        })
    }
}

impl Family {
    const fn contains(self, prefix: &IpNet) -> bool {
        matches!(
            (self, prefix),
            (Self::V4, IpNet::V4(_)) | (Self::V6, IpNet::V6(_))
        )
    }

    fn everything(self) -> IpNet {
        match self {
            Self::V4 => IpNet::V4(ipnet::Ipv4Net::default()),
            Self::V6 => IpNet::V6(ipnet::Ipv6Net::default()),
        }
    }
}

/// More prefixes in `direct:` than the data path holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "direct: {found} separate prefixes of one family, at most {} fit; name wider ones",
    CAPACITY - 1
)]
pub struct TooManyDirect {
    /// Prefixes that are left when neighbours are joined.
    pub found: usize,
}

const CAPACITY: usize = LEN as usize;

impl View {
    /// The way back to clients of one family.
    ///
    /// `direct` wins over every route inside it. An entry that says the same as the next wider one is
    /// left out. What still does not fit is left to the FIB helper as a whole.
    ///
    /// # Errors
    /// When `direct` alone does not fit beside a default route.
    pub fn client_routes(
        &self,
        family: Family,
        direct: &[IpNet],
    ) -> Result<Vec<ClientRoute>, TooManyDirect> {
        let direct = joined(family, direct)?;
        let mut routes = self.compile(family, &direct).unwrap_or_else(|| {
            let fib = ClientRoute {
                prefix: family.everything(),
                action: ClientAction::Fib,
            };
            direct.into_iter().chain([fib]).collect()
        });
        routes.sort_by_key(|route| (Reverse(route.prefix.prefix_len()), route.prefix));
        Ok(routes)
    }

    /// `None` when it does not fit.
    fn compile(&self, family: Family, direct: &[ClientRoute]) -> Option<Vec<ClientRoute>> {
        let mut list = direct.to_vec();
        for (Key { prefix, .. }, hops) in self.best_routes(family) {
            if direct.iter().any(|wider| wider.prefix.contains(&prefix)) {
                continue;
            }
            let action = self.action(prefix, &hops);
            if covering(&list, prefix).is_some_and(|wider| wider.action == action) {
                continue;
            }
            list.push(ClientRoute { prefix, action });
            if list.len() > CAPACITY {
                return None;
            }
        }
        Some(list)
    }

    /// For each prefix, wide ones first, the next hops of lowest metric whose link is up.
    fn best_routes(&self, family: Family) -> BTreeMap<Key, Vec<Hop>> {
        let mut best: BTreeMap<Key, (u32, Vec<Hop>)> = BTreeMap::new();
        let usable = |route: &&Route| {
            family.contains(&route.prefix)
                && !is_link_local(&route.prefix)
                && self.is_usable(route.hop)
        };
        for route in self.routes.iter().filter(usable) {
            let (metric, hops) = best
                .entry(Key::from(route.prefix))
                .or_insert((route.metric, Vec::new()));
            if route.metric < *metric {
                (*metric, *hops) = (route.metric, Vec::new());
            }
            if route.metric == *metric {
                hops.push(route.hop);
            }
        }
        best.into_iter()
            .map(|(key, (_, hops))| (key, hops))
            .collect()
    }

    fn action(&self, prefix: IpNet, hops: &[Hop]) -> ClientAction {
        let [hop @ Hop::Gateway { .. }] = hops else {
            return ClientAction::Fib;
        };
        match self.resolve_hop(*hop, prefix.addr()) {
            Resolution::NextHop(next_hop) => ClientAction::NextHop(next_hop),
            Resolution::Local | Resolution::NoRoute | Resolution::Unresolved { .. } => {
                ClientAction::Fib
            }
        }
    }
}

/// Sorts prefixes so that each stands behind those that contain it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    length: u8,
    prefix: IpNet,
}

impl From<IpNet> for Key {
    fn from(prefix: IpNet) -> Self {
        Self {
            length: prefix.prefix_len(),
            prefix,
        }
    }
}

fn joined(family: Family, direct: &[IpNet]) -> Result<Vec<ClientRoute>, TooManyDirect> {
    let prefixes = direct.iter().filter(|prefix| family.contains(prefix));
    let prefixes = IpNet::aggregate(&prefixes.map(IpNet::trunc).collect());
    if prefixes.len() >= CAPACITY {
        return Err(TooManyDirect {
            found: prefixes.len(),
        });
    }
    let entry = |prefix| ClientRoute {
        prefix,
        action: ClientAction::Direct,
    };
    Ok(prefixes.into_iter().map(entry).collect())
}

/// The narrowest entry around `prefix`.
fn covering(list: &[ClientRoute], prefix: IpNet) -> Option<&ClientRoute> {
    list.iter()
        .filter(|route| route.prefix.contains(&prefix))
        .max_by_key(|route| route.prefix.prefix_len())
}

/// Never forwarded (RFC 4291, §2.5.6), and every link has such a route.
const fn is_link_local(prefix: &IpNet) -> bool {
    matches!(prefix, IpNet::V6(v6) if v6.addr().is_unicast_link_local())
}

#[cfg(test)]
mod tests;
