//! What outlives the daemon: pins of an instance's maps, program and links on a BPF file system.
//!
//! ```text
//! <pins>/xdp                the program
//! <pins>/detours_<number>   the array of its detours; the number is the kernel's of the program
//! <pins>/link_<interface>   its link, `.` written as %2E
//! <pins>/maps/<NAME>        its maps
//! <pins>/maps_next/<NAME>   those that are to take their place, where some must be larger or of another layout
//! <pins>/maps_former/<NAME> those whose place was taken, on their way out
//! ```

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use nix::sys::statfs::{BPF_FS_MAGIC, statfs};

use super::error::Error;

/// An instance's folder of pins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pins {
    folder: PathBuf,
    /// The folder of the maps in it.
    maps: &'static str,
}

const MAPS: &str = "maps";
const NEXT_MAPS: &str = "maps_next";
const FORMER_MAPS: &str = "maps_former";
const LINK: &str = "link_";
const DETOURS: &str = "detours_";

impl Pins {
    /// The folder; nothing is looked at or made yet.
    #[must_use]
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
            maps: MAPS,
        }
    }

    /// The same with the maps that are to take the place of the others.
    #[must_use]
    pub fn next(&self) -> Self {
        self.with_maps(NEXT_MAPS)
    }

    fn former(&self) -> Self {
        self.with_maps(FORMER_MAPS)
    }

    fn with_maps(&self, maps: &'static str) -> Self {
        Self {
            folder: self.folder.clone(),
            maps,
        }
    }

    /// Lets the next maps take the place of these: one rename says that these are done with, another one
    /// that those are in their place. Killed between any two steps, [`Self::settle`] goes on.
    ///
    /// # Errors
    /// Where one cannot be renamed or removed.
    pub fn advance(&self) -> Result<(), Error> {
        rename(&self.maps(), &self.former().maps())?;
        self.settle()
    }

    /// Ends what [`Self::advance`] began, where it was killed.
    ///
    /// # Errors
    /// Where a folder cannot be renamed or removed.
    pub fn settle(&self) -> Result<(), Error> {
        let former = self.former();
        if former.maps().exists() && !self.maps().exists() {
            rename(&self.next().maps(), &self.maps())?;
        }
        former.remove_map_folder()
    }

    /// Removes the maps' pins and their folder.
    ///
    /// # Errors
    /// Where one cannot be removed.
    pub fn remove_map_folder(&self) -> Result<(), Error> {
        self.remove_maps()?;
        remove_folder(&self.maps())
    }

    /// The folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Makes the folders.
    ///
    /// # Errors
    /// Where they would not be on a BPF file system, or nobody would find them after the daemon's
    /// end, which `ephemeral` permits.
    pub fn create(&self, ephemeral: bool) -> Result<(), Error> {
        let existing = nearest_existing(&self.folder);
        let kind =
            statfs(existing).map_err(|errno| Error::file("look at", existing)(errno.into()))?;
        if kind.filesystem_type() != BPF_FS_MAGIC {
            let path = self.folder.clone();
            return Err(Error::NotBpffs { path });
        }
        if !ephemeral && is_private(existing) {
            return Err(Error::PrivateMounts);
        }
        self.make_map_folder()
    }

    /// Makes the folder of the maps.
    ///
    /// # Errors
    /// Where it cannot be made.
    pub fn make_map_folder(&self) -> Result<(), Error> {
        let maps = self.maps();
        fs::create_dir_all(&maps).map_err(Error::file("make the folder", maps))
    }

    /// The program.
    #[must_use]
    pub fn program(&self) -> PathBuf {
        self.folder.join("xdp")
    }

    /// A program on its way to take the place of the other.
    #[must_use]
    pub fn next_program(&self) -> PathBuf {
        self.folder.join("xdp_next")
    }

    /// The array of detours of the program that has this number.
    #[must_use]
    pub fn detours(&self, program_id: u32) -> PathBuf {
        self.folder.join(format!("{DETOURS}{program_id}"))
    }

    /// Removes the arrays of detours of all programs but this one.
    ///
    /// # Errors
    /// Where one cannot be removed.
    pub fn remove_detours_but(&self, program_id: u32) -> Result<(), Error> {
        let kept = self.detours(program_id);
        let all = self.all_detours()?.into_iter();
        all.filter(|path| *path != kept)
            .try_for_each(|path| remove_file(&path))
    }

    fn all_detours(&self) -> Result<Vec<PathBuf>, Error> {
        let mut paths = entries(&self.folder)?;
        paths.retain(|path| {
            let name = path.file_name().and_then(OsStr::to_str);
            name.is_some_and(|name| name.starts_with(DETOURS))
        });
        Ok(paths)
    }

    /// The folder of the maps.
    #[must_use]
    pub fn maps(&self) -> PathBuf {
        self.folder.join(self.maps)
    }

    /// A map.
    #[must_use]
    pub fn map(&self, name: &str) -> PathBuf {
        self.maps().join(name)
    }

    /// The link of an interface.
    #[must_use]
    pub fn link(&self, interface: &str) -> PathBuf {
        let name = escaped(interface);
        self.folder.join(format!("{LINK}{name}"))
    }

    /// The pinned links by interface.
    ///
    /// # Errors
    /// Where the folder cannot be read.
    pub fn links(&self) -> Result<BTreeMap<String, PathBuf>, Error> {
        let interface = |path: PathBuf| {
            let name = path.file_name()?.to_str()?.strip_prefix(LINK)?;
            Some((name.replace("%2E", ".").replace("%25", "%"), path))
        };
        Ok(entries(&self.folder)?
            .into_iter()
            .filter_map(interface)
            .collect())
    }

    /// Removes every pin and the folders, links first; the folder of all instances too, if this was
    /// the last one.
    ///
    /// # Errors
    /// Where one cannot be removed.
    pub fn remove(&self) -> Result<(), Error> {
        for link in self.links()?.values() {
            remove_file(link)?;
        }
        remove_file(&self.program())?;
        remove_file(&self.next_program())?;
        self.all_detours()?
            .iter()
            .try_for_each(|path| remove_file(path))?;
        for pins in [&self.next(), &self.former(), self] {
            pins.remove_map_folder()?;
        }
        // The folder of `xlb decap` may be in it.
        remove_if_unused(&self.folder)?;
        self.folder.parent().map_or(Ok(()), remove_if_unused)
    }

    /// Removes the pins of the maps.
    ///
    /// # Errors
    /// Where one cannot be removed.
    pub fn remove_maps(&self) -> Result<(), Error> {
        entries(&self.maps())?
            .iter()
            .try_for_each(|map| remove_file(map))
    }
}

