//! The key that all balancers of a fleet share.

use std::{
    fmt, fs,
    io::{self, Read as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use sha2::{Digest as _, Sha256};

/// The key.
#[derive(Clone, PartialEq, Eq)]
pub struct Key(pub(super) [u8; 32]);

impl fmt::Debug for Key {
    /// It is nobody's business.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key")
    }
}

/// Why a file is no key.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each says what was found and what to do")]
pub enum KeyError {
    #[error("cannot read the key file {}: {source}", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error(
        "the key file {} has the mode {mode:04o}, expected 0600: others can read or write it (`chmod 600 {}`)",
        path.display(), path.display()
    )]
    Open { path: PathBuf, mode: u32 },
    #[error(
        "the key file {} has {found} characters, expected {LEAST} to {MOST} (`openssl rand -hex 32` makes a key)",
        path.display()
    )]
    Length { path: PathBuf, found: usize },
}

/// Characters of a key: less could be guessed.
const LEAST: usize = 32;
const MOST: usize = 1024;

impl Key {
    /// Reads a file that nobody but its owner may read. White space around the key does not count.
    ///
    /// # Errors
    /// If it cannot be read, or others can, or it is too short.
    pub fn read(path: &Path) -> Result<Self, KeyError> {
        let unreadable = |source| KeyError::Unreadable {
            path: path.to_owned(),
            source,
        };
        let file = fs::File::open(path).map_err(unreadable)?;
        let mode = file.metadata().map_err(unreadable)?.permissions().mode() & 0o7777;
        if mode & 0o077 != 0 {
            let path = path.to_owned();
            return Err(KeyError::Open { path, mode });
        }
        let mut bytes = Vec::new();
        let limit = u64::try_from(MOST).unwrap_or(u64::MAX) * 2;
        let read = file.take(limit).read_to_end(&mut bytes);
        read.map_err(unreadable)?;
        Self::of(&bytes).ok_or_else(|| KeyError::Length {
            path: path.to_owned(),
            found: bytes.trim_ascii().len(),
        })
    }

    fn of(bytes: &[u8]) -> Option<Self> {
        let key = bytes.trim_ascii();
        let is_key = (LEAST..=MOST).contains(&key.len());
        is_key.then(|| Self(Sha256::digest(key).into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "0123456789abcdef0123456789abcdef";

    fn read(text: &str, mode: u32) -> Result<Key, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        Key::read(&path).map_err(|error| error.to_string())
    }

    #[test]
    fn a_key_is_what_stands_in_a_file_of_its_owners() {
        let key = read(TEXT, 0o600).unwrap();
        assert_eq!(read(&format!("{TEXT}\n"), 0o400), Ok(key.clone()));
        assert_ne!(read(&TEXT.replace('0', "1"), 0o600), Ok(key.clone()));
        assert_eq!(format!("{key:?}"), "Key");
    }

    #[test]
    fn what_others_can_read_or_guess_is_none() {
        assert!(read(TEXT, 0o640).unwrap_err().contains("mode 0640"));
        assert!(read(TEXT, 0o602).unwrap_err().contains("chmod 600"));
        assert!(read("short", 0o600).unwrap_err().contains("5 characters"));
        let long = "x".repeat(5000);
        assert!(read(&long, 0o600).unwrap_err().contains("2048 characters"));
        let missing = Key::read(Path::new("/nonexistent/key")).unwrap_err();
        assert!(missing.to_string().contains("/nonexistent/key"));
    }
}
