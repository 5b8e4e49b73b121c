//! `announce:`.

use super::{
    model::{Announce, Require},
    problems::{Finding, Problems, Reported},
    raw::Node,
    table::Table,
    values::{self, Choice},
};

const KEYS: [&str; 4] = ["table", "protocol", "metric", "require"];

const REQUIRE: Choice<Require> = Choice {
    what: "`require`",
    words: &[("all", Require::All), ("any", Require::Any)],
    unsupported: &["quorum"],
};

/// Tables that the host's own packets go by (`linux/rtnetlink.h`): a VIP's route there would make them
/// vanish.
const HOST_TABLES: [(u32, &str); 3] = [(253, "default"), (254, "main"), (255, "local")];

/// Below are the kernel's own marks, and those of routes that people add (`linux/rtnetlink.h`).
const FIRST_PROTOCOL: u8 = 5;

/// Marks of other software (`linux/rtnetlink.h`), which takes routes with its mark for its own.
const TAKEN: [(u8, &str); 19] = [
    (8, "gated"),
    (9, "ra"),
    (10, "mrt"),
    (11, "zebra"),
    (12, "bird"),
    (13, "dnrouted"),
    (14, "xorp"),
    (15, "ntk"),
    (16, "dhcp"),
    (17, "mrouted"),
    (18, "keepalived"),
    (42, "babel"),
    (84, "ovn"),
    (99, "openr"),
    (186, "bgp"),
    (187, "isis"),
    (188, "ospf"),
    (189, "rip"),
    (192, "eigrp"),
];

/// A table of how VIPs are announced.
pub(super) fn read(node: &Node, problems: &mut Problems) -> Result<Announce, Reported> {
    let table = Table::open(node, "`announce`", &KEYS, problems)?;
    let default = Announce::default();
    let number = table
        .get("table")
        .map_or(Ok(default.table), |node| read_table(node, problems));
    let protocol = table
        .get("protocol")
        .map_or(Ok(default.protocol), |node| read_protocol(node, problems));
    let metric = table.get("metric").map_or(Ok(default.metric), |node| {
        values::number(node, "`metric`", 1..=u32::MAX, problems).map(|metric| metric.value)
    });
    let require = table
        .get("require")
        .map_or(Ok(default.require), |node| REQUIRE.read(node, problems));
    Ok(Announce {
        table: number?,
        protocol: protocol?,
        metric: metric?,
        require: require?,
    })
}

fn read_table(node: &Node, problems: &mut Problems) -> Result<u32, Reported> {
    let table = values::number(node, "`table`", 1..=u32::MAX, problems)?.value;
    let Some((_, name)) = HOST_TABLES.iter().find(|(number, _)| *number == table) else {
        return Ok(table);
    };
    let message =
        format!("`table` is {table}, which is the host's table `{name}`, expected one of its own");
    let hint = "packets of this host for the VIP would vanish in it; take one that nothing else uses, \
                such as 77";
    Err(problems.error(Finding::at(node.span, message).hint(hint)))
}

fn read_protocol(node: &Node, problems: &mut Problems) -> Result<u8, Reported> {
    let range = FIRST_PROTOCOL..=u8::MAX;
    let protocol = values::number(node, "`protocol`", range, problems)?.value;
    let Some((_, name)) = TAKEN.iter().find(|(number, _)| *number == protocol) else {
        return Ok(protocol);
    };
    let message =
        format!("`protocol` is {protocol}, which marks the routes of `{name}`, expected another");
    let hint = "it marks the routes that are xlb's: take a number that no other software has, such \
                as 200";
    Err(problems.error(Finding::at(node.span, message).hint(hint)))
}
