//! Each bad set-up is found, and its cure, run as printed, mends it.

use std::process::Command;

use super::{rules::LARGEST_MTU, *};
use crate::{
    config::model::{Role, XdpMode},
    net::{
        Follower,
        sandbox::{self, Neighbourhood, ip},
    },
};

#[test]
fn a_fresh_veth_pair_is_mended_by_the_cures() {
    sandbox::run(async || {
        ip("link add va type veth peer name vb");
        ip("link set vb mtu 9000");
        let families = [Family::V4, Family::V6];
        let found = look("va", XdpMode::Native, &families).await;
        for word in [
            "carrier",
            "MTU",
            "checksums",
            "NAPI",
            "IPv4 forwarding",
            "IPv6 forwarding",
        ] {
            assert!(
                found.iter().any(|finding| finding.message.contains(word)),
                "{word}: {found:#?}"
            );
        }

        ip("link set vb up");
        found.iter().for_each(run_cure);
        let left = look("va", XdpMode::Native, &families).await;
        assert_eq!(left.len(), 1, "{left:#?}");
        assert!(left[0].message.contains("no XDP program"), "{}", left[0]);
        let generic = look("va", XdpMode::Generic, &families).await;
        assert_eq!(generic, []);
    });
}

#[test]
fn a_missing_interface_is_told_with_those_there_are() {
    sandbox::run(async || {
        let found = look("eth9", XdpMode::Auto, &[]).await;
        assert_eq!(found.len(), 1);
        assert!(found[0].message.ends_with("which has lo"), "{}", found[0]);
    });
}

#[test]
fn a_peer_in_another_namespace_is_a_warning() {
    sandbox::run(async || {
        let neighbours = Neighbourhood::new();
        ip("link add va type veth peer name vb");
        ip(&format!("link set vb netns {}", neighbours.id));
        neighbours.ip("link set vb up");
        ip("link set va up");
        let found = look("va", XdpMode::Auto, &[]).await;
        assert_eq!(found.len(), 1, "{found:#?}");
        assert_eq!(found[0].severity, Severity::Note);
        assert!(found[0].message.contains("another namespace"));
    });
}

#[test]
fn loopback_is_no_ethernet_interface() {
    sandbox::run(async || {
        ip("link set lo up");
        let found = look("lo", XdpMode::Auto, &[]).await;
        assert!(found[0].message.contains("Ethernet"), "{found:#?}");
    });
}

/// Features of an interface on which all is well, and what is otherwise on it.
fn offloads(on: &[&str]) -> Offloads {
    let names = [
        "tx-checksumming",
        "generic-receive-offload",
        "large-receive-offload",
        "rx-gro-hw",
        "rx-vlan-offload",
        "tx-vlan-offload",
    ];
    let lines = names.map(|name| {
        let state = if on.contains(&name) {
            "on"
        } else {
            "off [fixed]"
        };
        format!("\t{name}: {state}\n")
    });
    Offloads::parse(&lines.concat()).unwrap()
}

