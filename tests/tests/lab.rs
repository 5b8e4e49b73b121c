//! The lab itself: its networks carry traffic, and it leaves nothing behind.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::{
    fs,
    io::{self, Read as _, Write as _},
    net::{Shutdown, SocketAddr, SocketAddrV4, TcpListener, TcpStream, UdpSocket},
    os::fd::AsRawFd as _,
    panic::catch_unwind,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use lb_tests::{
    damage,
    servers::{Nginx, UdpNames, iperf3},
    wait::eventually,
};
use lb_userspace::lab::{
    Family, Host, LabError, Namespace, Options, Pair, PassAll, Topology, WayBack, unique_name,
};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, sendto, socket,
};

/// Enough for many segments, and for the window to open.
const TRANSFER: usize = 4 << 20;

fn forwarding(router: bool) -> Options {
    Options {
        forward: true,
        router,
        ..Options::default()
    }
}

fn topologies(router: bool) -> [Topology; 2] {
    [
        Topology::one_armed(forwarding(router)).unwrap(),
        Topology::two_armed(forwarding(router)).unwrap(),
    ]
}

/// Sends `TRANSFER` bytes there and back; the server sends what it got.
fn echo_transfer(client: &Host, server: &Host, family: Family) {
    let address = SocketAddr::new(server.link.address.of(family), 7);
    let listener = server.namespace.enter(|| TcpListener::bind(address));
    let listener = listener.unwrap().unwrap();
    let echo = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        stream.write_all(&bytes).unwrap();
    });
    let mut stream = connect(&client.namespace, address).unwrap();
    let sent: Vec<u8> = (0..=u8::MAX).cycle().take(TRANSFER).collect();
    let mut received = Vec::new();
    stream.write_all(&sent).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    stream.read_to_end(&mut received).unwrap();
    echo.join().unwrap();
    assert!(received == sent, "{} bytes came back", received.len());
}

fn connect(from: &Namespace, to: SocketAddr) -> io::Result<TcpStream> {
    from.enter(|| TcpStream::connect_timeout(&to, Duration::from_secs(1)))
        .unwrap()
}

#[test]
fn every_topology_carries_tcp_both_ways_in_both_families() {
    for topology in topologies(false).into_iter().chain(topologies(true)) {
        for family in Family::ALL {
            for backend in &topology.backends {
                echo_transfer(&topology.client, backend, family);
            }
        }
        damage::assert_none(&topology).unwrap();
    }
}

#[test]
fn backends_behind_a_router_carry_tcp_whichever_way_they_answer() {
    for way_back in [WayBack::Balancer, WayBack::Router] {
        let options = Options {
            backends: 1,
            far: 2,
            way_back,
            ..forwarding(true)
        };
        for topology in [Topology::one_armed, Topology::two_armed] {
            let topology = topology(options).unwrap();
            assert_eq!(topology.backends.len(), 3);
            for family in Family::ALL {
                for backend in &topology.backends {
                    echo_transfer(&topology.client, backend, family);
                }
            }
            damage::assert_none(&topology).unwrap();
        }
    }
}

#[test]
fn packets_to_the_vip_reach_the_balancer() {
    for topology in topologies(false).into_iter().chain(topologies(true)) {
        let balancer = &topology.balancer.namespace;
        let Pair { v4, v6 } = topology.vip;
        let own = [
            format!("addr add {v4}/32 dev lo"),
            format!("addr add {v6}/128 dev lo nodad"),
        ];
        balancer.ip(own).unwrap();
        balancer.wait_until_local(&[v6]).unwrap();
        for family in Family::ALL {
            let vip = topology.vip.of(family);
            let service = SocketAddr::new(vip, 80);
            let _listener = balancer
                .enter(|| TcpListener::bind(service))
                .unwrap()
                .unwrap();
            connect(&topology.client.namespace, service).unwrap();
        }
    }
}

#[test]
fn the_balancer_forwards_only_where_told_to() {
    let topology = Topology::two_armed(Options::default()).unwrap();
    let backend = &topology.backends[0];
    for family in Family::ALL {
        let server = SocketAddr::new(backend.link.address.of(family), 80);
        let _listener = backend
            .namespace
            .enter(|| TcpListener::bind(server))
            .unwrap()
            .unwrap();
        connect(&topology.client.namespace, server).unwrap_err();
        connect(&topology.balancer.namespace, server).unwrap();
    }
}

#[test]
fn native_xdp_can_be_attached_where_the_balancer_will() {
    for topology in topologies(false) {
        let mut pass_all = PassAll::load().unwrap();
        for interface in topology.interfaces() {
            pass_all
                .attach(&topology.balancer.namespace, interface)
                .unwrap();
        }
        echo_transfer(&topology.client, &topology.backends[0], Family::V4);
        damage::assert_none(&topology).unwrap();
    }
}

