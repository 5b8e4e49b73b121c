//! What holds for every file, good or bad.

#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "tests panic, their helpers too"
)]

use std::{collections::BTreeSet, fmt::Write, net::Ipv4Addr, time::Duration};

use lb_userspace::config::{
    self, Diagnostic,
    model::{
        Affinity, Announce, Backend, Config, Echo, FullNat, Icmp, Interface, Mode, OnDown, Passive,
        PassiveAct, Path, PortRange, Ports, Probe, Protocol, Require, Role, Service, Start, Tunnel,
        ViaVip, Vip, XdpMode,
    },
};
use proptest::{collection::vec, prelude::*, sample::select};

proptest! {
    #[test]
    fn any_bytes_are_read_without_panic(bytes in vec(any::<u8>(), 0..400)) {
        check(&bytes);
    }

    #[test]
    fn any_yaml_tokens_are_read_without_panic(tokens in vec(select(TOKENS), 0..80)) {
        check(tokens.concat().as_bytes());
    }

    #[test]
    fn any_damage_to_a_good_file_is_reported_inside_of_it(
        at in any::<prop::sample::Index>(),
        removed in 0_usize..12,
        inserted in prop_oneof![
            select(TOKENS).prop_map(str::to_owned),
            "[ -~]{0,6}",
            any::<char>().prop_map(String::from),
        ],
    ) {
        let start = at.index(GOOD.len());
        let end = (start + removed).min(GOOD.len());
        let damaged = [&GOOD.as_bytes()[..start], inserted.as_bytes(), &GOOD.as_bytes()[end..]];
        check(&damaged.concat());
    }

    #[test]
    fn what_is_written_is_what_is_read(config in configs()) {
        let text = to_yaml(&config);
        let parsed = config::parse("xlb.yaml", text.as_bytes());
        let parsed = parsed.unwrap_or_else(|report| panic!("{text}\n{report}"));
        prop_assert_eq!(parsed.config, config);
    }
}

/// Pieces from which nearly right files come about.
const TOKENS: &[&str] = &[
    "interfaces",
    "services",
    "name",
    "vip",
    "backends",
    "probe",
    "weight",
    "direct",
    "hash_seed",
    ": ",
    ":",
    "- ",
    "-",
    "[",
    "]",
    "{",
    "}",
    ", ",
    ",",
    "\n",
    "\n  ",
    "\n    ",
    "\r\n",
    " ",
    "\t",
    "\"",
    "'",
    "&a ",
    "*a",
    "!!str ",
    "# ",
    "|",
    ">",
    "? ",
    "---\n",
    "...\n",
    "%YAML 1.2\n",
    "<<",
    "eth0",
    "203.0.113.10:80/tcp",
    "10.0.0.11:8080",
    "10.0.0.11:9000-9099",
    "203.0.113.10:*/udp",
    "mode",
    "gue",
    "tunnel",
    "source",
    "full_nat",
    "ports",
    "icmp",
    "mss",
    "idle",
    "drain_deadline",
    "on_down",
    "quic",
    "affinity",
    "passive",
    "50%",
    "prefix_v4",
    "[2001:db8::1]:80",
    "1s",
    "0",
    "-1",
    "0.5",
    "~",
    "true",
    "é",
    "日本",
    "\u{feff}",
    "\u{85}",
    "\u{2028}",
    "\0",
    "\u{1b}",
];

const GOOD: &str = r#"# comment: é
interfaces: [eth0, { name: eth1, xdp: native, role: backend }]
hash_seed: "edge 1"
icmp: { echo: pass, rate: 10 }
direct: [10.9.0.0/16]
services:
  - name: web
    vip: 203.0.113.10:80/tcp
    probe: &p { interval: 200ms, fall: 2 }
    slots: 64
    backends:
      - 10.0.0.11:8080
      - { address: 10.0.0.12:8080, name: b2, weight: 3 }
  - name: far
    vip: 203.0.113.11:8000-8099/tcp
    mode: gue
    tunnel: { source: 192.0.2.0/24, port: 6080 }
    full_nat: { sources: [192.0.2.7], ports: 2000-2999 }
    mss: 1400
    idle: 10m
    drain_deadline: 2h
    on_down: keep
    affinity: { by: source, timeout: 1h, prefix_v4: 24 }
    probe: { port: 80 }
    backends: ["[2001:db8:2::1]", { address: 10.1.0.1:8000-8099, mode: full-nat }]
  - name: web6
    vip: "[2001:db8::10]:80/tcp"
    probe: *p
    backends: ["[2001:db8:1::1]:80"]
