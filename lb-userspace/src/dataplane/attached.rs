//! Which XDP program an interface runs, and how: asked over rtnetlink, as BPF links do not tell the
//! mode.

use std::io;

use rtnetlink::{
    packet_core::{NLM_F_REQUEST, NetlinkMessage, NetlinkPayload},
    packet_route::{
        RouteNetlinkMessage,
        link::{LinkAttribute, LinkMessage, LinkXdp, XdpAttached},
    },
    sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE},
};
use serde::Serialize;

use super::error::Error;

/// How a program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// In the stack.
    Generic,
    /// In the driver.
    Native,
}

impl Mode {
    /// The word in configuration and lists.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Generic => "generic",
            Self::Native => "native",
        }
    }
}

/// A program on an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Attached {
    /// How it is attached.
    pub mode: Mode,
    /// The kernel's number of the program.
    pub program_id: u32,
}

/// The program on an interface; `None` where there is none, or no such interface.
///
/// # Errors
/// Where the kernel cannot be asked.
pub(super) fn attached(index: u32) -> Result<Option<Attached>, Error> {
    ask(index).map_err(|source| Error::System {
        what: "ask for the XDP program of an interface",
        source,
    })
}

fn ask(index: u32) -> io::Result<Option<Attached>> {
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    socket.send(&request(index), 0)?;
    let (answer, _) = socket.recv_from_full()?;
    let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&answer);
    match message.map_err(io::Error::other)?.payload {
        NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link)) => Ok(program(&link)),
        NetlinkPayload::Error(error) if error.raw_code() == -libc::ENODEV => Ok(None),
        NetlinkPayload::Error(error) => Err(error.to_io()),
        _ => Ok(None),
    }
}

fn request(index: u32) -> Vec<u8> {
    let mut link = LinkMessage::default();
    link.header.index = index;
    let mut message = NetlinkMessage::from(RouteNetlinkMessage::GetLink(link));
    message.header.flags = NLM_F_REQUEST;
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    bytes
}

fn program(link: &LinkMessage) -> Option<Attached> {
    let xdp = link
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            LinkAttribute::Xdp(xdp) => Some(xdp),
            _ => None,
        })?;
    let mode = xdp.iter().find_map(|attribute| match attribute {
        LinkXdp::Attached(XdpAttached::Driver | XdpAttached::Hardware) => Some(Mode::Native),
        LinkXdp::Attached(XdpAttached::SocketBuffer) => Some(Mode::Generic),
        _ => None,
    })?;
    let program_id = xdp.iter().find_map(|attribute| match attribute {
        LinkXdp::ProgId(id) => Some(*id),
        _ => None,
    })?;
    Some(Attached { mode, program_id })
}
