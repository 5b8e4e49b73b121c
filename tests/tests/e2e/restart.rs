//! The daemon ends, well or not, and another one goes on where it left off.

use std::{thread, time::Duration};

use lb_tests::{
    config::{self, Service},
    daemon::Xlb,
    fleet::Fleet,
    load::{Datagrams, Fresh, Held, Load},
    wait::eventually,
};
use lb_userspace::lab::Topology;
use serde_json::Value;

use crate::site::{
    SOON, backend, checksum, connects, routed, start, wait_for_state, wait_until_whole,
};

/// Ids of the programs at the interfaces.
fn programs(xlb: &Xlb<'_>) -> Vec<Value> {
    let status = xlb.json(&["status"]).unwrap();
    let interfaces = status["interfaces"].as_array().unwrap();
    interfaces
        .iter()
        .map(|interface| interface["program_id"].clone())
        .collect()
}

fn adopted(xlb: &Xlb<'_>) -> bool {
    xlb.json(&["status"]).unwrap()["adopted"] == true
}

/// Packets towards all backends of a service.
fn packets(xlb: &Xlb<'_>, service: &str) -> u64 {
    let list = xlb.json(&["backend", "list", service]).unwrap();
    let backends = list["items"].as_array().unwrap();
    let packets = backends
        .iter()
        .map(|item| item["packets"].as_u64().unwrap());
    packets.sum()
}

#[test]
fn nothing_is_lost_while_the_daemon_is_killed_and_started_again() {
    let topology = Topology::two_armed(routed()).unwrap();
    let _fleet = Fleet::start(&topology).unwrap();
    let mut xlb = start(&topology, &[Service::WEB, Service::NAMES]);
    let client = &topology.client.namespace;
    let (web, names) = (Service::WEB.vip(&topology), Service::NAMES.vip(&topology));
    let pause = Duration::from_millis(1);
    let held = Held::open(client, web, 40).unwrap();
    let datagrams = Datagrams::new(client, names, 30).unwrap();
    let held = Load::start(client, held, pause).unwrap();
    let fresh = Load::start(client, Fresh::new(web), pause).unwrap();
    let datagrams = Load::start(client, datagrams, pause).unwrap();
    let (before, table) = (programs(&xlb), checksum(&xlb, "web"));

    for _ in 0..2 {
        thread::sleep(Duration::from_millis(300));
        xlb.kill().unwrap();
        thread::sleep(Duration::from_millis(700));
        xlb.start_again().unwrap();
        assert!(adopted(&xlb));
        assert_eq!(programs(&xlb), before, "the program is the same");
        assert_eq!(checksum(&xlb, "web"), table);
    }
    thread::sleep(Duration::from_millis(300));

    let (held, fresh) = (held.stop().unwrap(), fresh.stop().unwrap());
    let datagrams = datagrams.stop().unwrap();
    println!(
        "{} connections held, {} opened, {} datagrams",
        held.open.len(),
        fresh.served.len(),
        datagrams.sent
    );
    assert!(held.broken.is_empty(), "{:?}", held.broken);
    assert!(fresh.failed.is_empty(), "{:?}", fresh.failed);
    assert!(datagrams.failed.is_empty(), "{:?}", datagrams.failed);
    assert_eq!(datagrams.servers(), ["b1", "b2", "b3"]);
    assert_eq!(packets(&xlb, "names"), datagrams.sent);
}

#[test]
fn a_new_daemon_knows_what_the_old_one_knew() {
    let topology = Topology::two_armed(routed()).unwrap();
    let mut fleet = Fleet::start(&topology).unwrap();
    let mut xlb = start(&topology, &[Service::WEB]);
    fleet.kill(2).unwrap();
    wait_for_state(&xlb, "web", "b2", "down");
    xlb.json(&["backend", "drain", "web", "b3"]).unwrap();
    let table = checksum(&xlb, "web");

    xlb.kill().unwrap();
    xlb.start_again().unwrap();
    let [b1, b2, b3] = ["b1", "b2", "b3"].map(|name| backend(&xlb, "web", name));
    assert_eq!(
        [&b1["state"], &b2["state"], &b3["state"]],
        ["up", "down", "up"]
    );
    assert_eq!(b3["admin"], "drain");
    assert_eq!(checksum(&xlb, "web"), table);
}

