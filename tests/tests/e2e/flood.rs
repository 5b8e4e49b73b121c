//! SYNs of random clients, as fast as a CPU makes them, while backends come, go and change.
#![expect(clippy::disallowed_types, reason = "real connections take real time")]

use std::{
    thread,
    time::{Duration, Instant},
};

use lb_tests::{
    config::Service,
    daemon::Xlb,
    fleet::Fleet,
    flood::{Bound, Flood, SHARE, Wire},
    load::{Fresh, Held, Load},
    wait::eventually,
};
use lb_userspace::lab::Topology;

use crate::{
    page::sample,
    site::{nothing_was_dropped, routed, start},
};

/// A probe has to wait for its turn where a flood has the CPUs.
const WEB: Service<'_> = Service {
    probe: "{ interval: 1s, timeout: 900ms, rise: 1, fall: 5 }",
    ..Service::WEB
};
const PAUSE: Duration = Duration::from_millis(5);
/// It ends by itself, whatever happens to the test. A CPU that has other tests to run takes as many: a wire that
/// overflows loses honest SYNs too, which is not the balancer's doing.
const FLOOD: Bound = Bound {
    frames: 200_000_000,
    time: Duration::from_secs(90),
    interval: Duration::from_micros(5),
};
/// Long enough for a slow machine's flood to fill what it can.
const LATE: Duration = Duration::from_mins(1);
/// Flows that the table has room for.
const ROOM: u64 = 262_144;

fn requests(xlb: &Xlb<'_>, result: &str) -> u64 {
    let series = format!("xlb_track_requests_total{{result=\"{result}\"}}");
    sample(xlb, &series)
}

#[test]
fn a_flood_breaks_nothing_and_keeps_nobody_out() {
    let topology = Topology::two_armed(routed()).unwrap();
    let _fleet = Fleet::start(&topology).unwrap();
    let xlb = start(&topology, &[WEB]);
    let (client, vip) = (&topology.client.namespace, WEB.vip(&topology));
    let held = Held::open(client, vip, 300).unwrap();
    let early = Load::start(client, held, PAUSE).unwrap();
    let fresh = Load::start(client, Fresh::new(vip), PAUSE).unwrap();
    assert_eq!(
        (requests(&xlb, "tracked"), requests(&xlb, "refused")),
        (0, 0)
    );

    let flood = Flood::start(Wire::of(&topology).unwrap(), vip, FLOOD).unwrap();
    let flooded = Instant::now();
    let mut late = Vec::new();
    for words in [
        &["drain", "web", "b2"][..],
        &["weight", "web", "b1", "5"],
        &["ready", "web", "b2"],
        &["remove", "web", "b3"],
        &["weight", "web", "b1", "1"],
        &["reset", "web", "b3"],
    ] {
        xlb.json(&[&["backend"], words].concat()).unwrap();
        thread::sleep(Duration::from_secs(1));
        let held = Held::try_open(client, vip, 20).unwrap();
        late.push(Load::start(client, held, PAUSE).unwrap());
        assert!(sample(&xlb, "xlb_tracked_flows") <= ROOM);
    }
    // The servers are not spared: they get more than their backlogs hold.
    let drowned = || flood.forwarded().unwrap() / u64::from(SHARE) > 4096;
    let full = || (requests(&xlb, "refused") > 0 && drowned()).then_some(());
    eventually("tables and backlogs are full", LATE, full).unwrap();
    let fresh = fresh.stop().unwrap();
    let flood = flood.stop().unwrap();
    println!("{flood}; {} refused", requests(&xlb, "refused"));

    let served = fresh.served.iter().filter(|(began, _)| *began > flooded);
    let (mut served, mut failed) = (served.count(), fresh.failed);
    assert_eq!(early.stop().unwrap().open.len(), 300);
    for held in late {
        let held = held.stop().unwrap();
        assert!(held.broken.is_empty(), "{:?}", held.broken);
        served += held.open.len();
        failed.extend(held.failed);
    }
    let lost = failed.len();
    println!("{served} connections opened under the flood, {lost} failed");
    assert!(100 * lost <= served, "{failed:?}");
    nothing_was_dropped(&xlb);
}

/// Where no row moves, a flood finds nothing to fill.
#[test]
fn a_flood_of_rows_at_rest_leaves_no_trace() {
    let topology = Topology::two_armed(routed()).unwrap();
    let _fleet = Fleet::start(&topology).unwrap();
    let xlb = start(&topology, &[WEB]);
    let vip = WEB.vip(&topology);
    let few = Bound {
        frames: 500_000,
        ..FLOOD
    };
    let flood = Flood::start(Wire::of(&topology).unwrap(), vip, few).unwrap();
    let all = || (flood.made() >= few.frames).then_some(());
    eventually("all SYNs are made", LATE, all).unwrap();
    let flooded = flood.stop().unwrap();
    assert!(
        flooded.forwarded > 0 && flooded.made < few.frames + (1 << 17),
        "{flooded}"
    );
    assert_eq!(
        (requests(&xlb, "tracked"), requests(&xlb, "refused")),
        (0, 0)
    );
    nothing_was_dropped(&xlb);
}
