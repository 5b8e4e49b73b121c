//! What outlives the daemon and a reboot: revision, seeds and overrides.

use std::{
    fs::{self, File},
    io::{self, ErrorKind, Write as _},
    path::{Path, PathBuf},
    time::SystemTime,
};

use anyhow::Context;
use serde::{Deserialize, Serialize};

use crate::{dataplane::seeds::Seeds, desired::overrides::Overrides};

/// What outlives the daemon.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Saved {
    /// Changes applied since the instance exists.
    pub(super) revision: u64,
    /// Digest of the configuration that the revision is of.
    pub(super) digest: String,
    /// What flow hash and slot tables are seeded with, where the configuration does not say.
    pub(super) seeds: Option<Seeds>,
    /// What was set by hand.
    pub(super) overrides: Overrides,
}

impl Saved {
    /// Forgets what ended while no daemon ran.
    pub(super) fn expire(&mut self) {
        if self.overrides.expire(SystemTime::now()) {
            self.revision += 1;
        }
    }
}

/// The file that holds it.
#[derive(Clone, Debug)]
pub(super) struct Store {
    path: PathBuf,
}

impl Store {
    /// A store in this file.
    #[must_use]
    pub(super) const fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// What was saved last; `None` where nothing was.
    ///
    /// # Errors
    /// Where the file cannot be read or is not what [`Store::save`] wrote.
    pub(super) fn load(&self) -> anyhow::Result<Option<Saved>> {
        let name = self.path.display();
        let text = match fs::read(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("cannot read {name}")),
        };
        serde_json::from_slice(&text).map(Some).with_context(|| {
            format!("cannot understand {name}: mend it, or remove it and lose what was set by hand")
        })
    }

    /// Saves: after a crash at any moment the file is the one before or the one after.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub(super) fn save(&self, saved: &Saved) -> anyhow::Result<()> {
        let text = serde_json::to_vec_pretty(saved)?;
        replace(&self.path, &text).with_context(|| format!("cannot save {}", self.path.display()))
    }
}

fn replace(path: &Path, text: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or_else(|| Path::new("."));
    fs::create_dir_all(folder)?;
    let fresh = path.with_extension("new");
    let mut file = File::create(&fresh)?;
    file.write_all(text)?;
    file.sync_all()?;
    fs::rename(&fresh, path)?;
    // The rename itself must reach the disk.
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::desired::overrides::{Admin, Override, Setting};

    fn saved() -> Saved {
        let mut overrides = Overrides::default();
        let drained = Override {
            admin: Some(Setting {
                value: Admin::Drain,
                expires: Some(9),
            }),
            ..Override::default()
        };
        overrides.set("web", "10.0.0.1:80".parse().unwrap(), drained);
        Saved {
            revision: 42,
            digest: "c0ffee".to_owned(),
            seeds: Some(Seeds {
                hash_key: [1, u64::MAX],
                slots: 3,
            }),
            overrides,
        }
    }

    #[test]
    fn what_is_saved_is_loaded() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path().join("edge/state.json"));
        assert_eq!(store.load().unwrap(), None);
        store.save(&Saved::default()).unwrap();
        store.save(&saved()).unwrap();
        assert_eq!(store.load().unwrap(), Some(saved()));
        let files = fs::read_dir(folder.path().join("edge")).unwrap().count();
        assert_eq!(files, 1, "nothing is left beside the file");
    }

    #[test]
    fn a_broken_file_is_not_taken_for_an_empty_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        fs::write(&path, "{\"revision\": 1").unwrap();
        let error = format!("{:#}", Store::new(path).load().unwrap_err());
        assert!(error.contains("remove it"), "{error}");
    }
}
