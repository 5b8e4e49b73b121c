//! What operators set by hand, over the configuration: it survives reload and restart.

use std::{
    collections::{BTreeMap, HashSet},
    net::SocketAddr,
    time::{SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};

use super::{
    claims::{self, Claim},
    specialisation::Specialisation,
};
use crate::{
    config::model::{Backend, Config, Service},
    dataplane::sizes,
};

/// What the operator wants of a backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Admin {
    /// It takes flows.
    #[default]
    Ready,
    /// It takes no flows; probes go on.
    Drain,
    /// It takes no flows and is not probed.
    Maint,
}

/// Whether a backend is there, against what the file says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Presence {
    /// It was added under this name.
    Added(String),
    /// It was removed.
    Removed,
}

/// One thing set by hand, and how long it lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Setting<T> {
    /// What it is set to.
    pub value: T,
    /// When that ends by itself: seconds since 1970, UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<u64>,
}

impl<T> Setting<T> {
    /// Whether it has ended by `now`, in seconds since 1970.
    pub(crate) fn is_over(&self, now: u64) -> bool {
        self.expires.is_some_and(|at| at <= now)
    }
}

/// What was set by hand for one backend; all absent: nothing. Each ends on its own: the end of a
/// drain does not take an added backend along.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Override {
    /// What the operator wants of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admin: Option<Setting<Admin>>,
    /// Its weight.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<Setting<u16>>,
    /// Whether it is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub presence: Option<Setting<Presence>>,
}

impl Override {
    /// When the next of it ends: seconds since 1970, UTC.
    #[must_use]
    pub fn next_expiry(&self) -> Option<u64> {
        let Self {
            admin,
            weight,
            presence,
        } = self;
        let ends = [
            admin.as_ref().and_then(|setting| setting.expires),
            weight.as_ref().and_then(|setting| setting.expires),
            presence.as_ref().and_then(|setting| setting.expires),
        ];
        ends.into_iter().flatten().min()
    }

    /// Whatever else was set for a backend that was added by hand goes with it.
    fn expire(&mut self, now: u64) {
        let added = matches!(&self.presence, Some(setting)
            if matches!(setting.value, Presence::Added(_)) && setting.is_over(now));
        if added {
            *self = Self::default();
        }
        self.admin.take_if(|setting| setting.is_over(now));
        self.weight.take_if(|setting| setting.is_over(now));
        self.presence.take_if(|setting| setting.is_over(now));
    }

    const fn says_nothing(&self) -> bool {
        let Self {
            admin,
            weight,
            presence,
        } = self;
        admin.is_none() && weight.is_none() && presence.is_none()
    }
}

/// Everything that was set by hand: service's name → backend's address → what.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Overrides {
    services: BTreeMap<String, BTreeMap<SocketAddr, Override>>,
}

/// A configuration with its overrides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effective {
    /// The configuration, with backends added and removed, and weights as set by hand.
    pub config: Config,
    admin: BTreeMap<String, BTreeMap<SocketAddr, Admin>>,
    /// What follows from the configuration alone, worked out once: every change of a backend's health asks for it.
    pub(super) shared: HashSet<Claim>,
    pub(super) flows: u32,
    pub(super) specialisation: Specialisation,
}

impl Effective {
    fn new(config: Config, admin: BTreeMap<String, BTreeMap<SocketAddr, Admin>>) -> Self {
        Self {
            shared: claims::shared(&config),
            flows: sizes::flows(&config),
            specialisation: Specialisation::of(&config, true),
            config,
            admin,
        }
    }

    /// What the operator wants of a service's backend.
    #[must_use]
    pub fn admin(&self, service: &str, backend: SocketAddr) -> Admin {
        let admin = self.admin.get(service).and_then(|all| all.get(&backend));
        admin.copied().unwrap_or_default()
    }
}

impl Overrides {
    /// What was set by hand for a backend.
    #[must_use]
    pub fn of(&self, service: &str, backend: SocketAddr) -> Option<&Override> {
        self.services.get(service)?.get(&backend)
    }