"#;

/// Reads `bytes`; whatever is said about them must have its place in them, and be renderable.
fn check(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    match config::parse("xlb.yaml", bytes) {
        Ok(parsed) => {
            assert!(!parsed.config.services.is_empty() && !parsed.config.interfaces.is_empty());
            parsed
                .notes
                .iter()
                .for_each(|note| check_place(note, &text));
        }
        Err(report) => {
            assert!(report.count() > 0);
            report
                .diagnostics()
                .iter()
                .for_each(|mistake| check_place(mistake, &text));
            assert!(report.render(false).ends_with("in xlb.yaml\n"));
        }
    }
}

fn check_place(diagnostic: &Diagnostic, text: &str) {
    let lines: Vec<_> = text
        .strip_prefix('\u{feff}')
        .unwrap_or(text)
        .split('\n')
        .collect();
    let Diagnostic { line, column, .. } = *diagnostic;
    let rest: String = lines[line - 1].chars().skip(column - 1).collect();
    assert!(rest.starts_with(&diagnostic.text), "{diagnostic:#?}");
    for label in &diagnostic.labels {
        assert!(label.column <= lines[label.line - 1].chars().count() + 1);
    }
    assert!(
        diagnostic
            .hint
            .as_deref()
            .is_some_and(|hint| !hint.is_empty())
    );
}

fn configs() -> impl Strategy<Value = Config> {
    let interfaces = prop::collection::btree_set("[a-z]{1,9}[0-9.]{0,3}[a-z]", 1..4);
    let interface = (
        select(vec![XdpMode::Auto, XdpMode::Native, XdpMode::Generic]),
        select(vec![Role::Both, Role::Client, Role::Backend]),
    );
    let parts = (
        vips(),
        slots(),
        probes(),
        forwarding(),
        connections(),
        backends(),
    );
    let services = vec(parts, 1..5);
    (
        interfaces,
        interface,
        prop::option::of("[ -~]{1,20}"),
        announcements(),
        services,
    )
        .prop_map(
            |(names, (xdp, role), hash_seed, announce, services)| Config {
                interfaces: names
                    .into_iter()
                    .map(|name| Interface { name, xdp, role })
                    .collect(),
                hash_seed,
                direct: vec!["10.9.0.0/16".parse().unwrap()],
                icmp: Icmp {
                    echo: Echo::Pass,
                    rate: 7,
                },
                announce,
                peers: None,
                notify: Vec::new(),
                via_vip: ViaVip::default(),
                services: (1..)
                    .zip(services)
                    .map(|(index, parts)| service(index, parts))
                    .collect(),
            },
        )
}

type ServiceParts = (
    (Protocol, Ports),
    Option<u32>,
    Option<Probe>,
    (Mode, Tunnel, FullNat, u16),
    (Duration, Duration, OnDown, Option<Affinity>),
    BTreeSet<(u8, u16)>,
);

/// VIP and backends have the index of the service in their addresses, so that none is shared.
fn service(
    index: u8,
    (vip, slots, mut probe, forwarding, connections, backends): ServiceParts,
) -> Service {
    let (protocol, ports) = vip;
    let (mode, tunnel, full_nat, mss) = forwarding;
    let (idle, drain_deadline, on_down, affinity) = connections;
    // Only TCP has resets, and only UDP QUIC.
    let is_reset = on_down == OnDown::Reset;
    let is_tcp = protocol == Protocol::Tcp;
    let backends = backends.into_iter().map(|(host, weight)| Backend {
        name: format!("b{host}"),
        address: (Ipv4Addr::new(10, 0, index, host), ports.first()).into(),
        mode: if host % 2 == 0 { mode } else { Mode::Nat },
        weight,
        tier: host % 3,
    });
    if let Some(probe) = &mut probe
        && !matches!(ports, Ports::One(_))
    {
        probe.port.get_or_insert(80);
    }
    Service {
        name: format!("service-{index}"),
        vip: Vip {
            address: Ipv4Addr::new(203, 0, 113, index).into(),
            ports,
            protocol,
        },
        mode,
        slots,
        probe,
        tunnel,
        full_nat,
        mss: (protocol == Protocol::Tcp).then_some(mss),
        idle,
        drain_deadline,
        on_down: if is_reset && !is_tcp {
            OnDown::Rehash
        } else {
            on_down
        },
        quic: is_reset && !is_tcp,
        affinity: affinity.filter(|_| !is_reset),
        announce: index.is_multiple_of(2),
        guards: config::model::Guards::default(),
        recovery: config::model::Recovery::default(),
        passive: passive(index),
        backends: backends.collect(),
    }
}

