//! `xlb backend`: lists, and changes by hand.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::super::{
    Context, DONE,
    args::{self, Force, Lasts, Target},
    format::{micros, millis, percent, seconds, si},
    output::talk,
    table::{self, left, or_dash, right},
};
use crate::api::{
    Code, Error,
    client::Client,
    resolve,
    types::{
        BackendDetail, BackendItem, BackendRequest, BackendVerb, Changed, Health, List,
        Observation, OverrideItem, PassiveItem,
    },
};

pub(super) fn run(context: &Context, verb: Option<args::BackendVerb>) -> Result<u8, Error> {
    match verb.map_or(Deed::List(None), deed) {
        Deed::List(service) => list(context, service.as_deref()),
        Deed::Show(target) => show(context, &target),
        Deed::Change(request) => change(context, &request).map(drop),
        Deed::Drain(request, patience) => drain(context, &request, patience),
    }?;
    Ok(DONE)
}

enum Deed {
    List(Option<String>),
    Show(Target),
    Change(BackendRequest),
    Drain(BackendRequest, Option<Patience>),
}

fn deed(verb: args::BackendVerb) -> Deed {
    use args::BackendVerb as Verb;
    const UNGUARDED: Force = Force { force: false };
    const FOR_GOOD: Lasts = Lasts { lasts: None };
    let (target, verb, lasts, force) = match verb {
        Verb::List { service } => return Deed::List(service),
        Verb::Show { target } => return Deed::Show(target),
        Verb::Add {
            service,
            address: backend,
            name,
            weight,
            lasts,
        } => {
            let target = Target { service, backend };
            (target, BackendVerb::Add { name, weight }, lasts, UNGUARDED)
        }
        Verb::Remove {
            target,
            now,
            lasts,
            force,
        } => (target, BackendVerb::Remove { now }, lasts, force),
        Verb::Drain {
            target,
            wait,
            deadline,
            lasts,
            force,
        } => {
            let request = request(target, BackendVerb::Drain, lasts.lasts, force.force);
            return Deed::Drain(request, wait.map(|wait| Patience { wait, deadline }));
        }
        Verb::Ready { target } => (target, BackendVerb::Ready, FOR_GOOD, UNGUARDED),
        Verb::Maint {
            target,
            lasts,
            force,
        } => (target, BackendVerb::Maint, lasts, force),
        Verb::Reset { target, force } => (target, BackendVerb::Reset, FOR_GOOD, force),
        Verb::Weight {
            target,
            weight,
            lasts,
            force,
        } => (target, BackendVerb::Weight { weight }, lasts, force),
    };
    Deed::Change(request(target, verb, lasts.lasts, force.force))
}

fn request(
    target: Target,
    verb: BackendVerb,
    lasts: Option<Duration>,
    force: bool,
) -> BackendRequest {
    let Target { service, backend } = target;
    BackendRequest {
        service,
        backend,
        verb,
        for_seconds: lasts.map(|lasts| lasts.as_secs()),
        force,
    }
}

fn list(context: &Context, service: Option<&str>) -> Result<(), Error> {
    let Observation { status, backends } = context.ask(async |client| client.observe().await)?;
    if let Some(service) = service {
        let names: Vec<&str> = status.services.iter().map(|s| s.name.as_str()).collect();
        resolve::service(service, &names)?;
    }
    let wanted = |backend: &BackendItem| service.is_none_or(|service| service == backend.service);
    let list = List::new(backends.into_iter().filter(wanted).collect());
    context
        .output
        .result(&list, || render(&list.items, context.output.paints))
}

/// A table of backends.
pub(super) fn render(backends: &[BackendItem], paints: bool) -> String {
    let rows = backends.iter().map(|backend| {
        [
            backend.service.clone(),
            backend.name.clone(),
            backend.address.clone(),
            or_dash(Some(backend.mode.clone()).filter(|mode| !mode.is_empty())),
            weight(backend),
            state(backend),
            backend.admin.word().to_owned(),
            percent(backend.share),
            si(backend.packets),
            si(backend.bytes),
            or_dash(probe(backend)),
            or_dash(backend.overridden.as_ref().map(override_text)),
        ]
    });
    let columns = [
        left("SERVICE"),
        left("BACKEND"),
        left("ADDRESS"),
        left("MODE"),
        right("WEIGHT"),
        left("STATE"),
        left("ADMIN"),
        right("SHARE"),
        right("PACKETS"),
        right("BYTES"),
        left("PROBE"),
        left("OVERRIDE"),
    ];
    table::render(columns, rows, paints)
}

