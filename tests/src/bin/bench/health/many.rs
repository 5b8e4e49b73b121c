//! Ten thousand probes a second.

use std::{fs, thread, time::Duration};

use lb_tests::daemon::Xlb;
use lb_userspace::api::types::Status;
use tokio::time::Instant;

use super::{bare, page::Page};
use crate::{
    figures::median,
    fleet::{Lan, many_backends, wait_until_up},
};

const SERVICES: usize = 10;
const BACKENDS: usize = 1000;
const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_secs(10);
/// Until maps and rows are at rest.
const SETTLE: Duration = Duration::from_secs(5);

/// Prints the table.
pub(super) fn print() {
    println!(
        "{SERVICES} services of {BACKENDS} backends, every backend probed over TCP once a second: {ROUNDS} times \
         {} s, each with a scrape",
        ROUND.as_secs()
    );
    println!(
        "(processor: all of the daemon's threads, and what the kernel does for them on their way: both ends'"
    );
    println!("packets)\n");
    let lan = Lan::wide().expect("namespaces");
    lan.answer();
    let bare = bare::measure(&lan);
    let probe = "{ interval: 1s, timeout: 500ms }";
    let file = many_backends(SERVICES, BACKENDS, probe);
    let xlb = Xlb::start(&lan.balancer, &file).expect("xlb runs");
    wait_until_up(&xlb);
    thread::sleep(SETTLE);
    let status = xlb.json(&["status"]).expect("it answers");
    let status: Status = serde_json::from_value(status).expect("a status");
    let rounds: Vec<Round> = (0..ROUNDS).map(|_| round(&xlb, status.pid)).collect();
    print_rounds(&rounds, status.pid);
    println!(
        "as many connections a second, made by a loop that does nothing else, before: {:.1} % of a core\n",
        bare * 100.0
    );
}

/// What one round came to.
#[derive(Clone, Copy)]
struct Round {
    /// Probes a second.
    probes: f64,
    /// Of them, those that did not end well.
    failed: f64,
    /// Part of one core.
    processor: f64,
    /// Probes that began later than 10 ms, and 100 ms.
    late: [f64; 2],
}

fn round(xlb: &Xlb<'_>, pid: u32) -> Round {
    let (begun, used, before) = (Instant::now(), processor(pid), Page::of(xlb));
    thread::sleep(ROUND);
    let (elapsed, used) = (begun.elapsed(), processor(pid).saturating_sub(used));
    let after = Page::of(xlb);
    let more = |series: &str| after.value(series) - before.value(series);
    let all = more("xlb_probe_lateness_seconds_count");
    let late = ["0.01", "0.1"].map(|bound| {
        all - more(&format!(
            "xlb_probe_lateness_seconds_bucket{{le=\"{bound}\"}}"
        ))
    });
    let ended: f64 = (0..SERVICES)
        .map(|service| {
            format!("xlb_probe_duration_seconds_bucket{{service=\"s{service}\",le=\"0.1\"}}")
        })
        .map(|series| more(&series))
        .sum();
    Round {
        probes: all / elapsed.as_secs_f64(),
        failed: (all - ended).max(0.0),
        processor: used.as_secs_f64() / elapsed.as_secs_f64(),
        late,
    }
}

fn print_rounds(rounds: &[Round], pid: u32) {
    let of = |figure: fn(&Round) -> f64| {
        let figures: Vec<f64> = rounds.iter().map(figure).collect();
        let most = figures.iter().copied().fold(0.0, f64::max);
        (median(&figures), most)
    };
    println!("{:<34} {:>12} {:>12}", "", "median", "most");
    let line = |name: &str, (median, most): (f64, f64), digits: usize| {
        println!("{name:<34} {median:>12.digits$} {most:>12.digits$}");
    };
    line("probes a second", of(|round| round.probes), 0);
    line("slower than 100 ms", of(|round| round.failed), 0);
    let percent = |round: &Round| round.processor * 100.0;
    line("processor, % of one core", of(percent), 1);
    line("begun more than 10 ms late", of(|round| round.late[0]), 0);
    line("begun more than 100 ms late", of(|round| round.late[1]), 0);
    for (name, field) in [
        ("memory, MiB", "VmRSS"),
        ("of it pages of maps and files", "RssFile"),
        ("peak since the start", "VmHWM"),
    ] {
        let mut mib = kib(pid, field);
        if field == "RssFile" {
            mib += kib(pid, "RssShmem");
        }
        println!("{name:<34} {:>12.1}", mib / 1024.0);
    }
    println!();
}

/// Time that a process's threads have run, those that have ended among them (`proc_pid_stat(5)`).
fn processor(pid: u32) -> Duration {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process runs");
    // Behind the name, which may hold anything: user and system time are the 12th and 13th.
    let (_, fields) = text.rsplit_once(") ").expect("a name");
    let ticks = fields.split(' ').skip(11).take(2);
    let ticks: u64 = ticks.map(|it| it.parse::<u64>().expect("a number")).sum();
    Duration::from_millis(ticks * 10)
}

/// KiB, from the kernel's account of a process.
fn kib(pid: u32, name: &str) -> f64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the process runs");
    let mut fields = status.lines().filter_map(|line| line.split_once(':'));
    let (_, value) = fields.find(|(field, _)| *field == name).expect("the field");
    let number = value.trim().trim_end_matches(" kB");
    number.parse().expect("a number")
}
