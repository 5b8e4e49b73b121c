//! What `xlb service show --backend-setup` prints, given to a shell on the backends.

use std::{
    io::Write as _,
    process::{Output, Stdio},
};

use lb_tests::{
    config::Service,
    daemon::{PinFolder, Xlb, binary},
    damage,
    fleet::Fleet,
};
use lb_userspace::{
    backend_setup,
    config::{self, model::Mode},
    lab::{Family, Namespace, Topology, unique_name},
    net::Follower,
};
use tempfile::TempDir;

use crate::{
    backends::{first, network, served_by, web, weights},
    site::{routed, start},
};

/// Gives lines to `sh -e` in a namespace, as `ssh HOST sh -e` would, twice.
fn paste(namespace: &Namespace, lines: &str) {
    for _ in 0..2 {
        let output = shell(namespace, lines);
        assert!(output.status.success(), "{lines}\n{output:?}");
    }
}

fn shell(namespace: &Namespace, lines: &str) -> Output {
    let mut command = namespace.command("sh");
    let command = command.arg("-e").stdin(Stdio::piped());
    let command = command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut shell = command.spawn().unwrap();
    let mut stdin = shell.stdin.take().unwrap();
    stdin.write_all(lines.as_bytes()).unwrap();
    drop(stdin);
    shell.wait_with_output().unwrap()
}

fn setup(xlb: &Xlb<'_>, service: &str, backend: &str) -> String {
    let flag = format!("--backend-setup={backend}");
    let output = xlb.cli(&["service", "show", service, &flag]).unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Backends whose answers go nowhere, until they are told where.
#[test]
fn answers_of_nat_backends_find_back_through_the_balancer() {
    let topology = Topology::two_armed(routed()).unwrap();
    let _fleet = Fleet::start(&topology).unwrap();
    let web6 = Service {
        name: "web6",
        family: Family::V6,
        ..Service::WEB
    };
    for backend in &topology.backends {
        let lines = ["route del default", "route del ::/0"];
        backend.namespace.ip(lines).unwrap();
        let strict = "net/ipv4/conf/eth0/rp_filter";
        backend.namespace.sysctl(strict, "1").unwrap();
    }
    let services = [Service::WEB, web6, Service::NAMES];
    let xlb = start(&topology, &services);
    let page = |service: &Service<'_>| {
        let url = format!("http://{}/", service.vip(&topology));
        let curl = ["curl", "-sSf", "--max-time", "2", &url];
        topology.client.namespace.run(curl)
    };
    assert!(page(&Service::WEB).is_err(), "nothing was pasted yet");
    for (number, backend) in (1..).zip(&topology.backends) {
        for service in &services {
            let lines = setup(&xlb, service.name, &format!("b{number}"));
            paste(&backend.namespace, &lines);
        }
    }
    for service in [Service::WEB, web6] {
        for _ in 0..20 {
            page(&service).unwrap();
        }
    }
    let names = Service::NAMES.vip(&topology);
    let asked = topology.client.namespace.enter(|| {
        let socket = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
        socket.set_read_timeout(Some(crate::site::SOON)).unwrap();
        socket.connect(names).unwrap();
        socket.send(b"?").unwrap();
        socket.recv(&mut [0; 64]).unwrap()
    });
    assert!(asked.unwrap() > 0);
}

#[test]
fn json_lists_the_same_lines_and_an_unknown_backend_is_told() {
    let topology = Topology::two_armed(routed()).unwrap();
    let _fleet = Fleet::start(&topology).unwrap();
    let xlb = start(&topology, &[Service::WEB]);
    let words = ["service", "show", "web", "--backend-setup"];
    let list = xlb.json(&words).unwrap();
    assert_eq!(list["kind"], "BackendSetupList");
    let commands = list["items"][1]["commands"].as_array().unwrap();
    let lines: Vec<&str> = commands.iter().map(|line| line.as_str().unwrap()).collect();
    assert_eq!(lines.join("\n") + "\n", setup(&xlb, "web", "10.0.0.12"));
    for (service, backend) in [("web", "b9"), ("nothing", "b1")] {
        let flag = format!("--backend-setup={backend}");
        let output = xlb.cli(&["service", "show", service, &flag]).unwrap();
        assert_eq!(output.status.code(), Some(5), "{service} {backend}");
    }
}

const DIRECT: &str = r#"
interfaces: [eth0]
services:
  - { name: dsr, vip: "203.0.113.10:80/tcp", mode: l2-dsr, backends: [10.0.0.11] }
  - { name: ipip, vip: "203.0.113.11:80/tcp", mode: ipip, backends: [10.0.0.11] }
  - { name: gue, vip: "[2001:db8:f::12]:80/tcp", mode: gue, backends: ["[2001:db8:1::11]"] }
  - { name: mixed, vip: "203.0.113.13:80/tcp", mode: gue, backends: ["[2001:db8:1::11]"] }
"#;

