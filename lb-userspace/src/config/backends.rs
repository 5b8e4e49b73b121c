//! `backends:` of a service.

use std::{collections::HashMap, fmt::Display, hash::Hash, net::SocketAddr};

use super::{
    backend_address::BackendAddress,
    forwarding::MODES,
    model::{Backend, MAX_WEIGHT, Mode, Vip},
    problems::{Finding, Problems, Reported},
    raw::{Node, Value},
    source::{Span, Spanned},
    table::Table,
    values::{self, quoted},
};

const KEYS: [&str; 6] = ["address", "name", "mode", "weight", "backup", "tier"];

/// Backends of one service: rows of its table hold 15-bit indices, and some are kept for removals.
pub(super) const MAX_BACKENDS: usize = 32_000;

/// The weight of a backend whose weight is not given.
const WEIGHT: u16 = 1;

/// The tier of a backend that says nothing of it, and that of a backup.
const PRIMARY: u8 = 0;
const BACKUP: u8 = 1;

/// A backend as far as it could be read.
#[derive(Debug)]
pub(super) struct BackendDraft {
    pub(super) address: Result<Spanned<SocketAddr>, Reported>,
    name: Result<Spanned<String>, Reported>,
    pub(super) mode: Result<Mode, Reported>,
    pub(super) weight: Result<Spanned<u16>, Reported>,
    pub(super) tier: Result<u8, Reported>,
}

impl BackendDraft {
    const fn unread(reported: Reported) -> Self {
        Self {
            address: Err(reported),
            name: Err(reported),
            mode: Err(reported),
            weight: Err(reported),
            tier: Err(reported),
        }
    }

    /// A name that is the address was checked as an address.
    fn has_own_name(&self) -> bool {
        match (&self.address, &self.name) {
            (Ok(address), Ok(name)) => address.span != name.span,
            _ => true,
        }
    }

    /// A name that is an address, but not that of this backend; and where it stands.
    fn foreign_name(&self) -> Option<(SocketAddr, Span)> {
        let (Ok(address), Ok(name)) = (&self.address, &self.name) else {
            return None;
        };
        let meant = BackendAddress::parse(&name.value).ok()?.anywhere();
        (meant != address.value).then_some((meant, name.span))
    }

    pub(super) fn finish(self) -> Result<Backend, Reported> {
        Ok(Backend {
            name: self.name?.value,
            address: self.address?.value,
            mode: self.mode?,
            weight: self.weight?.value,
            tier: self.tier?,
        })
    }
}

/// What a service says of all its backends, as far as it could be read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Context {
    pub(super) vip: Option<Vip>,
    pub(super) mode: Result<Mode, Reported>,
}

/// Reads the list; addresses and names that occur twice are reported.
pub(super) fn read(
    node: &Node,
    context: Context,
    problems: &mut Problems,
) -> Result<Vec<BackendDraft>, Reported> {
    let example = "`backends: [10.0.0.11:8080]`";
    let nodes = values::list(node, "`backends`", example, problems)?;
    if nodes.len() > MAX_BACKENDS {
        let message = format!("{} backends, expected at most {MAX_BACKENDS}", nodes.len());
        let finding = Finding::at(node.span, message).hint("split them over several services");
        return Err(problems.error(finding));
    }
    let drafts: Vec<_> = nodes
        .iter()
        .map(|node| read_one(node, context, problems))
        .collect();
    check_unique(
        "address",
        drafts.iter().map(|draft| &draft.address),
        problems,
    );
    let named = drafts.iter().filter(|draft| draft.has_own_name());
    check_unique("name", named.map(|draft| &draft.name), problems);
    check_names_are_no_addresses(&drafts, problems);
    Ok(drafts)
}

fn read_one(node: &Node, context: Context, problems: &mut Problems) -> BackendDraft {
    let default_weight = Spanned {
        value: WEIGHT,
        span: node.span,
    };
    if matches!(node.value, Value::Table(_)) && !values::is_bare_bracket_address(node) {
        return read_table(node, default_weight, context, problems);
    }
    let address = read_address(node, problems);
    BackendDraft {
        name: address.clone().map(Address::written),
        address: address.and_then(|address| address.fitted(context, problems)),
        mode: context.mode,
        weight: Ok(default_weight),
        tier: Ok(PRIMARY),
    }
}

