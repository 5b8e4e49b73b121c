//! Connections that are open while everything changes that can, and a count of those that break, each with the
//! event that broke it.
#![expect(clippy::disallowed_types, reason = "real connections take real time")]

use std::{
    fmt, fs, thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use lb_userspace::lab::{Options, Topology};

use crate::{
    config::{self, Service},
    daemon::Xlb,
    fleet::Fleet,
    flood::{Bound, Flood, Flooded},
    load::{Datagrams, Failure, Fresh, Held, Load},
    pinned,
    random::Random,
    wait::eventually,
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

const BACKENDS: u8 = 5;
/// The last of so many services has a million slots.
const MOST_GROWN: usize = 7;
/// From one turn of each client to the next.
const TURN: Duration = Duration::from_millis(5);
const PATIENCE: Duration = Duration::from_secs(20);
/// A question that was asked so long before its backend died has no answer.
const UNDER_WAY: Duration = Duration::from_secs(3);
/// Every connection is asked within this time.
const FOUND_OUT: Duration = Duration::from_secs(10);

/// Something that happens to the balancer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A backend gets no new flows.
    Drain(u8),
    /// It gets them again.
    Ready(u8),
    /// It is taken out of the service.
    Remove(u8),
    /// It is in the service again.
    Add(u8),
    /// Its share changes.
    Weigh(u8, u16),
    /// Its server dies.
    Kill(u8),
    /// And is started again.
    Revive(u8),
    /// The file is read again, with another program as a consequence.
    Reload,
    /// The daemon is killed, and another one started.
    Restart,
    /// The same, and the other one has another program.
    Upgrade,
    /// The configuration outgrows the maps.
    Grow,
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Drain(number) => write!(f, "drain b{number}"),
            Self::Ready(number) => write!(f, "ready b{number}"),
            Self::Remove(number) => write!(f, "remove b{number}"),
            Self::Add(number) => write!(f, "add b{number}"),
            Self::Weigh(number, weight) => write!(f, "weight b{number} {weight}"),
            Self::Kill(number) => write!(f, "b{number} dies"),
            Self::Revive(number) => write!(f, "b{number} returns"),
            Self::Reload => f.write_str("reload, another program"),
            Self::Restart => f.write_str("SIGKILL and restart"),
            Self::Upgrade => f.write_str("upgrade of the program"),
            Self::Grow => f.write_str("maps grow"),
        }
    }
}

/// What an event broke.
#[derive(Debug)]
pub struct Broken {
    /// The event; `None`: broken before the first.
    pub event: Option<Event>,
    /// What broke.
    pub failure: Failure,
}

