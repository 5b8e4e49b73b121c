//! The program on the interfaces: BPF links, pinned, so that they outlive the daemon.

use std::{io, path::Path, thread, time::Duration};

use aya::programs::{
    ProgramError, Xdp, XdpMode as Aya,
    links::{FdLink, PinnedLink},
    xdp::XdpLink,
};
use nix::net::if_::if_nametoindex;
use serde::Serialize;

use super::{
    attached::{Mode, attached},
    error::Error,
    pins::{self, Pins},
};
use crate::config::model::{Interface, XdpMode};

/// An interface that the program is attached to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Attachment {
    /// Its name.
    pub name: String,
    /// How it is attached.
    pub mode: Mode,
    /// The kernel's number of the program.
    pub program_id: u32,
}

/// Attaches the pinned program to the interfaces that do not run it, and takes it off those that
/// are not named. What is attached as it should be is not touched.
///
/// # Errors
/// Where an interface does not exist, then nothing is changed; or the kernel refuses one.
pub(super) fn sync(pins: &Pins, interfaces: &[Interface]) -> Result<(), Error> {
    for interface in interfaces {
        ifindex(&interface.name)?;
    }
    let named = |name: &str| interfaces.iter().any(|interface| interface.name == name);
    for interface in interfaces {
        if !is_attached(pins, interface)? {
            attach(pins, interface)?;
        }
    }
    for name in pins.links()?.into_keys().filter(|name| !named(name)) {
        detach(pins, &name)?;
    }
    Ok(())
}

/// Takes the program off an interface.
///
/// # Errors
/// Where the pin cannot be removed, or the kernel cannot be asked.
pub(super) fn detach(pins: &Pins, interface: &str) -> Result<(), Error> {
    let path = pins.link(interface);
    let program_id = program_id(interface, &path)?;
    pins::remove_file(&path)?;
    if let Ok(index) = ifindex(interface) {
        wait_until_gone(index, program_id)?;
    }
    tracing::info!(interface, "detached");
    Ok(())
}

/// The kernel takes the program off a moment after the pin is removed: when RCU let go of the inode.
fn wait_until_gone(index: u32, program_id: u32) -> Result<(), Error> {
    const TRIES: u32 = 1000;
    for _ in 0..TRIES {
        if attached(index)?.is_none_or(|found| found.program_id != program_id) {
            return Ok(());
        }
        thread::sleep(Duration::from_millis(1));
    }
    Err(Error::System {
        what: "see the program leave the interface after its link was removed",
        source: io::ErrorKind::TimedOut.into(),
    })
}

/// Lets every link run this program from its next packet on.
///
/// # Errors
/// Where the kernel refuses one.
pub(super) fn update(pins: &Pins, program: &mut Xdp) -> Result<(), Error> {
    for (name, path) in pins.links()? {
        let pinned = open(&name, &path)?;
        let link = XdpLink::try_from(FdLink::from(pinned)).map_err(|source| Error::Link {
            interface: name.clone(),
            source,
        })?;
        match program.attach_to_link(link) {
            // The interface is gone, and its link with it.
            Err(ProgramError::SyscallError(error))
                if error.io_error.raw_os_error() == Some(libc::ENOLINK) =>
            {
                pins::remove_file(&path)?;
            }
            other => {
                other.map_err(Error::program)?;
            }
        }
    }
    Ok(())
}

/// The interfaces with a link.
///
/// # Errors
/// Where the kernel cannot be asked.
pub(super) fn list(pins: &Pins) -> Result<Vec<Attachment>, Error> {
    let mut attachments = Vec::new();
    for name in pins.links()?.into_keys() {
        let Ok(index) = ifindex(&name) else { continue };
        if let Some(found) = attached(index)? {
            attachments.push(Attachment {
                name,
                mode: found.mode,
                program_id: found.program_id,
            });
        }
    }
    Ok(attachments)
}

/// The index of an interface.
///
/// # Errors
/// Where there is no such interface.
pub(super) fn ifindex(name: &str) -> Result<u32, Error> {
    if_nametoindex(name).map_err(|_errno| Error::NoInterface(name.to_owned()))
}