/// An interface's name as bpffs takes it, which refuses dots.
pub(super) fn escaped(interface: &str) -> String {
    interface.replace('%', "%25").replace('.', "%2E")
}

/// The files of a folder; none where there is no folder.
pub(super) fn entries(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let listing = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        listing => listing.map_err(Error::file("read the folder", folder))?,
    };
    let paths = listing.map(|entry| entry.map(|entry| entry.path()));
    paths
        .collect::<io::Result<_>>()
        .map_err(Error::file("read the folder", folder))
}

fn rename(from: &Path, to: &Path) -> Result<(), Error> {
    fs::rename(from, to).map_err(Error::file("rename", from))
}

/// Removes a pin, if it is there.
pub(super) fn remove_file(path: &Path) -> Result<(), Error> {
    unless_missing(fs::remove_file(path)).map_err(Error::file("remove", path))
}

fn remove_folder(path: &Path) -> Result<(), Error> {
    unless_missing(fs::remove_dir(path)).map_err(Error::file("remove the folder", path))
}

/// Leaves a folder with something in it, and the BPF file system's root.
pub(super) fn remove_if_unused(folder: &Path) -> Result<(), Error> {
    match fs::remove_dir(folder) {
        Err(error) if is_used(&error) => Ok(()),
        result => unless_missing(result).map_err(Error::file("remove the folder", folder)),
    }
}

