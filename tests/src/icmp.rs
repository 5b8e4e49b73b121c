//! What hosts ask and hear by ICMP and ICMPv6, through the kernel's own sockets.

use std::{
    io,
    io::{IoSliceMut, Read as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    os::fd::AsRawFd as _,
};

use anyhow::{Context as _, Result, ensure};
use lb_userspace::lab::Namespace;
use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, setsockopt,
    sockopt::{Ipv4RecvErr, Ipv6RecvErr},
};
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::{
    load::{PATIENCE, udp},
    wait::eventually,
};

/// What `ping` is: the kernel makes the checksums, and hears only answers that are right.
#[derive(Debug)]
pub struct Ping {
    socket: Socket,
    request: u8,
    reply: u8,
    sequence: u16,
}

impl Ping {
    /// Will ask a host from a namespace.
    ///
    /// # Errors
    /// If a socket cannot be made.
    pub fn new(from: &Namespace, to: IpAddr) -> Result<Self> {
        let to = SocketAddr::new(to, 0);
        let (protocol, request, reply) = if to.is_ipv4() {
            (Protocol::ICMPV4, 8, 0)
        } else {
            (Protocol::ICMPV6, 128, 129)
        };
        from.sysctl("net/ipv4/ping_group_range", "0 0")?;
        let open = || Socket::new(Domain::for_address(to), Type::DGRAM, Some(protocol));
        let socket = from.enter(open)?.context("no ping socket")?;
        socket.connect(&to.into())?;
        socket.set_read_timeout(Some(PATIENCE))?;
        Ok(Self {
            socket,
            request,
            reply,
            sequence: 0,
        })
    }

    /// Sends an echo request with these bytes, and hears its reply.
    ///
    /// # Errors
    /// If there is none, or one to something else.
    pub fn ask(&mut self, bytes: &[u8]) -> Result<()> {
        self.sequence += 1;
        // Type, code, checksum, identifier, sequence number; the kernel knows the two in the middle.
        let mut sent = vec![self.request, 0, 0, 0, 0, 0];
        sent.extend(self.sequence.to_be_bytes());
        sent.extend(bytes);
        self.socket.send(&sent)?;
        let mut heard = vec![0; sent.len() + 1];
        let length = (&self.socket).read(&mut heard)?;
        heard.truncate(length);
        ensure!(heard.first() == Some(&self.reply), "{heard:?}");
        ensure!(heard.get(6..) == sent.get(6..), "another answer: {heard:?}");
        Ok(())
    }
}

/// Where a datagram ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// Its time to live ran out at this host.
    Exceeded(IpAddr),
    /// Somebody answered, with these bytes.
    Answered(Vec<u8>),
}

/// What `traceroute` is: sends a datagram that lives for so many hops; what became of it.
///
/// # Errors
/// If nothing is heard of it.
pub fn trace(from: &Namespace, to: SocketAddr, hops: u8) -> Result<End> {
    let socket = from.enter(|| udp(to))??;
    let options = SockRef::from(&socket);
    if to.is_ipv4() {
        setsockopt(&socket, Ipv4RecvErr, &true)?;
        options.set_ttl_v4(hops.into())?;
    } else {
        setsockopt(&socket, Ipv6RecvErr, &true)?;
        options.set_unicast_hops_v6(hops.into())?;
    }
    socket.set_nonblocking(true)?;
    socket.send(b"who?")?;
    eventually(&format!("{hops} hops to {to}"), PATIENCE, || end(&socket))
}

fn end(socket: &UdpSocket) -> Option<End> {
    let mut answer = vec![0; 1 << 16];
    match socket.recv(&mut answer) {
        Ok(length) => {
            answer.truncate(length);
            Some(End::Answered(answer))
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
        Err(_told_of_another_hop) => offender(socket).map(End::Exceeded),
    }
}

/// Who says that a time to live ran out.
fn offender(socket: &UdpSocket) -> Option<IpAddr> {
    let (mut bytes, mut control) = ([0; 64], [0; 256]);
    let mut buffers = [IoSliceMut::new(&mut bytes)];
    let error = recvmsg::<SockaddrStorage>(
        socket.as_raw_fd(),
        &mut buffers,
        Some(&mut control),
        MsgFlags::MSG_ERRQUEUE,
    );
    error.ok()?.cmsgs().ok()?.find_map(|message| match message {
        // RFC 792: time exceeded is type 11.
        ControlMessageOwned::Ipv4RecvErr(error, Some(from)) if error.ee_type == 11 => {
            let address = from.sin_addr.s_addr.to_ne_bytes();
            Some(Ipv4Addr::from(address).into())
        }
        // RFC 4443, section 3.3: type 3.
        ControlMessageOwned::Ipv6RecvErr(error, Some(from)) if error.ee_type == 3 => {
            Some(Ipv6Addr::from(from.sin6_addr.s6_addr).into())
        }
        _ => None,
    })
}

/// Bytes of the longest packet that fits the way to a host, as a namespace has been told; `None`: it
/// has been told nothing.
///
/// # Errors
/// If `ip` fails.
pub fn path_mtu(from: &Namespace, to: IpAddr) -> Result<Option<u16>> {
    let route = from.run(["ip", "route", "get", &to.to_string()])?;
    let mut words = route.split_whitespace().skip_while(|word| *word != "mtu");
    words
        .nth(1)
        .map(|mtu| mtu.parse().context("not an MTU"))
        .transpose()
}
