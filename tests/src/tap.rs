//! Frames on a link, sent and seen beside the kernel's IP.

use std::{io::Read as _, os::fd::AsRawFd as _, os::fd::OwnedFd, time::Duration};

use anyhow::{Context as _, Result, anyhow};
use lb_userspace::lab::Namespace;
use nix::{
    ifaddrs::getifaddrs,
    sys::socket::{self, AddressFamily, LinkAddr, SockFlag, SockProtocol, SockType},
};
use socket2::{SockFilter, Socket};

use crate::load::PATIENCE;

/// The frames of an interface, those that leave it too.
#[derive(Debug)]
pub struct Tap {
    socket: Socket,
}

impl Tap {
    /// Hears every frame.
    ///
    /// # Errors
    /// If there is no such interface, or this is not root.
    pub fn open(namespace: &Namespace, interface: &str) -> Result<Self> {
        Ok(Self {
            socket: namespace.enter(|| open(interface))??.into(),
        })
    }

    /// Hears only frames whose outermost VLAN tag is this one, which the kernel has taken off them.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn tagged(namespace: &Namespace, interface: &str, tag: u16) -> Result<Self> {
        let tap = Self::open(namespace, interface)?;
        tap.socket.attach_filter(&has_tag(tag))?;
        // What came before the filter.
        while tap.next(Duration::from_millis(1)).is_some() {}
        Ok(tap)
    }

    /// Sends a frame.
    ///
    /// # Errors
    /// If it is too long for the link.
    pub fn send(&self, frame: &[u8]) -> Result<()> {
        self.socket.send(frame).context("cannot send a frame")?;
        Ok(())
    }

    /// The first frame for which there is an answer.
    ///
    /// # Errors
    /// If none comes.
    pub fn find<T>(&self, what: &str, look: impl Fn(&[u8]) -> Option<T>) -> Result<T> {
        while let Some(frame) = self.next(PATIENCE) {
            if let Some(found) = look(&frame) {
                return Ok(found);
            }
        }
        Err(anyhow!("{what}: no such frame"))
    }

    /// Frames that wait to be heard.
    #[must_use]
    pub fn waiting(&self) -> Vec<Vec<u8>> {
        std::iter::from_fn(|| self.next(Duration::from_millis(1))).collect()
    }

    fn next(&self, patience: Duration) -> Option<Vec<u8>> {
        self.socket.set_read_timeout(Some(patience)).ok()?;
        let mut frame = vec![0; 1 << 16];
        let length = (&self.socket).read(&mut frame).ok()?;
        frame.truncate(length);
        Some(frame)
    }
}

fn open(interface: &str) -> Result<OwnedFd> {
    let address = link_address(interface)?;
    let all = SockProtocol::EthAll;
    let socket = socket::socket(
        AddressFamily::Packet,
        SockType::Raw,
        SockFlag::empty(),
        Some(all),
    )?;
    socket::bind(socket.as_raw_fd(), &address)?;
    Ok(socket)
}

fn link_address(interface: &str) -> Result<LinkAddr> {
    let mut links = getifaddrs()?.filter(|link| link.interface_name == interface);
    let address = links.find_map(|link| Some(*link.address?.as_link_addr()?));
    address.with_context(|| format!("no interface {interface}"))
}

/// A classic filter program: the tag is there, and it is this one.
fn has_tag(tag: u16) -> [SockFilter; 6] {
    // linux/filter.h: SKF_AD_OFF + SKF_AD_VLAN_TAG_PRESENT and SKF_AD_VLAN_TAG.
    const PRESENT: u32 = 0xffff_f000 + 48;
    const TAG: u32 = 0xffff_f000 + 44;
    // Load a word; jump if equal; return.
    const LOAD: u16 = 0x20;
    const EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    [
        SockFilter::new(LOAD, 0, 0, PRESENT),
        SockFilter::new(EQUAL, 3, 0, 0),
        SockFilter::new(LOAD, 0, 0, TAG),
        SockFilter::new(EQUAL, 0, 1, tag.into()),
        SockFilter::new(RETURN, 0, 0, u32::from(u16::MAX)),
        SockFilter::new(RETURN, 0, 0, 0),
    ]
}
