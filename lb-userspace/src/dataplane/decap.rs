//! `xlb decap`: the program that takes a backend's packets out of tunnels, pinned for each interface,
//! so that nothing of ours needs to run.
//!
//! ```text
//! <pins>/decap/<interface>/   xdp, link_<interface>, maps/<NAME>
//! ```
//!
//! Other rules are another program with maps of its own, which the link runs from one packet to the
//! next; the counters go on.

use std::{
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
};

use aya::{
    Ebpf, EbpfLoader,
    maps::{
        Array, HashMap, Map, MapData, MapError, PerCpuArray,
        lpm_trie::{Key, LpmTrie},
    },
    programs::Xdp,
};
use ipnet::IpNet;
use lb_common::{
    address::Address,
    decap::{self, OUTCOMES, Outcome, Settings},
    interface::Interface as Card,
};

use super::{
    attached::Mode,
    error::Error,
    links,
    lock::Lock,
    memory::MapValue,
    pins::{self, Pins},
    program::{self, OBJECT},
};
use crate::config::model::{Interface, Role, XdpMode};

/// Maps that are written anew with every set of rules.
const RULES: [&str; 3] = [decap::SETTINGS, decap::VIPS, decap::SOURCES];

/// What is taken out of tunnels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Inner destinations.
    pub vips: Vec<IpAddr>,
    /// Outer sources.
    pub sources: Vec<IpNet>,
    /// UDP port of GUE.
    pub gue_port: u16,
}

/// What one interface takes out of tunnels, and has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The interface.
    pub interface: String,
    /// How the program is attached; `None`: the interface is gone.
    pub mode: Option<Mode>,
    /// The rules.
    pub rules: Rules,
    /// Packets by outcome, every outcome.
    pub packets: Vec<(Outcome, u64)>,
}

/// The programs of an instance.
#[derive(Debug)]
pub struct Decap {
    folder: PathBuf,
    _lock: Lock,
}

impl Decap {
    /// The programs below an instance's folder of pins; `lock` keeps two commands from each other.
    ///
    /// # Errors
    /// Where another command is at work.
    pub fn open(pins: &Path, lock: &Path) -> Result<Self, Error> {
        Ok(Self {
            folder: pins.join("decap"),
            _lock: Lock::take(lock)?,
        })
    }

    /// Has an interface follow these rules, from one packet to the next where it follows others.
    ///
    /// # Errors
    /// Where there is no such interface, it has no MAC address, the pins cannot be where they should, or
    /// the kernel refuses; then nothing is left behind.
    pub fn attach(
        &self,
        interface: &str,
        xdp: XdpMode,
        rules: &Rules,
        ephemeral: bool,
    ) -> Result<(), Error> {
        links::ifindex(interface)?;
        let pins = self.pins(interface);
        let is_new = pins.links()?.is_empty();
        pins.create(ephemeral)?;
        let result = install(&pins, interface, xdp, rules);
        if result.is_err() && is_new {
            self.detach(interface)?;
        }
        result
    }

    /// What each interface does.
    ///
    /// # Errors
    /// Where the kernel cannot be asked.
    pub fn status(&self) -> Result<Vec<Status>, Error> {
        let names = self.interfaces()?.into_iter();
        names.map(|name| self.status_of(name)).collect()
    }

    fn status_of(&self, interface: String) -> Result<Status, Error> {
        let pins = self.pins(&interface);
        let attachments = links::list(&pins)?;
        Ok(Status {
            mode: attachments.first().map(|attachment| attachment.mode),
            rules: read_rules(&pins)?,
            packets: read_counters(&pins)?,
            interface,
        })
    }

    /// The interfaces that take packets out of tunnels.
    ///
    /// # Errors
    /// Where the folders cannot be read.
    pub fn interfaces(&self) -> Result<Vec<String>, Error> {
        let mut names = Vec::new();
        for folder in pins::entries(&self.folder)? {
            names.extend(Pins::new(folder).links()?.into_keys());
        }
        names.sort();
        Ok(names)
    }

    /// Takes the program off an interface; whether it was there.
    ///
    /// # Errors
    /// Where a pin cannot be removed.
    pub fn detach(&self, interface: &str) -> Result<bool, Error> {
        let pins = self.pins(interface);
        let was_there = !pins.links()?.is_empty();
        links::sync(&pins, &[])?;
        pins.remove()?;
        if let Some(instance) = self.folder.parent() {
            pins::remove_if_unused(instance)?;
            instance.parent().map_or(Ok(()), pins::remove_if_unused)?;
        }
        Ok(was_there)
    }

    fn pins(&self, interface: &str) -> Pins {
        Pins::new(self.folder.join(pins::escaped(interface)))
    }
}

fn install(pins: &Pins, interface: &str, xdp: XdpMode, rules: &Rules) -> Result<(), Error> {
    let mut object = load(pins, rules)?;
    fill(&mut object, interface, rules)?;
    let program = xdp_program(&mut object)?;
    program.load().map_err(Error::program)?;
    program::self_test(program)?;
    links::update(pins, program)?;
    program::pin(program, pins)?;
    for name in RULES {
        pin_map(&object, pins, name)?;
    }
    let wanted = Interface {
        name: interface.to_owned(),
        xdp,
        role: Role::Backend,
    };
    links::sync(pins, &[wanted])
}

fn load(pins: &Pins, rules: &Rules) -> Result<Ebpf, Error> {
    let entries = |length: usize| u32::try_from(length.max(1)).unwrap_or(u32::MAX);
    EbpfLoader::new()
        .map_max_entries(decap::VIPS, entries(rules.vips.len()))
        .map_max_entries(decap::SOURCES, entries(rules.sources.len()))
        .map_pin_path(decap::COUNTERS, pins.map(decap::COUNTERS))
        .load(OBJECT)
        .map_err(Error::load)
}