fn show(context: &Context, target: &Target) -> Result<(), Error> {
    let Target { service, backend } = target;
    let list = context.ask(async |client| client.show(service, backend).await)?;
    context.output.result(&list, || {
        let details = list.items.iter();
        details
            .map(|detail| describe_one(detail, context.output.paints))
            .collect()
    })
}

/// A backend as lists have it, and its last probes.
fn describe_one(detail: &BackendDetail, paints: bool) -> String {
    let mut backend = render(std::slice::from_ref(&detail.backend), paints);
    backend.extend(detail.backend.passive.as_ref().map(shown));
    let Some(state_ms) = detail.state_ms else {
        return format!("{backend}\nnot probed\n");
    };
    let (state, lasted) = (detail.backend.state.word(), millis(state_ms));
    let rows = detail.last_probes.iter().map(|probe| {
        [
            millis(probe.ago_ms),
            probe.outcome.clone(),
            micros(probe.latency_us),
            or_dash(probe.detail.clone()),
        ]
    });
    let columns = [
        right("TIME AGO"),
        left("RESULT"),
        right("TOOK"),
        left("DETAIL"),
    ];
    let probes = table::render(columns, rows, paints);
    format!("{backend}\n{state} for {lasted}; its last probes:\n\n{probes}")
}

/// What clients' packets show.
fn shown(passive: &PassiveItem) -> String {
    let PassiveItem {
        tried,
        again,
        opened,
        resets,
        suspected,
        ejected_for_seconds,
    } = passive;
    let fault = suspected
        .as_ref()
        .map(|fault| format!("; suspected: {fault}"));
    let left = ejected_for_seconds.map(|left| format!("; no new flows for {}", seconds(left)));
    let (fault, left) = (fault.unwrap_or_default(), left.unwrap_or_default());
    format!(
        "\npackets: {opened} of {tried} connections opened, {again} SYNs came again, {resets} RSTs{fault}{left}\n"
    )
}

fn override_text(overridden: &OverrideItem) -> String {
    let OverrideItem {
        what,
        expires_in_seconds,
    } = overridden;
    match expires_in_seconds {
        Some(left) => format!("{what}, {} left", seconds(*left)),
        None => what.clone(),
    }
}

fn change(context: &Context, request: &BackendRequest) -> Result<Changed, Error> {
    let changed = context.ask(async |client| client.change(request).await)?;
    let undo = changed.undo.as_deref().map(|words| context.command(words));
    context
        .output
        .result(&List::new(vec![changed.clone()]), || {
            describe(&changed, &request.verb, undo.as_deref())
        })?;
    Ok(changed)
}

/// How long a drain is waited for, and whether what is left then is cut.
#[derive(Clone, Copy)]
struct Patience {
    wait: Duration,
    deadline: bool,
}

const BETWEEN_LOOKS: Duration = Duration::from_millis(200);

fn drain(
    context: &Context,
    request: &BackendRequest,
    patience: Option<Patience>,
) -> Result<(), Error> {
    let drained = change(context, request)?;
    let Some(patience) = patience else {
        return Ok(());
    };
    let waited = context.ask(async |client| until_empty(&client, &drained, patience.wait).await);
    match waited {
        Err(error) if error.code == Code::Timeout && patience.deadline => {
            let cut = BackendRequest {
                verb: BackendVerb::Maint,
                ..request.clone()
            };
            change(context, &cut).map(drop)
        }
        waited => waited,
    }
}