fn read_table(
    node: &Node,
    default_weight: Spanned<u16>,
    service: Context,
    problems: &mut Problems,
) -> BackendDraft {
    let table = match Table::open(node, "a backend", &KEYS, problems) {
        Ok(table) => table,
        Err(reported) => return BackendDraft::unread(reported),
    };
    let mode = table
        .get("mode")
        .map_or(service.mode, |node| MODES.read(node, problems));
    let address = table
        .require("address", "address: 10.0.0.11:8080", problems)
        .and_then(|node| read_address(node, problems));
    let name = match table.get("name") {
        Some(node) => values::name(node, "a backend", problems),
        None => address.clone().map(Address::written),
    };
    let weight = table.get("weight").map_or(Ok(default_weight), |node| {
        values::number(node, "`weight`", 0..=MAX_WEIGHT, problems)
    });
    let own = Context { mode, ..service };
    BackendDraft {
        address: address.and_then(|address| address.fitted(own, problems)),
        name,
        mode,
        weight,
        tier: read_tier(&table, problems),
    }
}

/// `backup: true` is another word for `tier: 1`.
fn read_tier(table: &Table<'_>, problems: &mut Problems) -> Result<u8, Reported> {
    let backup = table.get("backup");
    let is_backup = backup.map(|node| values::truth(node, "`backup`", problems));
    let tier = table.get("tier");
    let number = tier.map(|node| values::number(node, "`tier`", 0..=u8::MAX, problems));
    if let (Some(backup), Some(tier)) = (backup, tier) {
        let finding = Finding::at(tier.span, "both `backup` and `tier`")
            .label("tier")
            .also(backup.span, "backup")
            .hint("`backup: true` is another word for `tier: 1`: keep one of them");
        return Err(problems.error(finding));
    }
    match (number.transpose()?, is_backup.transpose()?) {
        (Some(number), _) => Ok(number.value),
        (None, Some(true)) => Ok(BACKUP),
        (None, _) => Ok(PRIMARY),
    }
}

/// An address, and the text that it was parsed from.
#[derive(Clone)]
struct Address(Spanned<(BackendAddress, String)>);

impl Address {
    /// Where the backend listens, if its ports go with the service's.
    fn fitted(
        self,
        service: Context,
        problems: &mut Problems,
    ) -> Result<Spanned<SocketAddr>, Reported> {
        let Spanned {
            value: (written, _),
            span,
        } = self.0;
        let (Some(vip), Ok(mode)) = (service.vip, service.mode) else {
            let value = written.anywhere();
            return Ok(Spanned { value, span });
        };
        match written.fit(vip, mode) {
            Ok(value) => Ok(Spanned { value, span }),
            Err(misfit) => {
                let finding = Finding::at(span, misfit.to_string()).hint(misfit.hint());
                Err(problems.error(finding))
            }
        }
    }

    fn written(self) -> Spanned<String> {
        self.0.map(|(_, text)| text)
    }
}

fn read_address(node: &Node, problems: &mut Problems) -> Result<Address, Reported> {
    let parse = |text: &str| Ok((BackendAddress::parse(text)?, text.to_owned()));
    let what = "the address of a backend";
    values::address(node, what, "10.0.0.11:8080", parse, problems).map(Address)
}

/// Reports what two backends have in common and should not.
fn check_unique<'a, T: Display + Eq + Hash + 'a>(
    what: &str,
    values: impl Iterator<Item = &'a Result<Spanned<T>, Reported>>,
    problems: &mut Problems,
) {
    let mut seen: HashMap<_, Span> = HashMap::new();
    for Spanned { value, span } in values.flatten() {
        let Some(first) = seen.get(value) else {
            seen.insert(value, *span);
            continue;
        };
        let message = format!(
            "backend {what} {} twice in one service",
            quoted(&value.to_string())
        );
        problems.error(
            Finding::at(*span, message)
                .label("again here")
                .also(*first, "first here")
                .hint(format!("give each backend its own {what}")),
        );
    }
}

/// Commands take a name or an address, so a name that is the address of another backend would make
/// them act on the wrong one.
fn check_names_are_no_addresses(drafts: &[BackendDraft], problems: &mut Problems) {
    let addresses = drafts.iter().flat_map(|draft| &draft.address);
    let places: HashMap<_, _> = addresses
        .map(|address| (address.value, address.span))
        .collect();
    for (meant, name) in drafts.iter().filter_map(BackendDraft::foreign_name) {
        let Some(other) = places.get(&meant) else {
            continue;
        };
        let message = format!("the name `{meant}` is the address of another backend");
        problems.error(
            Finding::at(name, message)
                .label("name")
                .also(*other, "address")
                .hint("give the backend another name"),
        );
    }
}
