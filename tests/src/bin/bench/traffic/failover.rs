//! A backend dies under load: how long new connections fail.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use lb_tests::{daemon::Xlb, servers::Nginx, wait::eventually};
use lb_userspace::{
    api::types::Status,
    lab::{Host, Topology},
};
use tokio::time::Instant;

use super::{client::visit, lanes::WEB};
use crate::figures::{median, ms};

const ROUNDS: usize = 5;
const CLIENTS: usize = 4;
/// From one connection of a client to its next.
const PAUSE: Duration = Duration::from_millis(1);
/// Load before the kill, and after it.
const BEFORE: Duration = Duration::from_millis(300);
const AFTER: Duration = Duration::from_millis(1500);
const PATIENCE: Duration = Duration::from_secs(10);

/// Prints the table. `probe` says how backends are probed.
pub(crate) fn print(topology: &Topology, xlb: &Xlb<'_>, probe: &str) {
    let start = |host: &Host| Nginx::start(&host.namespace, "web", WEB.1).expect("nginx");
    let mut backends: Vec<Nginx> = topology.backends.iter().map(start).collect();
    let (Some(host), Some(dying)) = (topology.backends.last(), backends.last_mut()) else {
        panic!("a topology without backends");
    };
    let deaths: Vec<Death> = (0..ROUNDS)
        .map(|_| {
            wait_until_up(xlb);
            let death = die_under_load(topology, dying);
            *dying = start(host);
            death
        })
        .collect();
    print_deaths(&deaths, probe);
}

fn print_deaths(deaths: &[Death], probe: &str) {
    println!("a backend is killed under load, `{probe}`: median of {ROUNDS} (longest)\n");
    let times: Vec<Duration> = deaths.iter().map(|death| death.last_failure).collect();
    let failed: Vec<usize> = deaths.iter().map(|death| death.failed).collect();
    let most = failed.iter().max().copied().unwrap_or_default();
    let longest = times.iter().max().copied().unwrap_or_default();
    let cell = format!("{:.0} ms ({:.0})", ms(median(&times)), ms(longest));
    println!("{:<34} {cell:>20}", "last failed connection after");
    let cell = format!("{} ({most})", median(&failed));
    println!("{:<34} {cell:>20}\n", "failed connections");
}

/// What the clients saw of a death.
struct Death {
    last_failure: Duration,
    failed: usize,
}

/// Connections fail only after the kill, and there are some that succeed after the last that fails.
fn die_under_load(topology: &Topology, dying: &mut Nginx) -> Death {
    let stop = AtomicBool::new(false);
    let address = SocketAddr::new(topology.vip.v4.into(), WEB.0);
    let (killed, visits) = thread::scope(|scope| {
        let load = scope.spawn(|| topology.client.namespace.enter(|| load(address, &stop)));
        thread::sleep(BEFORE);
        let killed = Instant::now();
        dying.kill().expect("nginx is killed");
        thread::sleep(AFTER);
        stop.store(true, Ordering::Relaxed);
        let visits = load.join().expect("the load");
        (killed, visits.expect("the namespace"))
    });
    let failures = || visits.iter().filter(|visit| !visit.succeeded);
    let last = failures()
        .map(|visit| visit.ended)
        .max()
        .expect("it had connections");
    assert!(
        failures().all(|visit| visit.ended >= killed),
        "failed before the kill"
    );
    assert!(
        visits
            .iter()
            .any(|visit| visit.succeeded && visit.ended > last)
    );
    Death {
        last_failure: last - killed,
        failed: failures().count(),
    }
}

struct Visit {
    ended: Instant,
    succeeded: bool,
}

fn load(address: SocketAddr, stop: &AtomicBool) -> Vec<Visit> {
    let client = || {
        let mut visits = Vec::new();
        while !stop.load(Ordering::Relaxed) {
            let succeeded = visit(address, b"GET / HTTP/1.0\r\n\r\n").is_ok();
            visits.push(Visit {
                ended: Instant::now(),
                succeeded,
            });
            thread::sleep(PAUSE);
        }
        visits
    };
    thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(client)).collect();
        let visits = clients.into_iter().map(thread::ScopedJoinHandle::join);
        visits
            .flat_map(|visits| visits.expect("a client"))
            .collect()
    })
}

fn wait_until_up(xlb: &Xlb<'_>) {
    let healthy = || {
        let status: Status = serde_json::from_value(xlb.json(&["status"]).ok()?).ok()?;
        status.healthy().then_some(())
    };
    eventually("all backends are up", PATIENCE, healthy)
        .unwrap_or_else(|error| panic!("{error}\n{}", xlb.log()));
}