fn fill(object: &mut Ebpf, interface: &str, rules: &Rules) -> Result<(), Error> {
    let settings = MapValue(Settings {
        interface: Card::new(mac(interface)?, u16::MAX, false),
        gue_port: rules.gue_port.to_be_bytes(),
        reserved: [0; 6],
    });
    with(object, decap::SETTINGS, |map| {
        Array::<&mut MapData, MapValue<Settings>>::try_from(map)?.set(0, settings, 0)
    })?;
    with(object, decap::VIPS, |map| {
        let mut map = HashMap::<&mut MapData, [u8; 16], u32>::try_from(map)?;
        let mut vips = rules.vips.iter();
        vips.try_for_each(|vip| map.insert(Address::from(*vip).0, 1, 0))
    })?;
    with(object, decap::SOURCES, |map| {
        let mut map = LpmTrie::<&mut MapData, [u8; 16], u32>::try_from(map)?;
        let mut sources = rules.sources.iter();
        sources.try_for_each(|source| map.insert(&key(source), 1, 0))
    })
}

/// IPv4 prefixes lie among the mapped addresses, behind their 96 bits.
fn key(source: &IpNet) -> Key<[u8; 16]> {
    let before = if source.addr().is_ipv4() { 96 } else { 0 };
    let length = before + u32::from(source.prefix_len());
    Key::new(length, Address::from(source.network()).0)
}

fn prefix(key: &Key<[u8; 16]>) -> Option<IpNet> {
    let address = IpAddr::from(Address(key.data()));
    let before = if address.is_ipv4() { 96 } else { 0 };
    let length = key.prefix_len().checked_sub(before)?;
    IpNet::new(address, u8::try_from(length).ok()?).ok()
}

fn with(
    object: &mut Ebpf,
    name: &'static str,
    write: impl FnOnce(&mut Map) -> Result<(), MapError>,
) -> Result<(), Error> {
    let map = object.map_mut(name).ok_or_else(|| missing(name))?;
    write(map).map_err(Error::map(name))
}

fn xdp_program(object: &mut Ebpf) -> Result<&mut Xdp, Error> {
    let program = object.program_mut(decap::PROGRAM);
    let program = program.ok_or_else(|| missing(decap::PROGRAM))?;
    program.try_into().map_err(Error::program)
}

fn missing(name: &str) -> Error {
    Error::Load {
        reason: format!("the object has no {name}"),
    }
}

/// Pins a map in the place of the one before.
fn pin_map(object: &Ebpf, pins: &Pins, name: &'static str) -> Result<(), Error> {
    let (next, path) = (pins.map("next"), pins.map(name));
    pins::remove_file(&next)?;
    let map = object.map(name).ok_or_else(|| missing(name))?;
    map.pin(&next).map_err(|source| Error::Pin {
        path: next.clone(),
        source,
    })?;
    fs::rename(next, &path).map_err(Error::file("put in its place", path))
}

/// The MAC address of an interface.
fn mac(interface: &str) -> Result<[u8; 6], Error> {
    let mut addresses = nix::ifaddrs::getifaddrs().map_err(|errno| Error::System {
        what: "list the host's addresses",
        source: errno.into(),
    })?;
    let mac = addresses.find_map(|entry| {
        let is_meant = entry.interface_name == interface;
        let address = entry.address.filter(|_| is_meant)?;
        address.as_link_addr()?.addr()
    });
    mac.filter(|mac| *mac != [0; 6])
        .ok_or_else(|| Error::NotEthernet(interface.to_owned()))
}

fn read_rules(pins: &Pins) -> Result<Rules, Error> {
    let settings =
        Array::<_, MapValue<Settings>>::try_from(Map::Array(open(pins, decap::SETTINGS)?));
    let settings = settings.and_then(|map| map.get(&0, 0));
    let MapValue(settings) = settings.map_err(Error::map(decap::SETTINGS))?;
    let vips = HashMap::<_, [u8; 16], u32>::try_from(Map::HashMap(open(pins, decap::VIPS)?));
    let vips = vips.and_then(|map| map.keys().collect::<Result<Vec<_>, _>>());
    let sources = LpmTrie::<_, [u8; 16], u32>::try_from(Map::LpmTrie(open(pins, decap::SOURCES)?));
    let sources = sources.and_then(|map| map.keys().collect::<Result<Vec<_>, _>>());
    let vips = vips.map_err(Error::map(decap::VIPS))?;
    let sources = sources.map_err(Error::map(decap::SOURCES))?;
    let mut rules = Rules {
        vips: vips.into_iter().map(|vip| Address(vip).into()).collect(),
        sources: sources.iter().filter_map(prefix).collect(),
        gue_port: u16::from_be_bytes(settings.gue_port),
    };
    rules.vips.sort();
    rules.sources.sort();
    Ok(rules)
}

fn read_counters(pins: &Pins) -> Result<Vec<(Outcome, u64)>, Error> {
    let map = Map::PerCpuArray(open(pins, decap::COUNTERS)?);
    let map = PerCpuArray::<_, u64>::try_from(map).map_err(Error::map(decap::COUNTERS))?;
    debug_assert!(map.len() == OUTCOMES, "the length of the counters");
    let packets = |outcome: Outcome| {
        let values = map.get(&outcome.index(), 0);
        let values = values.map_err(Error::map(decap::COUNTERS))?;
        Ok((outcome, values.iter().sum()))
    };
    Outcome::ALL.iter().copied().map(packets).collect()
}

fn open(pins: &Pins, name: &'static str) -> Result<MapData, Error> {
    MapData::from_pin(pins.map(name)).map_err(Error::map(name))
}
