//! Every kind of probe against a real server, with each way of failing.

use std::{
    fmt::Write as _,
    fs, io,
    net::{IpAddr, SocketAddr, TcpListener},
    path::Path,
    process::Stdio,
    sync::{
        Arc, Barrier,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use lb_tests::{
    config::{self, Service},
    daemon::Xlb,
    fleet::{Fleet, WEB},
    servers::wait_for_tcp,
    wait::eventually,
};
use lb_userspace::lab::{Family, Host, Namespace, Options, Process, Topology};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd,
};
use serde_json::Value;
use tempfile::TempDir;

use crate::site::{SOON, backend, routed, start, wait_for_state, wait_until_whole};

const HTTP: u16 = 8081;
/// HTTPS with a good certificate, an expired one, and one of nobody's.
const HTTPS: [u16; 3] = [8443, 8444, 8445];
const NAMES: u16 = 53;
const GRPC: u16 = 2379;
/// The same over TLS.
const GRPCS: u16 = 2389;
/// It says that it serves, and that it does not: with and without TLS.
const HEALTHY: u16 = 8092;
const SICK: [u16; 2] = [8093, 8446];
/// It accepts, and says nothing.
const SILENT: u16 = 8090;
/// It resets what it accepted.
const RESETS: u16 = 8091;
const CLOSED: u16 = 8099;

/// A host with one server of each kind.
struct Servers {
    _processes: Vec<Process>,
    folder: TempDir,
}

impl Servers {
    fn start(host: &Host) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let namespace = &host.namespace;
        // Each refused datagram is to be told of, not one a second.
        let told = "net.ipv4.icmp_ratelimit=0";
        namespace.run(["sysctl", "-w", told]).unwrap();
        certificates(folder.path());
        let nginx = nginx(namespace, folder.path());
        let dnsmasq = dnsmasq(namespace, host.link.address.of(Family::V4));
        let etcds = [
            etcd(namespace, folder.path()),
            etcd_over_tls(namespace, folder.path()),
        ];
        accept(namespace, SILENT, |stream| {
            // For as long as the test runs.
            std::mem::forget(stream);
            Ok(())
        });
        accept(namespace, RESETS, |stream| {
            socket2::SockRef::from(&stream).set_linger(Some(std::time::Duration::ZERO))
        });
        for port in [HTTP, HTTPS[0], GRPC, GRPCS, SILENT, RESETS] {
            wait_for_tcp(namespace, SocketAddr::from(([127, 0, 0, 1], port))).unwrap();
        }
        Self {
            _processes: [nginx, dnsmasq].into_iter().chain(etcds).collect(),
            folder,
        }
    }
}

/// Answers connections to a port of a namespace, until the test ends.
fn accept(
    namespace: &Namespace,
    port: u16,
    answer: impl Fn(std::net::TcpStream) -> io::Result<()> + Send + 'static,
) {
    let listen = || TcpListener::bind(("0.0.0.0", port)).unwrap();
    let listener = namespace.enter(listen).unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            // The other side may have gone.
            drop(stream.and_then(&answer));
        }
    });
}

/// `ca.pem`, and the keys and certificates of three servers.
fn certificates(folder: &Path) {
    let names = || vec!["www.example.org".to_owned()];
    let mut authority = CertificateParams::new(vec![]).unwrap();
    authority
        .distinguished_name
        .push(DnType::CommonName, "an authority");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
    fs::write(folder.join("ca.pem"), authority.pem()).unwrap();
    let write = |port: u16, params: CertificateParams, is_signed: bool| {
        let key = KeyPair::generate().unwrap();
        let certificate = if is_signed {
            params.signed_by(&key, &authority)
        } else {
            params.self_signed(&key)
        };
        fs::write(
            folder.join(format!("{port}.pem")),
            certificate.unwrap().pem(),
        )
        .unwrap();
        fs::write(folder.join(format!("{port}.key")), key.serialize_pem()).unwrap();
    };
    let params = || CertificateParams::new(names()).unwrap();
    let mut expired = params();
    expired.not_after = date_time_ymd(2020, 1, 1);
    let [good, old, own] = HTTPS;
    write(good, params(), true);
    write(old, expired, true);
    write(own, params(), false);
}