#[test]
fn interfaces_have_the_addresses_that_the_topology_tells() {
    let topology = Topology::two_armed(forwarding(true)).unwrap();
    let hosts = std::iter::once(&topology.client).chain(&topology.backends);
    for Host { namespace, link } in hosts {
        let shown = namespace
            .run(["ip", "addr", "show", &link.interface])
            .unwrap();
        let mac = link.mac.map(|byte| format!("{byte:02x}")).join(":");
        for text in [
            mac,
            link.address.v4.to_string(),
            link.address.v6.to_string(),
        ] {
            assert!(shown.contains(&text), "{text} in {shown}");
        }
    }
}

#[test]
fn real_servers_answer() {
    let topology = Topology::one_armed(forwarding(false)).unwrap();
    let client = &topology.client.namespace;
    let backend = &topology.backends[0];
    let address = backend.link.address.of(Family::V4);

    let mut nginx = Nginx::start(&backend.namespace, "b1", 80).unwrap();
    let page = format!("http://{address}/");
    assert_eq!(client.run(["curl", "-sS", &page]).unwrap(), "b1\n");
    nginx.kill().unwrap();
    client.run(["curl", "-sS", &page]).unwrap_err();

    let _iperf3 = iperf3(&backend.namespace, 5201).unwrap();
    let address = address.to_string();
    client.run(["iperf3", "-c", &address, "-n", "1M"]).unwrap();

    let names = SocketAddr::new(backend.link.address.of(Family::V6), 53);
    let _names = UdpNames::start(&backend.namespace, "b1", names).unwrap();
    let socket = client.enter(|| UdpSocket::bind("[::]:0")).unwrap().unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    socket.send_to(b"who?", names).unwrap();
    let mut answer = [0; 64];
    let (length, _) = socket.recv_from(&mut answer).unwrap();
    assert_eq!(&answer[..length], b"b1 who?");
}

#[test]
fn damage_is_seen() {
    let topology = Topology::two_armed(forwarding(false)).unwrap();
    let backend = &topology.backends[0];
    // Ports 5000 and 5000, nine bytes, a wrong checksum, and an `A`; by hand, because the offload
    // that a socket uses would mend it.
    let datagram = [0x13, 0x88, 0x13, 0x88, 0, 9, 0x0b, 0xad, 0x41];
    let target = SockaddrIn::from(SocketAddrV4::new(backend.link.address.v4, 0));
    let raw = || {
        let socket = socket(
            AddressFamily::Inet,
            SockType::Raw,
            SockFlag::empty(),
            SockProtocol::Udp,
        )?;
        sendto(socket.as_raw_fd(), &datagram, &target, MsgFlags::empty())
    };
    topology.client.namespace.enter(raw).unwrap().unwrap();
    let seen = eventually("the datagram arrives", Duration::from_secs(5), || {
        Some(damage::received(&backend.namespace).unwrap()).filter(|received| !received.is_empty())
    });
    assert_eq!(seen.unwrap()["UdpInCsumErrors"], 1);
}

/// What this process has left in `folder` with a name like that of `name`.
fn left(folder: &str, name: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().flatten();
    entries
        .map(|entry| entry.path())
        .filter(|path| {
            path.file_name()
                .is_some_and(|file| file.to_string_lossy().starts_with(name))
        })
        .collect()
}

#[test]
fn guards_remove_everything() {
    let topology = Topology::one_armed(Options::default()).unwrap();
    let lab = topology.client.namespace.name().replace("-client", "-");
    let sleep = topology.client.namespace.spawn("sleep", &["1000"]).unwrap();
    let process = format!("/proc/{}", sleep.id());
    assert_eq!(left("/run/netns", &lab).len(), 6);
    assert!(Path::new(&process).exists());
    drop(sleep);
    drop(topology);
    assert_eq!(left("/run/netns", &lab), Vec::<PathBuf>::new());
    assert!(!Path::new(&process).exists());
}

#[test]
fn guards_remove_everything_on_panic_too() {
    let name = unique_name("xlb-panic");
    let panicked = catch_unwind(|| {
        let namespace = Namespace::new(&name).unwrap();
        let _sleep = namespace.spawn("sleep", &["1000"]).unwrap();
        assert_eq!(left("/run/netns", &name).len(), 1);
        namespace.enter(|| panic!("inside")).unwrap()
    });
    assert_eq!(*panicked.unwrap_err().downcast::<&str>().unwrap(), "inside");
    assert_eq!(left("/run/netns", &name), Vec::<PathBuf>::new());
}

#[test]
fn a_namespace_is_never_shared() {
    let name = unique_name("xlb-twice");
    let _first = Namespace::new(&name).unwrap();
    let second = Namespace::new(&name).unwrap_err();
    assert!(second.to_string().contains("File exists"), "{second}");
    assert_eq!(left("/run/netns", &name).len(), 1);
}

#[test]
fn errors_say_what_to_do() {
    let name = unique_name("xlb-errors");
    let namespace = Namespace::new(&name).unwrap();
    let error = namespace
        .ip(["link set lo up", "link set nothere up"])
        .unwrap_err();
    let LabError::Failed { line, message } = error else {
        panic!("{error}");
    };
    assert_eq!(line, format!("ip -netns {name} link set nothere up"));
    assert!(message.contains("nothere"), "{message}");
}
