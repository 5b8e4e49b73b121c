//! Which backends nobody can be blamed for but this host: the link that they are reached by is down.

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
    time::Duration,
};

use tokio::time::Instant;

use crate::net::View;

/// How long a link that is back takes at most until what is behind it can be reached: neighbours are asked for again, and
/// a switch may learn, or forward nothing for a while (IEEE 802.1D).
const BACK: Duration = Duration::from_secs(5);

/// The link that each backend's host was reached by when it was last up.
///
/// Without memory nothing would be known: the kernel takes the routes of a link that is set down away, and what is
/// left, a default route say, leads elsewhere.
#[derive(Debug, Default)]
pub(super) struct OwnLinks {
    links: HashMap<IpAddr, u32>,
    /// Hosts whose link came back, and when.
    back: HashMap<IpAddr, Instant>,
    /// Names of links that are down and that backends are behind.
    down: Vec<String>,
}

impl OwnLinks {
    /// Takes note of the network as it is; the hosts whose link is down, or was until a moment ago.
    pub(super) fn cut_off(
        &mut self,
        hosts: impl Iterator<Item = IpAddr>,
        view: &View,
        now: Instant,
    ) -> HashSet<IpAddr> {
        let before = std::mem::take(&mut self.links);
        self.back
            .retain(|_, since| now.duration_since(*since) < BACK);
        let is_down = |link: &u32| view.links.get(link).is_some_and(|link| !link.up);
        let mut cut_off = HashSet::new();
        for host in hosts {
            let known = before.get(&host).copied();
            let way = view.link_towards(host);
            let is_cut_off = known.as_ref().is_some_and(is_down)
                && way.is_none_or(|(_, is_by_default)| is_by_default);
            if is_cut_off {
                self.back.insert(host, now);
            }
            if self.back.contains_key(&host) {
                cut_off.insert(host);
            }
            let link = if is_cut_off {
                known
            } else {
                way.map(|(link, _)| link)
            };
            if let Some(link) = link {
                self.links.insert(host, link);
            }
        }
        let behind: HashSet<&u32> = self.links.values().collect();
        let links = view.links.values();
        let down = links.filter(|link| !link.up && behind.contains(&link.index));
        self.down = down.map(|link| link.name.clone()).collect();
        cut_off
    }

    /// Whether time alone may change what is cut off.
    pub(super) fn is_waiting(&self) -> bool {
        !self.back.is_empty()
    }

    /// Names of links that are down and that backends are behind.
    pub(super) fn down(&self) -> &[String] {
        &self.down
    }
}

#[cfg(test)]
mod tests {
    use ipnet::IpNet;

    use super::*;
    use crate::net::view::{Hop, Link, Route};

    const BACKEND: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 11));
    const REAR: u32 = 3;
    const FRONT: u32 = 2;

    fn link(index: u32, up: bool) -> (u32, Link) {
        let link = Link {
            index,
            name: format!("eth{index}"),
            mac: None,
            mtu: 1500,
            up,
            kind: None,
            peer: None,
            has_xdp: true,
        };
        (index, link)
    }

    fn route(prefix: &str, ifindex: u32) -> Route {
        Route {
            prefix: prefix.parse::<IpNet>().unwrap(),
            metric: 0,
            hop: Hop::OnLink { ifindex },
            mtu: None,
            source: None,
        }
    }

    fn view(back_is_up: bool, routes: &[Route]) -> View {
        View {
            links: [link(FRONT, true), link(REAR, back_is_up)].into(),
            routes: routes.to_vec(),
            ..View::default()
        }
    }

    fn cut_off(links: &mut OwnLinks, view: &View) -> bool {
        let cut_off = links.cut_off([BACKEND].into_iter(), view, Instant::now());
        cut_off.contains(&BACKEND)
    }

    #[tokio::test(start_paused = true)]
    async fn a_host_is_cut_off_as_long_as_its_link_is_down() {
        let (near, default) = (route("10.0.0.0/24", REAR), route("0.0.0.0/0", FRONT));
        let mut links = OwnLinks::default();
        assert!(!cut_off(&mut links, &view(true, &[near, default])));
        // Without carrier, and set down.
        for routes in [&[near, default][..], &[default], &[]] {
            assert!(cut_off(&mut links, &view(false, routes)));
            assert_eq!(links.down(), ["eth3"]);
        }
        let back = view(true, &[near, default]);
        assert!(cut_off(&mut links, &back) && links.is_waiting());
        tokio::time::sleep(BACK).await;
        assert!(!cut_off(&mut links, &back) && !links.is_waiting());
        assert!(links.down().is_empty());
    }

    #[test]
    fn another_way_is_a_way() {
        let mut links = OwnLinks::default();
        assert!(!cut_off(
            &mut links,
            &view(true, &[route("10.0.0.0/24", REAR)])
        ));
        let moved = view(false, &[route("10.0.0.0/24", FRONT)]);
        assert!(!cut_off(&mut links, &moved));
    }

    #[test]
    fn a_host_that_was_never_reached_is_not_cut_off() {
        let mut links = OwnLinks::default();
        assert!(!cut_off(&mut links, &view(false, &[])));
    }
}