/// Whether the pinned link is that of the interface as it is now: one of the same name may have
/// been removed and made again; and in the mode that is wanted.
fn is_attached(pins: &Pins, interface: &Interface) -> Result<bool, Error> {
    let path = pins.link(&interface.name);
    if !path.exists() {
        return Ok(false);
    }
    let program_id = program_id(&interface.name, &path)?;
    let found = attached(ifindex(&interface.name)?)?;
    let is_right = found
        .is_some_and(|found| found.program_id == program_id && suits(found.mode, interface.xdp));
    if !is_right {
        detach(pins, &interface.name)?;
    }
    Ok(is_right)
}

/// The kernel's number of a link's program.
fn program_id(interface: &str, path: &Path) -> Result<u32, Error> {
    let info = FdLink::from(open(interface, path)?).info();
    let info = info.map_err(|source| Error::Link {
        interface: interface.to_owned(),
        source,
    })?;
    Ok(info.program_id())
}

fn suits(mode: Mode, wanted: XdpMode) -> bool {
    match wanted {
        XdpMode::Auto => true,
        XdpMode::Native => mode == Mode::Native,
        XdpMode::Generic => mode == Mode::Generic,
    }
}

fn attach(pins: &Pins, interface: &Interface) -> Result<(), Error> {
    let mut program = super::program::pinned(pins)?;
    let mode = match interface.xdp {
        XdpMode::Generic => attach_in(&mut program, pins, interface, Mode::Generic)?,
        XdpMode::Native => attach_in(&mut program, pins, interface, Mode::Native)?,
        XdpMode::Auto => match attach_in(&mut program, pins, interface, Mode::Native) {
            Err(Error::Attach { source, .. }) if !is_busy(&source) => {
                let reason = cause(&source);
                let interface_name = &interface.name;
                tracing::warn!(
                    interface = interface_name,
                    reason,
                    "no native XDP: attaching in generic mode, which is slower; say `xdp: generic` \
                     to be rid of this warning"
                );
                attach_in(&mut program, pins, interface, Mode::Generic)?
            }
            result => result?,
        },
    };
    tracing::info!(interface = interface.name, mode = mode.word(), "attached");
    Ok(())
}

fn attach_in(
    program: &mut Xdp,
    pins: &Pins,
    interface: &Interface,
    mode: Mode,
) -> Result<Mode, Error> {
    let name = &interface.name;
    let flags = match mode {
        Mode::Generic => Aya::Skb,
        Mode::Native => Aya::Driver,
    };
    let id = program
        .attach(name, flags)
        .map_err(|source| Error::Attach {
            interface: name.clone(),
            mode: mode.word(),
            hint: hint(&source, interface.xdp),
            source: Box::new(source),
        })?;
    let link = program.take_link(id).map_err(Error::program)?;
    let link = FdLink::try_from(link).map_err(|_no_link| Error::NotALink {
        interface: name.clone(),
    })?;
    let path = pins.link(name);
    match link.pin(&path) {
        Ok(_) => Ok(mode),
        Err(source) => Err(Error::Pin { path, source }),
    }
}

fn hint(error: &ProgramError, wanted: XdpMode) -> &'static str {
    if is_busy(error) {
        "; another XDP program is attached: take it off first (`ip link set dev … xdp off`)"
    } else if wanted == XdpMode::Native {
        "; `xdp: generic` works on every interface"
    } else {
        ""
    }
}

fn is_busy(error: &ProgramError) -> bool {
    let ProgramError::SyscallError(error) = error else {
        return false;
    };
    error.io_error.raw_os_error() == Some(libc::EBUSY)
}

/// The kernel's own words.
fn cause(error: &ProgramError) -> String {
    match error {
        ProgramError::SyscallError(error) => error.io_error.to_string(),
        other => other.to_string(),
    }
}

fn open(interface: &str, path: &Path) -> Result<PinnedLink, Error> {
    PinnedLink::from_pin(path).map_err(|source| Error::Link {
        interface: interface.to_owned(),
        source,
    })
}
