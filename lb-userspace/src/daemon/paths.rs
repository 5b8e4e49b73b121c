//! Probes of the path: by way of the VIP, beside those of the backend's own address.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    net::{IpAddr, SocketAddr},
};

use lb_common::{next_hop::NextHop, probe_link::ProbeLink};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::{digest::digest, network::Host, words};
use crate::{
    api::{
        Code, Error,
        types::{PathItem, ProbeCounts},
    },
    config::{
        model::{Config, Interface, Mode, Path, Role, Service, XdpMode},
        via_vip,
    },
    dataplane::Dataplane,
    desired::{
        InstalledService, Network as _,
        overrides::{Admin, Effective},
    },
    health::{
        Event, Health, Prober, Reports, Target, Via,
        cause::{Cause, Reach, Seen},
        probe::{Gate, Kinds},
    },
    net::Portal,
};

/// Backends of a service that have no flows although they answer, as the way by the VIP fails.
type Ejected = BTreeMap<String, BTreeSet<SocketAddr>>;

/// Who probes the paths, and by which link.
#[derive(Debug)]
pub(super) struct Paths {
    gate: Gate,
    portal: Option<Portal>,
    prober: Prober,
    pub(super) reports: Reports,
    ejected: Ejected,
    known: HashMap<(String, SocketAddr), Known>,
    /// How often each tunnel's end had refused packets when it was last looked.
    refusals: HashMap<(IpAddr, bool), u16>,
}

/// What is known of a path beside the state that its probes are in.
#[derive(Clone, Copy, Debug, Default)]
struct Known {
    cause: Option<Cause>,
    probes: ProbeCounts,
}

/// Whether anything is probed by way of a VIP.
pub(super) fn is_used(config: &Config) -> bool {
    config
        .services
        .iter()
        .any(|service| path(service) != Path::Off)
}

pub(super) fn path(service: &Service) -> Path {
    service
        .probe
        .as_ref()
        .map_or(Path::Off, |probe| probe.via_vip)
}

impl Paths {
    pub(super) fn new(concurrency: usize) -> (Self, UnboundedReceiver<Event>) {
        let gate = Gate::default();
        let (ended, events) = unbounded_channel();
        // Each end may tell another cause; who does not listen any more has ended.
        let tell = move |event: &Event| drop(ended.send(event.clone()));
        let (prober, _news) = Prober::new(Kinds::through(gate.clone()), concurrency, tell);
        let paths = Self {
            gate,
            portal: None,
            reports: prober.reports(),
            prober,
            ejected: Ejected::new(),
            known: HashMap::new(),
            refusals: HashMap::new(),
        };
        (paths, events)
    }

    /// Opens the portal where a configuration needs it.
    ///
    /// # Errors
    /// Where it cannot be had.
    pub(super) fn prepare(&mut self, config: &Config, instance: &str) -> Result<(), Error> {
        if !is_used(config) || self.portal.is_some() {
            return Ok(());
        }
        let portal =
            Portal::open(&name(instance)).map_err(|error| no_portal(&error.to_string()))?;
        if portal.ifindex > NextHop::MAX_IFINDEX {
            return Err(no_portal("its index is larger than the data path can name"));
        }
        self.gate.lead(Some(portal.doorway()));
        self.portal = Some(portal);
        Ok(())
    }

    /// Closes it where it is not needed any more.
    pub(super) fn tidy(&mut self, config: &Config) {
        if !is_used(config) {
            self.gate.lead(None);
            self.portal = None;
        }
    }

    /// The link that probes come in by under a configuration.
    pub(super) fn link(&self, config: &Config) -> Option<ProbeLink> {
        let portal = self.portal.as_ref().filter(|_| is_used(config))?;
        Some(ProbeLink {
            ifindex: portal.ifindex,
            first_port: config.via_vip.ports.first,
        })
    }

    /// The interfaces that the program is attached to.
    pub(super) fn interfaces(&self, config: &Config) -> Vec<Interface> {
        let portal = self.portal.as_ref().filter(|_| is_used(config));
        let own = portal.map(|portal| Interface {
            name: portal.name.clone(),
            xdp: XdpMode::Native,
            role: Role::Client,
        });
        config.interfaces.iter().cloned().chain(own).collect()
    }

    /// Whether an interface is the link's.
    pub(super) fn is_link(&self, name: &str) -> bool {
        self.portal
            .as_ref()
            .is_some_and(|portal| portal.name == name)
    }

    /// Probes the backends of a configuration that is installed.
    pub(super) fn follow(&mut self, effective: &Effective, host: &Host, dataplane: &Dataplane) {
        let mut targets = Vec::new();
        let services = effective.config.services.iter();
        for service in services.filter(|service| path(service) != Path::Off) {
            let Some(installed) = dataplane.installed().service(service.vip) else {
                continue;
            };
            let aims = Aims {
                effective,
                host,
                service,
                installed,
            };
            targets.extend(aims.targets());
        }
        let aimed = targets.iter();
        let aimed: HashSet<_> = aimed.map(|it| (it.service.clone(), it.backend)).collect();
        self.known.retain(|key, _| aimed.contains(key));
        self.prober.set_targets(targets);
    }

