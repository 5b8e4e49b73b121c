//! How packets reach backends: `mode:`, `tunnel:`, `full_nat:` and `mss:`.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{
    address::{parse_port_range, parse_unicast},
    interfaces,
    model::{FullNat, Mode, Tunnel},
    problems::{Finding, Problems, Reported},
    raw::Node,
    source::Spanned,
    table::Table,
    values::{self, Choice},
};

pub(super) const MODES: Choice<Mode> = Choice {
    what: "mode",
    words: &[
        ("nat", Mode::Nat),
        ("full-nat", Mode::FullNat),
        ("l2-dsr", Mode::L2Dsr),
        ("ipip", Mode::Ipip),
        ("gue", Mode::Gue),
    ],
    unsupported: &["l3-dsr", "gre", "vxlan", "geneve", "mpls"],
};

/// The least that every IPv4 host takes (RFC 879, §7), and the largest that an IPv4 packet holds.
const MSS: std::ops::RangeInclusive<u16> = 536..=65_495;

/// A table of what tunnels are built of.
pub(super) fn read_tunnel(node: &Node, problems: &mut Problems) -> Result<Tunnel, Reported> {
    let table = Table::open(
        node,
        "`tunnel`",
        &["source", "port", "second_chance"],
        problems,
    )?;
    let default = Tunnel::default();
    let source = table
        .get("source")
        .map(|node| read_source(node, problems))
        .transpose();
    let port = table.get("port").map_or(Ok(default.port), |node| {
        values::number(node, "`port`", 1..=u16::MAX, problems).map(|port| port.value)
    });
    let second_chance = table.get("second_chance").map_or(Ok(false), |node| {
        values::truth(node, "`second_chance`", problems)
    });
    Ok(Tunnel {
        source: source?,
        port: port?,
        second_chance: second_chance?,
    })
}

fn read_source(node: &Node, problems: &mut Problems) -> Result<IpNet, Reported> {
    let source = interfaces::read_prefix(node, "`source`", "192.0.2.0/24", problems)?;
    if let Err(error) = parse_unicast(&source.network().to_string()) {
        let finding = Finding::at(node.span, error.to_string());
        return Err(problems.error(finding.hint(error.hint())));
    }
    let shortest = source.max_prefix_len() - lb_common::backend::Tunnel::MAX_SPREAD;
    if source.prefix_len() < shortest {
        let length = source.prefix_len();
        let message = format!("`source` has the length /{length}, expected at least /{shortest}");
        let hint = "the bits behind the prefix vary with the flow, and at most 16 do";
        return Err(problems.error(Finding::at(node.span, message).hint(hint)));
    }
    Ok(source)
}

/// A table of what flows get in mode `full-nat`.
pub(super) fn read_full_nat(node: &Node, problems: &mut Problems) -> Result<FullNat, Reported> {
    let table = Table::open(node, "`full_nat`", &["sources", "ports"], problems)?;
    let default = FullNat::default();
    let sources = table
        .get("sources")
        .map_or(Ok(Vec::new()), |node| read_sources(node, problems));
    let ports = table.get("ports").map_or(Ok(default.ports), |node| {
        let ports = values::address(node, "`ports`", "10000-32767", parse_port_range, problems);
        ports.map(|ports| ports.value)
    });
    Ok(FullNat {
        sources: sources?,
        ports: ports?,
    })
}

pub(super) fn read_sources(node: &Node, problems: &mut Problems) -> Result<Vec<IpAddr>, Reported> {
    let nodes = values::list(node, "`sources`", "`sources: [192.0.2.1]`", problems)?;
    let mut sources: Vec<Spanned<IpAddr>> = Vec::new();
    for node in nodes {
        let what = "an address of `sources`";
        let source = values::address(node, what, "192.0.2.1", parse_unicast, problems)?;
        if let Some(first) = sources.iter().find(|first| first.value == source.value) {
            let finding = Finding::at(source.span, format!("source {} twice", source.value));
            let finding = finding.label("again here").also(first.span, "first here");
            return Err(problems.error(finding.hint("remove one of them")));
        }
        sources.push(source);
    }
    Ok(sources.into_iter().map(|source| source.value).collect())
}

/// The largest TCP segment that a SYN may announce.
pub(super) fn read_mss(node: &Node, problems: &mut Problems) -> Result<u16, Reported> {
    values::number(node, "`mss`", MSS, problems).map(|mss| mss.value)
}
