//! Backups: they take flows while primaries are too few, and keep those that they have.

use std::{fmt::Write as _, net::SocketAddr, thread, time::Duration};

use lb_tests::{
    config::{self, Service},
    daemon::Xlb,
    fleet::{Fleet, WEB},
    load::{Held, Load},
    wait::eventually,
};
use lb_userspace::lab::{Family, Topology};

use crate::{
    page::sample,
    site::{SOON, backend, routed, service, start_with, wait_for_state},
    transitions::moving_rows,
};

const PAUSE: Duration = Duration::from_millis(2);

/// Two primaries, and the third backend is a backup.
fn with_a_backup(topology: &Topology, family: Family) -> String {
    let vip = SocketAddr::new(topology.vip.of(family), 80);
    let mut file = config::interfaces(topology);
    writeln!(
        file,
        "services:\n  - name: web\n    vip: \"{vip}/tcp\"\n    probe: {}\n    backends:",
        config::QUICK
    )
    .unwrap();
    for (number, host) in (1..).zip(&topology.backends) {
        let address = SocketAddr::new(host.link.address.of(family), WEB);
        let is_backup = number == 3;
        writeln!(
            file,
            "      - {{ name: b{number}, address: \"{address}\", backup: {is_backup} }}"
        )
        .unwrap();
    }
    file
}

/// Waits until the backup stands by, or does not.
fn wait_for_backup(xlb: &Xlb<'_>, stands_by: bool) {
    let reached = || (backend(xlb, "web", "b3")["standby"] == stands_by).then_some(());
    eventually(&format!("standby: {stands_by}"), SOON, reached).unwrap();
    let tier = u64::from(!stands_by);
    assert_eq!(service(xlb, "web")["tier"], tier);
    assert_eq!(sample(xlb, "xlb_service_tier{service=\"web\"}"), tier);
    let of_b3 = |name: &str| sample(xlb, &format!("{name}{{service=\"web\",backend=\"b3\"}}"));
    assert_eq!(of_b3("xlb_backend_standby"), u64::from(stands_by));
    assert_eq!(of_b3("xlb_backend_slots") == 0, stands_by);
}

/// Causes of the changes of tiers so far.
fn turns(xlb: &Xlb<'_>) -> Vec<String> {
    let events = xlb.json(&["events"]).unwrap();
    let items = events["items"].as_array().unwrap().iter();
    let turns = items.filter(|event| event["what"] == "tier_changed");
    let causes = turns.map(|event| event["cause"].as_str().unwrap().to_owned());
    causes.collect()
}

fn a_backup_takes_over_and_ends_in_peace(family: Family) {
    let topology = Topology::two_armed(routed()).unwrap();
    let mut fleet = Fleet::start(&topology).unwrap();
    let xlb = start_with(&topology, &with_a_backup(&topology, family));
    let web = Service {
        family,
        ..Service::WEB
    };
    let (client, vip) = (&topology.client.namespace, web.vip(&topology));
    let served_by_b3 = || Held::open(client, vip, 40).unwrap().open_to("b3");
    wait_for_backup(&xlb, true);
    assert_eq!(served_by_b3(), 0);
    let shown = |words: &[&str]| String::from_utf8(xlb.cli(words).unwrap().stdout).unwrap();
    assert!(shown(&["backend", "list", "web"]).contains("up (standby)"));
    assert!(shown(&["service", "show", "web"]).contains("tiers     0, 1 (standby)"));

    fleet.kill(1).unwrap();
    wait_for_state(&xlb, "web", "b1", "down");
    wait_for_backup(&xlb, true);
    assert_eq!(served_by_b3(), 0, "one primary is left");
    fleet.kill(2).unwrap();
    wait_for_state(&xlb, "web", "b2", "down");
    wait_for_backup(&xlb, false);
    let held = Held::open(client, vip, 40).unwrap();
    assert_eq!(held.open_to("b3"), 40);
    let held = Load::start(client, held, PAUSE).unwrap();

    fleet.revive(&topology, 1).unwrap();
    wait_for_state(&xlb, "web", "b1", "up");
    wait_for_backup(&xlb, true);
    assert_eq!(served_by_b3(), 0, "new ones go to the primary");
    thread::sleep(Duration::from_secs(3));
    assert!(moving_rows(&xlb) > 0, "the backup still has connections");
    let held = held.stop().unwrap();
    assert!(held.broken.is_empty(), "{:?}", held.broken);
    assert_eq!(held.open_to("b3"), 40);
    let expected = [
        "tier 1 is the last in use: 0 of 2 primaries can take flows, 1 have to",
        "tier 0 is the last in use: 1 of 2 primaries can take flows, 1 have to",
    ];
    assert_eq!(turns(&xlb), expected);
}

#[test]
fn a_backup_takes_over_and_ends_in_peace_over_ipv4() {
    a_backup_takes_over_and_ends_in_peace(Family::V4);
}

#[test]
fn a_backup_takes_over_and_ends_in_peace_over_ipv6() {
    a_backup_takes_over_and_ends_in_peace(Family::V6);
}