/// An interface of hardware, or with another end one of a veth pair.
fn facts<'a>(link: &'a Link, on: &[&str], peer: Option<(&'a Link, &[&str])>) -> Facts<'a> {
    Facts {
        link,
        offloads: Some(offloads(on)),
        peer: peer.map(|(link, on)| Peer {
            link,
            offloads: Some(offloads(on)),
            has_vlans: false,
        }),
        has_vlans: false,
        unforwarded: vec![],
    }
}

fn veth(index: u32) -> Link {
    Link {
        kind: Some("veth".to_owned()),
        ..hardware(index)
    }
}

fn hardware(index: u32) -> Link {
    crate::net::view::tests::link(index)
}

/// What is found, as severity and cure.
fn found(xdp: XdpMode, facts: &Facts<'_>) -> Vec<(Severity, String)> {
    let found = rules::judge(&interface("eth1", xdp), facts);
    let pair = |finding: Finding| (finding.severity, finding.cure.unwrap_or_default());
    found.into_iter().map(pair).collect()
}

fn one(severity: Severity, cure: &str) -> Vec<(Severity, String)> {
    vec![(severity, cure.to_owned())]
}

const MODES: [XdpMode; 3] = [XdpMode::Auto, XdpMode::Native, XdpMode::Generic];

#[test]
fn large_receive_offload_is_fatal() {
    let link = hardware(1);
    let facts = facts(&link, &["large-receive-offload"], None);
    for xdp in MODES {
        let expected = one(Severity::Fatal, "ethtool -K eth1 lro off");
        assert_eq!(found(xdp, &facts), expected, "{xdp:?}");
    }
}

#[test]
fn joining_in_hardware_is_a_warning_until_a_program_made_the_driver_choose() {
    let link = hardware(1);
    let joins = facts(&link, &["rx-gro-hw"], None);
    let expected = one(Severity::Warning, "ethtool -K eth1 rx-gro-hw off");
    assert_eq!(found(XdpMode::Auto, &joins), expected);
    assert_eq!(found(XdpMode::Generic, &joins), []);
    let attached = Link {
        has_xdp: true,
        ..hardware(1)
    };
    let joins = facts(&attached, &["rx-gro-hw"], None);
    assert_eq!(found(XdpMode::Native, &joins), []);
}

#[test]
fn joining_in_software_matters_in_generic_mode() {
    let link = hardware(1);
    let facts = facts(&link, &["generic-receive-offload"], None);
    let expected = one(Severity::Warning, "ethtool -K eth1 gro off");
    assert_eq!(found(XdpMode::Generic, &facts), expected);
    assert_eq!(found(XdpMode::Auto, &facts), []);
}

#[test]
fn the_other_end_of_a_veth_pair_must_finish_checksums() {
    let (link, peer) = (veth(1), veth(2));
    let good = ["generic-receive-offload"];
    let cure = "ethtool -K eth2 tx off";
    let peer = (&peer, ["tx-checksumming", good[0]]);
    let facts = facts(&link, &[], Some((peer.0, &peer.1)));
    for xdp in MODES {
        let found = found(xdp, &facts);
        assert!(
            found.contains(&(Severity::Fatal, cure.to_owned())),
            "{xdp:?}"
        );
    }
}

#[test]
fn the_other_end_of_a_veth_pair_needs_a_context_for_native_frames() {
    let (link, bare) = (veth(1), veth(2));
    let none = facts(&link, &[], Some((&bare, &[])));
    let expected = one(Severity::Fatal, "ethtool -K eth2 gro on");
    assert_eq!(found(XdpMode::Native, &none), expected);
    assert_eq!(found(XdpMode::Generic, &none), []);
    let gro = facts(&link, &[], Some((&bare, &["generic-receive-offload"])));
    assert_eq!(found(XdpMode::Auto, &gro), one(Severity::Warning, ""));
    let program = Link {
        has_xdp: true,
        ..veth(2)
    };
    let whole = facts(&link, &[], Some((&program, &[])));
    assert_eq!(found(XdpMode::Auto, &whole), []);
}

#[test]
fn frames_of_several_buffers_are_refused_where_that_is_certain() {
    let large = |link| Link {
        mtu: LARGEST_MTU + 1,
        ..link
    };
    let (pair, other_end) = (veth(1), large(veth(2)));
    let other_end = Link {
        has_xdp: true,
        ..other_end
    };
    let pair = facts(&pair, &[], Some((&other_end, &[])));
    let card = large(hardware(1));
    let card = facts(&card, &[], None);
    for (xdp, severity) in [
        (XdpMode::Auto, Severity::Warning),
        (XdpMode::Native, Severity::Fatal),
    ] {
        let expected = one(severity, "ip link set eth2 mtu 3506");
        assert_eq!(found(xdp, &pair), expected);
        let expected = one(Severity::Warning, "ip link set eth1 mtu 3506");
        assert_eq!(found(xdp, &card), expected);
    }
    assert_eq!(found(XdpMode::Generic, &pair), []);
    assert_eq!(found(XdpMode::Generic, &card), []);
}

#[test]
fn tags_must_be_in_the_frames_where_there_are_vlans() {
    let link = hardware(1);
    let plain = facts(&link, &["rx-vlan-offload"], None);
    assert_eq!(found(XdpMode::Auto, &plain), []);
    let tagged = Facts {
        has_vlans: true,
        ..plain
    };
    let expected = one(Severity::Warning, "ethtool -K eth1 rxvlan off");
    assert_eq!(found(XdpMode::Auto, &tagged), expected);
}

#[test]
fn tags_of_the_other_end_must_be_in_the_frames() {
    let (link, end) = (veth(1), veth(2));
    let end = Link {
        has_xdp: true,
        ..end
    };
    let mut facts = facts(&link, &[], Some((&end, &["tx-vlan-offload"])));
    assert_eq!(found(XdpMode::Auto, &facts), []);
    facts.peer.as_mut().unwrap().has_vlans = true;
    let expected = one(Severity::Warning, "ethtool -K eth2 txvlan off");
    assert_eq!(found(XdpMode::Auto, &facts), expected);
}

#[test]
fn a_vlan_is_seen_on_the_link_that_it_lies_on() {
    let vlan = Link {
        kind: Some("vlan".to_owned()),
        peer: Some(1),
        ..hardware(3)
    };
    let view = View {
        links: [hardware(1), hardware(2), vlan]
            .map(|link| (link.index, link))
            .into(),
        ..View::default()
    };
    let has = |index| has_vlans(&view, &view.links[&index]);
    assert_eq!([1, 2, 3].map(has), [true, false, false]);
}

#[test]
fn what_cannot_be_read_is_a_warning() {
    let link = hardware(1);
    let facts = Facts {
        offloads: None,
        ..facts(&link, &[], None)
    };
    let expected = one(Severity::Warning, "ethtool -k eth1");
    assert_eq!(found(XdpMode::Auto, &facts), expected);
    assert_eq!(Offloads::parse("no features here"), None);
}

#[test]
fn forwarding_does_not_matter_where_no_replies_come_in() {
    let link = hardware(1);
    let facts = Facts {
        unforwarded: vec![Family::V4],
        ..facts(&link, &[], None)
    };
    let client = model::Interface {
        role: Role::Client,
        ..interface("eth1", XdpMode::Auto)
    };
    assert_eq!(rules::judge(&client, &facts), []);
    assert_eq!(found(XdpMode::Auto, &facts).len(), 1);
}

async fn look(name: &str, xdp: XdpMode, families: &[Family]) -> Vec<Finding> {
    let view = Follower::start().await.unwrap().view();
    inspect(&view, &[interface(name, xdp)], families).await
}

fn interface(name: &str, xdp: XdpMode) -> model::Interface {
    model::Interface {
        name: name.to_owned(),
        xdp,
        role: Role::Both,
    }
}

fn run_cure(finding: &Finding) {
    let cure = finding.cure.as_deref().unwrap();
    let mut words = cure.split_whitespace();
    let status = Command::new(words.next().unwrap())
        .args(words)
        .status()
        .unwrap();
    assert!(status.success(), "{cure}");
}