fn is_used(error: &io::Error) -> bool {
    use io::ErrorKind::{DirectoryNotEmpty, ResourceBusy};
    matches!(error.kind(), DirectoryNotEmpty | ResourceBusy)
}

fn unless_missing(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn nearest_existing(path: &Path) -> &Path {
    let existing = path.ancestors().find(|ancestor| ancestor.exists());
    existing.unwrap_or_else(|| Path::new("/"))
}

/// Whether a folder is in a mount namespace of the process's own, and on a file system that the
/// first process does not see there; where that cannot be read, it is taken for shared.
fn is_private(folder: &Path) -> bool {
    let namespace = |process: &str| fs::read_link(format!("/proc/{process}/ns/mnt")).ok();
    let (Some(first), Some(own)) = (namespace("1"), namespace("self")) else {
        return false;
    };
    let device = |path: &Path| fs::metadata(path).ok().map(|metadata| metadata.dev());
    let outside = Path::new("/proc/1/root").join(folder.strip_prefix("/").unwrap_or(folder));
    first != own && device(&outside) != device(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_is_no_bpffs_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let pins = Pins::new(folder.path().join("xlb/default"));
        let error = pins.create(true).unwrap_err();
        assert!(matches!(error, Error::NotBpffs { .. }), "{error}");
        assert!(error.to_string().contains("mount -t bpf"), "{error}");
    }

    #[test]
    fn the_names_of_interfaces_survive_the_way_into_a_pin() {
        let folder = tempfile::tempdir().unwrap();
        let pins = Pins::new(folder.path());
        for name in ["eth0", "eth0.100", "a%2Eb"] {
            let path = pins.link(name);
            assert!(!path.file_name().unwrap().to_str().unwrap().contains('.'));
            fs::write(path, "").unwrap();
        }
        let names: Vec<_> = pins.links().unwrap().into_keys().collect();
        assert_eq!(names, ["a%2Eb", "eth0", "eth0.100"]);
    }

    #[test]
    fn removing_what_is_not_there_is_done() {
        let folder = tempfile::tempdir().unwrap();
        Pins::new(folder.path().join("xlb/none")).remove().unwrap();
    }

    /// Every state that a kill may leave is one from which the next maps get into their place.
    #[test]
    fn maps_take_the_place_of_others_wherever_that_was_interrupted() {
        for steps in 0..=3 {
            let folder = tempfile::tempdir().unwrap();
            let pins = Pins::new(folder.path());
            for (pins, name) in [(&pins, "old"), (&pins.next(), "new")] {
                fs::create_dir(pins.maps()).unwrap();
                fs::write(pins.map(name), "").unwrap();
            }
            let former = pins.former();
            if steps > 0 {
                fs::rename(pins.maps(), former.maps()).unwrap();
            }
            if steps > 1 {
                fs::rename(pins.next().maps(), pins.maps()).unwrap();
            }
            if steps > 2 {
                fs::remove_file(former.map("old")).unwrap();
            }
            if steps == 0 {
                pins.settle().unwrap();
                assert!(pins.map("old").exists(), "nothing was begun");
                pins.advance().unwrap();
            }
            pins.settle().unwrap();
            assert!(pins.map("new").exists());
            assert!(!pins.map("old").exists());
            assert!(!pins.next().maps().exists() && !former.maps().exists());
        }
    }

    #[test]
    fn the_last_instance_takes_the_folder_of_all_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let all = folder.path().join("xlb");
        let (one, other) = (Pins::new(all.join("one")), Pins::new(all.join("other")));
        for pins in [&one, &other] {
            fs::create_dir_all(pins.maps()).unwrap();
        }
        one.remove().unwrap();
        assert!(other.maps().exists());
        other.remove().unwrap();
        assert!(!all.exists());
        assert!(folder.path().exists());
    }
}