fn nginx(namespace: &Namespace, folder: &Path) -> Process {
    let at = folder.display();
    let mut tls = String::new();
    for port in HTTPS {
        writeln!(
            tls,
            "server {{ listen {port} ssl; ssl_certificate {at}/{port}.pem; \
             ssl_certificate_key {at}/{port}.key; return 200 \"secret\\n\"; }}"
        )
        .unwrap();
    }
    fs::write(folder.join("large"), vec![b'x'; 1 << 20]).unwrap();
    let http2 = [
        grpc(folder, HEALTHY, "", SERVING),
        sick(folder, 0),
        sick(folder, 1),
    ]
    .concat();
    let file = format!(
        "daemon off; master_process off; user root; pid {at}/pid; error_log {at}/error.log;\n\
         events {{}}\n\
         http {{\n\
         access_log off;\n\
         client_body_temp_path {at}/body;\n\
         map $http_x_probe $greeting {{ default stranger; xlb friend; }}\n\
         server {{\n\
         listen {HTTP};\n\
         root {at};\n\
         location = /health {{ return 200 \"status: $greeting of $host\\n\"; }}\n\
         location = /moved {{ return 302 /health; }}\n\
         location = /sick {{ return 503; }}\n\
         location = /post {{ if ($request_method != POST) {{ return 405; }} return 204; }}\n\
         location = /drip {{ limit_rate 10; try_files /large =404; }}\n\
         }}\n{tls}{http2}}}\n"
    );
    fs::write(folder.join("nginx.conf"), file).unwrap();
    let mut command = namespace.command("nginx");
    command.arg("-c").arg(folder.join("nginx.conf"));
    command.arg("-p").arg(folder);
    Process::start(&mut command).unwrap()
}

/// `grpc.health.v1.ServingStatus`.
const SERVING: u8 = 1;
const NOT_SERVING: u8 = 2;

/// A server of `grpc.health.v1` whose answer is always the same: a message in a file, and a status in a trailer.
fn grpc(folder: &Path, port: u16, tls: &str, status: u8) -> String {
    let root = folder.join(format!("grpc{port}"));
    let pages = root.join("grpc.health.v1.Health");
    fs::create_dir_all(&pages).unwrap();
    // Not compressed, two bytes: field 1, a number.
    let message = [0, 0, 0, 0, 2, 1 << 3, status];
    fs::write(pages.join("Check"), message).unwrap();
    format!(
        "server {{ listen {port} http2{tls}; root {}; default_type application/grpc; \
         error_page 405 =200 $uri; add_trailer grpc-status 0; }}\n",
        root.display()
    )
}

fn sick(folder: &Path, which: usize) -> String {
    let good = folder.join(HTTPS[0].to_string());
    let at = good.display();
    let tls = format!(" ssl; ssl_certificate {at}.pem; ssl_certificate_key {at}.key");
    grpc(folder, SICK[which], ["", &tls][which], NOT_SERVING)
}

/// It knows one name, and refuses what it would have to ask others for.
fn dnsmasq(namespace: &Namespace, address: IpAddr) -> Process {
    let mut command = namespace.command("dnsmasq");
    command.args([
        "--keep-in-foreground",
        "--conf-file=/dev/null",
        "--no-resolv",
        "--no-hosts",
        "--pid-file=",
        "--user=root",
        "--bind-interfaces",
        "--host-record=www.example.org,192.0.2.80,2001:db8::80",
        "--local=/example.org/",
    ]);
    command.arg(format!("--listen-address={address}"));
    Process::start(&mut command).unwrap()
}

