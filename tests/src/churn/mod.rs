//! Connections that are open while everything changes that can at a pair of balancers, and a count of those that
//! break, each with the event that broke it.

mod balancers;
mod event;
mod flooding;
mod report;
mod stage;

use std::{net::SocketAddr, thread, time::Duration};

use anyhow::Result;
use lb_userspace::lab::{Namespace, Options, Topology};

use self::{event::BACKENDS, stage::Stage};
pub use self::{
    event::Event,
    report::{Broken, Report, Tracking},
};
use crate::{
    config::Service,
    flood::Bound,
    load::{Datagrams, Fresh, Held, Load},
    pair::Second,
};

/// How much there is of everything.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Of the events.
    pub seed: u64,
    /// Connections that are open before the first event.
    pub connections: usize,
    /// Connections that are opened after each event, and stay.
    pub more: usize,
    /// UDP flows.
    pub datagrams: usize,
    /// Events.
    pub events: usize,
    /// From one to the next.
    pub pause: Duration,
    /// SYNs of random clients, all the time.
    pub flood: Option<Bound>,
}

/// Connections of one client, which asks one after the other: all within their idle time, also where some of them wait
/// for packets that are sent again.
const AT_A_TIME: usize = 500;
/// From one turn of each client to the next.
const TURN: Duration = Duration::from_millis(5);

/// Flows are over soon.
const WEB: Service<'_> = Service {
    more: &["idle: 10s"],
    weights: &[1; BACKENDS as usize],
    ..Service::WEB
};
const NAMES: Service<'_> = Service {
    more: &["idle: 10s"],
    weights: &[1; BACKENDS as usize],
    ..Service::NAMES
};

fn hold(client: &Namespace, vip: SocketAddr, connections: usize) -> Result<Vec<Load<Held>>> {
    let firsts = (0..connections).step_by(AT_A_TIME);
    let loads = firsts.map(|first| {
        let held = Held::open(client, vip, AT_A_TIME.min(connections - first))?;
        Load::start(client, held, TURN)
    });
    loads.collect()
}

/// Plays a plan.
///
/// # Errors
/// If a network, a server or the daemon cannot be had.
pub fn play(plan: Plan) -> Result<Report> {
    let options = Options {
        backends: BACKENDS,
        router: true,
        ..Options::default()
    };
    let topology = Topology::two_armed(options)?;
    let pair = Second::join(&topology)?;
    let mut stage = Stage::new(plan.seed, &pair, plan.flood)?;
    let client = &topology.client.namespace;
    let (web, names) = (WEB.vip(&topology), NAMES.vip(&topology));
    let mut held = hold(client, web, plan.connections)?;
    let fresh = Load::start(client, Fresh::new(web), TURN)?;
    let datagrams = Datagrams::new(client, names, plan.datagrams)?;
    let datagrams = Load::start(client, datagrams, TURN)?;
    stage.flood()?;
    for _ in 0..plan.events {
        stage.happen()?;
        thread::sleep(plan.pause / 2);
        let more = Held::try_open(client, web, plan.more)?;
        held.push(Load::start(client, more, TURN)?);
        thread::sleep(plan.pause / 2);
        stage.look()?;
    }
    let flood = stage.end_flood()?;
    let mut report = Report {
        events: stage.events,
        flood,
        tracking: stage.tracking,
        ..Report::default()
    };
    let (fresh, datagrams) = (fresh.stop()?, datagrams.stop()?);
    report.fresh = (fresh.served.len(), fresh.failed);
    for held in held {
        let held = held.stop()?;
        report.held += held.open.len() + held.broken.len();
        report.fresh.0 += held.open.len() + held.broken.len();
        report.fresh.1.extend(held.failed);
        for failure in held.broken {
            report.judge(failure);
        }
    }
    report.datagrams.0 = datagrams.sent;
    for failure in datagrams.failed {
        report.judge_datagram(failure);
    }
    Ok(report)
}
