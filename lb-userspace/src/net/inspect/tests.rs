//! Each bad set-up is found, and its cure, run as printed, mends it.

use std::process::Command;

use super::{rules::LARGEST_VETH_MTU, *};
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
        assert_eq!(left, []);
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

#[test]
fn large_receive_offload_is_an_error_and_generic_mode_takes_any_mtu() {
    let offloads = Offloads::parse(
        "Features for eth0:\ntx-checksumming: on\n\ttx-checksum-ipv4: off [fixed]\n\
         generic-receive-offload: on\nlarge-receive-offload: on\n",
    );
    let link = Link {
        mtu: LARGEST_VETH_MTU + 1,
        kind: Some("veth".to_owned()),
        ..crate::net::view::tests::link(1)
    };
    let facts = Facts {
        link: &link,
        offloads,
        peer: Some(Peer {
            link: &link,
            offloads: offloads.map(|offloads| Offloads {
                tx_checksumming: false,
                ..offloads
            }),
        }),
        unforwarded: vec![],
    };
    let found = rules::judge(&interface("eth1", XdpMode::Generic), &facts);
    assert_eq!(found.len(), 1, "{found:#?}");
    assert_eq!(found[0].severity, Severity::Error);
    assert_eq!(found[0].cure.as_deref(), Some("ethtool -K eth1 lro off"));
}

#[test]
fn forwarding_does_not_matter_where_no_replies_come_in() {
    let link = crate::net::view::tests::link(1);
    let facts = Facts {
        link: &link,
        offloads: Offloads::parse(
            "tx-checksumming: on\ngeneric-receive-offload: on\nlarge-receive-offload: off [fixed]",
        ),
        peer: None,
        unforwarded: vec![Family::V4],
    };
    let client = model::Interface {
        role: Role::Client,
        ..interface("eth1", XdpMode::Auto)
    };
    assert_eq!(rules::judge(&client, &facts), []);
    assert_eq!(
        rules::judge(&interface("eth1", XdpMode::Auto), &facts).len(),
        1
    );
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
