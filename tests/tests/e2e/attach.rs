//! Where the program can be attached, and where it cannot.

use std::path::Path;

use lb_tests::{
    config::{self, Service},
    daemon::Xlb,
    fleet::Fleet,
};
use lb_userspace::lab::{Namespace, PassAll, Topology, unique_name};

use crate::site::{connects, routed, start, start_with};

/// Why xlb does not start with this file.
fn refusal(topology: &Topology, file: &str) -> String {
    let started = Xlb::start(&topology.balancer.namespace, file);
    format!("{:#}", started.unwrap_err())
}

#[test]
fn generic_where_the_file_says_so() {
    let topology = Topology::two_armed(routed()).unwrap();
    let _fleet = Fleet::start(&topology).unwrap();
    let file = config::yaml(&topology, &[Service::WEB]).replace("xdp: native", "xdp: generic");
    let xlb = start_with(&topology, &file);
    let status = xlb.json(&["status"]).unwrap();
    assert_eq!(status["interfaces"][0]["mode"], "generic");
    let vip = Service::WEB.vip(&topology);
    assert!(connects(&topology.client.namespace, vip));
}

#[test]
fn another_program_is_not_pushed_aside() {
    let topology = Topology::two_armed(routed()).unwrap();
    let mut another = PassAll::load().unwrap();
    let balancer = &topology.balancer.namespace;
    another.attach(balancer, "front0").unwrap();
    let said = refusal(&topology, &config::yaml(&topology, &[Service::NAMES]));
    println!("{said}");
    assert!(said.contains("another XDP program"), "{said}");
    let link = balancer.run(["ip", "link", "show", "front0"]).unwrap();
    assert!(link.contains("prog/xdp"), "{link}");
}

#[test]
fn an_interface_that_is_not_there_is_named() {
    let topology = Topology::two_armed(routed()).unwrap();
    let file = config::yaml(&topology, &[Service::NAMES]).replace("front0", "front7");
    let said = refusal(&topology, &file);
    assert!(said.contains("front7"), "{said}");
}

#[test]
fn what_cannot_work_as_it_is_set_up_is_said_with_its_remedy() {
    let topology = Topology::two_armed(routed()).unwrap();
    let xlb = start(&topology, &[Service::NAMES]);
    let warnings = xlb.json(&["status"]).unwrap()["interfaces"].to_string();
    assert!(warnings.contains("sysctl -w"), "{warnings}");
    // The other end is in another namespace: that it may be set up wrongly is said once.
    let log = xlb.log();
    assert!(log.contains("ethtool -K"), "{log}");
}

const PAIR: &str = "\
interfaces: [va]
services:
  - { name: dns, vip: 203.0.113.10:53/udp, probe: none, backends: [10.0.0.11:53] }
";

#[test]
fn where_nothing_would_arrive_it_does_not_start_until_that_is_mended() {
    let host = Namespace::new(unique_name("xlb-pair")).unwrap();
    let pair = [
        "link add va type veth peer name vb",
        "link set vb up",
        "link set va up",
    ];
    host.ip(pair).unwrap();
    let said = format!("{:#}", Xlb::start(&host, PAIR).unwrap_err());
    for cure in ["ethtool -K vb tx off", "ethtool -K vb gro on"] {
        assert!(said.contains(cure), "{said}");
        host.run(cure.split(' ')).unwrap();
    }
    assert!(said.contains("--force"), "{said}");
    let mut xlb = Xlb::start(&host, PAIR).unwrap();
    host.run("ethtool -K vb tx on".split(' ')).unwrap();
    xlb.terminate().unwrap();
    xlb.start_again().unwrap();
    assert!(
        xlb.log().contains("ethtool -K vb tx off"),
        "a program that runs goes on"
    );
}

#[test]
fn interfaces_come_and_go_with_the_file() {
    let topology = Topology::two_armed(routed()).unwrap();
    let both = config::yaml(&topology, &[Service::NAMES]);
    let front = "  - { name: front0, xdp: native, role: client }\n";
    let xlb = start_with(&topology, &both.replace(front, ""));
    let link = xlb.pins().join("link_front0");
    let attached = |file: &str, expected: bool| {
        std::fs::write(xlb.config_file(), file).unwrap();
        xlb.json(&["apply"]).unwrap();
        assert_eq!(Path::new(&link).exists(), expected);
    };
    attached(&both, true);
    attached(&both.replace(front, ""), false);
}