/// Its server speaks `grpc.health.v1`.
fn etcd(namespace: &Namespace, folder: &Path) -> Process {
    let mut command = namespace.command("etcd");
    command.arg("--data-dir").arg(folder.join("etcd"));
    command.args(["--listen-client-urls", "http://0.0.0.0:2379"]);
    command.args(["--advertise-client-urls", "http://127.0.0.1:2379"]);
    command.args(["--listen-peer-urls", "http://127.0.0.1:2380"]);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    Process::start(&mut command).unwrap()
}

fn etcd_over_tls(namespace: &Namespace, folder: &Path) -> Process {
    let mut command = namespace.command("etcd");
    command.arg("--data-dir").arg(folder.join("etcd-over-tls"));
    command.args(["--listen-client-urls", &format!("https://0.0.0.0:{GRPCS}")]);
    command.args([
        "--advertise-client-urls",
        &format!("https://127.0.0.1:{GRPCS}"),
    ]);
    command.args(["--listen-peer-urls", "http://127.0.0.1:2390"]);
    let good = HTTPS[0];
    command
        .arg("--cert-file")
        .arg(folder.join(format!("{good}.pem")));
    command
        .arg("--key-file")
        .arg(folder.join(format!("{good}.key")));
    command.stdout(Stdio::null()).stderr(Stdio::null());
    Process::start(&mut command).unwrap()
}

