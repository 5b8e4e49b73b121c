//! One daemon an instance: a locked file, which the kernel unlocks however the daemon ends.

use std::{
    fs::{self, File, TryLockError},
    path::Path,
    thread,
    time::Duration,
};

use super::error::Error;

/// A daemon that has ended may hold the lock for a moment longer: through a child between its fork and
/// its exec.
const TRIES: u32 = 20;
const PAUSE: Duration = Duration::from_millis(25);

/// Holds the lock until it is dropped.
#[derive(Debug)]
pub struct Lock {
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
        for _ in 0..TRIES {
            match file.try_lock() {
                Ok(()) => return Ok(Self { _file: file }),
                Err(TryLockError::WouldBlock) => thread::sleep(PAUSE),
                Err(TryLockError::Error(source)) => {
                    return Err(Error::file("lock", path)(source));
                }
            }
        }
        Err(Error::Locked { lock: path.into() })
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
