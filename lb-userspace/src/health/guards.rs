//! Whether a backend whose probes fail may be taken out: not where too many would be, and not where the fault is
//! likely this host's own.
//!
//! * `max_ejected`: of a service only so many are out at a time.
//! * The own link: what is silent behind a link of this host's that is down says nothing.
//! * The own path: where most of all that is probed is silent at once, and services among it that have no host in
//!   common, the likelier cause is what they share: this host's link, or its gateway.
//!
//! Pure, and O(1) for each probe.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fmt,
    net::IpAddr,
};

use serde::{Deserialize, Serialize};

/// Why a backend whose probes fail stays in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Held {
    /// As many of its service are out as may be.
    MaxEjected,
    /// Most of what is probed is silent, of services that have nothing in common but this host.
    OwnPath,
    /// The link of this host that it is reached by is down.
    OwnLink,
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::MaxEjected => "max_ejected",
            Self::OwnPath => "own_path",
            Self::OwnLink => "own_link",
        })
    }
}

/// What is counted for it.
#[derive(Debug, Default)]
pub(super) struct Guards {
    services: BTreeMap<String, Service>,
    /// Questions that are asked, and those of them that nothing answers.
    asked: usize,
    silent: usize,
    /// Of the latter, by groups of services that have hosts in common.
    silent_groups: HashMap<usize, usize>,
    /// Hosts behind a link that is down.
    cut_off: HashSet<IpAddr>,
}

/// A service as guards see it.
#[derive(Debug)]
pub(super) struct Guarded {
    /// Its name.
    pub(super) name: String,
    /// The most of its backends that may be out, and those that are.
    pub(super) most: usize,
    pub(super) out: usize,
    /// Hosts that are asked on its behalf.
    pub(super) hosts: Vec<IpAddr>,
}

#[derive(Debug, Default)]
struct Service {
    /// The most that may be out, and those that are.
    most: usize,
    out: usize,
    group: usize,
}

impl Guards {
    /// For these services, and for so many questions, of which nothing is known yet; and for hosts behind a link
    /// that is down.
    pub(super) fn new(
        services: impl Iterator<Item = Guarded>,
        asked: usize,
        cut_off: HashSet<IpAddr>,
    ) -> Self {
        let mut groups = Groups::default();
        let services = services.map(|guarded| {
            let Guarded {
                name,
                most,
                out,
                hosts,
            } = guarded;
            let group = groups.of(&hosts);
            (name, Service { most, out, group })
        });
        let mut services: BTreeMap<String, Service> = services.collect();
        for service in services.values_mut() {
            service.group = groups.root(service.group);
        }
        Self {
            services,
            asked,
            silent: 0,
            silent_groups: HashMap::new(),
            cut_off,
        }
    }

    /// These hosts are behind a link that is down, and no others.
    pub(super) fn set_cut_off(&mut self, hosts: HashSet<IpAddr>) {
        self.cut_off = hosts;
    }

    /// Takes what is known of links, for others that take its place.
    pub(super) fn take_cut_off(&mut self) -> HashSet<IpAddr> {
        std::mem::take(&mut self.cut_off)
    }

    /// A question of a service is silent now, or not any more.
    pub(super) fn set_silent(&mut self, service: &str, is_silent: bool) {
        let Some(service) = self.services.get(service) else {
            return;
        };
        let group = self.silent_groups.entry(service.group).or_default();
        if is_silent {
            self.silent += 1;
            *group += 1;
        } else {
            self.silent = self.silent.saturating_sub(1);
            *group = group.saturating_sub(1);
            if *group == 0 {
                self.silent_groups.remove(&service.group);
            }
        }
    }

    /// A backend of a service is out now, or in again.
    pub(super) fn set_out(&mut self, service: &str, is_out: bool) {
        if let Some(service) = self.services.get_mut(service) {
            service.out = if is_out {
                service.out + 1
            } else {
                service.out.saturating_sub(1)
            };
        }
    }

    /// Why another backend of a service stays in, if it does. `is_silent`: nothing answers for it.
    pub(super) fn hold(&self, service: &str, host: IpAddr, is_silent: bool) -> Option<Held> {
        let service = self.services.get(service)?;
        if is_silent && self.cut_off.contains(&host) {
            return Some(Held::OwnLink);
        }
        if is_silent && self.suspects_the_own_path() {
            return Some(Held::OwnPath);
        }
        (service.out >= service.most).then_some(Held::MaxEjected)
    }

    /// Whether most is silent, of several groups.
    pub(super) fn suspects_the_own_path(&self) -> bool {
        2 * self.silent > self.asked && self.silent_groups.len() > 1
    }
}

