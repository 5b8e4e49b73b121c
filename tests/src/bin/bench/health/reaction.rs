//! From the end of the probe that decides to the changed map.

use std::{thread, time::Duration};

use lb_tests::daemon::Xlb;

use super::page::Page;
use crate::{
    figures::{median, ms},
    fleet::{Lan, many_backends, wait_until_up},
};

const ROUNDS: usize = 10;
/// One probe, late by a tenth, and its timeout.
const ENOUGH: Duration = Duration::from_millis(1200);

/// Prints the table.
pub(super) fn print() {
    println!("milliseconds from the end of the probe that decides to the changed map, in the");
    println!("daemon (`xlb_health_reaction_seconds`): median and longest of {ROUNDS}\n");
    println!("{:<34} {:>20} {:>20}", "", "down", "up");
    for backends in [10, 1000] {
        let cells = measure(backends).map(|times| {
            let longest = times.iter().max().copied().unwrap_or_default();
            format!("{:.2} ({:.2})", ms(median(&times)), ms(longest))
        });
        let name = format!("a service with {backends} backends");
        println!("{name:<34} {:>20} {:>20}", cells[0], cells[1]);
    }
    println!();
}

/// Of deaths, and of returns.
fn measure(backends: usize) -> [Vec<Duration>; 2] {
    let lan = Lan::wide().expect("namespaces");
    lan.answer();
    let probe = "{ interval: 500ms, timeout: 500ms, rise: 1, fall: 1 }";
    let xlb = Xlb::start(&lan.balancer, &many_backends(1, backends, probe)).expect("xlb runs");
    wait_until_up(&xlb);
    // A more specific route takes one address away.
    let flip = |verb: &str| {
        let before = Reactions::of(&xlb);
        let route = format!("route {verb} unreachable 10.1.0.7/32 table local");
        lan.hosts.ip([route]).expect("a route");
        thread::sleep(ENOUGH);
        Reactions::of(&xlb).only_since(&before)
    };
    let times = (0..ROUNDS).map(|_| (flip("add"), flip("del")));
    let (downs, ups) = times.unzip();
    [downs, ups]
}

/// What the daemon counted.
struct Reactions {
    count: f64,
    seconds: f64,
}

impl Reactions {
    fn of(xlb: &Xlb<'_>) -> Self {
        let page = Page::of(xlb);
        Self {
            count: page.value("xlb_health_reaction_seconds_count"),
            seconds: page.value("xlb_health_reaction_seconds_sum"),
        }
    }

    fn only_since(&self, before: &Self) -> Duration {
        let changes = self.count - before.count;
        assert!((changes - 1.0).abs() < 0.5, "{changes} changes, not one");
        Duration::from_secs_f64(self.seconds - before.seconds)
    }
}