/// Looks again until a backend has no flows, and tells how many there are.
async fn until_empty(client: &Client, drained: &Changed, wait: Duration) -> Result<(), Error> {
    let deadline = Instant::now() + wait;
    let mut told = None;
    loop {
        let seen = client.observe().await?;
        let is_it =
            |it: &&BackendItem| (&it.service, &it.name) == (&drained.service, &drained.backend);
        let left = seen
            .backends
            .iter()
            .find(is_it)
            .map_or(0, |it| it.flows_left);
        if left == 0 {
            return Ok(());
        }
        let who = format!("{} of {}", drained.backend, drained.service);
        if told != Some(left) {
            talk(&format!("{who}: about {left} flows left\n"));
            told = Some(left);
        }
        if Instant::now() >= deadline {
            let waited = seconds(wait.as_secs());
            let message = format!("waited {waited} in vain: {who} has about {left} flows left");
            return Err(Error::new(Code::Timeout, message)
                .hint("wait longer, or cut them: `--wait 60s --deadline`"));
        }
        sleep(BETWEEN_LOOKS).await;
    }
}

fn describe(changed: &Changed, verb: &BackendVerb, undo: Option<&str>) -> String {
    let who = format!("{} of {}", changed.backend, changed.service);
    if !changed.changed {
        return format!("{who}: no change\n");
    }
    let done = match verb {
        BackendVerb::Add { weight, .. } => format!("added {who} with weight {weight}"),
        BackendVerb::Remove { .. } => format!("removed {who}"),
        BackendVerb::Drain => format!("drained {who}: it gets no flows"),
        BackendVerb::Ready => format!("{who} is ready for flows"),
        BackendVerb::Maint => format!("{who} is in maintenance: no flows, no probes"),
        BackendVerb::Reset => format!("{who} is again as the file says"),
        BackendVerb::Weight { weight } => format!("{who} has weight {weight}"),
    };
    let until = changed
        .expires_in_seconds
        .map(|left| format!(", for {}", seconds(left)));
    let undo = undo.map(|undo| format!("undo: {undo}\n"));
    format!(
        "{done}{}\n{}{}",
        until.unwrap_or_default(),
        moved(changed),
        undo.unwrap_or_default()
    )
}

/// What the change means for flows.
fn moved(changed: &Changed) -> String {
    let Changed {
        slots_moved,
        slots,
        keeps_flows,
        ..
    } = changed;
    let flows = match (slots_moved, keeps_flows) {
        (0, _) => return "no slot moved: no flow is cut\n".to_owned(),
        (_, true) => "new flows go there, and those that there are stay where they are",
        (_, false) => "the flows in them are cut",
    };
    format!("{slots_moved} of {slots} slots moved: {flows}\n")
}

/// The weight, and how much of it counts where that is not all.
fn weight(backend: &BackendItem) -> String {
    match backend.recovery.weight_percent {
        100 => backend.weight.to_string(),
        percent => format!("{} ({percent}%)", backend.weight),
    }
}

/// How the last probe ended, and what came with it.
fn probe(backend: &BackendItem) -> Option<String> {
    let last = backend.last_probe.clone()?;
    let feedback = backend.recovery.feedback.as_ref();
    Some(
        match feedback.and_then(|feedback| feedback.advised_percent) {
            Some(percent) => format!("{last}, advises {percent}%"),
            None => last,
        },
    )
}

/// What probes say, and why that has no consequence.
fn state(backend: &BackendItem) -> String {
    let state = backend.state.word();
    let path = backend.path.as_ref();
    match (backend.held, path.map(|path| path.state)) {
        (Some(held), _) => format!("{state} ({held})"),
        (None, Some(Health::Down)) => format!("{state} (path DOWN)"),
        (None, _) if backend.recovery.is_suppressed() => format!("{state} (suppressed)"),
        (None, _) if backend.standby => format!("{state} (standby)"),
        (None, _) if backend.state != Health::Up => state.to_owned(),
        (None, _) if is_ejected(backend) => format!("{state} (ejected)"),
        (None, _) if is_suspected(backend) => format!("{state} (suspected)"),
        (None, _) => state.to_owned(),
    }
}

fn is_ejected(backend: &BackendItem) -> bool {
    let passive = backend.passive.as_ref();
    passive.is_some_and(|passive| passive.ejected_for_seconds.is_some())
}

