//! What becomes of one packet, and why: the programs over the live maps say it, this puts it into words.

use std::{net::SocketAddr, sync::Arc};

use etherparse::PacketBuilder;
use lb_common::{
    DropReason, Verdict,
    backend::State,
    directory::{Kind, LOCAL, VIP, Way},
    row::Row,
    trace::{Event, Route},
};
use tokio::task::spawn_blocking;

use super::engine::Engine;
use crate::{
    api::{
        Code, Error, Reply,
        types::{Schema, TcpFlag, Why, WhyProtocol, WhyRequest, WhyStep},
    },
    config::model::{Backend, Service},
    dataplane::{Traced, TracerSource},
    desired::{Entry, Installed, overrides::Effective},
    net::View,
};

/// Hops that a packet has before it.
const TTL: u8 = 64;
/// What a datagram, or a packet that is no SYN, carries.
const PAYLOAD: &[u8] = b"xlb why";
/// A sender's Ethernet address, where none is known (RFC 7042, §2.1.2).
const SENDER: [u8; 6] = [0x02, 0x00, 0x5e, 0x00, 0x53, 0x01];

/// A packet, and all that is needed to say what becomes of it. Loading the programs takes a second: so it is said
/// elsewhere than in the daemon's loop.
struct Question {
    source: TracerSource,
    effective: Arc<Effective>,
    installed: Installed,
    view: Arc<View>,
    interface: (u32, String),
    frame: Vec<u8>,
}

impl Engine {
    /// Answers a question, later.
    pub(super) fn explain(&self, request: &WhyRequest, reply: Reply<Why>) {
        match self.why(request) {
            Ok(question) => drop(spawn_blocking(move || drop(reply.send(question.answer())))),
            Err(error) => drop(reply.send(Err(error))),
        }
    }

    /// Takes a question up.
    fn why(&self, request: &WhyRequest) -> Result<Question, Error> {
        let view = self.follower.view();
        let attached = self.dataplane.interfaces()?;
        let names: Vec<&str> = attached.iter().map(|it| it.name.as_str()).collect();
        let first = self.effective.config.interfaces.first();
        let wanted = request.interface.as_deref();
        let name = wanted.or_else(|| first.map(|it| it.name.as_str()));
        let name = name.ok_or_else(|| unknown("the configuration names no interface"))?;
        let link = view.link(name).filter(|_| names.contains(&name));
        let link = link.ok_or_else(|| {
            unknown(format!(
                "`{name}` is no interface that xlb is attached to; those are {}",
                names.join(", ")
            ))
        })?;
        let receiver = link.mac.map_or([0; 6], |mac| mac.0);
        let interface = (link.index, link.name.clone());
        let frame = frame(request, receiver, self.mac_of(request.source))?;
        Ok(Question {
            source: self.dataplane.tracer_source(),
            effective: Arc::clone(&self.effective),
            installed: self.dataplane.installed().clone(),
            view,
            interface,
            frame,
        })
    }

    /// The Ethernet address that packets of a backend come from.
    fn mac_of(&self, source: SocketAddr) -> [u8; 6] {
        let installed = self.dataplane.installed();
        let mut services = installed.vips().filter_map(|vip| installed.service(vip));
        let hop = services.find_map(|service| {
            let mut backends = service.backends();
            let theirs = |entry: &Entry| entry.address.ip() == source.ip();
            backends.find_map(|(_, entry)| theirs(entry).then_some(entry.next_hop))
        });
        let hop = hop.filter(|hop| hop.is_resolved());
        hop.map_or(SENDER, |hop| {
            let bytes = hop.mac().to_ne_bytes();
            bytes.first_chunk().copied().unwrap_or(SENDER)
        })
    }
}

fn unknown(text: impl Into<String>) -> Error {
    Error::new(Code::NotFound, text.into())
}

/// The packet as it lies on the wire.
fn frame(request: &WhyRequest, to: [u8; 6], from: [u8; 6]) -> Result<Vec<u8>, Error> {
    let eth = PacketBuilder::ethernet2(from, to);
    let ip = match (request.source, request.destination) {
        (SocketAddr::V4(source), SocketAddr::V4(destination)) => {
            eth.ipv4(source.ip().octets(), destination.ip().octets(), TTL)
        }
        (SocketAddr::V6(source), SocketAddr::V6(destination)) => {
            eth.ipv6(source.ip().octets(), destination.ip().octets(), TTL)
        }
        (source, destination) => {
            let text = format!("{source} and {destination} are addresses of two families");
            return Err(Error::new(Code::Usage, text));
        }
    };
    let (source, destination) = (request.source.port(), request.destination.port());
    let mut frame = Vec::new();
    let written = match request.protocol {
        WhyProtocol::Udp => ip.udp(source, destination).write(&mut frame, PAYLOAD),
        WhyProtocol::Tcp => {
            let mut tcp = ip.tcp(source, destination, 1, u16::MAX);
            for flag in &request.flags {
                tcp = match flag {
                    TcpFlag::Syn => tcp.syn(),
                    TcpFlag::Ack => tcp.ack(1),
                    TcpFlag::Fin => tcp.fin(),
                    TcpFlag::Rst => tcp.rst(),
                    TcpFlag::Psh => tcp.psh(),
                };
            }
            let opens = request.flags.contains(&TcpFlag::Syn);
            tcp.write(&mut frame, if opens { &[] } else { PAYLOAD })
        }
    };
    written.map_err(|error| Error::from(anyhow::Error::new(error)))?;
    Ok(frame)
}

