//! Where things lie, and the cargo that builds them.

use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
    process::Command,
};

/// The workspace's folder.
pub(crate) fn root() -> PathBuf {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().unwrap_or(xtask).to_path_buf()
}

/// `target`: everything that is built, and the tools of this project, lie below it.
pub(crate) fn target() -> PathBuf {
    root().join("target")
}

/// Where `cargo install --root` puts the tools of this project.
pub(crate) fn tools() -> PathBuf {
    target().join("tools")
}

/// The eBPF object that lb-userspace embeds.
pub(crate) fn object() -> PathBuf {
    target().join("bpf/xlb.o")
}

/// The cargo that started xtask, at the workspace's root, building into [`target`].
pub(crate) fn cargo(verb: &str) -> Command {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .current_dir(root())
        .env("CARGO_TARGET_DIR", target())
        .arg(verb);
    command
}

/// `PATH` with [`tools`] in front.
pub(crate) fn path_with_tools() -> OsString {
    let path = env::var_os("PATH").unwrap_or_default();
    let tools = std::iter::once(tools().join("bin"));
    env::join_paths(tools.chain(env::split_paths(&path))).unwrap_or(path)
}
