//! Debian's archive by apt's own tools, without a trace in the host's apt: a private root with its
//! own sources, lists and cache, below `target/kernels`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};

use crate::shell::{output, run};

/// Where the archive is fetched from, unless the environment variable `XLB_DEBIAN_MIRROR` names another.
const MIRROR: &str = "http://deb.debian.org";

/// Signs every suite of the matrix.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// What apt takes for installed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Installed {
    /// Nothing.
    Nothing,
    /// What the host has.
    OfHost,
}

/// A private root of apt.
#[derive(Debug)]
pub(crate) struct Root {
    folder: PathBuf,
}

impl Root {
    /// Makes it in a folder, with suites as (archive, suite), and fetches their lists.
    ///
    /// # Errors
    /// If a suite is not in the archive, cannot be reached, or its signature is not Debian's.
    pub(crate) fn new(
        folder: &Path,
        suites: &[(&str, &str)],
        installed: Installed,
    ) -> Result<Self> {
        let mirror = std::env::var("XLB_DEBIAN_MIRROR").unwrap_or_else(|_| MIRROR.to_owned());
        for below in ["lists/partial", "cache/archives/partial", "parts"] {
            let below = folder.join(below);
            fs::create_dir_all(&below)
                .with_context(|| format!("cannot make {}", below.display()))?;
        }
        let write = |name: &str, text: String| {
            let file = folder.join(name);
            fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))
        };
        write("sources.list", sources(&mirror, suites))?;
        write("status", String::new())?;
        write("apt.conf", configuration(folder, installed))?;
        let root = Self {
            folder: folder.to_path_buf(),
        };
        root.update(&mirror, suites)?;
        Ok(root)
    }

    fn update(&self, mirror: &str, suites: &[(&str, &str)]) -> Result<()> {
        let names: Vec<_> = suites.iter().map(|(_, suite)| *suite).collect();
        let mut update = self.command("apt-get");
        // An unreachable suite is an error and not a warning.
        update.args(["-q", "--error-on=any", "update"]);
        output(&mut update).map(drop).with_context(|| {
            format!(
                "cannot fetch the lists of {} from {mirror}: a suite that has left the archive is \
                 on another mirror, which XLB_DEBIAN_MIRROR can name",
                names.join(", ")
            )
        })
    }

    /// Names of packages of the kernel that `package` depends on.
    ///
    /// # Errors
    /// If there is no such package.
    pub(crate) fn kernel_dependencies(&self, package: &str) -> Result<Vec<String>> {
        let said = output(self.command("apt-cache").args(["depends", package]))?;
        ensure!(!said.is_empty(), "there is no package {package}");
        Ok(of_the_kernel(&said))
    }

    /// Fetches a package, and unpacks it into a folder.
    ///
    /// # Errors
    /// If it cannot be fetched or unpacked.
    pub(crate) fn unpack(&self, package: &str, into: &Path) -> Result<()> {
        let downloads = self.folder.join("downloads");
        drop(fs::remove_dir_all(&downloads));
        fs::create_dir_all(&downloads)?;
        fs::create_dir_all(into)?;
        let mut download = self.command("apt-get");
        download
            .args(["-q", "download", package])
            .current_dir(&downloads);
        output(&mut download)?;
        for file in fs::read_dir(&downloads)? {
            run(Command::new("dpkg-deb")
                .arg("-x")
                .arg(file?.path())
                .arg(into))?;
        }
        Ok(fs::remove_dir_all(&downloads)?)
    }

    /// One of apt's programs on this root.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .env("APT_CONFIG", self.folder.join("apt.conf"))
            .env("DEBIAN_FRONTEND", "noninteractive")
            .env("LC_ALL", "C");
        command
    }
}

fn sources(mirror: &str, suites: &[(&str, &str)]) -> String {
    let line = |(archive, suite): &(&str, &str)| {
        format!("deb [arch=amd64 signed-by={KEYRING}] {mirror}/{archive} {suite} main\n")
    };
    suites.iter().map(line).collect()
}

/// The host's own settings, such as a proxy, stay in force: apt reads them after these.
fn configuration(folder: &Path, installed: Installed) -> String {
    let folder = folder.display();
    let status = match installed {
        Installed::Nothing => format!("Dir::State::Status \"{folder}/status\";\n"),
        Installed::OfHost => String::new(),
    };
    format!(
        "Dir::Etc::SourceList \"{folder}/sources.list\";\n\
         Dir::Etc::SourceParts \"{folder}/parts\";\n\
         Dir::Etc::Preferences \"/dev/null\";\n\
         Dir::Etc::PreferencesParts \"{folder}/parts\";\n\
         Dir::State::Lists \"{folder}/lists\";\n\
         Dir::Cache \"{folder}/cache\";\n\
         Acquire::Languages \"none\";\n\
         Acquire::IndexTargets::deb::DEP-11::DefaultEnabled \"false\";\n\
         APT::Sandbox::User \"\";\n\
         {status}"
    )
}

/// From what `apt-cache depends` says.
fn of_the_kernel(said: &str) -> Vec<String> {
    let depends = said.lines().filter_map(|line| {
        line.trim()
            .trim_start_matches('|')
            .strip_prefix("Depends: ")
    });
    depends
        .filter(|name| is_of_a_release(name))
        .map(str::to_owned)
        .collect()
}

/// Such as `linux-modules-6.1.0-9-cloud-amd64`, but not `linux-base`.
fn is_of_a_release(package: &str) -> bool {
    let mut words = package.split('-');
    let release = |word: &str| word.starts_with(|first: char| first.is_ascii_digit());
    words.next() == Some("linux") && words.nth(1).is_some_and(release)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_depends_on_its_parts_and_on_what_is_none() {
        let said = "linux-image-cloud-amd64\n  Depends: linux-image-6.1.0-9-cloud-amd64\n \
                    |Depends: linux-base\n  Depends: linux-base-cloud-amd64\n  Depends: kmod\n  \
                    Depends: <linux-initramfs-tool>\n    initramfs-tools\n  Suggests: linux-doc-6.1\n";
        let expected = ["linux-image-6.1.0-9-cloud-amd64"];
        assert_eq!(of_the_kernel(said), expected);
    }

    #[test]
    fn every_suite_is_signed() {
        let text = sources("http://mirror", &[("debian", "sid"), ("debian", "trixie")]);
        let expected =
            format!("deb [arch=amd64 signed-by={KEYRING}] http://mirror/debian sid main");
        assert_eq!(text.lines().next(), Some(expected.as_str()));
        assert_eq!(text.matches(KEYRING).count(), 2);
    }
}
