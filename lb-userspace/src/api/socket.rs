//! The daemon's Unix socket.

use std::{
    fs::{self, Permissions},
    io::{self, ErrorKind},
    os::unix::{fs::PermissionsExt, net::UnixStream},
    path::Path,
};

use anyhow::{Context, bail};
use tokio::net::UnixListener;

/// Makes sure that no daemon listens on `path`.
///
/// # Errors
/// Where one does.
pub fn ensure_free(path: &Path) -> anyhow::Result<()> {
    if UnixStream::connect(path).is_ok() {
        bail!(
            "another daemon listens on {}: stop it, or name another --instance",
            path.display()
        );
    }
    Ok(())
}

/// Listens on `path`, for root only. A socket that nobody listens on is replaced.
///
/// # Errors
/// Where a daemon listens there already, or the socket cannot be made.
pub fn listen(path: &Path) -> anyhow::Result<UnixListener> {
    ensure_free(path)?;
    bind(path).with_context(|| format!("cannot listen on {}", path.display()))
}

/// Bound under another name first: nobody may connect before the permissions are set.
fn bind(path: &Path) -> io::Result<UnixListener> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let fresh = path.with_extension("new");
    match fs::remove_file(&fresh) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        Err(_) | Ok(()) => {}
    }
    let listener = UnixListener::bind(&fresh)?;
    fs::set_permissions(&fresh, Permissions::from_mode(0o600))?;
    fs::rename(&fresh, path)?;
    Ok(listener)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/xlb.sock");
        drop(listen(&path).unwrap());
        assert!(path.exists(), "a dropped listener leaves its file");
        let live = listen(&path).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let error = listen(&path).unwrap_err().to_string();
        assert!(error.contains("another daemon listens"), "{error}");
        drop(live);
    }
}
