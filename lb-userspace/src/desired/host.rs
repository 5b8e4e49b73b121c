//! The host's network as [`build`](super::build) wants it.

use std::net::IpAddr;

use ipnet::IpNet;
use lb_common::next_hop::NextHop;

use super::{
    build::{Link, Network, Way},
    state::{Action, Route, Routes},
};
use crate::net::{self, ClientAction, ClientRoute, Family, Resolution, View, client_routes};

impl Network for View {
    fn way(&self, address: IpAddr) -> Way {
        let way = Self::way(self, address);
        let next_hop = match way.resolution {
            Resolution::NextHop(hop) => word(hop),
            Resolution::Local | Resolution::NoRoute | Resolution::Unresolved { .. } => {
                NextHop::UNRESOLVED
            }
        };
        Way {
            next_hop,
            mtu: way.mtu.map_or(u16::MAX, bytes),
            source: way.source,
        }
    }

    fn link_at(&self, index: u32) -> Option<Link> {
        link(self.links.get(&index)?)
    }

    fn addresses(&self) -> Vec<IpAddr> {
        self.addresses.iter().map(|own| own.net.addr()).collect()
    }

    fn link(&self, name: &str) -> Option<Link> {
        link(Self::link(self, name)?)
    }

    fn client_routes(&self, direct: &[IpNet]) -> Result<Routes, client_routes::TooManyDirect> {
        let family = |family| {
            let routes = Self::client_routes(self, family, direct)?;
            Ok(routes.iter().map(route).collect())
        };
        Ok(Routes {
            v4: family(Family::V4)?,
            v6: family(Family::V6)?,
        })
    }
}

fn link(link: &net::view::Link) -> Option<Link> {
    let net::view::Mac(mac) = link.mac?;
    Some(Link {
        index: link.index,
        mac,
        mtu: bytes(link.mtu),
    })
}

fn bytes(mtu: u32) -> u16 {
    u16::try_from(mtu).unwrap_or(u16::MAX)
}

/// Unresolved where the interface's index is larger than the data path's words hold.
const fn word(hop: net::NextHop) -> NextHop {
    if hop.ifindex > NextHop::MAX_IFINDEX {
        return NextHop::UNRESOLVED;
    }
    NextHop::new(hop.destination_mac.0, hop.ifindex, hop.on_link)
}

const fn route(route: &ClientRoute) -> Route {
    let action = match route.action {
        ClientAction::Direct => Action::Direct,
        ClientAction::NextHop(hop) if word(hop).is_resolved() => Action::NextHop(word(hop)),
        ClientAction::Fib | ClientAction::NextHop(_) => Action::Fib,
    };
    Route {
        prefix: route.prefix,
        action,
    }
}