/// A balancer, and a backend that answers clients through it.
fn balancer_and_backend() -> [Namespace; 2] {
    let balancer = Namespace::new(unique_name("xlb-bal")).unwrap();
    let backend = Namespace::new(unique_name("xlb-bck")).unwrap();
    let veth = "link add eth0 type veth peer name eth0 netns";
    balancer.ip([format!("{veth} {}", backend.name())]).unwrap();
    for (namespace, number) in [(&balancer, "1"), (&backend, "11")] {
        namespace
            .ip([
                format!("addr add 10.0.0.{number}/24 dev eth0"),
                format!("addr add 2001:db8:1::{number}/64 dev eth0 nodad"),
                "link set eth0 up".to_owned(),
            ])
            .unwrap();
    }
    let default = [
        "route add default via 10.0.0.1",
        "route add ::/0 via 2001:db8:1::1",
    ];
    backend.ip(default).unwrap();
    [balancer, backend]
}

#[test]
fn direct_modes_leave_the_backend_with_vip_silence_and_tunnel() {
    let [balancer, backend] = balancer_and_backend();
    let pins = PinFolder::new().unwrap();
    let run = tempfile::tempdir().unwrap();
    let xlb = own_folders(&pins, &run);
    for lines in lines_for_all(&balancer) {
        paste(&backend, &format!("{xlb}{lines}"));
    }

    let shows = |words: &[&str], text: &str| {
        let shown = backend.run(words).unwrap();
        assert!(shown.contains(text), "{words:?}: {shown}");
    };
    for vip in [
        "203.0.113.10",
        "203.0.113.11",
        "203.0.113.13",
        "2001:db8:f::12",
    ] {
        shows(&["ip", "address", "show", "dev", "lo"], vip);
    }
    shows(&["sysctl", "-n", "net.ipv4.conf.all.arp_ignore"], "1");
    shows(&["sysctl", "-n", "net.ipv4.conf.all.arp_announce"], "2");
    shows(&["sysctl", "-n", "net.ipv4.conf.eth0.rp_filter"], "2");
    shows(&["ip", "-4", "route", "show", "default"], "advmss 1412");
    shows(&["ip", "-6", "route", "show", "default"], "advmss 1392");
    let status = shell(&backend, &format!("{xlb}xlb decap --status"));
    let status = String::from_utf8(status.stdout).unwrap();
    for vip in ["203.0.113.13", "2001:db8:f::12"] {
        assert!(status.contains(vip), "{status}");
    }
    drop(shell(&backend, &format!("{xlb}xlb decap --detach")));
}

/// What the balancer says of each backend of [`DIRECT`].
fn lines_for_all(balancer: &Namespace) -> Vec<String> {
    let config = config::parse("xlb.yaml", DIRECT.as_bytes()).unwrap().config;
    let view = balancer.enter(|| {
        let runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = { runtime }.enable_all().build().unwrap();
        runtime.block_on(async { Follower::start().await.unwrap().view() })
    });
    let view = view.unwrap();
    let pairs = config.services.iter().map(|service| {
        let lines = backend_setup::lines(&config, &view, service, &service.backends[0]);
        lines.join("\n")
    });
    pairs.collect()
}

/// Has `xlb` of the shell's lines keep its files apart from any other's.
fn own_folders(pins: &PinFolder, run: &TempDir) -> String {
    format!(
        "xlb() {{ {} --pin-dir {} --run-dir {} \"$@\"; }}\n",
        binary().unwrap().display(),
        pins.path().display(),
        run.path().display()
    )
}

/// Nothing was done to the backends before.
fn is_all_that_backends_need(mode: Mode) {
    let topology = Topology::two_armed(network(mode)).unwrap();
    let _fleet = Fleet::start(&topology).unwrap();
    let services = Family::ALL.map(|family| web(family, mode));
    let xlb = start(&topology, &services);
    let folders: Vec<_> = topology
        .backends
        .iter()
        .map(|_| (PinFolder::new().unwrap(), tempfile::tempdir().unwrap()))
        .collect();
    let all = weights(mode).len();
    // One after the other: a backend that has an address of each family takes the tunnels of the last one
    // that it was told of.
    for service in &services {
        for (number, (backend, (pins, run))) in
            (1..=all).zip(topology.backends.iter().zip(&folders))
        {
            let lines = setup(&xlb, service.name, &format!("b{number}"));
            let lines = format!("{}{lines}", own_folders(pins, run));
            paste(&backend.namespace, &lines);
        }
        let vip = service.vip(&topology);
        assert_eq!(served_by(&topology, vip, 100), first(all), "{mode:?}");
    }
    damage::assert_none(&topology).unwrap();
}

#[test]
fn what_is_printed_is_all_that_l2_dsr_backends_need() {
    is_all_that_backends_need(Mode::L2Dsr);
}

#[test]
fn what_is_printed_is_all_that_ipip_backends_need() {
    is_all_that_backends_need(Mode::Ipip);
}

#[test]
fn what_is_printed_is_all_that_gue_backends_need() {
    is_all_that_backends_need(Mode::Gue);
}
