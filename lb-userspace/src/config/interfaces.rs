//! `interfaces:` and `direct:`.

use std::{collections::HashMap, net::IpAddr};

use ipnet::IpNet;

use super::{
    model::{Interface, Role, XdpMode},
    problems::{Finding, Problems, Reported},
    raw::{Node, Value},
    source::{Span, Spanned},
    table::Table,
    values::{self, Choice, quoted},
};

const KEYS: [&str; 3] = ["name", "xdp", "role"];

const XDP_MODES: Choice<XdpMode> = Choice {
    what: "XDP mode",
    words: &[
        ("auto", XdpMode::Auto),
        ("native", XdpMode::Native),
        ("generic", XdpMode::Generic),
    ],
    unsupported: &["offload"],
};

const ROLES: Choice<Role> = Choice {
    what: "role",
    words: &[
        ("both", Role::Both),
        ("client", Role::Client),
        ("backend", Role::Backend),
    ],
    unsupported: &[],
};

/// The interfaces, and where each is named.
pub(super) fn read(
    top: &Table<'_>,
    problems: &mut Problems,
) -> Result<(Vec<Interface>, Vec<Spanned<String>>), Reported> {
    const EXAMPLE: &str = "interfaces: [eth0]";
    let node = top.require("interfaces", EXAMPLE, problems)?;
    let nodes = values::list(node, "`interfaces`", &format!("`{EXAMPLE}`"), problems)?;
    let read: Vec<_> = nodes.iter().map(|node| read_one(node, problems)).collect();
    let read = read.into_iter().collect::<Result<Vec<_>, _>>()?;
    let names = read
        .iter()
        .map(|(_, name)| name.clone())
        .collect::<Vec<_>>();
    check_unique(&names, problems);
    let interfaces: Vec<_> = read.into_iter().map(|(interface, _)| interface).collect();
    note_if_no_way_back(&interfaces, node.span, problems);
    Ok((interfaces, names))
}

fn read_one(
    node: &Node,
    problems: &mut Problems,
) -> Result<(Interface, Spanned<String>), Reported> {
    if matches!(node.value, Value::Text(_)) {
        let name = read_name(node, problems)?;
        return Ok((interface(&name, XdpMode::Auto, Role::Both), name));
    }
    let table = Table::open(node, "an interface", &KEYS, problems)?;
    let name = table
        .require("name", "name: eth0", problems)
        .and_then(|node| read_name(node, problems));
    let xdp = table
        .get("xdp")
        .map_or(Ok(XdpMode::Auto), |node| XDP_MODES.read(node, problems));
    let role = table
        .get("role")
        .map_or(Ok(Role::Both), |node| ROLES.read(node, problems));
    let name = name?;
    Ok((interface(&name, xdp?, role?), name))
}

fn interface(name: &Spanned<String>, xdp: XdpMode, role: Role) -> Interface {
    Interface {
        name: name.value.clone(),
        xdp,
        role,
    }
}

fn read_name(node: &Node, problems: &mut Problems) -> Result<Spanned<String>, Reported> {
    let name = values::text(node, "the name of an interface", "eth0", problems)?;
    if !is_interface_name(name) {
        let message = format!("{} is not the name of an interface", quoted(name));
        return Err(problems.error(Finding::at(node.span, message).hint(
            "1 to 15 bytes without spaces, `/` and `:`; `ip link` lists the interfaces of this host",
        )));
    }
    Ok(Spanned {
        value: name.to_owned(),
        span: node.span,
    })
}

/// As the kernel decides it: `dev_valid_name` in net/core/dev.c.
fn is_interface_name(name: &str) -> bool {
    const IFNAMSIZ: usize = 16;
    let is_bad = |c: char| matches!(c, '/' | ':' | '\0') || c.is_whitespace();
    (1..IFNAMSIZ).contains(&name.len()) && !matches!(name, "." | "..") && !name.contains(is_bad)
}

fn check_unique(names: &[Spanned<String>], problems: &mut Problems) {
    let mut seen = HashMap::new();
    for name in names {
        let Some(first) = seen.insert(&name.value, name.span) else {
            continue;
        };
        problems.error(
            Finding::at(name.span, format!("interface `{}` twice", name.value))
                .label("again here")
                .also(first, "first here")
                .hint("remove one of them"),
        );
    }
}

fn note_if_no_way_back(interfaces: &[Interface], span: Span, problems: &mut Problems) {
    if interfaces
        .iter()
        .any(|interface| interface.role != Role::Client)
    {
        return;
    }
    problems.note(
        Finding::at(
            span,
            "all interfaces have the role `client`, so replies of backends are dropped",
        )
        .hint("give the interface towards the backends `role: backend` or `role: both`"),
    );
}

/// `direct`: prefixes, or single addresses.
pub(super) fn read_prefixes(node: &Node, problems: &mut Problems) -> Result<Vec<IpNet>, Reported> {
    let Value::List(nodes) = &node.value else {
        let finding = values::wrong_kind(node, "`direct`", "a list of prefixes");
        return Err(problems.error(finding.hint("write `direct: [10.0.0.0/8]`")));
    };
    let read: Vec<_> = nodes
        .iter()
        .map(|node| read_prefix(node, "a prefix of `direct`", "10.0.0.0/8", problems))
        .collect();
    read.into_iter().collect()
}

/// A prefix without bits behind its length, or a single address.
pub(super) fn read_prefix(
    node: &Node,
    what: &str,
    example: &str,
    problems: &mut Problems,
) -> Result<IpNet, Reported> {
    let text = values::text(node, what, example, problems)?;
    let prefix = text
        .parse()
        .or_else(|_no_prefix| text.parse::<IpAddr>().map(IpNet::from));
    let Ok(prefix) = prefix else {
        let message = format!("{} is not a prefix, expected ADDRESS/LENGTH", quoted(text));
        let hint = format!("write a prefix such as `{example}`");
        let finding = Finding::at(node.span, message).hint(hint);
        return Err(problems.error(finding));
    };
    let network: IpNet = prefix.trunc();
    if network != prefix {
        let finding =
            Finding::at(node.span, format!("{prefix} has bits behind its length")).hint(format!(
                "write `{network}` for the prefix, or `{}` for the host",
                prefix.addr()
            ));
        return Err(problems.error(finding));
    }
    Ok(prefix)
}