impl Question {
    /// What becomes of the packet.
    fn answer(self) -> Result<Why, Error> {
        let (ingress, name) = &self.interface;
        let traced = self.source.load()?.trace(*ingress, &self.frame)?;
        let verdict = traced.verdict();
        let (word, reason) = match verdict.unwrap_or(Verdict::Drop(DropReason::TableError)) {
            Verdict::Transmit | Verdict::Redirect(_) => ("sent", None),
            Verdict::Pass(it) => ("passed", Some((it.label(), it.explanation()))),
            Verdict::Answer(it) => ("answered", Some((it.label(), it.explanation()))),
            Verdict::Drop(it) => ("dropped", Some((it.label(), it.explanation()))),
        };
        let leaves_by = match verdict {
            Some(Verdict::Transmit) => Some(name.clone()),
            Some(Verdict::Redirect(ifindex)) => Some(self.interface_name(ifindex)),
            _ => None,
        };
        let mut steps = Vec::new();
        for event in &traced.events {
            let step = self.step(event);
            if steps.last() != step.as_ref() {
                steps.extend(step);
            }
        }
        Ok(Why {
            schema: Schema::V1,
            kind: "Why".to_owned(),
            verdict: word.to_owned(),
            reason: reason.map(|(label, _)| label.to_owned()),
            explanation: reason.map(|(_, text)| text.trim().to_owned()),
            service: self.service_of(&traced).map(|it| it.name.clone()),
            backend: self.backend_of(&traced),
            interface: name.clone(),
            leaves_by,
            steps,
            frame: hex(&self.frame),
            frame_after: hex(&traced.frame),
        })
    }

    fn interface_name(&self, ifindex: u32) -> String {
        let link = self.view.links.get(&ifindex);
        link.map_or_else(|| format!("interface {ifindex}"), |link| link.name.clone())
    }

    /// One step in words; `None`: nothing that is not said elsewhere.
    fn step(&self, event: &Event) -> Option<WhyStep> {
        let (step, text) = match event {
            Event::Find { kind, value, .. } => self.found(*kind, *value)?,
            Event::Row { slot, row, .. } => ("slot", slot_text(*slot, *row)),
            Event::Backend { pair, known: true } => ("backend", self.backend(*pair)?),
            Event::Backend { pair, known: false } => {
                ("backend", format!("pair {pair} is not there"))
            }
            Event::Flow(Some(pair)) => ("flow", format!("remembered: with {}", self.name(*pair))),
            Event::Flow(None) => ("flow", "not remembered".to_owned()),
            Event::Claim { pair, made: true } => (
                "flow",
                format!("would be remembered: with {}", self.name(*pair)),
            ),
            Event::Claim { made: false, .. } => ("flow", "would find no place there".to_owned()),
            Event::Fragment(true) => ("fragment", "the first one is known".to_owned()),
            Event::Fragment(false) => ("fragment", "no first one is known".to_owned()),
            Event::Fib(route) => ("route", self.route(*route)),
            Event::Track(event) => ("flow", event.label().to_owned()),
            Event::Counted { pair, bytes, .. } => {
                ("counted", format!("{bytes} bytes, {}", self.name(*pair)))
            }
            Event::Program(detour) => ("program", format!("{} goes on", detour.name())),
            Event::Reason(_) | Event::Transmit | Event::Redirect(_) => return None,
        };
        Some(WhyStep {
            step: step.to_owned(),
            text,
        })
    }