impl Broken {
    /// Whether nothing could keep it: its backend died not long before it was seen to be broken.
    #[must_use]
    fn is_due(&self, deaths: &[(Instant, u8)]) -> bool {
        let died = |(at, number): &(Instant, u8)| {
            let failure = &self.failure;
            failure.server.as_deref() == Some(&format!("b{number}"))
                && failure.began + UNDER_WAY > *at
                && failure.began < *at + FOUND_OUT
        };
        deaths.iter().any(died)
    }
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Report {
    /// What happened, and when.
    pub events: Vec<(Instant, Event)>,
    /// Connections that were held.
    pub held: usize,
    /// Of these, those that broke though their backend lived.
    pub broken: Vec<Broken>,
    /// Those whose backend died.
    pub died: usize,
    /// New connections that succeeded, and that failed.
    pub fresh: (usize, Vec<Failure>),
    /// Datagrams, and what went wrong with them though their backend lived.
    pub datagrams: (u64, Vec<Broken>),
    /// Datagrams, of those that a flood came with, that the wire had no room for.
    pub drowned: usize,
    /// The flood, if there was one.
    pub flood: Option<Flooded>,
    /// What became of flows to be tracked, and how many were tracked in the end.
    pub tracking: Tracking,
}

/// What the daemon says of tracked flows.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tracking {
    /// Flows that were tracked.
    pub tracked: u64,
    /// Those that found no place.
    pub refused: u64,
    /// The most that were at a time, of those that were counted.
    pub most: u64,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let began = self.events.first().map(|(at, _)| *at);
        for (at, event) in &self.events {
            let since = began.map_or(0.0, |began| (*at - began).as_secs_f64());
            let broken = self.broken.iter().filter(|it| it.event == Some(*event));
            writeln!(f, "{since:6.1} s  {event:28}  {} broken", broken.count())?;
        }
        let (served, failed) = &self.fresh;
        let (sent, astray) = &self.datagrams;
        writeln!(
            f,
            "{} connections held: {} broken, {} died with their backend",
            self.held,
            self.broken.len(),
            self.died
        )?;
        writeln!(f, "{served} connections opened, {} failed", failed.len())?;
        writeln!(f, "{sent} datagrams, {} lost or astray", astray.len())?;
        if let Some(flood) = self.flood {
            writeln!(f, "flood: {flood}; {} datagrams drowned", self.drowned)?;
        }
        let Tracking {
            tracked,
            refused,
            most,
        } = self.tracking;
        write!(
            f,
            "{tracked} flows tracked, {most} at a time; {refused} refused"
        )
    }
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
    let mut stage = Stage::new(plan, &topology)?;
    let client = &topology.client.namespace;
    let (web, names) = (WEB.vip(&topology), NAMES.vip(&topology));
    let first = Held::open(client, web, plan.connections)?;
    let mut held = vec![Load::start(client, first, TURN)?];
    let fresh = Load::start(client, Fresh::new(web), TURN)?;
    let datagrams = Datagrams::new(client, names, plan.datagrams)?;
    let datagrams = Load::start(client, datagrams, TURN)?;
    let flood = plan.flood.map(|bound| Flood::start(&topology, web, bound));
    let flood = flood.transpose()?;
    for _ in 0..plan.events {
        stage.happen()?;
        thread::sleep(plan.pause / 2);
        let more = Held::try_open(client, web, plan.more)?;
        held.push(Load::start(client, more, TURN)?);
        thread::sleep(plan.pause / 2);
        stage.look()?;
    }
    let flood = flood.map(Flood::stop).transpose()?;
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
            report.judge(failure, &stage.deaths);
        }
    }
    // A wire that a flood fills loses what comes: that was no decision of the balancer's.
    let drowns = |failure: &Failure| plan.flood.is_some() && failure.is_silence();
    let (drowned, failed): (Vec<_>, Vec<_>) = datagrams.failed.into_iter().partition(drowns);
    report.drowned = drowned.len();
    let astray = failed.into_iter().map(|failure| report.blame(failure));
    report.datagrams = (datagrams.sent, astray.collect());
    Ok(report)
}

impl Report {
    /// The event before a failure.
    fn blame(&self, failure: Failure) -> Broken {
        let before = self
            .events
            .iter()
            .rev()
            .find(|(at, _)| *at <= failure.began);
        Broken {
            event: before.map(|(_, event)| *event),
            failure,
        }
    }

    fn judge(&mut self, failure: Failure, deaths: &[(Instant, u8)]) {
        let broken = self.blame(failure);
        if broken.is_due(deaths) {
            self.died += 1;
        } else {
            self.broken.push(broken);
        }
    }
}

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

/// A backend of the service over TCP, as the events left it.
#[derive(Clone, Copy, Debug)]
struct Backend {
    is_there: bool,
    is_ready: bool,
    is_up: bool,
}

struct Stage<'t> {
    topology: &'t Topology,
    fleet: Fleet,
    xlb: Xlb<'t>,
    random: Random,
    backends: [Backend; BACKENDS as usize],
    events: Vec<(Instant, Event)>,
    deaths: Vec<(Instant, u8)>,
    reloads: usize,
    /// Services that were added to make the maps grow.
    grown: usize,
    tracking: Tracking,
}

impl<'t> Stage<'t> {
    fn new(plan: Plan, topology: &'t Topology) -> Result<Self> {
        let fleet = Fleet::start(topology)?;
        let file = config::yaml(topology, &[WEB, NAMES]);
        let stage = Self {
            topology,
            fleet,
            xlb: Xlb::start(&topology.balancer.namespace, &file)?,
            random: Random::new(plan.seed),
            backends: [Backend {
                is_there: true,
                is_ready: true,
                is_up: true,
            }; BACKENDS as usize],
            events: Vec::new(),
            deaths: Vec::new(),
            reloads: 0,
            grown: 0,
            tracking: Tracking::default(),
        };
        stage.wait_until_up()?;
        Ok(stage)
    }

    /// Waits until every backend that can be is up.
    fn wait_until_up(&self) -> Result<()> {
        let all_up = || {
            let list = self.xlb.json(&["backend", "list", "web"]).ok()?;
            let mut items = list["items"].as_array()?.iter();
            let is_up = |item: &serde_json::Value| {
                let number = item["name"]
                    .as_str()
                    .and_then(|name| name.strip_prefix('b'));
                let number = number.and_then(|number| number.parse::<usize>().ok());
                let lives = number.is_some_and(|number| self.backends[number - 1].is_up);
                item["state"] == if lives { "up" } else { "down" }
            };
            items.all(is_up).then_some(())
        };
        eventually("the backends are up", PATIENCE, all_up)
    }

