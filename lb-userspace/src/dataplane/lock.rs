//! One daemon an instance: a locked file, which the kernel unlocks however the daemon ends.

use std::{
    fs::{self, File, TryLockError},
    path::Path,
};

use super::error::Error;

/// Holds the lock until it is dropped.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock.
    ///
    /// # Errors
    /// Where another daemon holds it, or the file cannot be made.
    pub(super) fn take(path: &Path) -> Result<Self, Error> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(Error::file("make the folder", folder))?;
        }
        let file = File::create(path).map_err(Error::file("make", path))?;
        match file.try_lock() {
            Ok(()) => Ok(Self { _file: file }),
            Err(TryLockError::WouldBlock) => Err(Error::Locked { lock: path.into() }),
            Err(TryLockError::Error(source)) => Err(Error::file("lock", path)(source)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_daemon_is_refused_until_the_first_has_ended() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run/default/lock");
        let first = Lock::take(&path).unwrap();
        let refused = Lock::take(&path).unwrap_err();
        assert!(matches!(refused, Error::Locked { .. }), "{refused}");
        drop(first);
        Lock::take(&path).unwrap();
    }
}
