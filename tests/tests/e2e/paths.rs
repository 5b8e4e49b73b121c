//! Probes by way of the VIP: in every mode they find what clients would, and name what is wrong.

use std::{
    io::{self, Read as _, Write as _},
    net::{IpAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use lb_tests::{
    config::{self, Service},
    daemon::Xlb,
    direct,
    wait::eventually,
};
use lb_userspace::{
    config::model::Mode,
    lab::{Family, Host, Topology},
};
use serde_json::Value;

use crate::{
    backends::{Backends, first, network, served_by, set_up, web},
    page::sample,
    site::{SOON, backend, start_with},
};

const EJECT: &str = "{ interval: 200ms, timeout: 100ms, rise: 1, fall: 2, via_vip: eject }";
const WATCH: &str = "{ interval: 200ms, timeout: 100ms, rise: 1, fall: 2, via_vip: watch }";

const fn probed(family: Family, mode: Mode, probe: &str) -> Service<'_> {
    Service {
        probe,
        ..web(family, mode)
    }
}

/// Both services, and where their probes come from: from beyond the backends' link, as clients' packets do.
fn file(topology: &Topology, services: &[Service<'_>]) -> String {
    let sources = Family::ALL.map(|family| topology.balancer.front.address.of(family).to_string());
    let sources = sources.map(|source| format!("\"{source}\"")).join(", ");
    let file = config::yaml(topology, services);
    format!("via_vip: {{ sources: [{sources}] }}\n{file}")
}

fn path(xlb: &Xlb<'_>, service: &str, name: &str) -> Value {
    backend(xlb, service, name)["path"].clone()
}

/// Waits until a path is in a state, for this cause.
fn become_(xlb: &Xlb<'_>, (service, name): (&str, &str), state: &str, cause: Option<&str>) {
    let reached = || {
        let path = path(xlb, service, name);
        (path["state"] == state && path["cause"].as_str() == cause).then_some(())
    };
    eventually("a path", SOON, reached).unwrap_or_else(|_| {
        let found = backend(xlb, service, name);
        panic!(
            "{service}: not {state} for {cause:?}: {found}\n{}",
            xlb.log()
        )
    });
}

/// Waits until every path of a service is good, and every backend serves clients.
fn wait_until_whole(topology: &Topology, xlb: &Xlb<'_>, service: Service<'_>) {
    let all = first(service.weights.len());
    for name in &all {
        become_(xlb, (service.name, name), "up", None);
    }
    assert_eq!(served_by(topology, service.vip(topology), 60), all);
}

/// What an event says of its cause.
fn told(xlb: &Xlb<'_>, what: &str) -> Option<String> {
    let events = xlb.json(&["events"]).unwrap();
    let mut items = events["items"].as_array().unwrap().iter();
    let event = items.find(|event| event["what"] == what)?;
    event["cause"].as_str().map(str::to_owned)
}

/// Breaks the first backend's path in a way that leaves the backend itself as it is: that is found out, and the
/// backend gets no clients until it is mended.
fn is_found_out<'t>(
    topology: &'t Topology,
    mode: Mode,
    cause: &str,
    broken: impl FnOnce(&mut Backends<'t>),
    mended: impl FnOnce(&mut Backends<'t>),
) {
    let mut backends = Backends::start(topology, mode);
    let services = Family::ALL.map(|family| probed(family, mode, EJECT));
    let xlb = start_with(topology, &file(topology, &services));
    for service in services {
        wait_until_whole(topology, &xlb, service);
    }
    broken(&mut backends);
    for service in services {
        become_(&xlb, (service.name, "b1"), "down", Some(cause));
        let found = backend(&xlb, service.name, "b1");
        assert_eq!(found["state"], "up", "{found}");
        assert_eq!(found["slots"], 0, "{found}");
        let mut others = first(service.weights.len());
        others.remove("b1");
        assert_eq!(served_by(topology, service.vip(topology), 40), others);
        let label = format!("{{service=\"{}\",backend=\"b1\"}}", service.name);
        assert_eq!(sample(&xlb, &format!("xlb_path_up{label}")), 0);
    }
    let listed = xlb.cli(&["backend", "list"]).unwrap().stdout;
    let listed = String::from_utf8(listed).unwrap();
    assert!(listed.contains("up (path DOWN)"), "{listed}");
    assert!(told(&xlb, "path_down").is_some(), "{}", xlb.log());
    mended(&mut backends);
    for service in services {
        wait_until_whole(topology, &xlb, service);
    }
    assert!(told(&xlb, "path_up").is_some(), "{}", xlb.log());
}

fn two_armed(mode: Mode) -> Topology {
    Topology::two_armed(network(mode)).unwrap()
}

fn b1(topology: &Topology) -> &Host {
    &topology.backends[0]
}

fn take_vips(topology: &Topology) {
    let delete = |family| match topology.vip.of(family) {
        IpAddr::V4(vip) => format!("addr del {vip}/32 dev lo"),
        IpAddr::V6(vip) => format!("addr del {vip}/128 dev lo"),
    };
    b1(topology).namespace.ip(Family::ALL.map(delete)).unwrap();
}

fn give_vips(topology: &Topology) {
    let vips = Family::ALL.map(|family| topology.vip.of(family));
    direct::own(&b1(topology).namespace, &vips).unwrap();
}

fn a_missing_vip_is_found_out(mode: Mode) {
    let topology = two_armed(mode);
    let (take, give) = (
        |_: &mut _| take_vips(&topology),
        |_: &mut _| give_vips(&topology),
    );
    is_found_out(&topology, mode, "vip_missing", take, give);
}

#[test]
fn l2_dsr_backend_without_the_vip_is_found_out() {
    a_missing_vip_is_found_out(Mode::L2Dsr);
}

#[test]
fn ipip_backend_without_the_vip_is_found_out() {
    a_missing_vip_is_found_out(Mode::Ipip);
}

fn a_missing_decapsulation_is_found_out(mode: Mode) {
    let topology = two_armed(mode);
    let again = |backends: &mut Backends<'_>| {
        let sources =
            Family::ALL.map(|family| topology.balancer.back.address.of(family).to_string());
        let vips = Family::ALL.map(|family| topology.vip.of(family));
        backends.ends[0].attach(&vips, &sources).unwrap();
    };
    let away = |backends: &mut Backends<'_>| {
        let output = backends.ends[0].xlb(&["detach"]).unwrap();
        assert!(output.status.success(), "{output:?}");
    };
    is_found_out(&topology, mode, "no_decapsulation", away, again);
}

#[test]
fn ipip_backend_without_decapsulation_is_found_out() {
    a_missing_decapsulation_is_found_out(Mode::Ipip);
}

#[test]
fn gue_backend_without_decapsulation_is_found_out() {
    a_missing_decapsulation_is_found_out(Mode::Gue);
}

#[test]
fn nat_backend_that_does_not_answer_by_the_balancer_is_found_out() {
    let topology = two_armed(Mode::Nat);
    let lead = |verb: &str| {
        let route = |family| match topology.balancer.front.address.of(family) {
            IpAddr::V4(front) => format!("route {verb} blackhole {front}/32"),
            IpAddr::V6(front) => format!("route {verb} blackhole {front}/128"),
        };
        b1(&topology).namespace.ip(Family::ALL.map(route)).unwrap();
    };
    let (astray, back) = (|_: &mut _| lead("add"), |_: &mut _| lead("del"));
    is_found_out(&topology, Mode::Nat, "no_way_back", astray, back);
}

/// A switch drops what is too long for a port, and tells nobody.
fn a_hole_for_long_packets_is_found_out(mode: Mode) {
    let topology = two_armed(mode);
    let mtu = |mtu: &str| {
        let words = ["ip", "link", "set", "b1", "mtu", mtu];
        topology.switch.run(words).unwrap();
    };
    is_found_out(&topology, mode, "mtu", |_| mtu("1300"), |_| mtu("1500"));
}

#[test]
fn a_hole_for_long_packets_is_found_out_in_nat() {
    a_hole_for_long_packets_is_found_out(Mode::Nat);
}

#[test]
fn a_hole_for_long_packets_is_found_out_in_full_nat() {
    a_hole_for_long_packets_is_found_out(Mode::FullNat);
}

#[test]
fn a_hole_for_long_packets_is_found_out_in_l2_dsr() {
    a_hole_for_long_packets_is_found_out(Mode::L2Dsr);
}

#[test]
fn a_hole_for_long_packets_is_found_out_in_ipip() {
    a_hole_for_long_packets_is_found_out(Mode::Ipip);
}

#[test]
fn a_hole_for_long_packets_is_found_out_in_gue() {
    a_hole_for_long_packets_is_found_out(Mode::Gue);
}

#[test]
fn a_host_that_is_gone_is_no_neighbour() {
    let topology = two_armed(Mode::L2Dsr);
    let _backends = Backends::start(&topology, Mode::L2Dsr);
    let service = probed(Family::V4, Mode::L2Dsr, EJECT);
    let xlb = start_with(&topology, &file(&topology, &[service]));
    wait_until_whole(&topology, &xlb, service);
    topology
        .switch
        .run(["ip", "link", "set", "b1", "down"])
        .unwrap();
    become_(&xlb, ("web4", "b1"), "down", Some("no_neighbour"));
    assert_eq!(backend(&xlb, "web4", "b1")["state"], "down");
}

#[test]
fn a_path_that_is_watched_takes_nobody_out_and_survives_a_restart_and_a_reload() {
    let topology = two_armed(Mode::L2Dsr);
    let _backends = Backends::start(&topology, Mode::L2Dsr);
    let service = probed(Family::V4, Mode::L2Dsr, WATCH);
    let mut xlb = start_with(&topology, &file(&topology, &[service]));
    wait_until_whole(&topology, &xlb, service);
    take_vips(&topology);
    become_(&xlb, ("web4", "b1"), "down", Some("vip_missing"));
    assert_ne!(backend(&xlb, "web4", "b1")["slots"], 0);
    give_vips(&topology);
    xlb.kill().unwrap();
    xlb.start_again().unwrap();
    wait_until_whole(&topology, &xlb, service);
    let without = Service {
        probe: config::QUICK,
        ..service
    };
    std::fs::write(xlb.config_file(), config::yaml(&topology, &[without])).unwrap();
    xlb.json(&["apply"]).unwrap();
    assert_eq!(path(&xlb, "web4", "b1"), Value::Null);
    let links = topology
        .balancer
        .namespace
        .run(["ip", "-o", "link"])
        .unwrap();
    assert!(!links.contains("xlbp"), "{links}");
}

/// Answers every request at one address with a status, until it is dropped.
struct Page {
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Page {
    const PORT: u16 = 7000;

    fn start(host: &Host, address: IpAddr, status: u16) -> Self {
        let listen = || TcpListener::bind((address, Self::PORT)).unwrap();
        let listener = host.namespace.enter(listen).unwrap();
        listener.set_nonblocking(true).unwrap();
        let is_over = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&is_over);
        let serve = move || {
            while !over.load(Ordering::Relaxed) {
                match listener.accept() {
                    // Who asked may be gone.
                    Ok((stream, _)) => drop(answer(stream, status)),
                    Err(_) => thread::sleep(Duration::from_millis(2)),
                }
            }
        };
        Self {
            is_over,
            thread: Some(thread::spawn(serve)),
        }
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(matches!(ended, Some(Ok(())) | None));
    }
}

fn answer(mut stream: TcpStream, status: u16) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(Duration::from_millis(200)))?;
    if stream.read(&mut [0; 4096])? > 0 {
        let head = "Content-Length: 0\r\nConnection: close";
        write!(stream, "HTTP/1.1 {status} said\r\n{head}\r\n\r\n")?;
    }
    Ok(())
}

