//! Source addresses and ports of full NAT, and ports of probes by way of a VIP, against what the host itself uses.
//!
//! A port that the kernel gave to a connection of the host, or that a program listens on, must not be
//! given to a flow: its packets would not reach the host any more.

use std::{
    collections::BTreeSet,
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use lb_common::pool::ADDRESSES;

use super::paths;
use crate::{
    api::{Code, Error},
    config::model::{Config, Mode, PortRange, Protocol, Service},
    desired::Network,
};

/// Ports that are the host's own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct HostPorts {
    /// Those that the kernel gives to connections.
    ephemeral: Option<PortRange>,
    /// Those that programs listen on.
    listeners: Vec<(Protocol, SocketAddr)>,
}

impl HostPorts {
    /// Asks the kernel; what it does not tell counts as not used.
    pub(super) fn read() -> Self {
        let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range");
        let tables = [
            (Protocol::Tcp, "tcp"),
            (Protocol::Tcp, "tcp6"),
            (Protocol::Udp, "udp"),
            (Protocol::Udp, "udp6"),
        ];
        let listening = tables.into_iter().flat_map(|(protocol, name)| {
            let text = fs::read_to_string(format!("/proc/net/{name}")).unwrap_or_default();
            listening(protocol, &text)
        });
        Self {
            ephemeral: range.ok().and_then(|text| port_range(&text)),
            listeners: listening.collect(),
        }
    }
}

impl HostPorts {
    /// Those that the kernel gives to connections, where some of these are among them.
    fn given_away(&self, PortRange { first, last }: PortRange) -> Option<PortRange> {
        let ephemeral = self.ephemeral?;
        (first <= ephemeral.last && ephemeral.first <= last).then_some(ephemeral)
    }
}

/// Refuses pools, and ports of probes, that cannot work on this host, whose ports are asked for where there are any.
///
/// # Errors
/// Says which, and what to do.
pub(super) fn refuse(
    config: &Config,
    network: &impl Network,
    ports: impl FnOnce() -> HostPorts,
) -> Result<(), Error> {
    let services = config.services.iter();
    let services: Vec<&Service> = services.filter(|service| uses_full_nat(service)).collect();
    let probes = paths::is_used(config);
    if services.is_empty() && !probes {
        return Ok(());
    }
    let ports = ports();
    if probes {
        refuse_probe_ports(config.via_vip.ports, &ports)?;
    }
    for service in services {
        refuse_too_many(service)?;
        refuse_own_ports(service, network, &ports)?;
    }
    Ok(())
}

fn uses_full_nat(service: &Service) -> bool {
    let mut backends = service.backends.iter();
    backends.any(|backend| backend.mode == Mode::FullNat)
}

/// The sources that the file names for the service's family.
fn named(service: &Service) -> impl Iterator<Item = IpAddr> {
    let v6 = service.vip.address.is_ipv6();
    let sources = service.full_nat.sources.iter().copied();
    sources.filter(move |source| source.is_ipv6() == v6)
}

fn refuse_too_many(service: &Service) -> Result<(), Error> {
    let count = named(service).count();
    if count <= ADDRESSES {
        return Ok(());
    }
    let message = format!(
        "service `{}` has {count} source addresses of one family, expected at most {ADDRESSES}",
        service.name
    );
    Err(Error::new(Code::ConfigInvalid, message).hint("name fewer `sources`"))
}

/// A backend's answer to such a port of the host's is taken for one to a probe: the host's own connections to backends,
/// those of other probes among them, would hear nothing.
fn refuse_probe_ports(probes: PortRange, ports: &HostPorts) -> Result<(), Error> {
    let Some(range) = ports.given_away(probes) else {
        return Ok(());
    };
    let message = format!(
        "probes by way of a VIP come from the ports {probes}, and the kernel gives {range} to the host's own connections"
    );
    Err(Error::new(Code::ConfigInvalid, message).hint(
        "choose `via_vip: { ports: … }` outside of net.ipv4.ip_local_port_range, or narrow that",
    ))
}

