//! A VIP has its route while it is served, and as long as the data path serves it.

use std::{
    fs,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use lb_tests::{
    config::{self, Service},
    daemon::Xlb,
    fleet::Fleet,
    wait::eventually,
};
use lb_userspace::lab::{Family, Process, Topology};
use serde_json::Value;

use crate::{
    page::sample,
    site::{SOON, connects, routed, start, start_with, wait_for_state, wait_until_whole},
};

const WEB6: Service<'_> = Service {
    name: "web6",
    family: Family::V6,
    ..Service::WEB
};

/// A file that announces.
fn announcing(topology: &Topology, options: &str, services: &[Service<'_>]) -> String {
    format!("announce: {options}\n{}", config::yaml(topology, services))
}

/// Routes of both families with xlb's mark, in whatever table.
fn routes(topology: &Topology) -> Vec<String> {
    let balancer = &topology.balancer.namespace;
    let shown = ["-4", "-6"].map(|family| {
        let words = [
            "ip", family, "route", "show", "table", "all", "proto", "200",
        ];
        balancer.run(words).unwrap()
    });
    let lines = shown.iter().flat_map(|text| text.lines());
    lines.map(|line| line.trim().to_owned()).collect()
}

/// Waits until a VIP has a route, or none.
fn wait_for_route(topology: &Topology, family: Family, wanted: bool) {
    let start = format!("blackhole {} ", topology.vip.of(family));
    let reached = || {
        let routes = routes(topology);
        let mut theirs = routes.iter().filter(|route| route.starts_with(&start));
        (theirs.next().is_some() == wanted).then_some(())
    };
    eventually(&format!("route of {family}: {wanted}"), SOON, reached).unwrap();
}

/// Waits until these are all routes, each with its text.
fn wait_for_routes(topology: &Topology, wanted: &[&str]) {
    let reached = || {
        let routes = routes(topology);
        let mut pairs = routes.iter().zip(wanted);
        let is_so = routes.len() == wanted.len() && pairs.all(|(it, text)| it.contains(text));
        is_so.then_some(())
    };
    eventually(&format!("{wanted:?}"), SOON, reached).unwrap();
}

/// What `xlb status` tells of the VIP of a family.
fn vip(xlb: &Xlb<'_>, topology: &Topology, family: Family) -> Value {
    let status = xlb.json(&["status"]).unwrap();
    let vips = status["announcement"]["vips"].as_array().unwrap();
    let address = topology.vip.of(family).to_string();
    let found = vips.iter().find(|vip| vip["address"] == *address);
    found
        .unwrap_or_else(|| panic!("no {address} in {status}"))
        .clone()
}

fn announced(xlb: &Xlb<'_>, topology: &Topology) -> u64 {
    let vip = topology.vip.v4;
    sample(xlb, &format!("xlb_vip_announced{{vip=\"{vip}\"}}"))
}

#[test]
fn a_vip_is_announced_while_all_of_its_services_have_a_backend() {
    let topology = Topology::two_armed(routed()).unwrap();
    let mut fleet = Fleet::start(&topology).unwrap();
    let file = announcing(&topology, "{}", &[Service::WEB, WEB6]);
    let xlb = start_with(&topology, &file);
    for family in Family::ALL {
        wait_for_route(&topology, family, true);
        let route = format!("blackhole {} ", topology.vip.of(family));
        let routes = routes(&topology);
        let mut theirs = routes.iter().filter(|it| it.starts_with(&route));
        let text = theirs.next().unwrap();
        assert!(
            text.contains("table 77") && text.contains("metric 100"),
            "{text}"
        );
        let seen = vip(&xlb, &topology, family);
        assert!(
            seen["announced"] == true && seen["since"].is_u64(),
            "{seen}"
        );
    }
    assert_eq!(announced(&xlb, &topology), 1);

    fleet.kill(1).unwrap();
    fleet.kill(2).unwrap();
    wait_for_state(&xlb, "web", "b1", "down");
    wait_for_state(&xlb, "web", "b2", "down");
    wait_for_route(&topology, Family::V4, true);
    fleet.kill(3).unwrap();
    wait_for_route(&topology, Family::V4, false);
    wait_for_route(&topology, Family::V6, false);
    let seen = vip(&xlb, &topology, Family::V4);
    assert_eq!(
        (&seen["announced"], &seen["reason"]),
        (&false.into(), &"no backend: web".into())
    );
    assert_eq!(announced(&xlb, &topology), 0);
    assert!(xlb.log().contains("VIP is not announced"), "{}", xlb.log());
    let text = xlb.cli(&["status"]).unwrap();
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(
        text.contains("withdrawn 203.0.113.10: no backend: web"),
        "{text}"
    );

    fleet.revive(&topology, 2).unwrap();
    wait_for_route(&topology, Family::V4, true);
    wait_for_route(&topology, Family::V6, true);
    assert_eq!(announced(&xlb, &topology), 1);
}

/// One address with two services: which of them counts is the file's to say.
#[test]
fn what_an_address_needs_is_configured() {
    let topology = Topology::two_armed(routed()).unwrap();
    let _fleet = Fleet::start(&topology).unwrap();
    let dead = Service {
        name: "dead",
        port: 81,
        backend_port: 9,
        ..Service::WEB
    };
    let aside = Service {
        more: &["announce: false"],
        ..dead
    };
    let all = announcing(&topology, "{}", &[Service::WEB, dead]);
    let xlb = Xlb::start(&topology.balancer.namespace, &all).unwrap();
    wait_for_state(&xlb, "dead", "b3", "down");
    wait_for_state(&xlb, "web", "b3", "up");
    wait_for_route(&topology, Family::V4, false);
    let apply = |file: &str| {
        fs::write(xlb.config_file(), file).unwrap();
        xlb.json(&["apply"]).unwrap();
    };
    apply(&announcing(
        &topology,
        "{ require: any }",
        &[Service::WEB, dead],
    ));
    wait_for_route(&topology, Family::V4, true);
    apply(&all);
    wait_for_route(&topology, Family::V4, false);
    apply(&announcing(&topology, "{}", &[Service::WEB, aside]));
    wait_for_route(&topology, Family::V4, true);
    assert_eq!(routes(&topology).len(), 1);
}

/// Its slots would change hands under connections that another balancer had before.
#[test]
fn a_vip_is_not_announced_before_its_backends_are_known() {
    let topology = Topology::two_armed(routed()).unwrap();
    let _fleet = Fleet::start(&topology).unwrap();
    let patient = Service {
        probe: "{ interval: 5s, timeout: 4s, rise: 1, fall: 1 }",
        ..Service::WEB
    };
    topology.switch.ip(["link set b2 down"]).unwrap();
    let file = announcing(&topology, "{}", &[patient]);
    let xlb = Xlb::start(&topology.balancer.namespace, &file).unwrap();
    wait_for_state(&xlb, "web", "b1", "up");
    wait_for_state(&xlb, "web", "b3", "up");
    let seen = vip(&xlb, &topology, Family::V4);
    assert_eq!(seen["reason"], "first probes under way: web");
    assert_eq!(routes(&topology), [] as [String; 0]);
    wait_for_state(&xlb, "web", "b2", "down");
    wait_for_route(&topology, Family::V4, true);
}

/// Everything that `ip monitor` has to say of the routes of VIPs.
struct Monitor {
    process: Process,
    file: tempfile::NamedTempFile,
}

impl Monitor {
    fn start(topology: &Topology) -> Self {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut command: Command = topology.balancer.namespace.command("ip");
        command.args(["-o", "monitor", "route"]);
        command.stdout(Stdio::from(file.reopen().unwrap()));
        let monitor = Self {
            process: Process::start(&mut command).unwrap(),
            file,
        };
        // It hears something once it is there.
        let heard = || {
            let balancer = &topology.balancer.namespace;
            let mark = "blackhole 203.0.113.200 table 78 proto 201";
            balancer.ip([format!("route replace {mark}")]).unwrap();
            balancer.ip([format!("route del {mark}")]).unwrap();
            monitor.text().contains("203.0.113.200").then_some(())
        };
        eventually("ip monitor hears", SOON, heard).unwrap();
        monitor
    }

    fn text(&self) -> String {
        fs::read_to_string(self.file.path()).unwrap()
    }

    /// Lines about routes with xlb's mark.
    fn end(mut self) -> Vec<String> {
        self.process.kill().unwrap();
        let text = self.text();
        let lines = text.lines().filter(|line| line.contains("proto 200"));
        lines.map(str::to_owned).collect()
    }
}

#[test]
fn a_restart_a_reload_and_a_dead_daemon_do_not_touch_the_route() {
    let topology = Topology::two_armed(routed()).unwrap();
    let _fleet = Fleet::start(&topology).unwrap();
    let file = announcing(&topology, "{}", &[Service::WEB]);
    let mut xlb = start_with(&topology, &file);
    wait_for_route(&topology, Family::V4, true);
    let monitor = Monitor::start(&topology);

    xlb.terminate().unwrap();
    xlb.start_again().unwrap();
    wait_until_whole(&xlb);
    xlb.kill().unwrap();
    thread::sleep(Duration::from_millis(300));
    wait_for_route(&topology, Family::V4, true);
    assert!(connects(
        &topology.client.namespace,
        Service::WEB.vip(&topology)
    ));
    xlb.start_again().unwrap();
    wait_until_whole(&xlb);
    fs::write(xlb.config_file(), format!("icmp: {{ rate: 7 }}\n{file}")).unwrap();
    xlb.json(&["apply"]).unwrap();
    assert_eq!(vip(&xlb, &topology, Family::V4)["announced"], true);
    assert_eq!(monitor.end(), [] as [String; 0]);
}

#[test]
fn a_detach_withdraws_with_a_daemon_and_without() {
    let topology = Topology::two_armed(routed()).unwrap();
    let _fleet = Fleet::start(&topology).unwrap();
    let file = announcing(&topology, "{ table: 1077 }", &[Service::WEB, WEB6]);
    let mut xlb = start_with(&topology, &file);
    wait_for_route(&topology, Family::V6, true);
    let detached = xlb.json(&["detach"]).unwrap();
    let withdrawn = detached["items"][0]["withdrawn"].as_array().unwrap();
    assert_eq!(withdrawn.len(), 2, "{detached}");
    assert_eq!(routes(&topology), [] as [String; 0]);
    assert!(xlb.process().wait(SOON).unwrap().success());

    xlb.start_again().unwrap();
    wait_for_route(&topology, Family::V4, true);
    wait_for_route(&topology, Family::V6, true);
    xlb.kill().unwrap();
    let detached = xlb.json(&["detach"]).unwrap();
    let withdrawn = detached["items"][0]["withdrawn"].as_array().unwrap();
    assert_eq!(withdrawn.len(), 2, "{detached}");
    assert_eq!(routes(&topology), [] as [String; 0]);
}

#[test]
fn a_drained_balancer_is_not_announced_and_goes_on_forwarding() {
    let topology = Topology::two_armed(routed()).unwrap();
    let _fleet = Fleet::start(&topology).unwrap();
    let file = announcing(&topology, "{}", &[Service::WEB]);
    let mut xlb = start_with(&topology, &file);
    wait_for_route(&topology, Family::V4, true);
    let works = || connects(&topology.client.namespace, Service::WEB.vip(&topology));
    let drained = xlb.json(&["drain", "self"]).unwrap();
    assert_eq!(
        drained["items"][0]["undo"],
        serde_json::json!(["ready", "self"])
    );
    assert_eq!(
        routes(&topology),
        [] as [String; 0],
        "gone when the command ends"
    );
    assert!(works());
    let text = String::from_utf8(xlb.cli(&["status"]).unwrap().stdout).unwrap();
    assert!(text.contains("drained   no VIP is announced"), "{text}");

    // Set by hand, it outlives the daemon.
    xlb.kill().unwrap();
    xlb.start_again().unwrap();
    wait_until_whole(&xlb);
    assert_eq!(vip(&xlb, &topology, Family::V4)["announced"], false);
    assert_eq!(routes(&topology), [] as [String; 0]);
    xlb.json(&["ready", "self"]).unwrap();
    assert_eq!(routes(&topology).len(), 1, "there when the command ends");

    xlb.json(&["drain", "self", "--for", "1s"]).unwrap();
    assert_eq!(routes(&topology), [] as [String; 0]);
    wait_for_route(&topology, Family::V4, true);

    // Without a daemon, too.
    xlb.kill().unwrap();
    let drained = xlb.json(&["drain", "self"]).unwrap();
    assert_eq!(drained["items"][0]["changed"], true);
    assert_eq!(routes(&topology), [] as [String; 0]);
    assert!(works());
    xlb.start_again().unwrap();
    wait_until_whole(&xlb);
    assert_eq!(
        vip(&xlb, &topology, Family::V4)["reason"],
        "this balancer is drained by hand"
    );
    xlb.json(&["ready", "self"]).unwrap();
    wait_for_route(&topology, Family::V4, true);
}

#[test]
fn a_balancer_that_announces_nothing_cannot_be_drained() {
    let topology = Topology::two_armed(routed()).unwrap();
    let _fleet = Fleet::start(&topology).unwrap();
    let mut xlb = start(&topology, &[Service::WEB]);
    for runs in [true, false] {
        if !runs {
            xlb.kill().unwrap();
        }
        let refused = xlb.cli(&["drain", "self"]).unwrap();
        assert_eq!(refused.status.code(), Some(6));
        let said = String::from_utf8(refused.stderr).unwrap();
        assert!(said.contains("announces nothing"), "{said}");
    }
}

#[test]
fn routes_follow_the_file_and_are_put_right_where_others_change_them() {
    let topology = Topology::two_armed(routed()).unwrap();
    let _fleet = Fleet::start(&topology).unwrap();
    let balancer = &topology.balancer.namespace;
    let file = announcing(&topology, "{}", &[Service::WEB]);
    let xlb = start_with(&topology, &file);
    wait_for_route(&topology, Family::V4, true);
    balancer.ip(["route flush table 77"]).unwrap();
    wait_for_route(&topology, Family::V4, true);
    assert!(
        xlb.log().contains("somebody changed the routes"),
        "{}",
        xlb.log()
    );

    let apply = |file: &str| {
        fs::write(xlb.config_file(), file).unwrap();
        xlb.json(&["apply"]).unwrap();
    };
    let becomes = |wanted: &[&str]| wait_for_routes(&topology, wanted);
    apply(&announcing(
        &topology,
        "{ table: 1077, metric: 5 }",
        &[Service::WEB],
    ));
    becomes(&["table 1077 metric 5"]);
    // Somebody else's route is there.
    let taken = format!(
        "route add unreachable {} table 77 metric 100",
        topology.vip.v4
    );
    balancer.ip([taken]).unwrap();
    apply(&file);
    becomes(&[]);
    let problem = || {
        let seen = vip(&xlb, &topology, Family::V4);
        let reason = seen["reason"].as_str()?;
        reason.contains("has another route to").then_some(())
    };
    eventually("the problem is told", SOON, problem).unwrap();
    let attention = xlb.cli(&["status", "--exit-code"]).unwrap();
    assert_eq!(attention.status.code(), Some(8));
    assert_eq!(announced(&xlb, &topology), 0);
    balancer.ip(["route flush table 77"]).unwrap();
    becomes(&["table 77 metric 100"]);
    apply(&config::yaml(&topology, &[Service::WEB]));
    becomes(&[]);
    assert!(xlb.json(&["status"]).unwrap()["announcement"].is_null());
}