/// Of every second one, at various rates.
fn passive(index: u8) -> Passive {
    Passive {
        act: if index.is_multiple_of(2) {
            PassiveAct::Eject
        } else {
            PassiveAct::Off
        },
        failing: u32::from(index),
        ..Passive::default()
    }
}

fn announcements() -> impl Strategy<Value = Option<Announce>> {
    let parts = (
        select(vec![1, 77, 252, 256, u32::MAX]),
        193_u8..,
        1_u32..,
        select(vec![Require::All, Require::Any]),
    );
    prop::option::of(
        parts.prop_map(|(table, protocol, metric, require)| Announce {
            table,
            protocol,
            metric,
            require,
        }),
    )
}

fn vips() -> impl Strategy<Value = (Protocol, Ports)> {
    let protocol = select(vec![Protocol::Tcp, Protocol::Udp]);
    let ports = prop_oneof![
        (1_u16..).prop_map(Ports::One),
        ranges().prop_map(Ports::Range),
        Just(Ports::All),
    ];
    (protocol, ports)
}

fn ranges() -> impl Strategy<Value = PortRange> {
    (1_u16..1000, 1000_u16..).prop_map(|(first, last)| PortRange { first, last })
}

fn forwarding() -> impl Strategy<Value = (Mode, Tunnel, FullNat, u16)> {
    let modes = vec![Mode::Nat, Mode::FullNat, Mode::L2Dsr, Mode::Ipip, Mode::Gue];
    let sources = vec![
        "192.0.2.0/24",
        "10.1.0.0/16",
        "2001:db8::/112",
        "192.0.2.7/32",
    ];
    let source = prop::option::of(select(sources).prop_map(|text| text.parse().unwrap()));
    let tunnel = (source, 1_u16..).prop_map(|(source, port)| Tunnel {
        source,
        port,
        second_chance: false,
    });
    let full_nat = ranges().prop_map(|ports| FullNat {
        sources: vec![Ipv4Addr::new(192, 0, 2, 1).into()],
        ports,
    });
    (select(modes), tunnel, full_nat, 536_u16..9000)
}

fn connections() -> impl Strategy<Value = (Duration, Duration, OnDown, Option<Affinity>)> {
    let seconds = |most| (1_u64..=most).prop_map(Duration::from_secs);
    let on_down = select(vec![OnDown::Rehash, OnDown::Reset, OnDown::Keep]);
    let affinity = (seconds(4 * 3600), 1_u8..=32, 1_u8..=128);
    let affinity = affinity.prop_map(|(timeout, prefix_v4, prefix_v6)| Affinity {
        timeout,
        prefix_v4,
        prefix_v6,
    });
    let affinity = prop::option::of(affinity);
    (seconds(4 * 3600), seconds(12 * 3600), on_down, affinity)
}

/// Enough for the backends below, whose weights differ by a factor of 100 at most.
fn slots() -> impl Strategy<Value = Option<u32>> {
    prop::option::of((12_u32..=20).prop_map(|bits| 1 << bits))
}

fn backends() -> impl Strategy<Value = BTreeSet<(u8, u16)>> {
    let weight = prop_oneof![Just(0_u16), 10_u16..=1000];
    prop::collection::btree_map(any::<u8>(), weight, 1..30)
        .prop_map(|backends| backends.into_iter().collect())
}

fn probes() -> impl Strategy<Value = Option<Probe>> {
    let probe = (
        prop::option::of(1_u16..),
        1_u64..100_000,
        0_u64..1000,
        1_u32..=1000,
        1_u32..=1000,
        prop_oneof![Just(Start::Down), Just(Start::Up)],
    );
    prop::option::of(probe.prop_map(|(port, timeout, more, rise, fall, start)| {
        let interval = Duration::from_millis(timeout + more);
        Probe {
            check: std::sync::Arc::default(),
            port,
            interval,
            fast_interval: interval,
            down_interval: interval,
            max_interval: interval,
            timeout: Duration::from_millis(timeout),
            rise,
            fall,
            start,
            feedback: None,
            via_vip: Path::Off,
        }
    }))
}

