//! Where it happens: balancers, servers, and what is done to them.
#![expect(clippy::disallowed_types, reason = "real connections take real time")]

use std::time::Instant;

use anyhow::{Context as _, Result};
use lb_userspace::lab::Topology;

use super::{
    NAMES, WEB,
    balancers::Balancers,
    event::{Event, Script},
    flooding::Flooding,
    report::Tracking,
};
use crate::{
    config::{self, Service},
    daemon::Xlb,
    fleet::Fleet,
    flood::{Bound, Flooded},
    pair::Second,
};

pub(super) struct Stage<'t> {
    topology: &'t Topology,
    fleet: Fleet,
    flooding: Option<Flooding<'t>>,
    balancers: Balancers<'t>,
    script: Script,
    pub(super) events: Vec<(Instant, Event)>,
    pub(super) tracking: Tracking,
}

impl<'t> Stage<'t> {
    pub(super) fn new(seed: u64, pair: &'t Second<'t>, flood: Option<Bound>) -> Result<Self> {
        let topology = pair.topology();
        let fleet = Fleet::start(topology)?;
        let file = config::yaml(topology, &[WEB, NAMES]);
        let stage = Self {
            topology,
            fleet,
            flooding: flood.map(|bound| Flooding::new(pair, WEB.vip(topology), bound)),
            balancers: Balancers::start(pair, &file)?,
            script: Script::new(seed),
            events: Vec::new(),
            tracking: Tracking::default(),
        };
        stage.wait_until_probed()?;
        Ok(stage)
    }

    fn wait_until_probed(&self) -> Result<()> {
        self.balancers
            .wait_until_probed(|name| self.script.is_up(name))
    }

    /// Looks at what is tracked.
    pub(super) fn look(&mut self) -> Result<()> {
        let mut all = Tracking {
            most: self.tracking.most,
            ..Tracking::default()
        };
        for xlb in self.balancers.both() {
            let one = tracking(xlb)?;
            all.tracked += one.tracked;
            all.refused += one.refused;
            all.most = all.most.max(one.most);
        }
        self.tracking = all;
        Ok(())
    }

    /// Has the next thing happen.
    pub(super) fn happen(&mut self) -> Result<()> {
        let event = self.script.next();
        self.events.push((Instant::now(), event));
        self.cause(event).with_context(|| event.to_string())?;
        self.wait_until_probed()
    }

    fn cause(&mut self, event: Event) -> Result<()> {
        match event {
            Event::Drain(number) => self.change("drain", number, &[]),
            Event::Ready(number) => self.change("ready", number, &[]),
            Event::Weigh(number, weight) => self.change("weight", number, &[&weight.to_string()]),
            Event::Remove(number) => self.change("remove", number, &[]),
            Event::Add(number) => self.change("reset", number, &[]),
            Event::Kill(number) => self.fleet.kill(number.into()),
            Event::Revive(number) => self.fleet.revive(self.topology, number.into()),
            Event::Reload | Event::Grow => self.balancers.apply(&self.file()),
            Event::Restart => self.balancers.restart(false),
            Event::Upgrade => self.balancers.restart(true),
            Event::FailOver => {
                self.balancers.fail_over()?;
                self.flood()?;
                self.balancers.join()
            }
        }
    }

    /// Floods the balancer that has the traffic, if there is to be a flood.
    pub(super) fn flood(&mut self) -> Result<()> {
        let active = self.balancers.active();
        let mut flooding = self.flooding.iter_mut();
        flooding.try_for_each(|it| it.lead_through(active))
    }

    /// What the flood was, which ends.
    pub(super) fn end_flood(&mut self) -> Result<Option<Flooded>> {
        self.flooding.as_mut().map(Flooding::stop).transpose()
    }

    fn change(&self, verb: &str, number: u8, more: &[&str]) -> Result<()> {
        let name = format!("b{number}");
        let words = ["backend", verb, "web", &name];
        self.balancers.command(&[&words, more].concat())
    }

    /// Each service more has a table that is larger than all before together; another rate of ICMP messages is
    /// another program.
    fn file(&self) -> String {
        let names: Vec<_> = (0..self.script.grown)
            .map(|number| format!("grown{number}"))
            .collect();
        let slots: Vec<_> = (0..self.script.grown)
            .map(|number| [format!("slots: {}", 16_384 << number)])
            .collect();
        let more: Vec<_> = slots.iter().map(|[line]| [line.as_str()]).collect();
        let grown = (1u16..).zip(names.iter().zip(&more));
        let grown = grown.map(|(number, (name, more))| Service {
            name,
            port: 1000 + number,
            backend_port: 9000 + number,
            probe: "none",
            more,
            ..WEB
        });
        let services: Vec<_> = [WEB, NAMES].into_iter().chain(grown).collect();
        let rate = 1000 + self.script.reloads;
        let file = config::yaml(self.topology, &services);
        format!("icmp: {{ rate: {rate} }}\n{file}")
    }
}

/// What a balancer says of tracked flows now.
fn tracking(xlb: &Xlb<'_>) -> Result<Tracking> {
    let page = xlb.metrics()?;
    let value = |series: &str| {
        let mut lines = page.lines();
        let found = lines.find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        found
            .with_context(|| format!("no {series}"))?
            .parse::<u64>()
            .context("no number")
    };
    let requests = |result| value(&format!("xlb_track_requests_total{{result=\"{result}\"}}"));
    Ok(Tracking {
        tracked: requests("tracked")?,
        refused: requests("refused")?,
        most: value("xlb_tracked_flows")?,
    })
}