/// The server listens at the backend's own address, and at the VIP not, or as another one.
#[test]
fn a_vip_where_nobody_listens_or_another_one_answers_is_told() {
    let topology = two_armed(Mode::L2Dsr);
    let _ends = set_up(&topology, Mode::L2Dsr);
    let host = b1(&topology);
    let _own = Page::start(host, host.link.address.of(Family::V4), 200);
    let vip = topology.vip.of(Family::V4);
    let at_vip = Page::start(host, vip, 200);
    let service = Service {
        port: Page::PORT,
        backend_port: Page::PORT,
        weights: &[1],
        ..probed(
            Family::V4,
            Mode::L2Dsr,
            "{ type: http, interval: 200ms, timeout: 100ms, rise: 1, fall: 2, via_vip: watch }",
        )
    };
    let xlb = start_with(&topology, &file(&topology, &[service]));
    become_(&xlb, ("web4", "b1"), "up", None);
    drop(at_vip);
    become_(&xlb, ("web4", "b1"), "down", Some("not_listening"));
    let at_vip = Page::start(host, vip, 503);
    become_(&xlb, ("web4", "b1"), "down", Some("other_answer"));
    assert_eq!(backend(&xlb, "web4", "b1")["state"], "up");
    drop(at_vip);
    let _at_vip = Page::start(host, vip, 200);
    become_(&xlb, ("web4", "b1"), "up", None);
}
