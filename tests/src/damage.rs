//! The kernel's counters of a namespace, and what must not be in them.

use std::{collections::BTreeMap, fs};

use anyhow::{Context as _, Result};
use lb_userspace::lab::{Namespace, Topology};

/// Packets that a receiver refused because they did not arrive as they were sent.
///
/// A veth end trusts the sender's offload, so these tell the truth only where the sender has none:
/// [`lb_userspace::lab::settle`].
const DAMAGE: [&str; 7] = [
    "Icmp6InCsumErrors",
    "IcmpInCsumErrors",
    "Ip6InHdrErrors",
    "IpInHdrErrors",
    "TcpInCsumErrors",
    "Udp6InCsumErrors",
    "UdpInCsumErrors",
];

/// All counters of a namespace, under the names of nstat(8), such as `TcpInCsumErrors`.
///
/// # Errors
/// If /proc cannot be read there.
pub fn counters(namespace: &Namespace) -> Result<BTreeMap<String, u64>> {
    // Not /proc/net: that is the namespace of the process, not of the thread.
    let read = |file: &str| {
        let path = format!("/proc/thread-self/net/{file}");
        fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))
    };
    let (snmp, snmp6) = namespace.enter(|| (read("snmp"), read("snmp6")))?;
    let mut counters = two_line_tables(&snmp?);
    counters.extend(snmp6?.lines().filter_map(|line| {
        let (name, value) = line.split_once(char::is_whitespace)?;
        Some((name.to_owned(), value.trim().parse().ok()?))
    }));
    Ok(counters)
}

/// Reads lines of names, each followed by one of values: `Tcp: InSegs OutSegs` and `Tcp: 1 2`.
fn two_line_tables(text: &str) -> BTreeMap<String, u64> {
    let lines: Vec<_> = text.lines().collect();
    let pairs = lines.chunks_exact(2).filter_map(|pair| {
        let [names, values] = pair else { return None };
        let (table, names) = names.split_once(':')?;
        let (_, values) = values.split_once(':')?;
        Some((
            table,
            names.split_whitespace().zip(values.split_whitespace()),
        ))
    });
    pairs
        .flat_map(|(table, cells)| {
            // Some, such as TcpMaxConn, may be negative: not counters.
            cells.filter_map(move |(name, value)| {
                Some((format!("{table}{name}"), value.parse().ok()?))
            })
        })
        .collect()
}

/// Damaged packets that a namespace received: those of [`DAMAGE`] that are not 0.
///
/// # Errors
/// If the counters cannot be read.
pub fn received(namespace: &Namespace) -> Result<BTreeMap<String, u64>> {
    let mut counters = counters(namespace)?;
    counters.retain(|name, value| DAMAGE.contains(&name.as_str()) && *value != 0);
    Ok(counters)
}

/// Asserts that client and backends received no packet with a wrong checksum or header.
///
/// # Errors
/// If the counters cannot be read.
///
/// # Panics
/// If a damaged packet was received.
pub fn assert_none(topology: &Topology) -> Result<()> {
    let hosts = std::iter::once(&topology.client).chain(&topology.backends);
    for host in hosts {
        let damage = received(&host.namespace)?;
        assert!(
            damage.is_empty(),
            "damaged packets arrived at {}: {damage:?}",
            host.namespace.name()
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_pairs_of_lines() {
        let text = "Ip: Forwarding InHdrErrors\nIp: 1 7\nTcp: MaxConn InCsumErrors\nTcp: -1 3\n";
        let counters = two_line_tables(text);
        assert_eq!(counters["IpInHdrErrors"], 7);
        assert_eq!(counters["TcpInCsumErrors"], 3);
        assert!(!counters.contains_key("TcpMaxConn"));
    }
}
