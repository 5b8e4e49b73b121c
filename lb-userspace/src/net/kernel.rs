//! What is asked of the kernel over rtnetlink, and what it tells unasked.
//!
//! Two sockets: the kernel does not repeat to a socket what that socket itself has changed.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::IpAddr,
};

use futures_util::{Stream, StreamExt as _, TryStreamExt as _};
use rtnetlink::{
    Error, Handle, MulticastGroup, new_connection_with_strict_check, new_multicast_connection,
    packet_core::{NetlinkMessage, NetlinkPayload},
    packet_route::{
        AddressFamily, RouteNetlinkMessage,
        neighbour::{NeighbourAttribute, NeighbourExtFlags, NeighbourFlags, NeighbourState},
        route::{RouteHeader, RouteMessage},
    },
};
use tokio::task::JoinHandle;

use super::{
    announce::{Mark, Marked},
    message,
    view::{Address, Link, Mac, Neighbour, Route},
};

/// The socket for questions and requests.
#[derive(Debug)]
pub(super) struct Kernel {
    handle: Handle,
    _connection: Connection,
}

/// A task that moves messages; ends with this.
#[derive(Debug)]
struct Connection(JoinHandle<()>);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What may be different from what it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Notice {
    /// Links, and with them anything: routes vanish with a link without a word.
    Everything,
    /// Neighbours.
    Neighbours,
    /// Addresses or routes.
    Routing,
}

/// The socket for notices.
pub(super) struct Notices {
    messages: Box<dyn Stream<Item = NetlinkMessage<RouteNetlinkMessage>> + Send + Sync + Unpin>,
    _connection: Connection,
}

impl Notices {
    const GROUPS: [MulticastGroup; 6] = [
        MulticastGroup::Link,
        MulticastGroup::Neigh,
        MulticastGroup::Ipv4Ifaddr,
        MulticastGroup::Ipv6Ifaddr,
        MulticastGroup::Ipv4Route,
        MulticastGroup::Ipv6Route,
    ];

    pub(super) fn subscribe() -> io::Result<Self> {
        let (connection, _handle, messages) = new_multicast_connection(&Self::GROUPS)?;
        Ok(Self {
            messages: Box::new(messages.map(|(message, _from)| message)),
            _connection: Connection(tokio::spawn(connection)),
        })
    }

    /// The next notice; `None` when the socket is lost.
    pub(super) async fn next(&mut self) -> Option<Notice> {
        loop {
            let message = self.messages.next().await?;
            if let Some(notice) = judge(&message.payload) {
                return Some(notice);
            }
        }
    }
}

const fn judge(payload: &NetlinkPayload<RouteNetlinkMessage>) -> Option<Notice> {
    use RouteNetlinkMessage as Message;
    match payload {
        NetlinkPayload::Overrun(_) => Some(Notice::Everything),
        NetlinkPayload::InnerMessage(message) => match message {
            Message::NewLink(_) | Message::DelLink(_) => Some(Notice::Everything),
            Message::NewNeighbour(_) | Message::DelNeighbour(_) => Some(Notice::Neighbours),
            Message::NewAddress(_)
            | Message::DelAddress(_)
            | Message::NewRoute(_)
            | Message::DelRoute(_) => Some(Notice::Routing),
            _ => None,
        },
        _ => None,
    }
}

impl Kernel {
    pub(super) fn connect() -> io::Result<Self> {
        let (connection, handle, _messages) = new_connection_with_strict_check()?;
        Ok(Self {
            handle,
            _connection: Connection(tokio::spawn(connection)),
        })
    }

    pub(super) async fn links(&self) -> Result<BTreeMap<u32, Link>, Error> {
        let links = self.handle.link().get().execute();
        let keyed = links.map_ok(|message| {
            let link = message::link(&message);
            (link.index, link)
        });
        keyed.try_collect().await
    }

    pub(super) async fn addresses(&self) -> Result<Vec<Address>, Error> {
        let messages = self.handle.address().get().execute();
        let addresses: Vec<_> = messages
            .map_ok(|message| message::address(&message))
            .try_collect()
            .await?;
        Ok(addresses.into_iter().flatten().collect())
    }