fn to_yaml(config: &Config) -> String {
    let mut text = String::from("interfaces:\n");
    for Interface { name, xdp, role } in &config.interfaces {
        let (xdp, role) = (quoted(xdp), quoted(role));
        writeln!(
            text,
            "  - {{ name: {}, xdp: {xdp}, role: {role} }}",
            quoted(name)
        )
        .unwrap();
    }
    if let Some(seed) = &config.hash_seed {
        writeln!(text, "hash_seed: {}", quoted(seed)).unwrap();
    }
    writeln!(text, "direct: {}", quoted(&config.direct)).unwrap();
    if let Some(announce) = &config.announce {
        writeln!(text, "announce: {}", quoted(announce)).unwrap();
    }
    writeln!(text, "icmp: {}\nservices:", quoted(&config.icmp)).unwrap();
    for service in &config.services {
        write_service(&mut text, service);
    }
    text
}

fn write_connections(text: &mut String, service: &Service) {
    let (idle, deadline) = (service.idle.as_secs(), service.drain_deadline.as_secs());
    writeln!(text, "    idle: {idle}s\n    drain_deadline: {deadline}s").unwrap();
    let on_down = match service.on_down {
        OnDown::Rehash => "rehash",
        OnDown::Reset => "reset",
        OnDown::Keep => "keep",
    };
    writeln!(text, "    on_down: {on_down}\n    quic: {}", service.quic).unwrap();
    if let Some(affinity) = service.affinity {
        let (timeout, v4, v6) = (
            affinity.timeout.as_secs(),
            affinity.prefix_v4,
            affinity.prefix_v6,
        );
        writeln!(
            text,
            "    affinity: {{ by: source, timeout: {timeout}s, prefix_v4: {v4}, prefix_v6: {v6} }}"
        )
        .unwrap();
    }
}

fn write_service(text: &mut String, service: &Service) {
    writeln!(text, "  - name: {}\n    vip: {}", service.name, service.vip).unwrap();
    writeln!(text, "    mode: {}", quoted(&service.mode)).unwrap();
    writeln!(text, "    tunnel: {}", tunnel_yaml(service.tunnel)).unwrap();
    writeln!(text, "    full_nat: {}", quoted(&service.full_nat)).unwrap();
    write_connections(text, service);
    writeln!(text, "    announce: {}", service.announce).unwrap();
    let Passive { act, failing, .. } = service.passive;
    let act = quoted(&act);
    writeln!(text, "    passive: {{ act: {act}, failing: {failing}% }}").unwrap();
    if let Some(mss) = service.mss {
        writeln!(text, "    mss: {mss}").unwrap();
    }
    if let Some(slots) = service.slots {
        writeln!(text, "    slots: {slots}").unwrap();
    }
    match &service.probe {
        None => writeln!(text, "    probe: none").unwrap(),
        Some(probe) => {
            let (interval, timeout) = (probe.interval.as_millis(), probe.timeout.as_millis());
            let port = probe
                .port
                .map_or(String::new(), |port| format!("port: {port}, "));
            writeln!(
                text,
                "    probe: {{ {port}interval: {interval}ms, timeout: {timeout}ms, rise: {}, fall: {}, \
                 start: {} }}",
                probe.rise,
                probe.fall,
                quoted(&probe.start)
            )
            .unwrap();
        }
    }
    text.push_str("    backends:\n");
    for backend in &service.backends {
        let Backend {
            name,
            address,
            mode,
            weight,
            tier,
        } = backend;
        let (address, mode) = (service.vip.backend(*address), mode.word());
        writeln!(
            text,
            "      - {{ address: {address}, name: {name}, mode: {mode}, weight: {weight}, tier: {tier} }}"
        )
        .unwrap();
    }
}

fn tunnel_yaml(tunnel: Tunnel) -> String {
    let source = tunnel
        .source
        .map(|source| format!("source: \"{source}\", "));
    format!("{{ {}port: {} }}", source.unwrap_or_default(), tunnel.port)
}

/// JSON, which is YAML (YAML 1.2.2 §1.2).
fn quoted(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).unwrap()
}

