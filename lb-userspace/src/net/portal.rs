//! Where probes of the path set out: a network namespace of this process's own, joined by a veth pair to the
//! namespace of the host. What is sent there comes in at the host's end like a client's packets.
//!
//! ```text
//! socket ─ far end ═ near end ─ program ─► backend
//! ```
//!
//! Both ends have one MAC address and resolve no neighbours: whatever one sends is for the other. The namespace has
//! no name. It ends with the process, however that ends, and the pair with it.

use std::{
    collections::HashSet,
    fs::File,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::AsRawFd as _,
    process::Command,
    sync::mpsc,
    thread,
};

use aya::{
    Ebpf,
    programs::{Xdp, XdpMode, links::FdLink},
};
use lb_common::probe_link::MAC;
use nix::{
    net::if_::if_nametoindex,
    sched::{CloneFlags, unshare},
};
use rtnetlink::{
    Handle, LinkMessageBuilder, LinkUnspec, LinkVeth, RouteMessageBuilder, new_connection,
    packet_route::{
        address::{AddressAttribute, AddressFlags},
        link::{InfoData, InfoVeth},
    },
};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::{runtime::Runtime, sync::oneshot};

use crate::object::OBJECT;

/// Bytes of the longest packet that either end sends.
pub const MTU: u16 = 1500;

/// The far end's name, in a namespace where there is nothing else.
const FAR: &str = "probes";
/// The program that passes everything: what XDP sends to a veth end is only taken where one runs.
const PASS: &str = "xdp_pass";

/// Why there is none.
#[derive(Debug, thiserror::Error)]
#[error("cannot {what}: {source}")]
pub struct PortalError {
    what: &'static str,
    source: Box<dyn std::error::Error + Send + Sync>,
}

/// The namespace and the veth pair; gone when it is dropped.
#[derive(Debug)]
pub struct Portal {
    /// The near end's name.
    pub name: String,
    /// Its index.
    pub ifindex: u32,
    doorway: Doorway,
}

/// Makes sockets in the namespace. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Doorway(mpsc::Sender<Order>);

#[derive(Debug)]
enum Order {
    /// A socket that is bound to this address.
    Socket {
        from: SocketAddr,
        kind: Type,
        reply: oneshot::Sender<io::Result<Socket>>,
    },
    /// The end.
    Close,
}

impl Portal {
    /// Makes both, with a near end of this name; an older one is removed first.
    ///
    /// # Errors
    /// Where the kernel refuses, or there is no `ethtool`.
    pub fn open(name: &str) -> Result<Self, PortalError> {
        let (orders, ordered) = mpsc::channel();
        let (ready, opened) = mpsc::channel();
        let near = name.to_owned();
        let work = move || match Room::open(&near) {
            Ok((room, ifindex)) => {
                if ready.send(Ok(ifindex)).is_ok() {
                    room.serve(&ordered);
                }
            }
            Err(error) => drop(ready.send(Err(error))),
        };
        let thread = thread::Builder::new().name("portal".to_owned()).spawn(work);
        thread.map_err(cannot("start a thread"))?;
        let ifindex = opened.recv().map_err(cannot("open a namespace"))??;
        Ok(Self {
            name: name.to_owned(),
            ifindex,
            doorway: Doorway(orders),
        })
    }

    /// Where sockets come from.
    #[must_use]
    pub fn doorway(&self) -> Doorway {
        self.doorway.clone()
    }
}

impl Drop for Portal {
    fn drop(&mut self) {
        // Where the thread is gone, so is the namespace.
        let _gone = self.doorway.0.send(Order::Close);
    }
}

impl Doorway {
    /// A socket over TCP that is bound to an address.
    ///
    /// # Errors
    /// Where the kernel refuses, or the portal is closed.
    pub async fn tcp(&self, from: SocketAddr) -> io::Result<tokio::net::TcpSocket> {
        let socket = self.socket(from, Type::STREAM).await?;
        Ok(tokio::net::TcpSocket::from_std_stream(socket.into()))
    }