    /// Decides anew whom failing paths take out.
    pub(super) fn choose(&mut self, effective: &Effective, direct: &Reports) {
        let services = effective.config.services.iter();
        let ejecting = services.filter(|service| path(service) == Path::Eject);
        let before = std::mem::take(&mut self.ejected);
        for service in ejecting {
            let health = |reports: &Reports, address| {
                reports
                    .of(&service.name, address)
                    .map(|report| report.health)
            };
            let backends: Vec<_> = service
                .backends
                .iter()
                .filter_map(|backend| {
                    let direct = health(direct, backend.address)?;
                    Some((
                        backend.address,
                        direct,
                        health(&self.reports, backend.address)?,
                    ))
                })
                .collect();
            let most = service.guards.most_out(service.backends.len());
            let known = before.get(&service.name).cloned().unwrap_or_default();
            let ejected = ejected(&known, &backends, most);
            self.ejected.insert(service.name.clone(), ejected);
        }
    }

    /// What both probes say of a backend.
    pub(super) fn judge(&self, service: &Service, address: SocketAddr, direct: Health) -> Health {
        if path(service) != Path::Eject {
            return direct;
        }
        let report = self.reports.of(&service.name, address);
        match report.map(|report| report.health) {
            Some(Health::Unknown) if direct == Health::Up => Health::Unknown,
            Some(Health::Down) if self.is_ejected(&service.name, address) => Health::Down,
            _ => direct,
        }
    }

    fn is_ejected(&self, service: &str, address: SocketAddr) -> bool {
        let ejected = self.ejected.get(service);
        ejected.is_some_and(|ejected| ejected.contains(&address))
    }

    /// Takes note of how a probe ended.
    pub(super) fn take(&mut self, event: &Event, mode: Mode, host: &Host, dataplane: &Dataplane) {
        let cause = self.cause(event, mode, host, dataplane);
        let key = (event.service.to_string(), event.backend);
        let known = self.known.entry(key).or_default();
        known.cause = cause;
        *known.probes.counter(event.outcome) += 1;
    }

    /// Why the last probe of a path failed, if it did.
    pub(super) fn cause_of(&self, service: &str, backend: SocketAddr) -> Option<Cause> {
        self.known.get(&(service.to_owned(), backend))?.cause
    }

    /// What there is to see of a path.
    pub(super) fn item(&self, service: &Service, backend: SocketAddr) -> Option<PathItem> {
        let report = self.reports.of(&service.name, backend)?;
        let known = self.known.get(&(service.name.clone(), backend));
        let Known { cause, probes } = known.copied().unwrap_or_default();
        Some(PathItem {
            state: words::health(report.health),
            ejects: path(service) == Path::Eject,
            cause,
            likely: cause.map(|cause| cause.to_string()),
            last_probe: words::last_probe(&report),
            probes,
        })
    }

    fn cause(
        &mut self,
        event: &Event,
        mode: Mode,
        host: &Host,
        dataplane: &Dataplane,
    ) -> Option<Cause> {
        let address = event.backend.ip();
        let hop = host.way(address).next_hop;
        let reach = match hop {
            hop if !hop.is_resolved() => Reach::Nobody,
            hop if hop.is_on_link() => Reach::Neighbour,
            _ => Reach::Router,
        };
        let seen = Seen {
            mode,
            reach,
            outcome: event.outcome,
            refused: mode.is_tunnel() && self.was_refused(address, mode, dataplane),
        };
        seen.cause()
    }

    /// Whether a tunnel's end refused packets since it was last looked.
    fn was_refused(&mut self, address: IpAddr, mode: Mode, dataplane: &Dataplane) -> bool {
        let is_gue = mode == Mode::Gue;
        let count = dataplane.refusals(address, is_gue);
        self.refusals.insert((address, is_gue), count).unwrap_or(0) != count
    }
}

/// The name of the link's near end: of the instance's own, and no longer than the kernel allows.
fn name(instance: &str) -> String {
    let digest = digest(instance.as_bytes());
    let short: String = digest
        .chars()
        .filter(char::is_ascii_hexdigit)
        .take(8)
        .collect();
    format!("xlbp{short}")
}

fn no_portal(why: &str) -> Error {
    let message = format!("probes by way of a VIP have no link: {why}");
    Error::new(Code::Failed, message).hint(
        "`via_vip` wants root, network namespaces, veth and `ethtool`; take it out to do without",
    )
}

