//! `services:`.

use super::{
    backends::{self, BackendDraft},
    model::{Mode, Protocol, Service, Vip},
    probe,
    problems::{Finding, Problems, Reported},
    quota,
    raw::{Node, Value},
    source::Spanned,
    table::Table,
    values::{self, Choice, quoted},
};

const KEYS: [&str; 7] = [
    "name",
    "vip",
    "mode",
    "scheduler",
    "slots",
    "probe",
    "backends",
];

const MODES: Choice<Mode> = Choice {
    what: "mode",
    words: &[("nat", Mode::Nat)],
    unsupported: &["full-nat", "l2-dsr", "ipip", "gue"],
};

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
    slots: Result<Option<Spanned<u32>>, Reported>,
    probe: Result<probe::Setting, Reported>,
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
        let backends = self.backends?.into_iter().map(BackendDraft::finish);
        Ok(Service {
            name: self.name?.value,
            vip,
            mode: self.mode?,
            slots: self.slots?.map(|slots| slots.value),
            probe: self.probe?.resolve(vip.protocol),
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
    let slots = table
        .get("slots")
        .map(|node| read_slots(node, problems))
        .transpose();
    let probe = table
        .get("probe")
        .map_or(Ok(probe::Setting::Unsaid), |node| {
            probe::read(node, problems)
        });
    let backends = table
        .require("backends", "backends: [10.0.0.11:8080]", problems)
        .and_then(|node| backends::read(node, problems));
    let draft = ServiceDraft {
        name,
        vip,
        mode,
        scheduler,
        slots,
        probe,
        backends,
    };
    draft.check(problems);
    Ok(draft)
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

fn read_slots(node: &Node, problems: &mut Problems) -> Result<Spanned<u32>, Reported> {
    let slots = values::number(node, "`slots`", MIN_SLOTS..=MAX_SLOTS, problems)?;
    if slots.value.is_power_of_two() {
        return Ok(slots);
    }
    let above = slots.value.next_power_of_two();
    let message = format!("`slots` is {}, expected a power of two", slots.value);
    Err(problems.error(
        Finding::at(node.span, message).hint(format!("the nearest are {} and {above}", above / 2)),
    ))
}

impl ServiceDraft {
    /// What has to fit together within one service.
    fn check(&self, problems: &mut Problems) {
        self.check_families(problems);
        self.note_unprobed(problems);
        let (Ok(slots), Ok(backends)) = (&self.slots, &self.backends) else {
            return;
        };
        match slots {
            Some(slots) if backends.len() > slots.value as usize => {
                problems.error(too_few_slots(slots, backends.len()));
            }
            _ => check_weights(slots.as_ref(), backends, problems),
        }
    }

    fn check_families(&self, problems: &mut Problems) {
        let (Ok(vip), Ok(backends)) = (&self.vip, &self.backends) else {
            return;
        };
        let family = |is_ipv4: bool| if is_ipv4 { "IPv4" } else { "IPv6" };
        let expected = family(vip.value.address.is_ipv4());
        for backend in backends.iter().flat_map(|backend| &backend.address) {
            let found = family(backend.value.is_ipv4());
            if found == expected {
                continue;
            }
            problems.error(
                Finding::at(
                    backend.span,
                    format!("{found} backend in an {expected} service"),
                )
                .label(format!("this is {found}"))
                .also(vip.span, format!("the VIP is {expected}"))
                .hint("make one service for each address family"),
            );
        }
    }

    fn note_unprobed(&self, problems: &mut Problems) {
        let (Ok(vip), Ok(probe::Setting::Unsaid)) = (&self.vip, &self.probe) else {
            return;
        };
        if vip.value.protocol == Protocol::Tcp {
            return;
        }
        problems.note(
            Finding::at(
                vip.span,
                "backends of a UDP service are not probed and count as up",
            )
            .hint(
                "say so with `probe: none`, or probe a TCP port: `probe: { type: tcp, port: 53 }`",
            ),
        );
    }
}

fn too_few_slots(slots: &Spanned<u32>, backends: usize) -> Finding {
    let Spanned { value, span } = slots;
    Finding::at(*span, format!("{value} slots for {backends} backends"))
        .label("fewer slots than backends")
        .hint("leave `slots` out, or give at least 100 for each backend")
}

fn check_weights(slots: Option<&Spanned<u32>>, backends: &[BackendDraft], problems: &mut Problems) {
    let weights = backends.iter().map(|backend| backend.weight.as_ref());
    let Ok(spanned) = weights.collect::<Result<Vec<_>, _>>() else {
        return;
    };
    let weights: Vec<_> = spanned.iter().map(|weight| weight.value).collect();
    let slots = slots.map_or_else(
        || Service::default_slots(weights.len()),
        |slots| slots.value,
    );
    let owners = quota::own_a_slot(&weights, slots);
    let losers = spanned.iter().zip(owners).filter(|(_, owns)| !owns);
    for (weight, _) in losers {
        let message = format!(
            "weight {} is too small for one of {slots} slots",
            weight.value
        );
        problems.error(
            Finding::at(weight.span, message)
                .label("would own no slot")
                .hint("use larger `slots` or weights that lie closer together; 0 drains a backend"),
        );
    }
}
