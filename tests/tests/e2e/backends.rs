//! Networks and backends for every mode, and what goes through all of them.

use std::{
    collections::BTreeSet,
    fs,
    io::{self, Read as _},
    net::{IpAddr, SocketAddr},
    path::Path,
};

use lb_tests::{
    config::Service,
    direct::{TunnelEnd, own},
    fleet::Fleet,
    load::{Connection, ask_udp_until_answered, room, udp},
};
use lb_userspace::{
    config::model::Mode,
    lab::{Family, Namespace, Options, Topology, WayBack},
};

/// Two backends on the balancer's link and one behind a router, which answer as the mode wants it.
pub(crate) fn network(mode: Mode) -> Options {
    Options {
        backends: 2,
        far: 1,
        router: true,
        way_back: way_back(mode),
        ..Options::default()
    }
}

/// Only where the way back has to cross the balancer it is the backends' gateway.
pub(crate) fn way_back(mode: Mode) -> WayBack {
    if mode == Mode::Nat {
        WayBack::Balancer
    } else {
        WayBack::Router
    }
}

/// Weights of the backends of [`network`] that a mode reaches: direct return is for neighbours only.
pub(crate) const fn weights(mode: Mode) -> &'static [u16] {
    match mode {
        Mode::L2Dsr => &[1, 1],
        _ => &[1, 1, 1],
    }
}

/// Servers at every backend, set up for a mode.
pub(crate) struct Backends<'a> {
    pub(crate) fleet: Fleet,
    pub(crate) ends: Vec<TunnelEnd<'a>>,
}

impl<'a> Backends<'a> {
    /// What the mode needs, and no more.
    pub(crate) fn start(topology: &'a Topology, mode: Mode) -> Self {
        Self {
            ends: set_up(topology, mode),
            fleet: Fleet::start_at(topology, &owned(topology, mode)).unwrap(),
        }
    }

    /// What any mode needs.
    pub(crate) fn for_all_modes(topology: &'a Topology) -> Self {
        Self::start(topology, Mode::Ipip)
    }
}

/// VIPs that backends must have in a mode.
pub(crate) fn owned(topology: &Topology, mode: Mode) -> Vec<IpAddr> {
    if mode.is_nat() {
        return Vec::new();
    }
    Family::ALL.map(|family| topology.vip.of(family)).into()
}

/// Gives backends the VIPs and ends for tunnels, as far as the mode needs that.
pub(crate) fn set_up(topology: &Topology, mode: Mode) -> Vec<TunnelEnd<'_>> {
    let vips = owned(topology, mode);
    for host in &topology.backends {
        own(&host.namespace, &vips).unwrap();
    }
    let balancer = &topology.balancer.back;
    let sources = Family::ALL.map(|family| balancer.address.of(family).to_string());
    let tunnels = topology.backends.iter().filter(|_| mode.is_tunnel());
    tunnels
        .map(|host| tunnel_end(&host.namespace, &vips, &sources))
        .collect()
}

fn tunnel_end<'a>(host: &'a Namespace, vips: &[IpAddr], sources: &[String]) -> TunnelEnd<'a> {
    let end = TunnelEnd::new(host).unwrap();
    end.attach(vips, sources).unwrap();
    end
}

/// The pages of a fleet in a mode, at the port that they are served at.
pub(crate) const fn web(family: Family, mode: Mode) -> Service<'static> {
    let name = match family {
        Family::V4 => "web4",
        Family::V6 => "web6",
    };
    Service {
        name,
        family,
        mode,
        port: Service::WEB.backend_port,
        weights: weights(mode),
        ..Service::WEB
    }
}

/// The names of a fleet in a mode, at the port that they are told at.
pub(crate) const fn names(family: Family, mode: Mode) -> Service<'static> {
    let name = match family {
        Family::V4 => "names4",
        Family::V6 => "names6",
    };
    Service {
        name,
        family,
        mode,
        port: Service::NAMES.backend_port,
        weights: weights(mode),
        ..Service::NAMES
    }
}

