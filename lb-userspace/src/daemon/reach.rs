//! Backends that cannot be reached as the network is, however well they are.

use std::net::IpAddr;

use lb_common::next_hop;

use crate::{
    config::model::{Backend, Config, Mode, Service},
    net::{Finding, Resolution, Severity, View},
};

/// Says what is wrong with the way to each backend.
pub(super) fn judge(view: &View, config: &Config) -> Vec<Finding> {
    let services = config.services.iter();
    let all = services.flat_map(|service| service.backends.iter().map(move |b| (service, b)));
    all.filter_map(|(service, backend)| judge_backend(view, service, backend))
        .collect()
}

fn judge_backend(view: &View, service: &Service, backend: &Backend) -> Option<Finding> {
    let address = backend.address.ip();
    let (ifindex, router) = match view.resolve(address) {
        Resolution::NextHop(hop) => (hop.ifindex, (!hop.on_link).then_some(None)),
        Resolution::Unresolved { ifindex, via } => (ifindex, (via != address).then_some(Some(via))),
        Resolution::Local | Resolution::NoRoute => return None,
    };
    let message = match router {
        _ if ifindex > next_hop::NextHop::MAX_IFINDEX => out_of_reach(ifindex),
        Some(router) if backend.mode == Mode::L2Dsr => behind_a_router(router),
        _ => return None,
    };
    let (service, backend) = (&service.name, &backend.name);
    Some(Finding {
        severity: Severity::Error,
        interface: view.links.get(&ifindex)?.name.clone(),
        message: format!("service `{service}` gets no packet to backend `{backend}`: {message}"),
        cure: None,
    })
}

fn behind_a_router(router: Option<IpAddr>) -> String {
    let router = router.map_or_else(String::new, |router| format!(" {router}"));
    format!(
        "mode l2-dsr reaches neighbours only, and it is behind a router{router}; use ipip or gue"
    )
}

fn out_of_reach(ifindex: u32) -> String {
    format!(
        "the interface's index {ifindex} is above {}; make the interface anew in another network \
         namespace or after a reboot",
        next_hop::NextHop::MAX_IFINDEX
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config,
        net::view::{Address, Hop, Link, Mac, Route},
    };

    /// A host with backends on its link and behind a router.
    fn view(ifindex: u32) -> View {
        let link = Link {
            index: ifindex,
            name: "eth0".into(),
            mac: Some(Mac([2; 6])),
            mtu: 1500,
            up: true,
            kind: None,
            peer: None,
            has_xdp: false,
        };
        let route = |prefix: &str, hop| Route {
            prefix: prefix.parse().unwrap(),
            metric: 0,
            hop,
            mtu: None,
            source: None,
        };
        let router = Hop::Gateway {
            address: "10.0.0.254".parse().unwrap(),
            ifindex,
        };
        View {
            links: [(ifindex, link)].into(),
            addresses: vec![Address {
                ifindex,
                net: "10.0.0.1/24".parse().unwrap(),
            }],
            routes: vec![
                route("10.0.0.0/24", Hop::OnLink { ifindex }),
                route("0.0.0.0/0", router),
            ],
            neighbours: std::collections::BTreeMap::new(),
        }
    }

    fn found(ifindex: u32, mode: &str) -> Vec<String> {
        let text = format!(
            "interfaces: [lo]\nservices:\n- name: web\n  vip: 203.0.113.10:80/tcp\n  mode: {mode}\n  \
             backends: [10.0.0.11:80, 10.0.9.11:80]\n"
        );
        let config = config::parse("xlb.yaml", text.as_bytes()).unwrap().config;
        let findings = judge(&view(ifindex), &config);
        findings.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn direct_return_stops_at_a_router() {
        let said = found(2, "l2-dsr");
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(said[0].contains("`10.0.9.11:80`"), "{said:?}");
        assert!(said[0].contains("behind a router 10.0.0.254"), "{said:?}");
        for mode in ["nat", "ipip", "gue"] {
            assert_eq!(found(2, mode), Vec::<String>::new());
        }
    }

    #[test]
    fn an_index_too_large_is_said() {
        let said = found(40_000, "nat");
        assert_eq!(said.len(), 2, "{said:?}");
        assert!(said[0].contains("above 32767"), "{said:?}");
    }
}
