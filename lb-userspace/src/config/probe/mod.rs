//! `probe:` of a service.

mod check;
mod feedback;

pub(super) use self::check::Reader;

use std::{sync::Arc, time::Duration};

use super::{
    model::{Check, Path, Probe, Protocol, Start},
    problems::{Finding, Problems, Reported},
    raw::{Node, Value},
    source::Spanned,
    table::Table,
    values::{self, Choice},
};

/// Keys of every type.
const KEYS: [&str; 12] = [
    "type",
    "port",
    "interval",
    "fast_interval",
    "down_interval",
    "max_interval",
    "timeout",
    "rise",
    "fall",
    "via_vip",
    "start",
    "feedback",
];

const PATHS: Choice<Path> = Choice {
    what: "`via_vip`",
    words: &[
        ("off", Path::Off),
        ("watch", Path::Watch),
        ("eject", Path::Eject),
    ],
    unsupported: &[],
};

const INTERVAL: Duration = Duration::from_secs(1);
const TIMEOUT: Duration = Duration::from_millis(500);
const RISE: u32 = 2;
const FALL: u32 = 3;

const START: Choice<Start> = Choice {
    what: "`start`",
    words: &[("down", Start::Down), ("up", Start::Up)],
    unsupported: &[],
};

/// More good or bad probes in a row than this are a slip.
const MAX_COUNT: u32 = 1000;

/// What a file says about probes.
#[derive(Debug)]
pub(super) enum Setting {
    /// Nothing.
    Unsaid,
    /// `none`.
    Off,
    /// A table.
    On(Probe),
}

impl Setting {
    /// Whether backends of a service of `protocol` are probed.
    pub(super) const fn probes(&self, protocol: Protocol) -> bool {
        match self {
            Self::On(_) => true,
            Self::Unsaid => matches!(protocol, Protocol::Tcp),
            Self::Off => false,
        }
    }

    /// What it means for a service of `protocol`: UDP has no handshake that could answer.
    pub(super) fn resolve(self, protocol: Protocol) -> Option<Probe> {
        match (self, protocol) {
            (Self::On(probe), _) => Some(probe),
            (Self::Unsaid, Protocol::Tcp) => Some(Probe::of(Check::default())),
            (Self::Unsaid, Protocol::Udp) | (Self::Off, _) => None,
        }
    }
}

impl Probe {
    /// What is asked, as often as nothing else is said.
    fn of(check: Check) -> Self {
        Self {
            check: Arc::new(check),
            port: None,
            interval: INTERVAL,
            fast_interval: INTERVAL,
            down_interval: INTERVAL,
            max_interval: INTERVAL,
            timeout: TIMEOUT,
            rise: RISE,
            fall: FALL,
            via_vip: Path::Off,
            start: Start::default(),
            feedback: None,
        }
    }
}

/// `none`, or a table.
pub(super) fn read(node: &Node, problems: &mut Problems) -> Result<Setting, Reported> {
    match &node.value {
        Value::Text(word) if word == "none" => Ok(Setting::Off),
        Value::Table(_) => read_table(node, problems).map(Setting::On),
        _ => {
            let finding = values::wrong_kind(node, "`probe`", "`none` or a table");
            let example =
                "write `probe: { type: tcp, interval: 1s, timeout: 500ms, rise: 2, fall: 3 }`";
            Err(problems.error(finding.hint(example)))
        }
    }
}

fn read_table(node: &Node, problems: &mut Problems) -> Result<Probe, Reported> {
    let keys = [&KEYS[..], &check::KEYS].concat();
    let table = Table::open(node, "a probe", &keys, problems)?;
    let check = check::read(&table, problems);
    let port = table
        .get("port")
        .map(|node| values::number(node, "`port`", 1..=u16::MAX, problems))
        .transpose();
    let times = read_times(&table, problems);
    let rise = read_count(&table, "rise", RISE, problems);
    let fall = read_count(&table, "fall", FALL, problems);
    let via_vip = table
        .get("via_vip")
        .map_or(Ok(Path::Off), |node| PATHS.read(node, problems));
    let start = table.get("start");
    let start = start.map_or(Ok(Start::Down), |node| START.read(node, problems));
    let feedback = table.get("feedback");
    let feedback = feedback.map(|node| feedback::read(node, check.as_ref().ok(), problems));
    let times = times?;
    Ok(Probe {
        check: Arc::new(check?),
        port: port?.map(|port| port.value),
        interval: times.interval,
        fast_interval: times.fast,
        down_interval: times.down,
        max_interval: times.most,
        timeout: times.timeout,
        rise: rise?,
        fall: fall?,
        via_vip: via_vip?,
        start: start?,
        feedback: feedback.transpose()?,
    })
}

/// How often, and how long.
struct Times {
    interval: Duration,
    fast: Duration,
    down: Duration,
    most: Duration,
    timeout: Duration,
}

/// A timeout that is not given fits into every interval, and an interval that is not given is `interval`.
fn read_times(table: &Table<'_>, problems: &mut Problems) -> Result<Times, Reported> {
    let mut read = |key: &str| {
        table
            .get(key)
            .map(|node| values::duration(node, &format!("`{key}`"), problems))
            .transpose()
    };
    let (interval, timeout) = (read("interval"), read("timeout"));
    let others = ["fast_interval", "down_interval", "max_interval"].map(&mut read);
    let (given, timeout) = (interval?, timeout?);
    let [fast, down, most] = others;
    let (fast, down, most) = (fast?, down?, most?);
    let interval = given.as_ref().map_or(INTERVAL, |interval| interval.value);
    let or_usual =
        |given: &Option<Spanned<Duration>>, usual| given.as_ref().map_or(usual, |it| it.value);
    let down_interval = or_usual(&down, interval);
    if let Some(most) = most.as_ref().filter(|most| most.value < down_interval) {
        let message = "`max_interval` is shorter than the interval of a backend that is down";
        let finding = Finding::at(most.span, message);
        return Err(problems.error(finding.hint("make it at least as long as `down_interval`")));
    }
    let shortest = [&given, &fast, &down].into_iter().flatten();
    let shortest = shortest.min_by_key(|interval| interval.value);
    let limit = shortest
        .map_or(INTERVAL, |shortest| shortest.value)
        .min(interval);
    let timeout = match timeout {
        None => TIMEOUT.min(limit),
        Some(timeout) if timeout.value <= limit => timeout.value,
        Some(timeout) => return Err(problems.error(too_long(&timeout, shortest))),
    };
    Ok(Times {
        interval,
        fast: or_usual(&fast, interval),
        down: down_interval,
        most: or_usual(&most, down_interval),
        timeout,
    })
}

fn too_long(timeout: &Spanned<Duration>, interval: Option<&Spanned<Duration>>) -> Finding {
    let message = "the timeout of a probe is longer than its interval";
    let finding = Finding::at(timeout.span, message).label("timeout");
    match interval {
        Some(interval) => finding
            .also(interval.span, "interval")
            .hint("make the timeout at most as long as the shortest interval"),
        None => finding.hint("the interval is 1s unless `interval:` says otherwise"),
    }
}

fn read_count(
    table: &Table<'_>,
    key: &'static str,
    default: u32,
    problems: &mut Problems,
) -> Result<u32, Reported> {
    let Some(node) = table.get(key) else {
        return Ok(default);
    };
    values::number(node, &format!("`{key}`"), 1..=MAX_COUNT, problems).map(|count| count.value)
}
