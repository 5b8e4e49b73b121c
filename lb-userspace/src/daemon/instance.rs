//! Where an instance keeps its files: several live on one machine, each in folders of its name.

use std::path::PathBuf;

/// An instance and its folders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// Its name: letters, digits, `-` and `_`, because bpffs refuses dots.
    pub name: String,
    /// Parent of the folder with socket and lock.
    pub run_dir: PathBuf,
    /// Parent of the folder with what outlives a reboot.
    pub state_dir: PathBuf,
    /// Parent of the folder with the pins; on a bpffs.
    pub pin_dir: PathBuf,
}

impl Instance {
    /// The folder of socket and lock.
    #[must_use]
    pub fn runtime(&self) -> PathBuf {
        self.run_dir.join(&self.name)
    }

    /// The socket of the daemon's API.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.runtime().join("xlb.sock")
    }

    /// The file that a daemon holds locked as long as it lives.
    #[must_use]
    pub fn lock(&self) -> PathBuf {
        self.runtime().join("lock")
    }

    /// The file that `xlb decap` holds locked while it is at work.
    #[must_use]
    pub fn decap_lock(&self) -> PathBuf {
        self.runtime().join("decap.lock")
    }

    /// The file with revision, overrides and seed.
    #[must_use]
    pub fn state(&self) -> PathBuf {
        self.state_dir.join(&self.name).join("state.json")
    }

    /// The folder of the pins.
    #[must_use]
    pub fn pins(&self) -> PathBuf {
        self.pin_dir.join(&self.name)
    }
}

/// Reads an instance's name.
///
/// # Errors
/// A sentence for the user where it could not be a folder's name on bpffs.
pub fn parse_name(text: &str) -> Result<String, String> {
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if (1..=64).contains(&text.len()) && text.chars().all(good) {
        return Ok(text.to_owned());
    }
    Err("expected 1 to 64 letters, digits, `-` or `_`".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_bpffs_or_a_path_would_trip_over_are_refused() {
        assert_eq!(parse_name("edge-1").as_deref(), Ok("edge-1"));
        for bad in ["", "a.b", "../x", "a b", &"x".repeat(65)] {
            assert!(parse_name(bad).is_err(), "{bad:?}");
        }
    }
}
