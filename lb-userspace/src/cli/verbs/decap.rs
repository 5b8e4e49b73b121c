//! `xlb decap`: no daemon takes part; what is attached stays when the command ends.

use std::{collections::BTreeMap, net::IpAddr};

use anyhow::Context as _;
use ipnet::IpNet;
use lb_common::decap::{Fate, Outcome};
use serde::Serialize;

use super::super::{
    Context, DONE,
    args::{DecapArgs, Xdp},
    format::si,
    output::talk,
    table::{self, left, right},
};
use crate::{
    api::{
        Code, Error,
        types::{Detached, Item, List},
    },
    config::model::{Interface, Role, XdpMode},
    dataplane::{
        self, Mode,
        decap::{Decap, Rules, Status},
    },
    net::{Finding, Follower, Severity, inspect},
};

/// What one interface takes out of tunnels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct DecapItem {
    interface: String,
    mode: Option<Mode>,
    vips: Vec<IpAddr>,
    sources: Vec<IpNet>,
    gue_port: u16,
    /// Packets by outcome.
    packets: BTreeMap<&'static str, u64>,
}

impl Item for DecapItem {
    const KIND: &'static str = "DecapList";
}

pub(super) fn run(context: &Context, args: DecapArgs) -> Result<u8, Error> {
    let decap = open(context)?;
    if args.status {
        status(context, &decap, &args.interface)?;
    } else if args.detach {
        let interfaces = detach(&decap, &args.interface)?;
        let detached = Detached {
            interfaces,
            withdrawn: Vec::new(),
        };
        let list = List::new(vec![detached.clone()]);
        context
            .output
            .result(&list, || super::detach::describe(&detached))?;
    } else {
        attach(context, &decap, args)?;
    }
    Ok(DONE)
}

/// Takes the program off every interface; their names.
pub(super) fn detach_all(context: &Context) -> Result<Vec<String>, Error> {
    detach(&open(context)?, &[])
}

fn open(context: &Context) -> Result<Decap, Error> {
    let instance = context.instance();
    let opened = Decap::open(&instance.pins(), &instance.decap_lock());
    opened.map_err(|error| match error {
        dataplane::Error::Locked { lock } => Error::new(
            Code::Failed,
            format!(
                "another `xlb decap` is at work (it holds {})",
                lock.display()
            ),
        )
        .hint("try again"),
        other => other.into(),
    })
}

/// Those that are named, or all.
fn detach(decap: &Decap, named: &[String]) -> Result<Vec<String>, Error> {
    let interfaces = match named {
        [] => decap.interfaces()?,
        named => named.to_vec(),
    };
    let mut detached = Vec::new();
    for interface in interfaces {
        if decap.detach(&interface)? {
            detached.push(interface);
        }
    }
    Ok(detached)
}

fn attach(context: &Context, decap: &Decap, args: DecapArgs) -> Result<(), Error> {
    let xdp = match args.xdp {
        Xdp::Auto => XdpMode::Auto,
        Xdp::Native => XdpMode::Native,
        Xdp::Generic => XdpMode::Generic,
    };
    let rules = Rules {
        vips: args.vip,
        sources: args.source.iter().map(IpNet::trunc).collect(),
        gue_port: args.gue_port,
    };
    for finding in look(&args.interface, xdp)? {
        let is_note = finding.severity == Severity::Note;
        talk(&format!(
            "{}: {finding}\n",
            if is_note { "note" } else { "warning" }
        ));
    }
    for interface in &args.interface {
        decap.attach(interface, xdp, &rules, args.ephemeral)?;
    }
    let list = List::new(items(decap, &args.interface)?);
    if xdp == XdpMode::Auto {
        list.items.iter().for_each(warn_if_generic);
    }
    context
        .output
        .result(&list, || list.items.iter().map(describe).collect())
}

