//! A suite's kernel: fetched, unpacked and never installed.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};

use super::{
    apt::{Installed, Root},
    files::walk,
    matrix::Suite,
};
use crate::shell::step;

/// Depends on the suite's newest kernel for virtual machines.
const METAPACKAGE: &str = "linux-image-cloud-amd64";

/// Written last: names the kernel's release.
const COMPLETE: &str = "release";

/// An unpacked kernel.
#[derive(Debug)]
pub(crate) struct Kernel {
    /// What `uname -r` says when it runs.
    pub(crate) release: String,
    /// Its packages' files.
    folder: PathBuf,
}

impl Kernel {
    /// The suite's kernel, fetched into a folder unless it is there, or is to be `fresh`.
    ///
    /// # Errors
    /// If it cannot be fetched, or is not of the version that the matrix expects of the suite.
    pub(crate) fn of(suite: Suite, folder: &Path, fresh: bool) -> Result<Self> {
        let complete = folder.join(COMPLETE);
        let release = match fs::read_to_string(&complete) {
            Ok(release) if !fresh => release,
            _ => {
                let release = fetch(suite, folder)?;
                fs::write(&complete, &release)
                    .with_context(|| format!("cannot write {}", complete.display()))?;
                release
            }
        };
        ensure!(
            suite.expects(&release),
            "{} has kernel {release}, expected {}",
            suite.name,
            suite.kernel.unwrap_or("any")
        );
        Ok(Self {
            release,
            folder: tree(folder),
        })
    }

    /// Its image.
    ///
    /// # Errors
    /// If its packages have none.
    pub(crate) fn vmlinuz(&self) -> Result<PathBuf> {
        let names = [format!("vmlinuz-{}", self.release), "vmlinuz".to_owned()];
        let files = walk(&self.folder)?;
        let image = files
            .into_iter()
            .find(|file| names.iter().any(|name| file.ends_with(name)));
        image.with_context(|| format!("the packages of {} have no vmlinuz", self.release))
    }

    /// The folder with its modules.
    pub(crate) const fn folder(&self) -> &PathBuf {
        &self.folder
    }
}

fn tree(folder: &Path) -> PathBuf {
    folder.join("kernel")
}

/// Fetches the newest kernel of a suite; its release.
fn fetch(suite: Suite, folder: &Path) -> Result<String> {
    let name = suite.name;
    step(&format!(
        "fetching the kernel of {name}: the tests run on it, in QEMU"
    ));
    drop(fs::remove_dir_all(tree(folder)));
    let root = Root::new(
        &folder.join("apt"),
        &[(suite.archive, name)],
        Installed::Nothing,
    )
    .with_context(|| format!("no kernel of {name}"))?;
    let mut packages = root.kernel_dependencies(METAPACKAGE)?;
    let image = packages
        .iter()
        .find_map(|package| package.strip_prefix("linux-image-"));
    let release = image
        .with_context(|| format!("{METAPACKAGE} of {name} depends on no image"))?
        .to_owned();
    // Since 6.19 image and modules are packages of their own, which that of the image depends on.
    packages.extend(root.kernel_dependencies(&format!("linux-image-{release}"))?);
    for package in packages
        .iter()
        .filter(|package| package.ends_with(&release))
    {
        root.unpack(package, &tree(folder))?;
    }
    Ok(release)
}