fn refuse_own_ports(
    service: &Service,
    network: &impl Network,
    ports: &HostPorts,
) -> Result<(), Error> {
    let own: BTreeSet<IpAddr> = network.addresses().into_iter().collect();
    let PortRange { first, last } = service.full_nat.ports;
    for source in sources(service, network).intersection(&own) {
        if let Some(range) = ports.given_away(service.full_nat.ports) {
            return Err(given_away(service, *source, range));
        }
        let takes = |(protocol, listener): &&(Protocol, SocketAddr)| {
            let covers = listener.ip() == *source || listener.ip().is_unspecified();
            covers && *protocol == service.vip.protocol && (first..=last).contains(&listener.port())
        };
        if let Some((_, listener)) = ports.listeners.iter().find(takes) {
            return Err(listened_on(service, *source, *listener));
        }
    }
    Ok(())
}

/// The sources of a service's flows.
fn sources(service: &Service, network: &impl Network) -> BTreeSet<IpAddr> {
    let sources: BTreeSet<IpAddr> = named(service).collect();
    if !sources.is_empty() {
        return sources;
    }
    let backends = service.backends.iter();
    let full_nat = backends.filter(|backend| backend.mode == Mode::FullNat);
    full_nat
        .filter_map(|backend| network.way(backend.address.ip()).source)
        .collect()
}

fn given_away(service: &Service, source: IpAddr, range: PortRange) -> Error {
    let (name, ports) = (&service.name, service.full_nat.ports);
    let message = format!(
        "service `{name}` gives flows the ports {ports} of this host's address {source}, and the kernel \
         gives {range} to the host's own connections"
    );
    Error::new(Code::ConfigInvalid, message).hint(
        "choose `ports` outside of net.ipv4.ip_local_port_range, narrow that, or name `sources` that \
         are not the host's",
    )
}

fn listened_on(service: &Service, source: IpAddr, listener: SocketAddr) -> Error {
    let (name, ports) = (&service.name, service.full_nat.ports);
    let message = format!(
        "service `{name}` gives flows the ports {ports} of this host's address {source}, and a program \
         listens on {listener}"
    );
    Error::new(Code::ConfigInvalid, message).hint(
        "choose `ports` without it (`ss -ltnup` lists all), or name `sources` that are not the host's",
    )
}

fn port_range(text: &str) -> Option<PortRange> {
    let mut numbers = text.split_whitespace().map(str::parse);
    Some(PortRange {
        first: numbers.next()?.ok()?,
        last: numbers.next()?.ok()?,
    })
}

/// The sockets of a table of the kernel (`/proc/net/tcp` in proc(5)) that take packets from anyone.
fn listening(protocol: Protocol, table: &str) -> Vec<(Protocol, SocketAddr)> {
    let rows = table.lines().skip(1);
    let listener = |row: &str| {
        let mut fields = row.split_whitespace().skip(1);
        let local = fields.next().and_then(socket)?;
        let remote = fields.next().and_then(socket)?;
        (remote.port() == 0).then_some((protocol, local))
    };
    rows.filter_map(listener).collect()
}