/// What may be wrong with the interfaces.
fn look(names: &[String], xdp: XdpMode) -> Result<Vec<Finding>, Error> {
    let interface = |name: &String| Interface {
        name: name.clone(),
        xdp,
        role: Role::Backend,
    };
    let interfaces: Vec<Interface> = names.iter().map(interface).collect();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start")?;
    let findings = runtime.block_on(async {
        let follower = Follower::start().await.context("cannot read the network")?;
        Ok(inspect::inspect_receivers(&follower.view(), &interfaces).await)
    });
    findings.map_err(|error: anyhow::Error| error.into())
}

fn warn_if_generic(item: &DecapItem) {
    if item.mode == Some(Mode::Generic) {
        let interface = &item.interface;
        talk(&format!(
            "warning: {interface}: no native XDP: attached in generic mode, which is slower; say \
             `--xdp generic` to be rid of this warning\n"
        ));
    }
}

fn status(context: &Context, decap: &Decap, named: &[String]) -> Result<(), Error> {
    let list = List::new(items(decap, named)?);
    context
        .output
        .result(&list, || render(&list.items, context.output.paints))
}

/// Those that are named, or all.
fn items(decap: &Decap, named: &[String]) -> Result<Vec<DecapItem>, Error> {
    let all = decap.status()?;
    if let Some(missing) = named
        .iter()
        .find(|name| all.iter().all(|s| s.interface != **name))
    {
        let message = format!("{missing} takes nothing out of tunnels");
        return Err(Error::new(Code::NotFound, message));
    }
    let mut all = all.into_iter();
    let is_meant = |status: &Status| named.is_empty() || named.contains(&status.interface);
    Ok(all.by_ref().filter(is_meant).map(item).collect())
}

fn item(status: Status) -> DecapItem {
    let Status {
        interface,
        mode,
        rules,
        packets,
    } = status;
    let packets = packets.into_iter();
    DecapItem {
        interface,
        mode,
        vips: rules.vips,
        sources: rules.sources,
        gue_port: rules.gue_port,
        packets: packets.map(|(outcome, n)| (outcome.label(), n)).collect(),
    }
}

fn mode(item: &DecapItem) -> &'static str {
    item.mode.map_or("-", Mode::word)
}

fn words<T: ToString>(items: &[T]) -> String {
    let words: Vec<String> = items.iter().map(ToString::to_string).collect();
    words.join(", ")
}

/// One line.
fn describe(item: &DecapItem) -> String {
    format!(
        "{}: takes packets for {} out of tunnels from {} ({} XDP, GUE on port {}); see `xlb decap \
         --status`\n",
        item.interface,
        words(&item.vips),
        words(&item.sources),
        mode(item),
        item.gue_port
    )
}

/// The interfaces, and what was dropped and why.
fn render(items: &[DecapItem], paints: bool) -> String {
    let rows = items.iter().map(|item| {
        [
            item.interface.clone(),
            mode(item).to_owned(),
            words(&item.vips),
            words(&item.sources),
            item.gue_port.to_string(),
            si(total(item, Fate::Taken)),
            si(total(item, Fate::Dropped)),
            reasons(item),
        ]
    });
    let columns = [
        left("INTERFACE"),
        left("MODE"),
        left("VIPS"),
        left("SOURCES"),
        right("GUE"),
        right("TAKEN"),
        right("DROPPED"),
        left("WHY"),
    ];
    table::render(columns, rows, paints)
}

fn total(item: &DecapItem, fate: Fate) -> u64 {
    let outcomes = Outcome::ALL.iter().filter(|outcome| outcome.fate() == fate);
    outcomes
        .filter_map(|outcome| item.packets.get(outcome.label()))
        .sum()
}

/// Reasons of drops with their packets.
fn reasons(item: &DecapItem) -> String {
    let dropped = Outcome::ALL.iter().filter(|o| o.fate() == Fate::Dropped);
    let counted = dropped.filter_map(|outcome| {
        let packets = *item.packets.get(outcome.label())?;
        (packets > 0).then(|| format!("{} {}", outcome.label(), si(packets)))
    });
    match counted.collect::<Vec<_>>() {
        none if none.is_empty() => "-".to_owned(),
        some => some.join(", "),
    }
}
