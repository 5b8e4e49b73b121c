//! `peers:`: the other balancers with this configuration.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use super::{
    model::Peers,
    problems::{Finding, Problems, Reported},
    raw::Node,
    source::Spanned,
    table::Table,
    values::{self, quoted},
};

const KEYS: [&str; 3] = ["listen", "key_file", "others"];
const OTHERS: &str = "others: [10.0.0.2:7472]";

/// More would be told of each flow one by one.
const MAX_OTHERS: usize = 32;

/// A table of the other balancers. `has_seed`: whether the file has a `hash_seed`.
pub(super) fn read(
    node: &Node,
    has_seed: bool,
    problems: &mut Problems,
) -> Result<Peers, Reported> {
    let table = Table::open(node, "`peers`", &KEYS, problems)?;
    if !has_seed {
        let message = "`peers` without `hash_seed`: balancers would not agree on a backend";
        let hint = "give all balancers the same `hash_seed`, and this file one";
        problems.error(Finding::at(node.span, message.to_owned()).hint(hint));
    }
    let listen = table.require("listen", "listen: 10.0.0.1:7472", problems);
    let listen = listen.and_then(|node| read_address(node, "`listen` of `peers`", problems));
    let key_file = table.require("key_file", "key_file: /etc/xlb/peers.key", problems);
    let key_file = key_file.and_then(|node| read_path(node, problems));
    let others = table.require("others", OTHERS, problems);
    let others = others.and_then(|node| read_others(node, problems));
    let (listen, others) = (listen?, others?);
    Ok(Peers {
        key_file: key_file?,
        others: distinct(&listen, others, problems)?,
        listen: listen.value,
    })
}

fn read_path(node: &Node, problems: &mut Problems) -> Result<PathBuf, Reported> {
    let text = values::text(node, "`key_file`", "/etc/xlb/peers.key", problems)?;
    let path = Path::new(text);
    if path.is_absolute() {
        return Ok(path.to_owned());
    }
    let message = format!("`key_file` is {}, expected an absolute path", quoted(text));
    Err(problems.error(Finding::at(node.span, message).hint("write `/etc/xlb/peers.key`, say")))
}

fn read_others(node: &Node, problems: &mut Problems) -> Result<Vec<Spanned<SocketAddr>>, Reported> {
    let nodes = values::list(node, "`others`", &format!("`{OTHERS}`"), problems)?;
    if nodes.len() > MAX_OTHERS {
        let message = format!(
            "{} balancers in `others`, expected at most {MAX_OTHERS}",
            nodes.len()
        );
        return Err(problems.error(Finding::at(node.span, message).hint("split the fleet")));
    }
    let read: Vec<_> = nodes
        .iter()
        .map(|node| read_address(node, "an address of `others`", problems))
        .collect();
    read.into_iter().collect()
}

/// An address that names one host, and a port.
fn read_address(
    node: &Node,
    what: &str,
    problems: &mut Problems,
) -> Result<Spanned<SocketAddr>, Reported> {
    let text = values::text(node, what, "10.0.0.1:7472", problems)?;
    let is_one = |address: &SocketAddr| {
        let ip = address.ip();
        address.port() != 0 && !ip.is_unspecified() && !ip.is_multicast()
    };
    if let Some(value) = text.parse().ok().filter(is_one) {
        let span = node.span;
        return Ok(Spanned { value, span });
    }
    let message = format!(
        "{what} is {}, expected the address of one host and a port",
        quoted(text)
    );
    let hint = "write `10.0.0.1:7472` or `\"[2001:db8::1]:7472\"`";
    Err(problems.error(Finding::at(node.span, message).hint(hint)))
}

/// The others but this one, each once and of one family with it.
fn distinct(
    listen: &Spanned<SocketAddr>,
    others: Vec<Spanned<SocketAddr>>,
    problems: &mut Problems,
) -> Result<Vec<SocketAddr>, Reported> {
    let mut seen = BTreeSet::new();
    let mut result = Ok(Vec::new());
    for other in others {
        let address = other.value;
        if address == listen.value {
            continue;
        }
        let wrong = if !seen.insert(address) {
            Some((format!("balancer `{address}` twice"), "remove one of them"))
        } else if address.is_ipv4() != listen.value.is_ipv4() {
            let message =
                format!("balancer `{address}` is of another address family than `listen`");
            Some((
                message,
                "calls come from the address of `listen`: use one family for all",
            ))
        } else {
            None
        };
        match wrong {
            Some((message, hint)) => {
                let finding =
                    Finding::at(other.span, message).also(listen.span, "`listen` is here");
                result = Err(problems.error(finding.hint(hint)));
            }
            None => {
                if let Ok(others) = &mut result {
                    others.push(address);
                }
            }
        }
    }
    result
}