/// Whom of a service the paths take out: those that answer and whose path fails, as long as no more than `most` are
/// out; who is out already, first.
fn ejected(
    known: &BTreeSet<SocketAddr>,
    backends: &[(SocketAddr, Health, Health)],
    most: usize,
) -> BTreeSet<SocketAddr> {
    let out = backends
        .iter()
        .filter(|(_, direct, _)| *direct == Health::Down);
    let room = most.saturating_sub(out.count());
    let fails = |(_, direct, path): &&(SocketAddr, Health, Health)| {
        (*direct, *path) == (Health::Up, Health::Down)
    };
    let failing = backends.iter().filter(fails).map(|(address, ..)| *address);
    let (mut first, then): (Vec<_>, Vec<_>) = failing.partition(|address| known.contains(address));
    first.extend(then);
    first.into_iter().take(room).collect()
}

/// The targets of a service.
struct Aims<'a> {
    effective: &'a Effective,
    host: &'a Host,
    service: &'a Service,
    installed: &'a InstalledService,
}

impl Aims<'_> {
    fn targets(&self) -> Vec<Target> {
        let pairs = self.installed.pairs();
        let entries: HashMap<u32, _> = self.installed.backends().collect();
        let backends = self.service.backends.iter();
        let target = |backend: &crate::config::model::Backend| {
            let admin = self.effective.admin(&self.service.name, backend.address);
            let pair = *pairs.get(&backend.address)?.first()?;
            let entry = entries.get(&pair)?;
            let mut probe = self.service.probe.clone()?;
            let (check, port) = via_vip::question(self.service, backend)?;
            probe.check = check;
            probe.feedback = None;
            let from = SocketAddr::new(self.source(backend.address.ip())?, self.port(pair)?);
            let is_up = entry.state == lb_common::backend::State::Up;
            (admin != Admin::Maint).then(|| Target {
                service: self.service.name.clone(),
                backend: backend.address,
                probe,
                damping: None,
                via: Some(Via {
                    vip: SocketAddr::new(self.service.vip.address, port),
                    from,
                    full: entry.mtu,
                }),
                most_out: self.service.backends.len(),
                // One that takes flows goes on until the path was found to fail.
                initial: if is_up { Health::Up } else { Health::Unknown },
            })
        };
        backends.filter_map(target).collect()
    }

    /// The port that names a pair.
    fn port(&self, pair: u32) -> Option<u16> {
        let ports = self.effective.config.via_vip.ports;
        let port = u16::try_from(u32::from(ports.first) + pair).ok()?;
        (port <= ports.last).then_some(port)
    }

    /// An address of this host of the VIP's family: what the file says, else the one towards the backend, else any.
    fn source(&self, backend: IpAddr) -> Option<IpAddr> {
        let is_v6 = self.service.vip.address.is_ipv6();
        let fits = |address: &IpAddr| address.is_ipv6() == is_v6;
        let mut named = self.effective.config.via_vip.sources.iter().copied();
        let towards = || self.host.way(backend).source.filter(fits);
        let any = || {
            let mut own = self.host.addresses().into_iter();
            own.find(|own| fits(own) && !own.is_loopback() && *own != self.service.vip.address)
        };
        named.find(fits).or_else(towards).or_else(any)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{ejected as ejected_of, *};

    fn address(last: u8) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, last], 80))
    }

    #[test]
    fn who_is_out_stays_out_and_others_only_where_there_is_room() {
        let (up, down) = (Health::Up, Health::Down);
        let backends = [
            (address(1), up, down),
            (address(2), up, down),
            (address(3), up, up),
            (address(4), down, down),
        ];
        let ejected = |known: &[u8], most| {
            let known = known.iter().map(|last| address(*last)).collect();
            ejected_of(&known, &backends, most)
        };
        assert_eq!(ejected(&[], 4), [address(1), address(2)].into());
        assert_eq!(ejected(&[], 2), [address(1)].into());
        assert_eq!(ejected(&[2], 2), [address(2)].into());
        assert_eq!(ejected(&[2], 1), [].into());
    }

    proptest! {
        #[test]
        fn never_more_are_out_than_may_be(
            most in 0_usize..8, states in prop::collection::vec((0..3_u8, 0..3_u8), 0..8),
        ) {
            let health = |number| [Health::Down, Health::Unknown, Health::Up][usize::from(number)];
            let backends: Vec<_> = (0..).zip(&states)
                .map(|(last, (direct, path))| (address(last), health(*direct), health(*path)))
                .collect();
            let ejected = ejected(&BTreeSet::new(), &backends, most);
            let down = backends.iter().filter(|(_, direct, _)| *direct == Health::Down).count();
            prop_assert!(ejected.is_empty() || down + ejected.len() <= most);
        }
    }

    #[test]
    fn names_fit_the_kernel() {
        assert_eq!(name("default").len(), 12);
        assert_ne!(name("default"), name("other"));
    }
}