    fn found(&self, kind: Kind, value: Option<u64>) -> Option<(&'static str, String)> {
        Some(match (kind, value) {
            (Kind::Service, Some(way)) => {
                let service = self.service(Way::extent(way))?;
                ("service", format!("{} ({})", service.name, service.vip))
            }
            (Kind::Service, None) => ("service", "none on this address and port alone".to_owned()),
            (Kind::Ranges, Some(_)) => ("service", "on several ports of this address".to_owned()),
            (Kind::Backend, Some(pair)) => {
                let pair = u32::try_from(pair).ok()?;
                ("reply", format!("of {}", self.name(pair)))
            }
            (Kind::BackendRanges, Some(_)) => ("reply", "of a backend on several ports".to_owned()),
            (Kind::Backend, None) => ("reply", "of no NAT backend".to_owned()),
            (Kind::Address, Some(owner)) => ("address", owner_text(owner)),
            (Kind::Address, None) => ("address", "neither a VIP nor this host's".to_owned()),
            (Kind::Tunnel, Some(_)) => ("tunnel", "a backend's end".to_owned()),
            (Kind::Ranges | Kind::BackendRanges | Kind::Tunnel, None) => return None,
        })
    }

    fn route(&self, route: Route) -> String {
        match route {
            Route::None => "none, or the kernel does not forward".to_owned(),
            Route::Unresolved => "the neighbour is not resolved yet".to_owned(),
            Route::By(ifindex) => format!("by {}", self.interface_name(ifindex)),
        }
    }

    fn service(&self, pair: u32) -> Option<&Service> {
        let vip = self.installed.vip_of(pair)?;
        let mut services = self.effective.config.services.iter();
        services.find(|service| service.vip == vip)
    }

    /// What stands in a pair's entry; `None`: it is a service's header, or nothing.
    fn entry(&self, pair: u32) -> Option<&Entry> {
        let service = self.installed.service(self.installed.vip_of(pair)?)?;
        let (_, entry) = service.backends().find(|(other, _)| *other == pair)?;
        Some(entry)
    }

    /// The same as it is configured; `None` also where it is so no more.
    fn configured(&self, pair: u32) -> Option<(&Service, &Backend)> {
        let (service, entry) = (self.service(pair)?, self.entry(pair)?);
        let mut backends = service.backends.iter();
        let backend = backends.find(|backend| backend.address == entry.address)?;
        Some((service, backend))
    }

    /// A pair as operators call it.
    fn name(&self, pair: u32) -> String {
        match (self.configured(pair), self.entry(pair)) {
            (Some((service, backend)), _) => format!("{}/{}", service.name, backend.name),
            (None, Some(entry)) => entry.address.to_string(),
            (None, None) => format!("pair {pair}"),
        }
    }

    /// A backend's entry in words.
    fn backend(&self, pair: u32) -> Option<String> {
        let entry = self.entry(pair)?;
        let mode = match self.configured(pair) {
            Some((_, backend)) => backend.mode.word(),
            None => "on its way out",
        };
        let state = match entry.state {
            State::Up => "up",
            State::Down => "down",
            _ => "not probed yet",
        };
        let hop = entry.next_hop;
        let way = if hop.is_resolved() {
            format!("by {}", self.interface_name(hop.ifindex()))
        } else {
            "its neighbour is not resolved".to_owned()
        };
        let (name, address) = (self.name(pair), entry.address);
        Some(format!("{name} at {address}, {mode}, {state}, {way}"))
    }

    fn service_of(&self, traced: &Traced) -> Option<&Service> {
        traced.events.iter().find_map(|event| match event {
            Event::Find {
                kind: Kind::Service,
                value: Some(way),
                ..
            } => self.service(Way::extent(*way)),
            Event::Find {
                kind: Kind::Backend,
                value: Some(pair),
                ..
            } => self.service(u32::try_from(*pair).ok()?),
            _ => None,
        })
    }

    /// Whom it is counted under, last of all.
    fn backend_of(&self, traced: &Traced) -> Option<String> {
        let mut events = traced.events.iter().rev();
        events.find_map(|event| match event {
            Event::Counted { pair, .. } => self.backend(*pair).map(|_| self.name(*pair)),
            _ => None,
        })
    }
}

fn slot_text(slot: u32, row: Option<Row>) -> String {
    match row {
        None => format!("{slot}: outside of the table"),
        Some(Row::EMPTY) => format!("{slot}: nobody's"),
        Some(row) if row.is_stable() => format!("{slot}"),
        Some(_) => format!("{slot}: moving from one backend to another"),
    }
}

fn owner_text(owner: u64) -> String {
    let words = [(VIP, "a VIP"), (LOCAL, "this host's")];
    let words = words.into_iter().filter(|(bit, _)| owner & bit != 0);
    let words: Vec<&str> = words.map(|(_, word)| word).collect();
    words.join(" and ")
}

/// Bytes as hexadecimal digits.
fn hex(bytes: &[u8]) -> String {
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    let digits = digits.filter_map(|digit| char::from_digit(digit.into(), 16));
    digits.collect()
}