/// A probe, and how it ends: `kind outcome`.
type Case = (String, &'static str);

fn over_http() -> Vec<Case> {
    let http = |more: &str| of("http", HTTP, more);
    vec![
        (http("path: /health"), "http ok"),
        (
            http("path: /health, host: a.example, body: \"stranger of a.example\""),
            "http ok",
        ),
        (
            http("path: /health, headers: { X-Probe: xlb }, body_regex: \"^status: fr\""),
            "http ok",
        ),
        (
            http("path: /health, body: friend"),
            "http unexpected answer",
        ),
        (http("path: /moved"), "http ok"),
        (http("path: /moved, status: 200-299"), "http status 302"),
        (http("path: /sick"), "http status 503"),
        (http("path: /sick, status: [200, 500-599]"), "http ok"),
        (http("path: /post"), "http status 405"),
        (http("path: /post, method: POST, status: 204"), "http ok"),
        (
            http("path: /drip, body: never, timeout: 1s"),
            "http timeout",
        ),
        (of("http", CLOSED, "path: /"), "http refused"),
        (of("http", SILENT, "path: /"), "http timeout"),
        (of("http", RESETS, "path: /"), "http reset"),
        (of("http", GRPC, "path: /health, body: \"true\""), "http ok"),
    ]
}

fn over_tls(ca: &str) -> Vec<Case> {
    let [good, expired, own] = HTTPS;
    let https = |port, more: &str| of("https", port, more);
    let trusted = |port, more: &str| https(port, &format!("ca: {ca}, {more}"));
    vec![
        (
            trusted(good, "sni: www.example.org, body: secret"),
            "https ok",
        ),
        (trusted(good, "host: www.example.org"), "https ok"),
        (
            trusted(good, "sni: other.example"),
            "https certificate for other names",
        ),
        (
            trusted(good, "path: /"),
            "https certificate for other names",
        ),
        (
            trusted(expired, "sni: www.example.org"),
            "https certificate expired",
        ),
        (
            trusted(own, "sni: www.example.org"),
            "https certificate of an unknown authority",
        ),
        (
            https(good, "sni: www.example.org"),
            "https certificate of an unknown authority",
        ),
        (https(own, "verify: false"), "https ok"),
        (https(expired, "verify: false"), "https ok"),
        (https(HTTP, "verify: false"), "https no TLS handshake"),
        (https(SILENT, "verify: false"), "https timeout"),
        (
            https(good, "verify: false, status: 404"),
            "https status 200",
        ),
        (
            https(good, "ca: /nowhere.pem"),
            "https not made, this host's fault: No such file",
        ),
    ]
}

fn over_grpc(ca: &str) -> Vec<Case> {
    let grpc = |port, more: &str| of("grpc", port, more);
    let tls = |port, more: &str| of("grpc", port, &format!("tls: true, {more}"));
    let trusted = |port| tls(port, &format!("ca: {ca}, sni: www.example.org"));
    let [plain, sealed] = SICK;
    vec![
        (format!("type: grpc, port: {GRPC}"), "grpc ok"),
        (grpc(GRPC, "service: nothing"), "grpc gRPC status 5"),
        (grpc(HTTP, "service: x"), "grpc malformed answer"),
        (grpc(CLOSED, "service: x"), "grpc refused"),
        (grpc(SILENT, "service: x"), "grpc timeout"),
        (grpc(HEALTHY, "service: x"), "grpc ok"),
        (grpc(plain, "service: x"), "grpc not serving"),
        (trusted(sealed), "grpc not serving"),
        (trusted(GRPCS), "grpc ok"),
        (tls(GRPCS, "verify: false"), "grpc ok"),
        (
            tls(GRPCS, "verify: false, service: nothing"),
            "grpc gRPC status 5",
        ),
        (
            tls(GRPCS, "sni: www.example.org"),
            "grpc certificate of an unknown authority",
        ),
        (
            tls(GRPCS, &format!("ca: {ca}")),
            "grpc certificate for other names",
        ),
        (tls(GRPC, "verify: false"), "grpc closed before it answered"),
        (tls(SILENT, "verify: false"), "grpc timeout"),
    ]
}

fn of(kind: &str, port: u16, more: &str) -> String {
    format!("type: {kind}, port: {port}, {more}")
}

fn over_udp() -> Vec<Case> {
    let dns = |more: &str| of("dns", NAMES, more);
    vec![
        (dns("query: www.example.org"), "dns ok"),
        (dns("query: www.example.org, answer: 192.0.2.80"), "dns ok"),
        (
            dns("query: www.example.org, answer: 192.0.2.81"),
            "dns unexpected answer",
        ),
        (
            dns("query: www.example.org, record: AAAA, answer: \"2001:db8::80\""),
            "dns ok",
        ),
        (
            dns("query: www.example.org, record: MX"),
            "dns unexpected answer",
        ),
        (dns("query: no.example.org"), "dns rcode 3"),
        (dns("query: no.example.org, rcode: NXDOMAIN"), "dns ok"),
        (dns("query: www.example.com, rcode: REFUSED"), "dns ok"),
        (of("dns", CLOSED, "query: www.example.org"), "dns refused"),
        (of("udp", CLOSED, "send: ping"), "udp refused"),
    ]
}

fn others() -> Vec<Case> {
    let page = "send: \"GET / HTTP/1.0\\r\\n\\r\\n\", expect: \"HTTP/1.1\"";
    let mail = "send: \"HELO\\r\\n\", expect: \"250\"";
    let exec = |command: &str| format!("type: exec, command: [{command}]");
    vec![
        (of("tcp", HTTP, page), "tcp ok"),
        (of("tcp", HTTP, mail), "tcp unexpected answer"),
        (of("tcp", SILENT, "expect: SSH"), "tcp timeout"),
        (of("tcp", RESETS, "expect: SSH"), "tcp reset"),
        (exec("/bin/true"), "exec ok"),
        (exec("/bin/false"), "exec exit code 1"),
        (exec("/bin/sleep, \"100\""), "exec timeout"),
    ]
}

#[test]
fn every_kind_of_probe_tells_how_it_ended() {
    let topology = Topology::two_armed(routed()).unwrap();
    let servers = Servers::start(&topology.backends[0]);
    let ca = servers.folder.path().join("ca.pem");
    let cases = [
        over_http(),
        over_tls(ca.to_str().unwrap()),
        over_grpc(ca.to_str().unwrap()),
        over_udp(),
        others(),
    ]
    .concat();
    let address = topology.backends[0].link.address.of(Family::V4);
    let vip = topology.vip.of(Family::V4);
    let mut file = config::interfaces(&topology) + "services:\n";
    for (number, (probe, _)) in cases.iter().enumerate() {
        let timeout = if probe.contains("timeout") {
            ""
        } else {
            ", timeout: 500ms"
        };
        writeln!(
            file,
            "  - {{ name: s{number}, vip: \"{vip}:{}/tcp\", probe: {{ {probe}, interval: 1s{timeout} }}, \
             backends: [\"{address}:{}\"] }}",
            1000 + number,
            9000 + number
        )
        .unwrap();
    }
    let xlb = Xlb::start(&topology.balancer.namespace, &file).unwrap();
    let strays = || {
        let list = xlb.json(&["backend", "list"]).unwrap();
        let items = list["items"].as_array().unwrap().iter();
        let ended = items.zip(&cases).filter_map(|(item, (probe, end))| {
            let last = item["last_probe"].as_str().unwrap_or("nothing");
            let state = match end {
                end if end.ends_with(" ok") => "up",
                // What this host could not ask says nothing.
                end if end.contains("not made") => "unknown",
                _ => "down",
            };
            let is_it = last.starts_with(end) && item["state"] == state;
            (!is_it).then(|| format!("{probe}: {end}, not {last}, {}", item["state"]))
        });
        ended.collect::<Vec<_>>()
    };
    let none = || strays().is_empty().then_some(());
    eventually("every probe has ended", SOON, none).unwrap_or_else(|_| panic!("{:#?}", strays()));
}

#[test]
fn a_backend_is_shown_with_its_last_probes() {
    let topology = Topology::two_armed(routed()).unwrap();
    let mut fleet = Fleet::start(&topology).unwrap();
    let xlb = start(&topology, &[Service::WEB]);
    fleet.kill(2).unwrap();
    wait_for_state(&xlb, "web", "b2", "down");
    let address = SocketAddr::new(topology.backends[1].link.address.of(Family::V4), WEB);
    let shown = xlb
        .json(&["backend", "show", "web", &address.to_string()])
        .unwrap();
    let item = &shown["items"][0];
    assert_eq!(
        [&shown["kind"], &item["name"], &item["state"]],
        ["BackendDetailList", "b2", "down"]
    );
    let probes = item["last_probes"].as_array().unwrap();
    let outcomes: Vec<_> = probes.iter().map(|probe| &probe["outcome"]).collect();
    let failed = outcomes.iter().take_while(|it| **it == "refused").count();
    assert!((2..=12).contains(&failed), "{outcomes:?}");
    assert!(outcomes[failed..].iter().all(|it| *it == "ok"));
    let ago = |probe: &Value| probe["ago_ms"].as_u64().unwrap();
    assert!(probes.is_sorted_by_key(ago), "{probes:#?}");
    // Since the second failure.
    assert_eq!(item["state_ms"].as_u64(), Some(ago(&probes[failed - 2])));

    let table = xlb.cli(&["backend", "show", "web", "b2"]).unwrap().stdout;
    let table = String::from_utf8(table).unwrap();
    assert!(table.contains("TIME AGO  RESULT"), "{table}");
    let nobody = xlb.cli(&["backend", "show", "web", "b9"]).unwrap();
    assert_eq!(nobody.status.code(), Some(5));
}

/// As many as hang: connections that nobody answers, and commands that do not end.
const SILENT_ONES: usize = 200;
const SLEEPERS: usize = 80;

/// A service for each probe that hangs, on a VIP's port of its own, and `flag`, which is up while a file is there.
fn hanging(topology: &Topology, flag: &Path) -> String {
    let vip = topology.vip.of(Family::V4);
    let backend = first_backend(topology);
    let silent = (0..SILENT_ONES).map(|number| {
        format!("type: tcp, port: {SILENT}, send: \"{number}\", expect: never, interval: 500ms")
    });
    let sleepers = (0..SLEEPERS).map(|number| {
        format!(
            "type: exec, command: [/bin/sleep, \"{}\"], timeout: 1s",
            100 + number
        )
    });
    let flag = format!(
        "type: exec, command: [/bin/ls, {}], timeout: 1s, rise: 1, fall: 1",
        flag.display()
    );
    let names = (0..).map(|number| format!("hangs{number}"));
    let hanging = names.zip(silent.chain(sleepers));
    let services = hanging.chain([("flag".to_owned(), flag)]);
    let lines = (1000..).zip(services).map(|(port, (name, probe))| {
        format!(
            "  - {{ name: {name}, vip: \"{vip}:{port}/tcp\", probe: {{ {probe} }}, backends: [\"{backend}\"] }}\n"
        )
    });
    lines.collect()
}

#[test]
fn those_that_hang_keep_nobody_waiting() {
    let topology = Topology::two_armed(routed()).unwrap();
    let mut fleet = Fleet::start(&topology).unwrap();
    accept(&topology.backends[0].namespace, SILENT, |stream| {
        // For as long as the test runs.
        std::mem::forget(stream);
        Ok(())
    });
    let folder = tempfile::tempdir().unwrap();
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(folder.path(), open).unwrap();
    let flag = folder.path().join("flag");
    fs::write(&flag, "").unwrap();
    let file = config::yaml(&topology, &[Service::WEB]) + &hanging(&topology, &flag);
    let xlb = Xlb::start(&topology.balancer.namespace, &file).unwrap();
    let backend = first_backend(&topology);
    wait_for_state(&xlb, "flag", &backend, "up");
    for number in 1..=3 {
        wait_for_state(&xlb, "web", &format!("b{number}"), "up");
    }
    let all_hang = || {
        let list = xlb.json(&["backend", "list"]).unwrap();
        let items = list["items"].as_array().unwrap().iter();
        let hung = items.filter(|item| item["probes"]["timeout"].as_u64() >= Some(3));
        (hung.count() == SILENT_ONES + SLEEPERS).then_some(())
    };
    eventually("all of them hang, again and again", SOON * 2, all_hang).unwrap();
    let before = events_of_the_good(&xlb).len();
    fleet.kill(2).unwrap();
    wait_for_state(&xlb, "web", "b2", "down");
    fs::remove_file(&flag).unwrap();
    wait_for_state(&xlb, "flag", &backend, "down");
    fleet.revive(&topology, 2).unwrap();
    wait_for_state(&xlb, "web", "b2", "up");
    fs::write(&flag, "").unwrap();
    wait_for_state(&xlb, "flag", &backend, "up");
    assert_eq!(
        events_of_the_good(&xlb)[before..],
        ["web down", "flag down", "web up", "flag up"]
    );
    let list = xlb.json(&["backend", "list"]).unwrap();
    let items = list["items"].as_array().unwrap().iter();
    let good = items.filter(|item| item["service"] == "web" || item["service"] == "flag");
    for item in good {
        assert_eq!(item["probes"]["timeout"], 0, "{item}");
        assert_eq!(item["probes"]["not_made"], 0, "{item}");
    }
}

/// Where the first backend's web server listens, which is its name, too.
fn first_backend(topology: &Topology) -> String {
    SocketAddr::new(topology.backends[0].link.address.of(Family::V4), WEB).to_string()
}

/// Services and what became of their backends, in order.
fn events_of_the_good(xlb: &Xlb<'_>) -> Vec<String> {
    let events = xlb.json(&["events"]).unwrap();
    let items = events["items"].as_array().unwrap().iter();
    let of = items.filter_map(|event| {
        let service = event["service"].as_str()?;
        let what = event["what"].as_str()?;
        let is_good = ["web", "flag"].contains(&service) && ["up", "down"].contains(&what);
        is_good.then(|| format!("{service} {what}"))
    });
    of.collect()
}

/// Longer than the kernel asks for a neighbour.
const PATIENT: &str = "{ interval: 4s, timeout: 4s, rise: 1, fall: 1 }";

/// Waits until the last probe of a backend ended so, and it is down for that.
fn wait_for_end(xlb: &Xlb<'_>, name: &str, end: &str) {
    let reached = || {
        let backend = backend(xlb, "web", name);
        let last = backend["last_probe"].as_str().unwrap_or("nothing");
        (last.starts_with(end) && backend["state"] == "down").then_some(())
    };
    let what = format!("{name}: {end}");
    eventually(&what, 3 * SOON, reached)
        .unwrap_or_else(|error| panic!("{error}: {}", backend(xlb, "web", name)));
}

#[test]
fn a_route_that_is_gone_is_told() {
    let topology = Topology::two_armed(Options::default()).unwrap();
    let _fleet = Fleet::start(&topology).unwrap();
    let xlb = start(&topology, &[Service::WEB]);
    let balancer = &topology.balancer.namespace;
    let back = &topology.balancer.back.interface;
    let shown = balancer
        .run(["ip", "-4", "route", "show", "dev", back])
        .unwrap();
    let route: Vec<&str> = shown.split_whitespace().collect();
    balancer
        .run([&["ip", "route", "del"], &route[..1]].concat())
        .unwrap();
    for name in ["b1", "b2", "b3"] {
        wait_for_end(&xlb, name, "tcp unreachable");
    }
    let again = [&["ip", "route", "add"], &route[..], &["dev", back]].concat();
    balancer.run(again).unwrap();
    wait_until_whole(&xlb);
}

#[test]
fn a_neighbour_that_is_gone_is_told() {
    let topology = Topology::two_armed(routed()).unwrap();
    let _fleet = Fleet::start(&topology).unwrap();
    let web = Service {
        probe: PATIENT,
        ..Service::WEB
    };
    let xlb = start(&topology, &[web]);
    let Host { namespace, link } = &topology.backends[0];
    let address = format!("{}/24", link.address.of(Family::V4));
    let change = |verb| namespace.run(["ip", "address", verb, &address, "dev", &link.interface]);
    change("del").unwrap();
    wait_for_end(&xlb, "b1", "tcp unreachable");
    assert_eq!(backend(&xlb, "web", "b2")["state"], "up");
    change("add").unwrap();
    wait_for_state(&xlb, "web", "b1", "up");
}

/// The host is gone while it answers: nothing ends the connection, and nobody would ever know.
#[test]
fn a_connection_that_is_open_on_one_side_only_is_not_waited_for() {
    const GREETS: u16 = 8094;
    let topology = Topology::two_armed(routed()).unwrap();
    let Host { namespace, link } = &topology.backends[0];
    let is_doomed = Arc::new(AtomicBool::new(false));
    let both = Arc::new(Barrier::new(2));
    accept(namespace, GREETS, {
        let (is_doomed, both) = (Arc::clone(&is_doomed), Arc::clone(&both));
        move |mut stream| {
            if is_doomed.load(Ordering::Relaxed) {
                both.wait();
                // The link goes.
                both.wait();
            }
            io::Write::write_all(&mut stream, b"SSH-2.0\r\n")
        }
    });
    let web = Service {
        backend_port: GREETS,
        weights: &[1],
        probe: "{ type: tcp, expect: SSH, interval: 2s, timeout: 2s, rise: 1, fall: 1 }",
        ..Service::WEB
    };
    let xlb = start(&topology, &[web]);
    is_doomed.store(true, Ordering::Relaxed);
    both.wait();
    namespace
        .run(["ip", "link", "set", &link.interface, "down"])
        .unwrap();
    both.wait();
    wait_for_end(&xlb, "b1", "tcp timeout");
}
