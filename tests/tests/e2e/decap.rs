//! `xlb decap` on a backend: packets sent into real tunnels reach a real socket on the VIP, and its
//! answers go to the client directly.

use std::{
    net::{IpAddr, SocketAddr, UdpSocket},
    time::Duration,
};

use lb_tests::{
    direct::{TunnelEnd, own},
    packet::{UDP, packet},
    wait::eventually,
};
use lb_userspace::lab::{Namespace, unique_name};
use socket2::{Domain, Protocol, Socket, Type};

const PATIENCE: Duration = Duration::from_secs(5);
const GUE_PORT: u16 = 6080;

/// A family's addresses.
struct Family {
    vip: &'static str,
    sender: &'static str,
    stranger: &'static str,
    backend: &'static str,
    /// IP protocol number of its packets in others.
    number: i32,
}

const V4: Family = Family {
    vip: "203.0.113.10",
    sender: "10.0.0.1",
    stranger: "10.0.0.2",
    backend: "10.0.0.11",
    number: 4,
};
const V6: Family = Family {
    vip: "2001:db8:f::10",
    sender: "2001:db8:1::1",
    stranger: "2001:db8:1::2",
    backend: "2001:db8:1::11",
    number: 41,
};

/// A balancer, which is the client too, and a backend with the VIPs on `lo`.
struct Hosts {
    sender: Namespace,
    backend: Namespace,
}

impl Hosts {
    fn new() -> Self {
        let sender = Namespace::new(unique_name("xlb-snd")).unwrap();
        let backend = Namespace::new(unique_name("xlb-bck")).unwrap();
        let veth = "link add eth0 type veth peer name eth0 netns";
        sender.ip([format!("{veth} {}", backend.name())]).unwrap();
        let ends = [
            (&sender, ["sender", "stranger"]),
            (&backend, ["backend", ""]),
        ];
        for (namespace, names) in ends {
            for family in [V4, V6] {
                let length = if family.number == 4 { 24 } else { 64 };
                for name in names.into_iter().filter(|name| !name.is_empty()) {
                    let address = family.named(name);
                    let line = format!("addr add {address}/{length} dev eth0");
                    namespace.ip([line]).unwrap();
                }
            }
            namespace.ip(["link set eth0 up"]).unwrap();
            namespace
                .run(["ethtool", "-K", "eth0", "tx", "off", "gro", "on"])
                .unwrap();
        }
        own(&backend, &[V4, V6].map(|family| ip(family.vip))).unwrap();
        sender.wait_until_up(&["eth0"]).unwrap();
        backend.wait_until_up(&["eth0"]).unwrap();
        Self { sender, backend }
    }
}

/// The hosts, and `xlb decap` at the backend.
struct Net<'a> {
    sender: &'a Namespace,
    backend: &'a Namespace,
    end: TunnelEnd<'a>,
}

impl<'a> Net<'a> {
    fn new(hosts: &'a Hosts) -> Self {
        let Hosts { sender, backend } = hosts;
        Self {
            sender,
            backend,
            end: TunnelEnd::new(backend).unwrap(),
        }
    }

    fn attach(&self, vips: &[&str]) -> String {
        let vips: Vec<_> = vips.iter().map(|vip| ip(vip)).collect();
        let sources = [V4.sender, V6.sender].map(str::to_owned);
        self.end.attach(&vips, &sources).unwrap()
    }

    fn counter(&self, label: &str) -> u64 {
        self.end.counter(label).unwrap()
    }

    /// A UDP socket of one of them. One that was closed may live on for a moment, in a child that another test's
    /// thread is about to start.
    fn bind(namespace: &Namespace, address: &str, port: u16) -> UdpSocket {
        let address = SocketAddr::new(address.parse().unwrap(), port);
        let bind = || namespace.enter(|| UdpSocket::bind(address)).unwrap().ok();
        let socket = eventually("a free port", PATIENCE, bind).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket
    }

