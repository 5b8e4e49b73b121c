//! The guest's root: an archive that the kernel unpacks into memory.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use super::{cpio::Archive, files::program, guest, modules::Module};
use crate::workspace;

/// The guest's first process.
const INIT: &str = include_str!("init.sh");

/// Programs of the host that the tests call. The namespaces' own are busybox's.
const PROGRAMS: [&str; 2] = ["ip", "ethtool"];

/// What busybox is called as. Not `ip`: its own does not know namespaces.
const BUSYBOX: [&str; 9] = [
    "env", "insmod", "mkdir", "mount", "nsenter", "poweroff", "sh", "timeout", "uname",
];

/// Folders that something is mounted on.
const FOLDERS: [&str; 6] = ["/proc", "/sys", "/dev", "/tmp", "/run", "/var"];

/// What all guests have in common.
#[derive(Debug)]
pub(crate) struct Contents {
    /// A busybox that is linked statically.
    pub(crate) busybox: PathBuf,
    /// `xlb` and the tests, by name.
    pub(crate) programs: BTreeMap<String, PathBuf>,
    /// Random packets of the differential test.
    pub(crate) packets: u32,
}

/// Writes the root of a guest with these modules to a file.
///
/// # Errors
/// If something that belongs into it is missing, or the file cannot be written.
pub(crate) fn write(contents: &Contents, modules: &[Module], file: &Path) -> Result<()> {
    let mut archive = Archive::default();
    for folder in FOLDERS {
        archive.folder(folder);
    }
    archive.file("/init", INIT.as_bytes());
    archive.file("/bin/busybox", &read(&contents.busybox)?);
    for name in BUSYBOX {
        archive.link(&format!("/bin/{name}"), "busybox");
    }
    add_host_programs(&mut archive)?;
    add_modules(&mut archive, modules);
    for (name, built) in &contents.programs {
        archive.file(&format!("/xlb/{name}"), &read(built)?);
    }
    archive.file("/xlb/xlb.o", &read(&workspace::object())?);
    let trace = workspace::object().with_file_name("trace.o");
    archive.file("/xlb/trace.o", &read(&trace)?);
    archive.file("/xlb/steps", guest::script(contents.packets).as_bytes());
    fs::write(file, archive.finish()).with_context(|| format!("cannot write {}", file.display()))
}

fn add_host_programs(archive: &mut Archive) -> Result<()> {
    for name in PROGRAMS {
        let (file, libraries) = program(name)?;
        archive.file(&format!("/bin/{name}"), &read(&file)?);
        for library in libraries {
            archive.file(&library.to_string_lossy(), &read(&library)?);
        }
    }
    Ok(())
}

fn add_modules(archive: &mut Archive, modules: &[Module]) {
    for Module { name, bytes } in modules {
        archive.file(&format!("/modules/{name}"), bytes);
    }
    let names = modules.iter().flat_map(|module| [&module.name, "\n"]);
    archive.file("/modules/order", names.collect::<String>().as_bytes());
}

fn read(file: &Path) -> Result<Vec<u8>> {
    fs::read(file).with_context(|| format!("cannot read {}", file.display()))
}