    /// The same over UDP.
    ///
    /// # Errors
    /// As of [`Self::tcp`].
    pub async fn udp(&self, from: SocketAddr) -> io::Result<tokio::net::UdpSocket> {
        let socket = self.socket(from, Type::DGRAM).await?;
        tokio::net::UdpSocket::from_std(socket.into())
    }

    /// A raw socket for segments of TCP, which come and go like datagrams.
    ///
    /// # Errors
    /// As of [`Self::tcp`].
    pub async fn raw(&self, from: SocketAddr) -> io::Result<tokio::net::UdpSocket> {
        let socket = self.socket(from, Type::RAW).await?;
        tokio::net::UdpSocket::from_std(socket.into())
    }

    async fn socket(&self, from: SocketAddr, kind: Type) -> io::Result<Socket> {
        let (reply, made) = oneshot::channel();
        let closed = || io::Error::from_raw_os_error(libc::ENETDOWN);
        let order = Order::Socket { from, kind, reply };
        self.0.send(order).map_err(|_gone| closed())?;
        made.await.map_err(|_gone| closed())?
    }
}

/// The namespace from within: of the thread that it was made by.
struct Room {
    runtime: Runtime,
    kernel: Handle,
    far: u32,
    addresses: HashSet<IpAddr>,
    _pass: FdLink,
}

impl Room {
    fn open(near: &str) -> Result<(Self, u32), PortalError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(cannot("start a runtime"))?;
        // This socket stays in the host's namespace.
        let outside = connect(&runtime)?;
        unshare(CloneFlags::CLONE_NEWNET).map_err(cannot("make a network namespace"))?;
        let here = File::open("/proc/thread-self/ns/net").map_err(cannot("name a namespace"))?;
        let ifindex = runtime.block_on(join(&outside, near, &here))?;
        let kernel = connect(&runtime)?;
        let far = if_nametoindex(FAR).map_err(cannot("find the end of a veth pair"))?;
        finish_checksums()?;
        let room = Self {
            _pass: pass_all()?,
            runtime,
            kernel,
            far,
            addresses: HashSet::new(),
        };
        let up = LinkMessageBuilder::<LinkUnspec>::new()
            .index(far)
            .arp(false)
            .up();
        let up = room.kernel.link().set(up.build()).execute();
        let up = room.runtime.block_on(up);
        up.map_err(cannot("set the end of a veth pair up"))?;
        Ok((room, ifindex))
    }

    fn serve(mut self, orders: &mpsc::Receiver<Order>) {
        while let Ok(Order::Socket { from, kind, reply }) = orders.recv() {
            // Who asked may have given up.
            let _unheard = reply.send(self.socket(from, kind));
        }
        let end = self.kernel.link().del(self.far).execute();
        // It goes with the namespace at the latest.
        let _gone = self.runtime.block_on(end);
    }

    fn socket(&mut self, from: SocketAddr, kind: Type) -> io::Result<Socket> {
        if !self.addresses.contains(&from.ip()) {
            let own = self
                .runtime
                .block_on(own(&self.kernel, self.far, from.ip()));
            own.map_err(io::Error::other)?;
            self.addresses.insert(from.ip());
        }
        let protocol = if kind == Type::DGRAM {
            Protocol::UDP
        } else {
            Protocol::TCP
        };
        let socket = Socket::new(Domain::for_address(from), kind, Some(protocol))?;
        socket.set_nonblocking(true)?;
        socket.set_reuse_address(true)?;
        socket.bind(&from.into())?;
        Ok(socket)
    }
}

/// A socket to the kernel, in the namespace of the calling thread.
fn connect(runtime: &Runtime) -> Result<Handle, PortalError> {
    let _inside = runtime.enter();
    let (connection, handle, _messages) = new_connection().map_err(cannot("reach rtnetlink"))?;
    runtime.spawn(connection);
    Ok(handle)
}