    /// Looks at what is tracked.
    fn look(&mut self) -> Result<()> {
        let page = self.xlb.metrics()?;
        let value = |series: &str| {
            let mut lines = page.lines();
            let found = lines.find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
            found
                .with_context(|| format!("no {series}"))?
                .parse::<u64>()
                .context("no number")
        };
        let requests = |result| value(&format!("xlb_track_requests_total{{result=\"{result}\"}}"));
        self.tracking = Tracking {
            tracked: requests("tracked")?,
            refused: requests("refused")?,
            most: self.tracking.most.max(value("xlb_tracked_flows")?),
        };
        Ok(())
    }

    /// One event of those that leave two backends at least.
    fn happen(&mut self) -> Result<()> {
        let event = self.draw();
        self.events.push((Instant::now(), event));
        self.cause(event).with_context(|| event.to_string())?;
        self.wait_until_up()
    }

    fn draw(&mut self) -> Event {
        let taking = |it: &Backend| it.is_there && it.is_ready && it.is_up;
        let spare = self.backends.iter().filter(|it| taking(it)).count() > 2;
        let number = 1 + self.random.below(usize::from(BACKENDS)) as u8;
        let backend = self.backends[usize::from(number) - 1];
        let Backend {
            is_there,
            is_ready,
            is_up,
        } = backend;
        match self.random.below(10) {
            _ if !is_there => Event::Add(number),
            _ if !is_up => Event::Revive(number),
            0 | 1 if !is_ready => Event::Ready(number),
            0 | 1 if spare => Event::Drain(number),
            2 if spare => Event::Remove(number),
            3 if spare => Event::Kill(number),
            4 => Event::Restart,
            5 => Event::Reload,
            6 => Event::Upgrade,
            7 if self.grown < MOST_GROWN => Event::Grow,
            _ => Event::Weigh(number, 1 + self.random.below(5) as u16),
        }
    }

    fn cause(&mut self, event: Event) -> Result<()> {
        let mut backends = self.backends;
        let backend = |number: u8| usize::from(number) - 1;
        match event {
            Event::Drain(number) => {
                backends[backend(number)].is_ready = false;
                self.change("drain", number, &[])?;
            }
            Event::Ready(number) => {
                backends[backend(number)].is_ready = true;
                self.change("ready", number, &[])?;
            }
            Event::Weigh(number, weight) => {
                self.change("weight", number, &[&weight.to_string()])?;
            }
            Event::Remove(number) => {
                backends[backend(number)].is_there = false;
                self.change("remove", number, &[])?;
            }
            Event::Add(number) => {
                backends[backend(number)].is_there = true;
                backends[backend(number)].is_ready = true;
                self.change("reset", number, &[])?;
            }
            Event::Kill(number) => {
                backends[backend(number)].is_up = false;
                self.deaths.push((Instant::now(), number));
                self.fleet.kill(usize::from(number))?;
            }
            Event::Revive(number) => {
                backends[backend(number)].is_up = true;
                self.fleet.revive(self.topology, usize::from(number))?;
            }
            Event::Reload => self.reload()?,
            Event::Restart => {
                self.xlb.kill()?;
                thread::sleep(Duration::from_millis(500));
                self.xlb.start_again()?;
            }
            Event::Upgrade => {
                self.xlb.kill()?;
                pinned::pretend_another_program(&self.xlb.pins())?;
                self.xlb.start_again()?;
            }
            Event::Grow => {
                self.grown += 1;
                self.apply()?;
            }
        }
        self.backends = backends;
        Ok(())
    }

    fn change(&self, verb: &str, number: u8, more: &[&str]) -> Result<()> {
        let name = format!("b{number}");
        let words = ["backend", verb, "web", &name];
        self.xlb.json(&[&words, more].concat())?;
        Ok(())
    }

    /// Another rate of ICMP messages is another program.
    fn reload(&mut self) -> Result<()> {
        self.reloads += 1;
        self.apply()
    }

    /// Each service more has a table that is larger than all before together.
    fn apply(&self) -> Result<()> {
        let names: Vec<_> = (0..self.grown)
            .map(|number| format!("grown{number}"))
            .collect();
        let slots: Vec<_> = (0..self.grown)
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
        let file = config::yaml(self.topology, &services);
        let rate = 1000 + self.reloads;
        fs::write(
            self.xlb.config_file(),
            format!("icmp: {{ rate: {rate} }}\n{file}"),
        )?;
        self.xlb.json(&["apply"])?;
        Ok(())
    }
}