fn is_suspected(backend: &BackendItem) -> bool {
    let passive = backend.passive.as_ref();
    passive.is_some_and(|passive| passive.suspected.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::samples;

    #[test]
    fn a_backend_is_one_line() {
        let text = render(&samples::observation().backends, false);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines,
            [
                "SERVICE  BACKEND  ADDRESS         MODE  WEIGHT  STATE  ADMIN   SHARE  PACKETS  BYTES  PROBE                      OVERRIDE",
                "web      b1       10.0.0.11:8080  nat        1  up     ready  100.0%        7    420  tcp ok 0.4ms, advises 75%  -",
                "web      b2       10.0.0.12:8080  nat        1  down   drain    0.0%        0      0  tcp ok 0.4ms               drain, 28m00s left",
            ]
        );
    }

    #[test]
    fn the_last_probes_of_a_backend_stand_below_it() {
        let text = describe_one(&samples::detail(), false);
        let (_, below) = text.split_once("\n\n").unwrap();
        assert_eq!(
            below,
            "down for 1m30s; its last probes:\n\
             \n\
             TIME AGO  RESULT      TOOK  DETAIL\n\
             \x20   0.6s  status     1.3ms  status 503\n\
             \x20   1.6s  timeout  500.0ms  -\n\
             \x20  1m01s  ok         0.1ms  -\n"
        );
        let unprobed = BackendDetail {
            state_ms: None,
            last_probes: Vec::new(),
            ..samples::detail()
        };
        assert!(describe_one(&unprobed, false).ends_with("\nnot probed\n"));
    }

    #[test]
    fn what_packets_show_of_a_backend_is_a_line() {
        let [watched, _] = &samples::observation().backends[..] else {
            panic!("two backends");
        };
        let passive = watched.passive.clone().unwrap();
        let line = "\npackets: 38 of 40 connections opened, 3 SYNs came again, 1 RSTs";
        assert_eq!(shown(&passive), format!("{line}\n"));
        let ejected = PassiveItem {
            suspected: Some("9 of 12 connections did not open".to_owned()),
            ejected_for_seconds: Some(20),
            ..passive
        };
        assert_eq!(
            shown(&ejected),
            format!("{line}; suspected: 9 of 12 connections did not open; no new flows for 20s\n")
        );
        let ejected = BackendItem {
            passive: Some(ejected),
            ..watched.clone()
        };
        assert_eq!(state(&ejected), "up (ejected)");
    }

    #[test]
    fn a_backend_may_stand_by() {
        let backends = samples::observation().backends;
        let standby = BackendItem {
            standby: true,
            ..backends[0].clone()
        };
        assert_eq!(state(&standby), "up (standby)");
    }

    fn changed(slots_moved: u32) -> Changed {
        Changed {
            service: "web".to_owned(),
            backend: "b1".to_owned(),
            verb: "drain".to_owned(),
            changed: true,
            revision: 4,
            slots_moved,
            slots: 4096,
            keeps_flows: true,
            expires_in_seconds: Some(1800),
            undo: None,
        }
    }

    #[test]
    fn a_change_says_what_moved_what_is_cut_and_how_to_undo_it() {
        let text = describe(
            &changed(1366),
            &BackendVerb::Drain,
            Some("xlb backend ready web b1"),
        );
        assert_eq!(
            text,
            "drained b1 of web: it gets no flows, for 30m00s\n\
             1366 of 4096 slots moved: new flows go there, and those that there are stay where they are\n\
             undo: xlb backend ready web b1\n"
        );
    }

    #[test]
    fn nothing_is_claimed_to_be_cut_where_nothing_moved() {
        let text = describe(&changed(0), &BackendVerb::Drain, None);
        assert!(text.contains("no flow is cut"), "{text}");
    }

    #[test]
    fn what_is_cut_is_said_to_be() {
        let changed = Changed {
            keeps_flows: false,
            ..changed(1366)
        };
        let text = describe(&changed, &BackendVerb::Remove { now: true }, None);
        assert!(text.contains("the flows in them are cut"), "{text}");
    }
}