#[test]
fn reports_stay_small_where_files_are_large() {
    let backends: Vec<_> = (0..20_000)
        .map(|n| format!("10.0.{}.{}:80", n / 250, n % 250 + 1))
        .collect();
    let good = backends.join(", ");
    let head =
        "interfaces: [eth0]\nservices:\n  - { name: web, vip: 203.0.113.10:80/tcp, backends: [";
    let text = format!("{head}{good}, 10.0.0.300:80] }}\n");
    let report = config::parse("xlb.yaml", text.as_bytes()).unwrap_err();
    assert_eq!(report.diagnostics()[0].text, "10.0.0.300");
    assert!(report.render(false).len() < 2000, "{report}");
}

#[test]
fn both_places_of_a_conflict_are_shown_however_far_apart() {
    let service = "  - { name: web, vip: 203.0.113.10:80/tcp, backends: [10.0.0.11:80] }\n";
    let comments = "# between two places that belong together\n".repeat(10_000);
    let text = format!("interfaces: [eth0]\nservices:\n{service}{comments}{service}");
    let report = config::parse("xlb.yaml", text.as_bytes()).unwrap_err();
    let rendered = report.render(false);
    assert_eq!(report.count(), 2, "{rendered}");
    assert!(rendered.contains("xlb.yaml:10004:13") && rendered.contains("xlb.yaml:3:13"));
    assert!(rendered.lines().count() < 50, "{rendered}");
}

#[test]
fn of_very_many_mistakes_a_thousand_are_listed_and_all_are_counted() {
    let backends = "10.0.0.300:80, ".repeat(5000);
    let text = format!(
        "interfaces: [eth0]\nservices: [{{ name: web, vip: 203.0.113.10:80/tcp, backends: [{backends}] }}]"
    );
    let report = config::parse("xlb.yaml", text.as_bytes()).unwrap_err();
    assert_eq!((report.diagnostics().len(), report.count()), (1000, 5000));
    assert!(
        report
            .to_string()
            .ends_with("5000 problems in xlb.yaml, 1000 of them listed\n")
    );
}

#[test]
fn a_service_has_at_most_32000_backends() {
    let service = |count: usize| {
        let backends: Vec<_> = (0..count)
            .map(|n| format!("10.0.{}.{}:80", n / 250, n % 250 + 1))
            .collect();
        let backends = backends.join(", ");
        format!(
            "interfaces: [eth0]\nservices: [{{ name: web, vip: 203.0.113.10:80/tcp, backends: [{backends}] }}]"
        )
    };
    assert!(config::parse("xlb.yaml", service(32_000).as_bytes()).is_ok());
    let report = config::parse("xlb.yaml", service(32_001).as_bytes()).unwrap_err();
    assert_eq!(
        report.diagnostics()[0].message,
        "32001 backends, expected at most 32000"
    );
}

#[test]
fn files_beyond_the_limit_are_refused_unread() {
    let report = config::parse("xlb.yaml", &vec![b'['; config::MAX_BYTES + 1]).unwrap_err();
    assert!(
        report.diagnostics()[0].message.contains("too large"),
        "{report}"
    );
}

#[test]
fn files_that_cannot_be_read_say_why() {
    let folder = tempfile::tempdir().unwrap();
    let missing = config::load(&folder.path().join("xlb.yaml")).unwrap_err();
    assert!(missing.to_string().contains("No such file"), "{missing}");
    let directory = config::load(folder.path()).unwrap_err();
    assert!(directory.to_string().contains("directory"), "{directory}");
}

#[test]
fn endless_files_end() {
    let report = config::load(std::path::Path::new("/dev/zero")).unwrap_err();
    assert!(report.to_string().contains("too large"), "{report}");
}

#[test]
fn interfaces_that_the_host_lacks_are_shown_in_the_file() {
    let parsed = config::parse("xlb.yaml", GOOD.as_bytes()).unwrap();
    assert!(parsed.check_interfaces(|_| true).is_ok());
    let report = parsed.check_interfaces(|name| name == "eth0").unwrap_err();
    let [diagnostic] = report.diagnostics() else {
        panic!("{report}");
    };
    let Diagnostic {
        line, column, text, ..
    } = diagnostic;
    assert_eq!((*line, *column, text.as_str()), (2, 28, "eth1"));
}
