//! How soon what died is out of the tables, and what many probes cost.

mod bare;
mod many;
mod page;
mod reaction;

use lb_tests::{
    config::{self, Service},
    daemon::Xlb,
};
use lb_userspace::lab::{Options, Topology};

use crate::traffic::{WEB, failover};

/// Prints the tables.
pub(crate) fn print() {
    print_failover();
    reaction::print();
    many::print();
}

fn print_failover() {
    let topology = Topology::two_armed(Options {
        forward: true,
        ..Options::default()
    });
    let topology = topology.expect("namespaces");
    let service = Service {
        port: WEB.0,
        backend_port: WEB.1,
        probe: "{ interval: 100ms, timeout: 100ms, rise: 1, fall: 2 }",
        ..Service::WEB
    };
    let file = config::yaml(&topology, &[service]);
    let xlb = Xlb::start(&topology.balancer.namespace, &file).expect("xlb runs");
    failover::print(&topology, &xlb, "interval: 100ms, fall: 2");
}
