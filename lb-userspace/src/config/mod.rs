//! From YAML to a model that cannot be wrong.
//!
//! ```text
//! bytes ─► source ─► places  (saphyr-parser: where each value stands)
//!              └───► raw     (serde_yaml: what each value is, joined with its place)
//!                     └────► draft ─► conflicts ─► model
//! ```
//!
//! Invariant: a [`Parsed`] exists only when nothing in the file was wrong. Reading goes on after a
//! mistake, so that a [`Report`] lists all of them. What the host has to say about a configuration
//! (does `eth0` exist?) is not asked here; see [`Parsed::check_interfaces`].

mod address;
mod announce;
mod backend_address;
mod backends;
mod check;
mod conflicts;
mod connections;
mod diagnostic;
mod forwarding;
mod guards;
mod icmp;
mod interfaces;
pub mod model;
mod notify;
mod passive;
mod peers;
mod places;
mod port_conflicts;
mod ports;
mod probe;
mod problems;
mod quota;
mod raw;
mod receiver;
mod recovery;
mod render;
mod service_checks;
mod services;
mod sharing;
mod source;
mod table;
mod values;
pub mod via_vip;

use std::{fs::File, io::Read, path::Path, sync::Arc};

pub use self::{
    address::AddressError,
    backend_address::{BackendAddress, Misfit},
    diagnostic::{Diagnostic, Label, Report, Severity},
    source::MAX_BYTES,
};
use self::{
    model::{Config, Icmp, ViaVip},
    problems::{Finding, Problems, Reported},
    raw::Node,
    source::{Source, Span, Spanned},
    table::Table,
};

/// A valid configuration, and what is worth knowing about it.
#[derive(Clone, Debug)]
pub struct Parsed {
    /// What the file means.
    pub config: Config,
    /// What is not wrong, but may surprise.
    pub notes: Vec<Diagnostic>,
    /// Where each interface is named, in the order of the model.
    interface_names: Vec<Spanned<String>>,
    source: Arc<Source>,
}

impl Parsed {
    /// Asks for each interface whether the host has it.
    ///
    /// # Errors
    /// The interfaces for which `exists` says no, each at its place in the file.
    pub fn check_interfaces(&self, exists: impl Fn(&str) -> bool) -> Result<(), Report> {
        let mut problems = Problems::new(Arc::clone(&self.source));
        for name in self.interface_names.iter().filter(|n| !exists(&n.value)) {
            problems.error(
                Finding::at(name.span, format!("interface `{}` is missing", name.value))
                    .label("not on this host")
                    .hint("`ip link` lists the interfaces of this host"),
            );
        }
        problems.finish(Ok(())).map(|_| ())
    }
}

/// Reads and parses a file.
///
/// # Errors
/// As [`parse`]; and one diagnostic if the file cannot be read.
pub fn load(path: &Path) -> Result<Parsed, Report> {
    let file_name = path.display().to_string();
    let mut bytes = Vec::new();
    // One byte more than allowed is enough to know; the file may be endless.
    let limit = u64::try_from(MAX_BYTES).map_or(u64::MAX, |bytes| bytes.saturating_add(1));
    File::open(path)
        .and_then(|file| file.take(limit).read_to_end(&mut bytes))
        .map_err(|error| unreadable(&file_name, &error))?;
    parse(&file_name, &bytes)
}

/// Parses a configuration; `file_name` is what reports call it.
///
/// # Errors
/// Every mistake in the file, each with its place.
pub fn parse(file_name: &str, text: &[u8]) -> Result<Parsed, Report> {
    let (source, decoded) = Source::decode(file_name, text);
    let source = Arc::new(source);
    let mut problems = Problems::new(Arc::clone(&source));
    let read = decoded
        .map_err(|finding| problems.error(finding))
        .and_then(|()| read(&source, &mut problems));
    let ((config, interface_names), notes) = problems.finish(read)?;
    Ok(Parsed {
        config,
        notes,
        interface_names,
        source,
    })
}

fn unreadable(file_name: &str, error: &std::io::Error) -> Report {
    let mut problems = Problems::new(Arc::new(Source::empty(file_name)));
    problems.error(
        Finding::at(
            Span::START,
            format!("cannot read the configuration: {error}"),
        )
        .hint("give the path of a readable YAML file"),
    );
    problems.into_report()
}

const KEYS: [&str; 9] = [
    "interfaces",
    "hash_seed",
    "direct",
    "icmp",
    "announce",
    "peers",
    "notify",
    "services",
    "via_vip",
];

fn read(
    source: &Source,
    problems: &mut Problems,
) -> Result<(Config, Vec<Spanned<String>>), Reported> {
    let root = raw::read(source).map_err(|finding| problems.error(finding))?;
    let top = Table::open(&root, "the configuration", &KEYS, problems)?;
    let interfaces = interfaces::read(&top, problems);
    let hash_seed = top
        .get("hash_seed")
        .map(|node| read_hash_seed(node, problems))
        .transpose();
    let direct = top.get("direct").map_or(Ok(Vec::new()), |node| {
        interfaces::read_prefixes(node, problems)
    });
    let icmp = top
        .get("icmp")
        .map_or_else(|| Ok(Icmp::default()), |node| icmp::read(node, problems));
    let announce = top
        .get("announce")
        .map(|node| announce::read(node, problems))
        .transpose();
    let peers = top
        .get("peers")
        .map(|node| peers::read(node, top.get("hash_seed").is_some(), problems))
        .transpose();
    let via_vip = top.get("via_vip").map_or_else(
        || Ok(ViaVip::default()),
        |node| via_vip::read(node, problems),
    );
    let notify = top
        .get("notify")
        .map_or(Ok(Vec::new()), |node| notify::read(node, problems));
    let drafts = services::read(&top, problems);
    if let Ok(drafts) = &drafts {
        conflicts::check(drafts, problems);
    }
    let (interfaces, interface_names) = interfaces?;
    let config = Config {
        interfaces,
        hash_seed: hash_seed?,
        direct: direct?,
        icmp: icmp?,
        announce: announce?,
        peers: peers?,
        via_vip: via_vip?,
        notify: notify?,
        services: services::finish(drafts?)?,
    };
    Ok((config, interface_names))
}

fn read_hash_seed(node: &Node, problems: &mut Problems) -> Result<String, Reported> {
    let seed = values::text(node, "`hash_seed`", "edge-fleet-1", problems)?;
    if seed.is_empty() {
        return Err(problems.error(
            Finding::at(node.span, "`hash_seed` is empty, expected a text")
                .hint("leave the key out for a random seed, or give every balancer of a fleet the same text"),
        ));
    }
    Ok(seed.to_owned())
}
