//! Who there is, and how everybody's links are called.

use super::{Host, Middle, Options, Topology, WayBack, wires::link};
use crate::lab::{
    LabError, Namespace, PassAll,
    addresses::{CLIENTS, FAR, SERVERS, TRANSIT, VIPS},
    unique_name,
};

impl Topology {
    /// Unconnected hosts that know what their links will be.
    pub(super) fn hosts(options: Options, [front, back]: [&str; 2]) -> Result<Self, LabError> {
        let Options {
            backends,
            far,
            router,
            way_back,
            ..
        } = options;
        let lab = unique_name("xlb");
        let namespace = |host: &str| Namespace::new(format!("{lab}-{host}"));
        let is_direct = way_back == WayBack::Router;
        let has_router = router || is_direct;
        let is_one_armed = front == back;
        let near = backends.min(200);
        let backend = |number: u8| {
            let subnet = if number > near { FAR } else { SERVERS };
            Ok(Host {
                namespace: namespace(&format!("b{number}"))?,
                link: link("eth0", 50 + number, subnet, 10 + number),
            })
        };
        let uplink = if has_router { TRANSIT } else { CLIENTS };
        let shortcut = if is_one_armed {
            link("back0", 21, SERVERS, 254)
        } else {
            link("lan0", 22, SERVERS, 254)
        };
        Ok(Self {
            client: namespace("client").map(client)?,
            router: has_router
                .then(|| namespace("router").map(outer_router))
                .transpose()?,
            shortcut: is_direct.then_some(shortcut),
            balancer: Middle {
                namespace: namespace("balancer")?,
                front: link(front, 30, uplink, 1),
                back: link(back, if is_one_armed { 30 } else { 31 }, SERVERS, 1),
            },
            backends: (1..=near.saturating_add(far).min(200))
                .map(backend)
                .collect::<Result<_, LabError>>()?,
            inner: (far > 0)
                .then(|| namespace("inner").map(inner_router))
                .transpose()?,
            switch: namespace("switch")?,
            second: None,
            vip: VIPS.host(10),
            near: near.into(),
            pass_all: PassAll::load()?,
        })
    }
}

fn client(namespace: Namespace) -> Host {
    Host {
        namespace,
        link: link("eth0", 10, CLIENTS, 10),
    }
}

fn outer_router(namespace: Namespace) -> Middle {
    Middle {
        namespace,
        front: link("front0", 20, CLIENTS, 1),
        back: link("back0", 21, TRANSIT, 254),
    }
}

fn inner_router(namespace: Namespace) -> Middle {
    Middle {
        namespace,
        front: link("front0", 23, SERVERS, 253),
        back: link("back0", 24, FAR, 1),
    }
}
