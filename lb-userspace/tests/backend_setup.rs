//! Golden pairs: `data/backend_setup/*.yaml` with what its backends need (`.sh`), from a balancer with
//! one interface. `UPDATE_GOLDEN=1` writes what was found.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests panic, their helpers too"
)]

use std::{collections::BTreeMap, fs, path::Path, process::Command};

use lb_userspace::{
    backend_setup, config,
    net::{
        View,
        view::{Address, Hop, Link, Mac, Route},
    },
};

#[test]
fn every_mode_says_what_its_script_says() {
    let cases = [
        "nat",
        "full_nat",
        "l2_dsr",
        "ipip",
        "gue",
        "second_chance",
        "mixed",
    ];
    for case in cases {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/backend_setup");
        let found = script(&folder.join(case).with_extension("yaml"));
        let golden = folder.join(case).with_extension("sh");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&golden, &found).unwrap();
        }
        assert_eq!(
            fs::read_to_string(&golden).unwrap_or_default(),
            found,
            "{case}"
        );
        let parsed = Command::new("sh").arg("-n").arg(&golden).status().unwrap();
        assert!(parsed.success(), "{case}");
    }
}

/// What all backends of a file need, a paragraph each.
fn script(file: &Path) -> String {
    let parsed = config::load(file).unwrap_or_else(|report| panic!("{report}"));
    let config = parsed.config;
    let view = balancer();
    let pairs = config.services.iter().flat_map(|service| {
        let backends = service.backends.iter();
        backends.map(move |backend| (service, backend))
    });
    let paragraphs = pairs.map(|(service, backend)| {
        backend_setup::lines(&config, &view, service, backend).join("\n") + "\n"
    });
    paragraphs.collect::<Vec<_>>().join("\n")
}

/// A host with `10.0.0.1` and `2001:db8:1::1` on a link, on which a router leads to `10.9.0.0/16`.
/// Nothing leads anywhere else.
fn balancer() -> View {
    let net = |text: &str| text.parse().unwrap();
    let link = Link {
        index: 1,
        name: "eth0".to_owned(),
        mac: Some(Mac([2, 0, 0, 0, 0, 1])),
        mtu: 1500,
        up: true,
        kind: None,
        peer: None,
        has_xdp: false,
    };
    let addresses = [
        "203.0.113.10/32",
        "10.0.0.1/24",
        "fe80::1/64",
        "2001:db8:1::1/64",
    ];
    let route = |prefix: &str, hop| Route {
        mtu: None,
        source: None,
        prefix: net(prefix),
        metric: 0,
        hop,
    };
    let on_link = Hop::OnLink { ifindex: 1 };
    let router = Hop::Gateway {
        address: "10.0.0.254".parse().unwrap(),
        ifindex: 1,
    };
    View {
        links: BTreeMap::from([(1, link)]),
        addresses: addresses
            .map(|address| Address {
                ifindex: 1,
                net: net(address),
            })
            .into(),
        routes: vec![
            route("10.0.0.0/24", on_link),
            route("2001:db8:1::/64", on_link),
            route("10.9.0.0/16", router),
        ],
        neighbours: BTreeMap::new(),
    }
}
