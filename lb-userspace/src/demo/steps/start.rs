//! Step 1: the network, three servers, the daemon.

use std::net::SocketAddr;

use anyhow::Result;

use super::{
    super::stage::{Backend, Stage},
    ECHO_PORT, WEB_PORT,
};
use crate::lab::Family;

/// Defaults but for these: a backend that dies is out after two probes.
const PROBE: &str = "{ type: tcp, interval: 200ms, rise: 2, fall: 2 }";

pub(super) fn run(stage: &mut Stage<'_>) -> Result<()> {
    let screen = stage.screen;
    screen.text(&picture(stage)?)?;
    if let Some(alias) = stage.alias() {
        screen.command(&alias)?;
    }
    for backend in Backend::ALL {
        stage.start_server(backend)?;
    }
    stage.configure(&yaml(stage)?)?;
    stage.start_daemon()?;
    stage.show(&["service", "list"])
}

fn picture(stage: &Stage<'_>) -> Result<String> {
    let address = |backend| stage.address(backend, Family::V4);
    let [b1, b2, b3] = [
        address(Backend::B1)?,
        address(Backend::B2)?,
        address(Backend::B3)?,
    ];
    let client = stage.topology.client.link.address.v4.to_string();
    let vip = format!("VIP {}", stage.topology.vip.v4);
    Ok(format!(
        "                                    +-- b1  {b1}\n\
         client ------- balancer ------------+-- b2  {b2}\n\
         {client:14} {vip:21}+-- b3  {b3}\n"
    ))
}

fn yaml(stage: &Stage<'_>) -> Result<String> {
    let interfaces = stage.topology.interfaces().join(", ");
    let mut yaml = format!("interfaces: [{interfaces}]\nservices:\n");
    for (name, family, port, protocol) in [
        ("web", Family::V4, WEB_PORT, "tcp"),
        ("web6", Family::V6, WEB_PORT, "tcp"),
        ("echo", Family::V4, ECHO_PORT, "udp"),
    ] {
        let addresses = Backend::ALL.map(|backend| stage.address(backend, family));
        yaml += &service(name, &format!("{}/{protocol}", stage.vip(family, port)));
        for (backend, address) in Backend::ALL.into_iter().zip(addresses) {
            yaml += &server(backend, address?);
        }
    }
    Ok(yaml)
}

fn service(name: &str, vip: &str) -> String {
    format!(
        "  - name: {name}\n    \
             vip: \"{vip}\"\n    \
             probe: {PROBE}\n    \
             backends:\n"
    )
}

fn server(backend: Backend, address: SocketAddr) -> String {
    let name = backend.name();
    format!("      - {{ name: {name}, address: \"{address}\" }}\n")
}