    /// Sends an IP packet through a tunnel from an address.
    fn send(&self, tunnel: Tunnel, outer: &Family, source: &str, inner: &Family, bytes: &[u8]) {
        let to = SocketAddr::new(outer.backend.parse().unwrap(), GUE_PORT);
        if tunnel == Tunnel::Gue {
            let socket = Self::bind(self.sender, source, 0);
            socket.send_to(bytes, to).unwrap();
            return;
        }
        let domain = Domain::for_address(to);
        let made = self
            .sender
            .enter(|| Socket::new(domain, Type::RAW, Some(Protocol::from(inner.number))));
        let socket = made.unwrap().unwrap();
        socket.bind(&SocketAddr::new(ip(source), 0).into()).unwrap();
        // A raw socket has no port.
        let to = SocketAddr::new(to.ip(), 0);
        socket.send_to(bytes, &to.into()).unwrap();
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

impl Family {
    fn named(&self, name: &str) -> &'static str {
        match name {
            "sender" => self.sender,
            "stranger" => self.stranger,
            _ => self.backend,
        }
    }

    /// A client's datagram to the VIP, without its Ethernet header.
    fn datagram(&self, client: &UdpSocket, payload: &[u8]) -> Vec<u8> {
        let vip = SocketAddr::new(self.vip.parse().unwrap(), 53);
        packet(client.local_addr().unwrap(), vip, UDP, payload)[14..].to_vec()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tunnel {
    Ipip,
    Gue,
}

/// A datagram goes through the tunnel to a socket on the VIP, and the answer back without one.
fn asks_and_hears(net: &Net<'_>, tunnel: Tunnel, outer: &Family, inner: &Family) {
    let server = Net::bind(net.backend, inner.vip, 53);
    let client = Net::bind(net.sender, inner.sender, 0);
    let question = format!("{tunnel:?} to {} by {}", inner.vip, outer.backend);
    let bytes = inner.datagram(&client, question.as_bytes());
    net.send(tunnel, outer, outer.sender, inner, &bytes);
    let mut buffer = [0; 256];
    let (len, from) = server
        .recv_from(&mut buffer)
        .unwrap_or_else(|error| panic!("{question}: {error}"));
    assert_eq!(&buffer[..len], question.as_bytes());
    assert_eq!(from, client.local_addr().unwrap());
    server.send_to(b"answer", from).unwrap();
    let (len, from) = client.recv_from(&mut buffer).unwrap();
    assert_eq!(
        (&buffer[..len], from),
        (&b"answer"[..], server.local_addr().unwrap())
    );
}

#[test]
fn a_backend_needs_no_tunnel_device() {
    let hosts = Hosts::new();
    let net = Net::new(&hosts);
    let said = net.attach(&[V4.vip, V6.vip]);
    println!("{said}");
    assert!(
        said.starts_with("eth0: takes packets for 203.0.113.10, "),
        "{said}"
    );
    for outer in [V4, V6] {
        for inner in [V4, V6] {
            for tunnel in [Tunnel::Ipip, Tunnel::Gue] {
                asks_and_hears(&net, tunnel, &outer, &inner);
            }
        }
    }
    assert_eq!((net.counter("ipip"), net.counter("gue")), (4, 4));
}

#[test]
fn a_stranger_is_not_heard() {
    let hosts = Hosts::new();
    let net = Net::new(&hosts);
    net.attach(&[V4.vip]);
    let client = Net::bind(net.sender, V4.stranger, 0);
    let bytes = V4.datagram(&client, b"forged");
    net.send(Tunnel::Ipip, &V4, V4.stranger, &V4, &bytes);
    net.send(Tunnel::Gue, &V4, V4.stranger, &V4, &bytes);
    // What is asked now is what arrives first.
    asks_and_hears(&net, Tunnel::Gue, &V4, &V4);
    assert_eq!(net.counter("source_not_allowed"), 2);
}

#[test]
fn a_second_call_replaces_the_rules_and_keeps_the_counters() {
    let hosts = Hosts::new();
    let net = Net::new(&hosts);
    net.attach(&[V4.vip]);
    asks_and_hears(&net, Tunnel::Ipip, &V4, &V4);
    net.attach(&[V6.vip]);
    asks_and_hears(&net, Tunnel::Ipip, &V4, &V6);
    let client = Net::bind(net.sender, V4.sender, 0);
    let bytes = V4.datagram(&client, b"no VIP any more");
    net.send(Tunnel::Ipip, &V4, V4.sender, &V4, &bytes);
    asks_and_hears(&net, Tunnel::Ipip, &V4, &V6);
    assert_eq!((net.counter("ipip"), net.counter("not_our_vip")), (3, 1));
    let status = net.end.status().unwrap();
    assert_eq!(status["vips"], serde_json::json!([V6.vip]));
}

#[test]
fn detaching_leaves_nothing() {
    for words in [&["decap", "--detach"][..], &["detach"]] {
        let hosts = Hosts::new();
        let net = Net::new(&hosts);
        net.attach(&[V4.vip]);
        let link = net.backend.run(["ip", "link", "show", "eth0"]).unwrap();
        assert!(link.contains("prog/xdp"), "{link}");
        let output = net.end.xlb(words).unwrap();
        assert!(output.status.success(), "{output:?}");
        assert_eq!(output.stdout, b"detached from eth0\n");
        let link = net.backend.run(["ip", "link", "show", "eth0"]).unwrap();
        assert!(!link.contains("prog/xdp"), "{link}");
        assert!(!net.end.pins().join("default").exists());
    }
}

#[test]
fn what_cannot_be_is_refused_with_its_exit_code() {
    let hosts = Hosts::new();
    let net = Net::new(&hosts);
    let rules = ["--vip", V4.vip, "--source", V4.sender];
    let refused = |words: &[&str], code: i32, said: &str| {
        let output = net.end.xlb(&[&["decap"], words].concat()).unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{words:?}: {text}");
        assert!(text.contains(said), "{words:?}: {text}");
    };
    refused(
        &["--interface", "eth7", "--vip", V4.vip, "--from", V4.sender],
        1,
        "no interface eth7",
    );
    refused(
        &["--interface", "lo", "--vip", V4.vip, "--allow", V4.sender],
        1,
        "not an Ethernet",
    );
    refused(&["--interface", "eth0"], 2, "--vip");
    refused(&rules, 2, "--interface");
    refused(
        &[
            "--interface",
            "eth0",
            "--vip",
            V4.vip,
            "--source",
            "10.0.0.0/33",
        ],
        2,
        "a prefix",
    );
    refused(
        &["--status", "--interface", "eth0"],
        5,
        "eth0 takes nothing",
    );
    assert!(!net.end.pins().join("default").exists());
}