    /// Every override: service, backend, what.
    pub fn iter(&self) -> impl Iterator<Item = (&str, SocketAddr, &Override)> {
        self.services.iter().flat_map(|(service, backends)| {
            let service = service.as_str();
            backends
                .iter()
                .map(move |(backend, by_hand)| (service, *backend, by_hand))
        })
    }

    /// Sets all that is set by hand for a backend; [`Override::default`] takes it back.
    pub fn set(&mut self, service: &str, backend: SocketAddr, by_hand: Override) {
        let backends = self.services.entry(service.to_owned()).or_default();
        if by_hand.says_nothing() {
            backends.remove(&backend);
        } else {
            backends.insert(backend, by_hand);
        }
        self.services.retain(|_, backends| !backends.is_empty());
    }

    /// Forgets what has ended by `now`; whether there was any.
    pub fn expire(&mut self, now: SystemTime) -> bool {
        let now = now
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        let expired = self.next_expiry().is_some_and(|at| at <= now);
        for backends in self.services.values_mut() {
            for by_hand in backends.values_mut() {
                by_hand.expire(now);
            }
            backends.retain(|_, by_hand| !by_hand.says_nothing());
        }
        self.services.retain(|_, backends| !backends.is_empty());
        expired
    }

    /// When the next one ends: seconds since 1970, UTC.
    #[must_use]
    pub fn next_expiry(&self) -> Option<u64> {
        self.iter()
            .filter_map(|(_, _, what)| what.next_expiry())
            .min()
    }

    /// Puts the overrides over a configuration. Those of services and backends that it does not
    /// have wait until it has them again.
    #[must_use]
    pub fn apply(&self, config: &Config) -> Effective {
        let mut config = config.clone();
        let mut admin = BTreeMap::new();
        for service in &mut config.services {
            if let Some(backends) = self.services.get(&service.name) {
                admin.insert(service.name.clone(), admins(backends));
                override_backends(service, backends);
            }
        }
        Effective::new(config, admin)
    }
}

fn admins(backends: &BTreeMap<SocketAddr, Override>) -> BTreeMap<SocketAddr, Admin> {
    let admin =
        |(address, by_hand): (&SocketAddr, &Override)| Some((*address, by_hand.admin?.value));
    backends.iter().filter_map(admin).collect()
}

