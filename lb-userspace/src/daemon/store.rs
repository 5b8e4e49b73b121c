//! What outlives the daemon and a reboot: revision, seeds and overrides.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, ErrorKind, Write as _},
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::Context;
use serde::{Deserialize, Serialize};

use crate::{
    dataplane::seeds::Seeds,
    desired::overrides::{Admin, Overrides, Setting},
    net::announce::Mark,
};

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
    /// What was set by hand for the balancer itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) balancer: Option<Setting<Admin>>,
    /// Where routes of its VIPs may be, so that they can be taken out without a daemon.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub(super) marks: BTreeSet<Mark>,
}

impl Saved {
    /// Forgets what ended while no daemon ran.
    pub(super) fn expire(&mut self) {
        self.expire_drain();
        if self.overrides.expire(SystemTime::now()) {
            self.revision += 1;
        }
    }

    /// Forgets what was set for the balancer itself, where that has ended; whether it has.
    pub(super) fn expire_drain(&mut self) -> bool {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.map_or(0, |since| since.as_secs());
        let is_over = self
            .balancer
            .take_if(|setting| setting.is_over(now))
            .is_some();
        self.revision += u64::from(is_over);
        is_over
    }

    /// When the next thing that was set by hand ends: seconds since 1970, UTC.
    pub(super) fn next_expiry(&self) -> Option<u64> {
        let own = self.balancer.and_then(|setting| setting.expires);
        own.into_iter().chain(self.overrides.next_expiry()).min()
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
            balancer: Some(Setting {
                value: Admin::Drain,
                expires: None,
            }),
            marks: BTreeSet::from([Mark {
                table: 77,
                protocol: 200,
            }]),
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
    fn a_file_of_a_version_that_announced_nothing_is_understood() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        let text = r#"{"revision": 7, "digest": "d", "seeds": null, "overrides": {}}"#;
        fs::write(&path, text).unwrap();
        let saved = Store::new(path).load().unwrap().unwrap();
        assert_eq!((saved.revision, saved.balancer), (7, None));
        assert_eq!(saved.marks, BTreeSet::new());
    }

    #[test]
    fn a_drain_of_the_balancer_ends_by_itself() {
        let mut saved = saved();
        assert_eq!(saved.next_expiry(), Some(9));
        assert!(!saved.expire_drain(), "for good");
        saved.balancer = Some(Setting {
            value: Admin::Drain,
            expires: Some(8),
        });
        assert_eq!(saved.next_expiry(), Some(8));
        assert!(saved.expire_drain());
        assert_eq!((saved.balancer, saved.revision), (None, 43));
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