/// Makes the pair, its far end in a namespace; the near end's index.
async fn join(outside: &Handle, near: &str, namespace: &File) -> Result<u32, PortalError> {
    let index = async || {
        let mut links = outside.link().get().match_name(near.to_owned()).execute();
        let link = futures_util::TryStreamExt::try_next(&mut links)
            .await
            .ok()??;
        Some(link.header.index)
    };
    if let Some(old) = index().await {
        let removed = outside.link().del(old).execute().await;
        removed.map_err(cannot("remove the veth pair of the daemon before"))?;
    }
    let far = LinkMessageBuilder::<LinkUnspec>::new()
        .name(FAR)
        .address(MAC.to_vec())
        .setns_by_fd(namespace.as_raw_fd())
        .mtu(MTU.into());
    let pair = LinkVeth::new(near, FAR)
        .address(MAC.to_vec())
        .mtu(MTU.into())
        .arp(false)
        .up()
        .set_info_data(InfoData::Veth(InfoVeth::Peer(far.build())));
    let added = outside.link().add(pair.build()).execute().await;
    added.map_err(cannot("make a veth pair"))?;
    let missing = || cannot("find a veth pair")(io::Error::from(io::ErrorKind::NotFound));
    index().await.ok_or_else(missing)
}

/// Gives the far end an address, and its family a way out.
async fn own(kernel: &Handle, far: u32, address: IpAddr) -> Result<(), rtnetlink::Error> {
    let whole = if address.is_ipv4() { 32 } else { 128 };
    let mut addition = kernel.address().add(far, address, whole).replace();
    // Over IPv6, nobody else can have it: it need not wait.
    let flags = AddressAttribute::Flags(AddressFlags::Nodad);
    addition.message_mut().attributes.push(flags);
    addition.execute().await?;
    let route = match address {
        IpAddr::V4(_) => RouteMessageBuilder::<Ipv4Addr>::new()
            .output_interface(far)
            .build(),
        IpAddr::V6(_) => RouteMessageBuilder::<Ipv6Addr>::new()
            .output_interface(far)
            .build(),
    };
    kernel.route().add(route).replace().execute().await
}

/// XDP sees packets before their checksums would be finished.
fn finish_checksums() -> Result<(), PortalError> {
    let status = Command::new("ethtool")
        .args(["-K", FAR, "tx", "off"])
        .output();
    let output = status.map_err(cannot("run `ethtool`"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(cannot("switch checksum offload off by `ethtool`")(
        io::Error::other(said),
    ))
}

fn pass_all() -> Result<FdLink, PortalError> {
    let mut object = Ebpf::load(OBJECT).map_err(cannot("load a program"))?;
    let missing = || cannot("find a program")(io::Error::from(io::ErrorKind::NotFound));
    let program = object.program_mut(PASS).ok_or_else(missing)?;
    let program: &mut Xdp = program.try_into().map_err(cannot("find a program"))?;
    program.load().map_err(cannot("load a program"))?;
    let link = program.attach(FAR, XdpMode::Driver);
    let link = program.take_link(link.map_err(cannot("attach a program"))?);
    let link = link.map_err(cannot("attach a program"))?;
    FdLink::try_from(link).map_err(cannot("attach a program"))
}

fn cannot<E>(what: &'static str) -> impl FnOnce(E) -> PortalError
where
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    move |source| PortalError {
        what,
        source: source.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::sandbox;

    #[test]
    fn sockets_are_on_the_other_side_of_a_veth_pair() {
        sandbox::run(async || {
            sandbox::ip("link set lo up");
            let portal = Portal::open("xlbp-test").unwrap();
            assert!(sandbox::ip("-o link show xlbp-test").contains("02:78:6c:62:00:01"));
            let from: SocketAddr = "10.0.0.9:61001".parse().unwrap();
            let socket = portal.doorway().tcp(from).await.unwrap();
            assert_eq!(socket.local_addr().unwrap(), from);
            let from: SocketAddr = "[2001:db8::9]:61001".parse().unwrap();
            let socket = portal.doorway().udp(from).await.unwrap();
            assert_eq!(socket.local_addr().unwrap(), from);
            let again = Portal::open("xlbp-test").unwrap();
            assert_ne!(again.ifindex, portal.ifindex);
            drop(again);
            for _ in 0..100 {
                if !sandbox::ip("-o link show").contains("xlbp-test") {
                    return;
                }
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
            panic!("the veth pair stays: {}", sandbox::ip("-o link show"));
        });
    }
}
