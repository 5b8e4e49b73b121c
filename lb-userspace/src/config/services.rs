//! `services:`.

use super::{
    backends::{self, BackendDraft},
    connections::{self, Connections},
    forwarding::{self, MODES},
    guards,
    model::{FullNat, Guards, Mode, Passive, Service, Tunnel, Vip},
    passive, probe,
    problems::{Finding, Problems, Reported},
    raw::{Node, Value},
    recovery,
    source::Spanned,
    table::Table,
    values::{self, Choice, quoted},
};

const KEYS: [&str; 23] = [
    "name",
    "vip",
    "mode",
    "scheduler",
    "slots",
    "probe",
    "tunnel",
    "full_nat",
    "mss",
    "idle",
    "drain_deadline",
    "on_down",
    "quic",
    "affinity",
    "announce",
    "max_ejected",
    "min_up",
    "when_empty",
    "backup_below",
    "slow_start",
    "damping",
    "passive",
    "backends",
];

const SCHEDULERS: Choice<()> = Choice {
    what: "scheduler",
    words: &[("maglev", ())],
    unsupported: &[
        "dh", "lblc", "lc", "lrt", "mh", "nq", "random", "rr", "sed", "sh", "wlc", "wrr",
    ],
};

/// Sizes of a slot table.
const MIN_SLOTS: u32 = 16;
const MAX_SLOTS: u32 = 1 << 20;

/// A service as far as it could be read.
#[derive(Debug)]
pub(super) struct ServiceDraft {
    pub(super) name: Result<Spanned<String>, Reported>,
    pub(super) vip: Result<Spanned<Vip>, Reported>,
    pub(super) mode: Result<Mode, Reported>,
    scheduler: Result<(), Reported>,
    pub(super) slots: Result<Option<Spanned<u32>>, Reported>,
    pub(super) probe: Result<probe::Setting, Reported>,
    pub(super) tunnel: Result<Option<Spanned<Tunnel>>, Reported>,
    pub(super) full_nat: Result<Option<Spanned<FullNat>>, Reported>,
    pub(super) mss: Result<Option<Spanned<u16>>, Reported>,
    pub(super) connections: connections::Draft,
    announce: Result<bool, Reported>,
    guards: Result<Guards, Reported>,
    pub(super) recovery: recovery::Draft,
    pub(super) passive: Result<Option<Spanned<Passive>>, Reported>,
    pub(super) backends: Result<Vec<BackendDraft>, Reported>,
}

/// Reads all services, each as far as possible.
pub(super) fn read(
    top: &Table<'_>,
    problems: &mut Problems,
) -> Result<Vec<ServiceDraft>, Reported> {
    let example = "services: [{ name: web, vip: 203.0.113.10:80/tcp, backends: [10.0.0.11:8080] }]";
    let node = top.require("services", example, problems)?;
    let nodes = values::list(node, "`services`", &format!("`{example}`"), problems)?;
    let drafts: Vec<_> = nodes.iter().map(|node| read_one(node, problems)).collect();
    drafts.into_iter().collect()
}

/// The model of drafts without mistakes.
pub(super) fn finish(drafts: Vec<ServiceDraft>) -> Result<Vec<Service>, Reported> {
    drafts.into_iter().map(ServiceDraft::finish).collect()
}

impl ServiceDraft {
    fn finish(self) -> Result<Service, Reported> {
        // There is one scheduler only, so the model does not name it.
        self.scheduler?;
        let vip = self.vip?.value;
        let Connections {
            idle,
            drain_deadline,
            on_down,
            quic,
            affinity,
        } = self.connections.finish(vip.protocol)?;
        let backends = self.backends?.into_iter().map(BackendDraft::finish);
        Ok(Service {
            name: self.name?.value,
            vip,
            mode: self.mode?,
            slots: self.slots?.map(|slots| slots.value),
            probe: self.probe?.resolve(vip.protocol),
            tunnel: self.tunnel?.map(|tunnel| tunnel.value).unwrap_or_default(),
            full_nat: self.full_nat?.map(|pool| pool.value).unwrap_or_default(),
            mss: self.mss?.map(|mss| mss.value),
            idle,
            drain_deadline,
            on_down,
            quic,
            affinity,
            announce: self.announce?,
            guards: self.guards?,
            recovery: self.recovery.finish()?,
            passive: self
                .passive?
                .map(|passive| passive.value)
                .unwrap_or_default(),
            backends: backends.collect::<Result<_, _>>()?,
        })
    }
}

