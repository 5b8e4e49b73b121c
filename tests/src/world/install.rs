//! Services' backends, rows and paths.

use std::{collections::BTreeMap, net::SocketAddr};

use lb_common::{
    backend::{Backend, Header, Mode},
    directory::{Key, Kind, Table, Way},
    path::Path,
    row::{ROWS_PER_ELEMENT, Row},
};
use zerocopy::FromZeros as _;

use super::{Link, Service, directory::Contents};
use crate::packet::UDP;

/// What services have in maps other than the directory.
#[derive(Debug, Default)]
pub(super) struct Installation {
    pub(super) backends: Vec<Backend>,
    pub(super) slots: Vec<[u32; ROWS_PER_ELEMENT as usize]>,
    pub(super) paths: Vec<Path>,
}

impl Installation {
    /// Of these services, whose entries are added to the directory.
    pub(super) fn of(services: &[Service], contents: &mut Contents) -> Self {
        let mut this = Self {
            paths: vec![Path::UNKNOWN; 16],
            ..Self::default()
        };
        let indices = indices(services);
        for (key, index) in &indices {
            contents.add(*key, (*index).into());
        }
        this.paths
            .resize(indices.len().max(this.paths.len()), Path::UNKNOWN);
        for service in services {
            this.install(service, services, &indices, contents);
        }
        this
    }

    fn install(
        &mut self,
        service: &Service,
        all: &[Service],
        indices: &BTreeMap<Key, u16>,
        contents: &mut Contents,
    ) {
        let extent = self.backends.len() as u32;
        let mut header = Header::new_zeroed();
        header.idle = service.idle;
        header.flags = service.flags;
        header.affinity = service.affinity;
        self.backends.push(zerocopy::transmute!(header));
        for ((address, next_hop), link) in service.backends.iter().zip(service.links()) {
            let index = indices.get(&path_key(*address, link)).copied();
            let mut entry = link.entry(service.vip, *address, *next_hop, index.unwrap_or(0));
            if link.mode == Mode::Nat {
                let ports = (address.port(), service.last_port_of(address.port()));
                let kinds = (Kind::Backend, Kind::BackendRanges);
                let pair = self.backends.len() as u64;
                contents.add_ports(kinds, (address.ip(), service.protocol), ports, pair);
                if is_shared(service, *address, all) {
                    entry.flags |= Backend::SHARED;
                }
            }
            self.backends.push(entry);
        }
        let table = Table::new(self.slots.len() as u32, service.log2);
        self.install_rows(service);
        let kinds = (Kind::Service, Kind::Ranges);
        let ports = (service.vip.port(), service.last_port);
        let value = Way::service(table, extent);
        contents.add_ports(kinds, (service.vip.ip(), service.protocol), ports, value);
    }

    fn install_rows(&mut self, service: &Service) {
        let rows: Vec<u32> = (0..)
            .zip(&service.owners)
            .map(|(slot, owner)| row(service, slot, *owner).0)
            .collect();
        for rows in rows.chunks(ROWS_PER_ELEMENT as usize) {
            self.slots.push(std::array::from_fn(|i| {
                rows.get(i).copied().unwrap_or(Row::EMPTY.0)
            }));
        }
    }
}

fn row(service: &Service, slot: u32, owner: Option<u16>) -> Row {
    let offset = |owner: Option<u16>| owner.map_or(Row::NONE, |owner| owner + 1);
    match service.moving.get(&slot) {
        None => Row::stable(offset(owner)),
        Some(moving) if moving.learned => Row::moving(offset(owner), offset(moving.old)).learned(),
        Some(moving) => Row::moving(offset(owner), offset(moving.old)),
    }
}

/// The index of each tunnel's path.
fn indices(services: &[Service]) -> BTreeMap<Key, u16> {
    let mut indices = BTreeMap::new();
    for service in services {
        for ((address, _), link) in service.backends.iter().zip(service.links()) {
            if link.is_tunnel() {
                let next = indices.len() as u16;
                indices.entry(path_key(*address, link)).or_insert(next);
            }
        }
    }
    indices
}

fn path_key(address: SocketAddr, link: Link) -> Key {
    let protocol = if link.mode == Mode::Gue { UDP } else { 0 };
    Key::new(Kind::Tunnel, address.ip().into(), 0, protocol)
}

/// Whether services share a NAT backend.
pub(super) fn shares(services: &[Service]) -> bool {
    services.iter().any(|service| {
        let backends = service.backends.iter().zip(service.links());
        let mut nat = backends.filter(|(_, link)| link.mode == Mode::Nat);
        nat.any(|((address, _), _)| is_shared(service, *address, services))
    })
}

/// Whether more than one NAT backend of all services has some of these ports.
fn is_shared(service: &Service, address: SocketAddr, all: &[Service]) -> bool {
    let last = service.last_port_of(address.port());
    let overlap = |other: &Service, (theirs, _): &(SocketAddr, _)| {
        other.protocol == service.protocol
            && theirs.ip() == address.ip()
            && theirs.port() <= last
            && address.port() <= other.last_port_of(theirs.port())
    };
    let same = all.iter().flat_map(|other| {
        let backends = other.backends.iter().zip(other.links());
        backends.filter(move |(theirs, link)| link.mode == Mode::Nat && overlap(other, theirs))
    });
    same.count() > 1
}