/// Services that have hosts in common, and so on.
#[derive(Debug, Default)]
struct Groups {
    hosts: HashMap<IpAddr, usize>,
    /// Each group's own number, or that of the one that it is part of.
    parents: Vec<usize>,
}

impl Groups {
    /// The group of what has these hosts.
    fn of(&mut self, hosts: &[IpAddr]) -> usize {
        let mut own = self.parents.len();
        self.parents.push(own);
        for host in hosts {
            let theirs = *self.hosts.entry(*host).or_insert(own);
            let (one, other) = (self.root(own), self.root(theirs));
            if let Some(parent) = self.parents.get_mut(one) {
                *parent = other;
            }
            own = other;
        }
        own
    }

    fn root(&self, mut group: usize) -> usize {
        while let Some(parent) = self.parents.get(group).filter(|parent| **parent != group) {
            group = *parent;
        }
        group
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOST: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));

    fn service(name: &str, most: usize, last: &[u8]) -> Guarded {
        Guarded {
            name: name.to_owned(),
            most,
            out: 0,
            hosts: hosts(last),
        }
    }

    fn hosts(last: &[u8]) -> Vec<IpAddr> {
        last.iter()
            .map(|last| IpAddr::from([10, 0, 0, *last]))
            .collect()
    }

    #[test]
    fn of_a_service_only_so_many_are_out() {
        let services = [service("web", 1, &[1, 2, 3])];
        let mut guards = Guards::new(services.into_iter(), 3, HashSet::new());
        assert_eq!(guards.hold("web", HOST, false), None);
        guards.set_out("web", true);
        assert_eq!(guards.hold("web", HOST, false), Some(Held::MaxEjected));
        assert_eq!(guards.hold("web", HOST, true), Some(Held::MaxEjected));
        guards.set_out("web", false);
        assert_eq!(guards.hold("web", HOST, false), None);
        assert_eq!(guards.hold("another", HOST, false), None);
    }

    #[test]
    fn what_is_behind_a_link_that_is_down_stays() {
        let services = [service("web", 9, &[1, 2, 3])];
        let mut guards = Guards::new(services.into_iter(), 3, [HOST].into());
        assert_eq!(guards.hold("web", HOST, true), Some(Held::OwnLink));
        assert_eq!(
            guards.hold("web", HOST, false),
            None,
            "it answers, if badly"
        );
        assert_eq!(guards.hold("web", hosts(&[2])[0], true), None);
        let known = guards.take_cut_off();
        assert_eq!(guards.hold("web", HOST, true), None);
        guards.set_cut_off(known);
        assert_eq!(guards.hold("web", HOST, true), Some(Held::OwnLink));
    }

    #[test]
    fn silence_of_unrelated_services_is_this_hosts_own() {
        let services = [
            service("api", 9, &[3, 4]),
            service("mail", 9, &[5]),
            service("web", 9, &[1, 2]),
        ];
        let mut guards = Guards::new(services.into_iter(), 5, HashSet::new());
        for service in ["web", "web", "api"] {
            assert_eq!(guards.hold(service, HOST, true), None);
            guards.set_silent(service, true);
        }
        assert_eq!(guards.hold("web", HOST, true), Some(Held::OwnPath));
        assert_eq!(
            guards.hold("web", HOST, false),
            None,
            "it answers, if badly"
        );
        guards.set_silent("api", false);
        assert_eq!(guards.hold("web", HOST, true), None);
    }

    #[test]
    fn services_on_the_same_hosts_fail_together() {
        let services = [
            service("api", 9, &[2, 3]),
            service("mail", 9, &[3, 4]),
            service("web", 9, &[1, 2]),
        ];
        let mut guards = Guards::new(services.into_iter(), 6, HashSet::new());
        for service in ["api", "mail", "web"] {
            guards.set_silent(service, true);
            guards.set_silent(service, true);
        }
        assert_eq!(guards.hold("web", HOST, true), None);
    }

    proptest! {
        /// Whatever happens: a service that may lose some never loses more.
        #[test]
        fn no_more_are_out_than_may_be(most in 0_usize..5, events in prop::collection::vec((any::<bool>(), any::<bool>()), 0..60)) {
            let services = [service("web", most, &[1, 2, 3, 4, 5])];
            let mut guards = Guards::new(services.into_iter(), 5, HashSet::new());
            let mut out = 0_usize;
            for (falls, is_silent) in events {
                if falls && guards.hold("web", HOST, is_silent).is_none() {
                    guards.set_out("web", true);
                    out += 1;
                } else if !falls && out > 0 {
                    guards.set_out("web", false);
                    out -= 1;
                }
                prop_assert!(out <= most);
            }
        }
    }
}