    pub(super) async fn routes(&self) -> Result<Vec<Route>, Error> {
        let main = |family| {
            let mut main = RouteMessage::default();
            main.header.address_family = family;
            main.header.table = RouteHeader::RT_TABLE_MAIN;
            main
        };
        let messages = self.route_messages(main).await?;
        Ok(messages.iter().flat_map(message::routes).collect())
    }

    /// What the kernel says of the routes of both families that it is asked for.
    async fn route_messages(
        &self,
        question: impl Fn(AddressFamily) -> RouteMessage,
    ) -> Result<Vec<RouteMessage>, Error> {
        let mut messages = Vec::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let dump = self.handle.route().get(question(family)).execute();
            let dump: Result<Vec<_>, _> = dump.try_collect().await;
            match dump {
                Ok(dump) => messages.extend(dump),
                // There is no table before its first route, not even the main one.
                Err(error) if has_errno(&error, libc::ENOENT) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(messages)
    }

    pub(super) async fn neighbours(&self) -> Result<BTreeMap<(u32, IpAddr), Neighbour>, Error> {
        let messages = self.handle.neighbours().get().execute();
        let neighbours: Vec<_> = messages
            .map_ok(|message| message::neighbour(&message))
            .try_collect()
            .await?;
        Ok(neighbours.into_iter().flatten().collect())
    }

    /// Routes that bear a mark, of both families.
    pub(super) async fn marked(&self, mark: Mark) -> Result<BTreeSet<Marked>, Error> {
        let question = |family| message::question(family, mark);
        let messages = self.route_messages(question).await?;
        let marked = |message| message::marked(message, mark);
        Ok(messages.iter().filter_map(marked).collect())
    }

    /// Adds a route; fails where another one is in its place.
    pub(super) async fn announce(&self, mark: Mark, route: Marked) -> Result<(), Error> {
        let message = message::addition(mark, route);
        self.handle.route().add(message).execute().await
    }

    /// Removes a route, but none that bears another mark.
    pub(super) async fn withdraw(&self, mark: Mark, route: Marked) -> Result<(), Error> {
        let message = message::removal(mark, route);
        self.handle.route().del(message).execute().await
    }

    /// Whether an addition failed because of another route.
    pub(super) fn says_it_exists(error: &Error) -> bool {
        has_errno(error, libc::EEXIST)
    }

    /// Whether a removal failed because there is nothing to remove.
    pub(super) fn says_it_is_gone(error: &Error) -> bool {
        has_errno(error, libc::ESRCH)
    }

    /// Has a neighbour looked up now and kept resolved by the kernel from now on.
    ///
    /// `NTF_USE` looks up; `NTF_EXT_MANAGED` (Linux 5.16) keeps. An older kernel does not read the
    /// second, so this must be repeated.
    pub(super) async fn keep(&self, ifindex: u32, address: IpAddr) -> Result<(), Error> {
        let mut request = self.handle.neighbours().add(ifindex, address).replace();
        let managed = NeighbourAttribute::ExtFlags(NeighbourExtFlags::Managed);
        request.message_mut().attributes.push(managed);
        request
            .state(NeighbourState::None)
            .flags(NeighbourFlags::Use)
            .execute()
            .await
    }

    /// Leaves a neighbour to the kernel's own ways again.
    pub(super) async fn release(&self, ifindex: u32, address: IpAddr) -> Result<(), Error> {
        let request = self.handle.neighbours().add(ifindex, address).replace();
        request
            .state(NeighbourState::None)
            .flags(NeighbourFlags::Use)
            .execute()
            .await
    }

    /// Has a resolved neighbour asked whether it is still there. It stays usable meanwhile, and is no
    /// longer kept.
    pub(super) async fn probe(&self, ifindex: u32, address: IpAddr, mac: Mac) -> Result<(), Error> {
        let request = self.handle.neighbours().add(ifindex, address).replace();
        request
            .state(NeighbourState::Probe)
            .link_layer_address(&mac.0)
            .execute()
            .await
    }
}

fn has_errno(error: &Error, errno: i32) -> bool {
    matches!(error, Error::NetlinkError(message) if message.raw_code().abs() == errno)
}