/// Addresses are words in the host's byte order, ports are numbers.
fn socket(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let words = (0..address.len() / 8).map(|i| {
        let word = address.get(i * 8..i * 8 + 8)?;
        u32::from_str_radix(word, 16).ok()
    });
    let words: Vec<u32> = words.collect::<Option<_>>()?;
    let ip = match *words.as_slice() {
        [word] => IpAddr::from(Ipv4Addr::from(word.to_ne_bytes())),
        [a, b, c, d] => {
            let bytes: [u8; 16] = zerocopy::transmute!([a, b, c, d]);
            Ipv6Addr::from(bytes).to_canonical()
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use ipnet::IpNet;

    use super::*;
    use crate::{
        config,
        desired::{Link, Routes, Way},
        net::client_routes::TooManyDirect,
    };

    /// Has the address 10.0.0.1, and backends on its link.
    struct Host;

    impl Network for Host {
        fn way(&self, _: IpAddr) -> Way {
            Way {
                source: Some(IpAddr::from([10, 0, 0, 1])),
                ..Way::NONE
            }
        }
        fn addresses(&self) -> Vec<IpAddr> {
            vec![IpAddr::from([10, 0, 0, 1])]
        }
        fn link(&self, _: &str) -> Option<Link> {
            None
        }
        fn link_at(&self, _: u32) -> Option<Link> {
            None
        }
        fn client_routes(&self, _: &[IpNet]) -> Result<Routes, TooManyDirect> {
            Ok(Routes::default())
        }
    }

    const TCP: &str = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:4E20 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0
   1: 0100000A:2711 0200000A:1F90 01 00000000:00000000 00:00000000 00000000     0        0 2 1 0
";
    const TCP6: &str = "\
  sl  local_address                         remote_address                        st tx_queue
   0: 00000000000000000000000001000000:4E21 00000000000000000000000000000000:0000 0A 00000000
";

    #[test]
    fn listeners_are_read_from_the_kernels_tables() {
        let found = listening(Protocol::Tcp, TCP);
        assert_eq!(found, [(Protocol::Tcp, "0.0.0.0:20000".parse().unwrap())]);
        let found = listening(Protocol::Tcp, TCP6);
        assert_eq!(found, [(Protocol::Tcp, "[::1]:20001".parse().unwrap())]);
    }

    #[test]
    fn the_kernel_tells_something() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let ports = HostPorts::read();
        assert!(ports.ephemeral.is_some());
        let bound = (Protocol::Tcp, listener.local_addr().unwrap());
        assert!(ports.listeners.contains(&bound), "{ports:?}");
    }

    /// What is said of a pool of these sources and ports.
    fn judge(protocol: &str, full_nat: &str) -> Option<String> {
        let text = format!(
            "interfaces: [lo]\nservices:\n- name: web\n  vip: 203.0.113.10:80/{protocol}\n  mode: \
             full-nat\n  full_nat: {full_nat}\n  backends: [10.0.0.11:80]\n"
        );
        let config = config::parse("xlb.yaml", text.as_bytes()).unwrap().config;
        let ports = || HostPorts {
            ephemeral: port_range("32768\t60999\n"),
            listeners: listening(Protocol::Tcp, TCP),
        };
        let refused = refuse(&config, &Host, ports).err();
        refused.map(|error| error.message)
    }

    #[test]
    fn ports_of_the_hosts_own_are_refused_on_its_own_addresses() {
        let cases = [
            ("tcp", "{ ports: 10000-19999 }", None),
            (
                "tcp",
                "{ ports: 10000-20000 }",
                Some("listens on 0.0.0.0:20000"),
            ),
            ("udp", "{ ports: 10000-32767 }", None),
            ("udp", "{ ports: 10000-32768 }", Some("gives 32768-60999")),
            ("tcp", "{ sources: [10.0.0.7], ports: 1024-65535 }", None),
        ];
        for (protocol, full_nat, expected) in cases {
            let said = judge(protocol, full_nat);
            match expected {
                Some(words) => assert!(said.unwrap().contains(words), "{full_nat}"),
                None => assert_eq!(said, None, "{full_nat}"),
            }
        }
    }

    #[test]
    fn probes_by_way_of_a_vip_have_ports_of_their_own() {
        let said = |via_vip, ports: &str| {
            let text = format!(
                "interfaces: [lo]\nvia_vip: {{ ports: {ports} }}\nservices:\n- name: web\n  vip: 203.0.113.10:80/tcp\n  \
                 probe: {{ via_vip: {via_vip} }}\n  backends: [10.0.0.11:80]\n"
            );
            let config = config::parse("xlb.yaml", text.as_bytes()).unwrap().config;
            let ports = || HostPorts {
                ephemeral: port_range("32768\t60999\n"),
                listeners: Vec::new(),
            };
            refuse(&config, &Host, ports)
                .err()
                .map(|error| error.message)
        };
        assert_eq!(said("watch", "61000-65535"), None);
        assert_eq!(said("off", "60000-65535"), None);
        let refused = said("eject", "60999-65535").unwrap();
        assert!(
            refused.contains("60999-65535, and the kernel gives 32768-60999"),
            "{refused}"
        );
    }

    #[test]
    fn seventeen_sources_are_too_many() {
        let sources: Vec<String> = (1..=17).map(|i| format!("192.0.2.{i}")).collect();
        let said = judge("tcp", &format!("{{ sources: [{}] }}", sources.join(", ")));
        assert!(said.unwrap().contains("17 source addresses"));
    }
}
