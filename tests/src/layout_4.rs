//! What a daemon of layout 4 left, in a network that is the same each time it is built.
//!
//! Made by `cargo run -p lb-tests --bin layout-fixture` with `XLB_BIN` naming the `xlb` of commit d59c167, the
//! last one of that layout, and with its object, `target/bpf/xlb.o`, after `llvm-strip -g` and `xz`.

use std::{
    fs,
    net::{SocketAddr, UdpSocket},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use lb_userspace::lab::{Options, Topology};

use crate::{
    config::{self, Service},
    load::{self, ask_udp},
};

/// The services.
pub const SERVICES: [Service<'_>; 2] = [
    Service {
        more: &["slots: 1024"],
        ..Service::WEB
    },
    Service {
        more: &["slots: 1024"],
        ..Service::NAMES
    },
];

/// Source ports of the flows whose backends are kept.
pub const PORTS: std::ops::Range<u16> = 20_000..20_064;

/// The folder of the files.
#[must_use]
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/layout_4")
}

/// The network.
///
/// # Errors
/// If it cannot be built.
pub fn topology() -> Result<Topology> {
    let options = Options {
        router: true,
        ..Options::default()
    };
    Ok(Topology::two_armed(options)?)
}

/// The configuration.
#[must_use]
pub fn yaml(topology: &Topology) -> String {
    config::yaml(topology, &SERVICES)
}

/// The maps, as lines of bpftool.
///
/// # Errors
/// If they are not there.
pub fn maps() -> Result<String> {
    let file = folder().join("maps");
    fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))
}

/// Who answers each flow of [`PORTS`]: a line each.
///
/// # Errors
/// If one is not answered.
pub fn backends(topology: &Topology) -> Result<String> {
    let [_, names] = SERVICES;
    let vip = names.vip(topology);
    let ask = |port: u16| -> Result<String> {
        let socket = UdpSocket::bind(SocketAddr::from(([0, 0, 0, 0], port)))?;
        socket.connect(vip)?;
        socket.set_read_timeout(Some(load::PATIENCE))?;
        Ok(format!("{port} {}\n", ask_udp(&socket, b"who?")?))
    };
    let client = &topology.client.namespace;
    client.enter(|| PORTS.map(ask).collect())?
}

/// The program, at an address that the loader takes.
///
/// # Errors
/// If `xz` cannot unpack it.
pub fn object() -> Result<Vec<u64>> {
    let output = Command::new("xz")
        .args(["--decompress", "--stdout"])
        .arg(folder().join("xlb.o.xz"))
        .output()
        .context("cannot start xz")?;
    ensure!(output.status.success(), "xz: {output:?}");
    let words = output.stdout.chunks(8).map(|chunk| {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        u64::from_ne_bytes(word)
    });
    Ok(words.collect())
}