#[test]
fn the_data_path_outlives_its_daemon_until_it_is_detached() {
    let topology = Topology::two_armed(routed()).unwrap();
    let _fleet = Fleet::start(&topology).unwrap();
    let mut xlb = start(&topology, &[Service::WEB]);
    let (client, vip) = (&topology.client.namespace, Service::WEB.vip(&topology));
    let ids = programs(&xlb);

    xlb.terminate().unwrap();
    assert!(connects(client, vip));
    assert!(xlb.pins().join("link_front0").exists());
    assert!(xlb.cli(&["detach"]).unwrap().status.success());

    assert!(!connects(client, vip));
    assert!(!xlb.pins().exists());
    let gone = || ids.iter().all(|id| !is_loaded(id)).then_some(());
    eventually("the kernel lets the program go", SOON, gone).unwrap();
    for interface in topology.interfaces() {
        let link = ["ip", "link", "show", interface];
        let shown = topology.balancer.namespace.run(link).unwrap();
        assert!(!shown.contains("prog/xdp"), "{shown}");
    }

    xlb.start_again().unwrap();
    assert!(!adopted(&xlb));
    wait_until_whole(&xlb);
    assert!(connects(client, vip));
}

/// Whether the kernel has a program with this id.
fn is_loaded(id: &Value) -> bool {
    let id = id.to_string();
    let mut bpftool = std::process::Command::new("bpftool");
    let output = bpftool.args(["prog", "show", "id", &id]).output().unwrap();
    output.status.success()
}

#[test]
fn detach_ends_a_running_daemon() {
    let topology = Topology::one_armed(routed()).unwrap();
    let _fleet = Fleet::start(&topology).unwrap();
    let mut xlb = start(&topology, &[Service::WEB]);
    let detached = xlb.json(&["detach"]).unwrap();
    assert_eq!(detached["items"][0]["interfaces"][0], "eth0");
    assert!(xlb.process().wait(SOON).unwrap().success());
    assert!(!xlb.pins().exists());
    assert!(!connects(
        &topology.client.namespace,
        Service::WEB.vip(&topology)
    ));
}

#[test]
fn one_instance_has_one_daemon() {
    let topology = Topology::two_armed(routed()).unwrap();
    let xlb = start(&topology, &[Service::NAMES]);
    let file = xlb.config_file();
    let again = [
        "run",
        "--metrics",
        "127.0.0.1:9901",
        "-c",
        file.to_str().unwrap(),
    ];
    let second = xlb.cli(&again).unwrap();
    let said = String::from_utf8_lossy(&second.stderr);
    println!("{said}");
    assert_eq!(second.status.code(), Some(1), "{said}");
    assert!(said.contains("daemon"), "{said}");
    xlb.json(&["status"]).unwrap();
}

#[test]
fn instances_in_two_namespaces_do_not_meet() {
    let topologies = [(); 2].map(|()| Topology::two_armed(routed()).unwrap());
    let fleets = topologies.each_ref().map(|t| Fleet::start(t).unwrap());
    let [one, mut other] = topologies.each_ref().map(|t| start(t, &[Service::WEB]));
    let reach = |topology: &Topology| {
        let vip = Service::WEB.vip(topology);
        connects(&topology.client.namespace, vip)
    };
    assert!(topologies.iter().all(reach));
    other.json(&["detach"]).unwrap();
    other.process().wait(SOON).unwrap();
    assert!(reach(&topologies[0]));
    assert!(!reach(&topologies[1]));
    one.json(&["status"]).unwrap();
    drop(fleets);
}

/// A file that changed while no daemon ran counts at once.
#[test]
fn a_new_daemon_reads_the_file_again() {
    let topology = Topology::two_armed(routed()).unwrap();
    let _fleet = Fleet::start(&topology).unwrap();
    let mut xlb = start(&topology, &[Service::WEB]);
    let moved = Service {
        port: 88,
        ..Service::WEB
    };
    xlb.terminate().unwrap();
    std::fs::write(xlb.config_file(), config::yaml(&topology, &[moved])).unwrap();
    xlb.start_again().unwrap();
    wait_until_whole(&xlb);
    let client = &topology.client.namespace;
    assert!(connects(client, moved.vip(&topology)));
    assert!(!connects(client, Service::WEB.vip(&topology)));
}
