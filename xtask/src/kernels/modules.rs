//! Modules of a kernel, with those that they depend on.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use super::{files::walk, image::Kernel};
use crate::shell::output;

/// What the tests' networks are made of: wires, switches, VLANs, and the kernel's own tunnel ends.
const WANTED: [&str; 9] = [
    "veth",
    "bridge",
    "8021q",
    "dummy",
    "ipip",
    "sit",
    "ip6_tunnel",
    "fou",
    "fou6",
];

/// A module to be loaded.
#[derive(Debug)]
pub(crate) struct Module {
    /// Its file's name, uncompressed.
    pub(crate) name: String,
    /// The file's bytes, uncompressed.
    pub(crate) bytes: Vec<u8>,
}

/// The modules of a kernel that the tests need, each after those that it depends on. What is built
/// into the kernel is not among them.
///
/// # Errors
/// If the kernel has one of them neither as a module nor built in.
pub(crate) fn load_order(kernel: &Kernel) -> Result<Vec<Module>> {
    let files = walk(kernel.folder())?;
    let modules: BTreeMap<_, _> = files
        .iter()
        .filter_map(|file| Some((name(file)?, file)))
        .collect();
    let builtin = builtin(&files)?;
    let depends = |name: &str| match modules.get(name) {
        Some(file) => Ok(Some(dependencies(file)?)),
        None if builtin.iter().any(|other| other == name) => Ok(None),
        None => bail!("kernel {} has no module {name}", kernel.release),
    };
    let order = closure(&WANTED, &depends)?;
    let module = |name: String| {
        let file = modules.get(&name).context("a module without a file")?;
        let (name, bytes) = (format!("{name}.ko"), read(file)?);
        Ok(Module { name, bytes })
    };
    order.into_iter().map(module).collect()
}

/// Every name and, before it, those that it depends on. `depends` says `None` of what is built in.
fn closure(
    wanted: &[&str],
    depends: &impl Fn(&str) -> Result<Option<Vec<String>>>,
) -> Result<Vec<String>> {
    let mut order = Vec::new();
    for name in wanted {
        visit(name, depends, &mut order)?;
    }
    Ok(order)
}

fn visit(
    name: &str,
    depends: &impl Fn(&str) -> Result<Option<Vec<String>>>,
    order: &mut Vec<String>,
) -> Result<()> {
    if order.iter().any(|other| other == name) {
        return Ok(());
    }
    let Some(before) = depends(name)? else {
        return Ok(());
    };
    for other in &before {
        visit(other, depends, order)?;
    }
    order.push(name.to_owned());
    Ok(())
}

/// A module's name, if the file is one: `nf-conntrack.ko.xz` is `nf_conntrack`.
fn name(file: &Path) -> Option<String> {
    let (name, packed) = file.file_name()?.to_str()?.split_once(".ko")?;
    matches!(packed, "" | ".xz").then(|| name.replace('-', "_"))
}

/// What is built into the kernel, by the list among its modules.
fn builtin(files: &[PathBuf]) -> Result<Vec<String>> {
    let Some(list) = files.iter().find(|file| file.ends_with("modules.builtin")) else {
        return Ok(Vec::new());
    };
    let list = std::fs::read_to_string(list).context("cannot read modules.builtin")?;
    Ok(list
        .lines()
        .filter_map(|line| name(Path::new(line)))
        .collect())
}

/// Names of the modules that one depends on.
fn dependencies(file: &Path) -> Result<Vec<String>> {
    let said = output(Command::new("modinfo").args(["-F", "depends"]).arg(file))?;
    let names = said.trim().split(',').filter(|name| !name.is_empty());
    Ok(names.map(|name| name.replace('-', "_")).collect())
}

fn read(file: &Path) -> Result<Vec<u8>> {
    if file.extension().is_some_and(|extension| extension == "xz") {
        let mut xz = Command::new("xz");
        let unpacked = xz
            .arg("-dc")
            .arg(file)
            .output()
            .context("cannot start xz")?;
        anyhow::ensure!(
            unpacked.status.success(),
            "xz cannot unpack {}",
            file.display()
        );
        return Ok(unpacked.stdout);
    }
    std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_comes_after_those_that_it_depends_on() {
        let depends = |name: &str| match name {
            "bridge" => Ok(Some(vec!["stp".to_owned(), "llc".to_owned()])),
            "stp" => Ok(Some(vec!["llc".to_owned()])),
            "llc" | "veth" => Ok(Some(Vec::new())),
            "ipv6" => Ok(None),
            other => bail!("no module {other}"),
        };
        let order = closure(&["veth", "ipv6", "bridge", "llc"], &depends).unwrap();
        assert_eq!(order, ["veth", "llc", "stp", "bridge"]);
        closure(&["vxlan"], &depends).unwrap_err();
    }

    #[test]
    fn modules_are_known_by_their_files() {
        let module = |file| name(Path::new(file));
        assert_eq!(
            module("/lib/ip6-tunnel.ko.xz").as_deref(),
            Some("ip6_tunnel")
        );
        assert_eq!(module("kernel/net/veth.ko").as_deref(), Some("veth"));
        assert_eq!(module("/boot/config-6.1"), None);
    }
}
