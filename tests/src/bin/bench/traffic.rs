//! Real connections in network namespaces: through xlb, beside nftables and the kernel alone, in the
//! same run.

mod client;
mod connections;
pub(crate) mod failover;
mod lanes;
mod server;
mod throughput;

use lb_tests::daemon::Xlb;

use crate::figures::median;
use lanes::Lane;
pub(crate) use lanes::WEB;

/// All lanes are measured in turn, so often.
const ROUNDS: usize = 3;

/// Prints the tables.
pub(crate) fn print() {
    println!("traffic: client, balancer and three backends in network namespaces, joined by veth;");
    println!("all of them share this machine's processors. This says nothing about network cards:");
    println!("XDP at a veth end takes the wire's segmentation (TSO) and checksum offload away, so");
    println!("the others are shown over such a wire, too, and over one with its offloads");
    println!("medians of {ROUNDS}, measured in turn\n");
    let lanes = Lane::all();
    let [xlb_lane, ..] = &lanes;
    let namespace = &xlb_lane.topology.balancer.namespace;
    let xlb = Xlb::start(namespace, &xlb_lane.xlb_yaml()).expect("xlb runs");
    print_rates(&lanes);
    failover::print(&xlb_lane.topology, &xlb, "interval: 200ms, fall: 2");
}

fn print_rates(lanes: &[Lane]) {
    let rounds: Vec<Vec<[f64; 3]>> = (0..ROUNDS)
        .map(|_| lanes.iter().map(measure).collect())
        .collect();
    println!(
        "{:<34} {:>14} {:>14} {:>14}",
        "", "connections/s", "Gbit/s up", "Gbit/s down"
    );
    for (number, lane) in lanes.iter().enumerate() {
        let of_lane = || rounds.iter().filter_map(|round| round.get(number));
        let figures = [0, 1, 2].map(|which| {
            let figures: Vec<f64> = of_lane().map(|figures| figures[which]).collect();
            median(&figures)
        });
        let [connections, up, down] = figures;
        println!(
            "{:<34} {connections:>14.0} {up:>14.2} {down:>14.2}",
            lane.name()
        );
    }
    println!();
}

/// Connections per second, and Gbit/s from and to the client.
fn measure(lane: &Lane) -> [f64; 3] {
    [
        connections::per_second(lane),
        throughput::gigabits(lane, throughput::Way::Up),
        throughput::gigabits(lane, throughput::Way::Down),
    ]
}