/// Opens so many connections, one after another; who served them.
pub(crate) fn served_by(topology: &Topology, vip: SocketAddr, connections: usize) -> Servers {
    let open = |_| Connection::open(vip).map(|connection| connection.name);
    let open = || (0..connections).map(open).collect::<io::Result<_>>();
    let namespace = &topology.client.namespace;
    let served = namespace.enter(open).unwrap();
    served.unwrap_or_else(|error| panic!("{vip}: {error}"))
}

/// Names of backends.
pub(crate) type Servers = BTreeSet<String>;

/// The first so many backends.
pub(crate) fn first(count: usize) -> Servers {
    (1..=count).map(|number| format!("b{number}")).collect()
}

/// So many random bytes.
pub(crate) fn random(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    let mut random = fs::File::open("/dev/urandom").unwrap();
    random.read_exact(&mut bytes).unwrap();
    bytes
}

/// Downloads a file from a VIP and uploads it again: curl and nginx.
pub(crate) fn pages_are_whole_both_ways(
    topology: &Topology,
    fleet: &Fleet,
    vip: SocketAddr,
    length: usize,
) {
    let bytes = random(length);
    let pages = || (1..=topology.backends.len()).map(|number| fleet.web(number).pages());
    for pages in pages() {
        fs::write(pages.join("file"), &bytes).unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    curl(topology, vip, "/file", &["-o", text(&file)]);
    assert!(fs::read(&file).unwrap() == bytes, "download from {vip}");

    let name = format!("upload/{}", vip.ip());
    curl(topology, vip, &format!("/{name}"), &["-T", text(&file)]);
    let uploads = pages().map(|pages| pages.join(&name));
    let uploaded: Vec<_> = uploads.filter(|file| file.exists()).collect();
    let [uploaded] = uploaded.as_slice() else {
        panic!("upload to {vip}: {uploaded:?}");
    };
    assert!(fs::read(uploaded).unwrap() == bytes, "upload to {vip}");
    fs::remove_file(uploaded).unwrap();
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Fetches a page of a VIP.
pub(crate) fn curl(topology: &Topology, vip: SocketAddr, page: &str, more: &[&str]) -> String {
    let url = format!("http://{vip}{page}");
    let words = [&["curl", "-sSf", "--max-time", "20", &url], more].concat();
    topology.client.namespace.run(words).unwrap()
}

/// Many flows of UDP, each with a small datagram; who answered.
pub(crate) fn datagrams_are_answered(topology: &Topology, vip: SocketAddr) -> Servers {
    flows_keep_their_backend(topology, vip, 100, &[b"who?"])
}

/// Many flows of UDP, each with a small and a full datagram, each with one backend; all of them.
pub(crate) fn datagrams_are_whole_both_ways(topology: &Topology, vip: SocketAddr) -> Servers {
    // The answer is the question, a name of two letters, and a space.
    let family = if vip.is_ipv4() {
        Family::V4
    } else {
        Family::V6
    };
    let full = random(room(family) - 3);
    flows_keep_their_backend(topology, vip, 100, &[b"who?", &full])
}

/// Datagrams that are too long for every link, so that they travel in fragments, both ways.
pub(crate) fn fragments_are_put_together_both_ways(
    topology: &Topology,
    vip: SocketAddr,
) -> Servers {
    let [some, many] = [4_000, 8_000].map(random);
    flows_keep_their_backend(topology, vip, 30, &[&some, b"whole", &many])
}

fn flows_keep_their_backend(
    topology: &Topology,
    vip: SocketAddr,
    flows: usize,
    questions: &[&[u8]],
) -> Servers {
    let flow = |_| {
        let socket = udp(vip)?;
        let asked = questions.iter();
        let names = asked.map(|question| ask_udp_until_answered(&socket, question));
        let names = names.collect::<io::Result<Servers>>()?;
        assert_eq!(names.len(), 1, "servers of one flow to {vip}: {names:?}");
        Ok(names)
    };
    let flows = || (0..flows).map(flow).collect::<io::Result<Vec<_>>>();
    let served = topology.client.namespace.enter(flows).unwrap();
    let served = served.unwrap_or_else(|error| panic!("{vip}: {error}"));
    served.into_iter().flatten().collect()
}
