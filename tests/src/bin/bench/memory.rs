//! What the daemon and its maps take.

use std::{
    fs,
    net::{Ipv4Addr, TcpListener},
    thread,
    time::Duration,
};

use lb_tests::{daemon::Xlb, wait::eventually};
use lb_userspace::{api::types::Status, lab::Namespace};

use crate::fleet::{BACKENDS, Fleet, Lan, SLOTS};

const SERVICES: u16 = 10;
const SCRAPES: u32 = 50;
/// Until a thousand backends have answered twice.
const ALL_UP: Duration = Duration::from_secs(20);
/// The daemon gives memory back once a second.
const QUIET: Duration = Duration::from_millis(2500);

/// Prints the tables.
pub(crate) fn print() {
    println!(
        "memory of `xlb run`: {SERVICES} services, {BACKENDS} backends and {SLOTS} slots each;"
    );
    println!(
        "every backend probed once a second; KiB, resident; mapped: pages of BPF maps and files\n"
    );
    let lan = Lan::new().expect("namespaces");
    answer(&lan.hosts);
    let xlb = Xlb::start(&lan.balancer, &Fleet::new(SERVICES).yaml()).expect("xlb runs");
    let status = eventually("all backends are up", ALL_UP, || {
        let status: Status = serde_json::from_value(xlb.json(&["status"]).ok()?).ok()?;
        status.healthy().then_some(status)
    });
    let status = status.unwrap_or_else(|error| panic!("{error}\n{}", xlb.log()));
    println!(
        "{:<34} {:>9} {:>9} {:>9}",
        "", "in all", "anonymous", "mapped"
    );
    thread::sleep(QUIET);
    print_resident("all backends up", status.pid);
    scrape(&xlb);
    print_resident(&format!("right after {SCRAPES} scrapes"), status.pid);
    thread::sleep(QUIET);
    print_resident("a little later", status.pid);
    println!(
        "{:<34} {:>9}\n",
        "peak since the start",
        field(status.pid, "VmHWM")
    );
    print_maps(&status);
}

/// One thread a port takes connections to any address of the namespace, and ends with the process.
fn answer(hosts: &Namespace) {
    for port in 8000..8000 + SERVICES {
        let bind = || TcpListener::bind((Ipv4Addr::UNSPECIFIED, port));
        let listener = hosts.enter(bind).expect("the namespace");
        let listener = listener.expect("a free port");
        thread::spawn(move || listener.incoming().for_each(drop));
    }
}

fn scrape(xlb: &Xlb<'_>) {
    for _ in 0..SCRAPES {
        let page = xlb.metrics().expect("a page of metrics");
        let up = page
            .lines()
            .filter(|line| line.starts_with("xlb_service_up{"));
        assert_eq!(up.count(), usize::from(SERVICES));
    }
}

fn print_resident(name: &str, pid: u32) {
    let anonymous = field(pid, "RssAnon");
    let mapped = field(pid, "RssFile") + field(pid, "RssShmem");
    println!(
        "{name:<34} {:>9} {anonymous:>9} {mapped:>9}",
        field(pid, "VmRSS")
    );
}

/// KiB, from the kernel's account of a process.
fn field(pid: u32, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the process runs");
    let mut fields = status.lines().filter_map(|line| line.split_once(':'));
    let (_, value) = fields.find(|(field, _)| *field == name).expect("the field");
    let number = value.trim().trim_end_matches(" kB");
    number.parse().expect("a number")
}

fn print_maps(status: &Status) {
    println!("its maps, sized for twice the configuration: kernel memory, over all CPUs\n");
    println!("{:<34} {:>9} {:>9}", "", "entries", "KiB");
    for map in &status.maps {
        println!(
            "{:<34} {:>9} {:>9}",
            map.name,
            map.entries,
            map.bytes.div_ceil(1024)
        );
    }
    let bytes: u64 = status.maps.iter().map(|map| map.bytes).sum();
    println!("{:<34} {:>9} {:>9}\n", "in all", "", bytes.div_ceil(1024));
}