fn override_backends(service: &mut Service, overrides: &BTreeMap<SocketAddr, Override>) {
    for (&address, by_hand) in overrides {
        let configured = service.backends.iter().any(|b| b.address == address);
        match by_hand.presence.as_ref().map(|setting| &setting.value) {
            Some(Presence::Removed) => service.backends.retain(|b| b.address != address),
            Some(Presence::Added(name)) if !configured => service.backends.push(Backend {
                name: name.clone(),
                address,
                mode: service.mode,
                weight: 1,
                tier: 0,
            }),
            Some(Presence::Added(_)) | None => {}
        }
    }
    for backend in &mut service.backends {
        let weight = overrides.get(&backend.address).and_then(|o| o.weight);
        backend.weight = weight.map_or(backend.weight, |setting| setting.value);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::model::{FullNat, Icmp, Mode, OnDown, Ports, Protocol, Tunnel, ViaVip, Vip};

    const A: &str = "10.0.0.1:80";
    const B: &str = "10.0.0.2:80";
    const C: &str = "10.0.0.3:80";

    #[test]
    fn overrides_lie_over_the_configuration() {
        let mut overrides = Overrides::default();
        set(&mut overrides, A, |o| o.weight = Some(for_good(7)));
        set(&mut overrides, B, |o| {
            o.presence = Some(for_good(Presence::Removed));
        });
        set(&mut overrides, C, |o| {
            o.presence = Some(for_good(Presence::Added("c".into())));
        });
        let effective = overrides.apply(&config());
        let backends = &effective.config.services[0].backends;
        let seen: Vec<_> = backends
            .iter()
            .map(|b| (b.name.as_str(), b.address.to_string(), b.weight))
            .collect();
        assert_eq!(seen, [("a", A.into(), 7), ("c", C.into(), 1)]);
    }

    #[test]
    fn an_added_backend_that_the_file_has_by_now_is_the_files() {
        let mut overrides = Overrides::default();
        set(&mut overrides, A, |o| {
            o.presence = Some(for_good(Presence::Added("x".into())));
        });
        assert_eq!(overrides.apply(&config()).config, config());
    }

    #[test]
    fn an_override_ends_when_its_time_is_over() {
        let mut overrides = Overrides::default();
        set(&mut overrides, A, |o| {
            o.admin = Some(until(100, Admin::Drain));
            o.weight = Some(for_good(5));
        });
        let admin = |o: &Overrides| o.apply(&config()).admin("web", address(A));
        assert!(!overrides.expire(UNIX_EPOCH + Duration::from_secs(99)));
        assert_eq!(admin(&overrides), Admin::Drain);
        assert!(overrides.expire(UNIX_EPOCH + Duration::from_secs(100)));
        assert_eq!(admin(&overrides), Admin::Ready);
        let weight = overrides.of("web", address(A)).and_then(|o| o.weight);
        assert_eq!(weight, Some(for_good(5)), "the weight lasts");
    }

    #[test]
    fn overrides_outlive_the_daemon() {
        let mut overrides = Overrides::default();
        set(&mut overrides, A, |o| {
            o.admin = Some(for_good(Admin::Maint));
        });
        set(&mut overrides, C, |o| {
            o.presence = Some(until(9, Presence::Added("c".into())));
        });
        let text = serde_json::to_string(&overrides).unwrap();
        assert_eq!(serde_json::from_str::<Overrides>(&text).unwrap(), overrides);
    }

    #[test]
    fn the_default_takes_an_override_back() {
        let mut overrides = Overrides::default();
        set(&mut overrides, A, |o| o.weight = Some(for_good(3)));
        overrides.set("web", address(A), Override::default());
        assert_eq!(overrides, Overrides::default());
    }

    const fn for_good<T>(value: T) -> Setting<T> {
        Setting {
            value,
            expires: None,
        }
    }

    const fn until<T>(at: u64, value: T) -> Setting<T> {
        Setting {
            value,
            expires: Some(at),
        }
    }

    fn set(overrides: &mut Overrides, backend: &str, change: impl FnOnce(&mut Override)) {
        let mut by_hand = Override::default();
        change(&mut by_hand);
        overrides.set("web", address(backend), by_hand);
    }

    fn config() -> Config {
        let backend = |name: &str, at| Backend {
            name: name.into(),
            address: address(at),
            mode: Mode::Nat,
            weight: 1,
            tier: 0,
        };
        Config {
            interfaces: Vec::new(),
            hash_seed: None,
            direct: Vec::new(),
            icmp: Icmp::default(),
            announce: None,
            peers: None,
            via_vip: ViaVip::default(),
            notify: Vec::new(),
            services: vec![Service {
                name: "web".into(),
                vip: Vip {
                    address: "203.0.113.10".parse().unwrap(),
                    ports: Ports::One(80),
                    protocol: Protocol::Tcp,
                },
                mode: Mode::Nat,
                slots: None,
                probe: None,
                tunnel: Tunnel::default(),
                full_nat: FullNat::default(),
                mss: None,
                idle: Duration::from_mins(15),
                drain_deadline: Duration::from_hours(1),
                on_down: OnDown::Rehash,
                quic: false,
                affinity: None,
                announce: true,
                guards: crate::config::model::Guards::default(),
                recovery: crate::config::model::Recovery::default(),
                passive: crate::config::model::Passive::default(),
                backends: vec![backend("a", A), backend("b", B)],
            }],
        }
    }

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }
}