fn read_one(node: &Node, problems: &mut Problems) -> Result<ServiceDraft, Reported> {
    let title = title(node);
    let table = Table::open(node, &title, &KEYS, problems)?;
    let name = table
        .require("name", "name: web", problems)
        .and_then(|node| values::name(node, "a service", problems));
    let vip = table
        .require("vip", "vip: 203.0.113.10:80/tcp", problems)
        .and_then(|node| read_vip(node, problems));
    let mode = table
        .get("mode")
        .map_or(Ok(Mode::Nat), |node| MODES.read(node, problems));
    let scheduler = table
        .get("scheduler")
        .map_or(Ok(()), |node| SCHEDULERS.read(node, problems));
    let slots = optional(&table, "slots", read_slots, problems);
    let probe = table
        .get("probe")
        .map_or(Ok(probe::Setting::Unsaid), |node| {
            probe::read(node, problems)
        });
    let context = backends::Context {
        vip: vip.as_ref().ok().map(|vip| vip.value),
        mode,
    };
    let backends = table
        .require("backends", "backends: [10.0.0.11:8080]", problems)
        .and_then(|node| backends::read(node, context, problems));
    let draft = ServiceDraft {
        name,
        vip,
        mode,
        scheduler,
        slots,
        probe,
        tunnel: optional(&table, "tunnel", forwarding::read_tunnel, problems),
        full_nat: optional(&table, "full_nat", forwarding::read_full_nat, problems),
        mss: optional(&table, "mss", forwarding::read_mss, problems),
        connections: connections::Draft::read(&table, problems),
        announce: table
            .get("announce")
            .map_or(Ok(true), |node| values::truth(node, "`announce`", problems)),
        guards: guards::read(&table, backends.as_deref().ok(), problems),
        recovery: recovery::Draft::read(&table, problems),
        passive: optional(&table, "passive", passive::read, problems),
        backends,
    };
    draft.check(problems);
    Ok(draft)
}

/// The value of a key, if it is there, and where it stands.
pub(super) fn optional<T>(
    table: &Table<'_>,
    key: &str,
    read: impl FnOnce(&Node, &mut Problems) -> Result<T, Reported>,
    problems: &mut Problems,
) -> Result<Option<Spanned<T>>, Reported> {
    let Some(node) = table.get(key) else {
        return Ok(None);
    };
    let span = node.span;
    read(node, problems).map(|value| Some(Spanned { value, span }))
}

/// What messages call the service.
fn title(node: &Node) -> String {
    let Value::Table(entries) = &node.value else {
        return "a service".to_owned();
    };
    let name = entries
        .iter()
        .find_map(|(key, value)| match (&key.value, &value.value) {
            (Value::Text(key), Value::Text(name)) if key == "name" => Some(name),
            _ => None,
        });
    name.map_or_else(
        || "a service".to_owned(),
        |name| format!("service {}", quoted(name)),
    )
}

fn read_vip(node: &Node, problems: &mut Problems) -> Result<Spanned<Vip>, Reported> {
    values::address(node, "`vip`", "203.0.113.10:80/tcp", str::parse, problems)
}

fn read_slots(node: &Node, problems: &mut Problems) -> Result<u32, Reported> {
    let slots = values::number(node, "`slots`", MIN_SLOTS..=MAX_SLOTS, problems)?.value;
    if slots.is_power_of_two() {
        return Ok(slots);
    }
    let above = slots.next_power_of_two();
    let message = format!("`slots` is {slots}, expected a power of two");
    Err(problems.error(
        Finding::at(node.span, message).hint(format!("the nearest are {} and {above}", above / 2)),
    ))
}
