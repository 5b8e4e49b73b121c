//! The packet's way.
//!
//! ```text
//! frame ─ parse ─► Packet ─ service ─► slot ─► backend ─ rewrite ─► next hop ─► verdict
//!                    │ no service: is it a backend's reply? ─ rewrite back ─► route ─► verdict
//!                    └ neither: is its address a VIP's? ─► verdict
//! ```
//!
//! A packet for a tunnel leaves the first pass ready to be wrapped, and is wrapped in a second one, as
//! its headers move.
//!
//! What needs more than that takes a [`Detour`] through another program: VLAN tags, which are taken off
//! before the first pass and put back behind the last; flows whose row moves; ICMP, fragments, flows to be
//! remembered, SYNs to be clamped, errors to be answered, packets that no backend takes. There, the same steps are taken.
//!
//! Nothing is written to the frame before it is certain that it will be sent (or, rewritten, given
//! to the kernel to be sent): a packet that passes for another reason is as it came.

mod answer;
mod detour;
mod flow;
mod fragment;
mod full_nat;
mod icmp;
mod moving;
mod obstacle;
mod other;
mod packet;
mod probe;
mod refuse;
mod reset;
mod rewrite;
mod select;
mod shared;
mod signals;
mod sum;
mod syn;
mod tables;
mod to_backend;
mod to_client;
mod tunnel;
mod vlan;

pub use detour::{Detour, Note, Step, StepKind};
pub use flow::Draft;
pub use moving::{Entries, Question};
pub use packet::Packet;
pub use tables::{Claim, Direction, Fib, Tables};
pub(crate) use vlan::Tags;

use core::marker::PhantomData;

use obstacle::Obstacle;

use crate::{
    DropReason, PassReason, Verdict,
    directory::Kind,
    maps::Feature,
    wire::{
        Cursor, Eth, Frame, Ip, IpAddress, Ipv4, Ipv6, Portless, Transport, ip::Payload,
        transport::UDP, vlan::is_tag,
    },
};

/// What a pass over a frame comes to.
enum Decision<'t> {
    /// The frame is as it is to be, or as it came for another program.
    Final(Step),
    /// The packet goes through a tunnel.
    Encapsulate(tunnel::Inner<'t>),
}

impl<S: Into<Step>> From<S> for Decision<'_> {
    #[inline(always)]
    fn from(step: S) -> Self {
        Self::Final(step.into())
    }
}

/// A program's pass over an IP packet.
trait Pass {
    /// What becomes of the packet whose header is `ip` and whose other headers are behind `cursor`.
    fn packet<'p, 't, I: Ip + 'p, C: Cursor<'p>, T: Tables>(
        eth: &'p mut Eth,
        ip: &'p mut I,
        cursor: C,
        tables: &'t T,
    ) -> Decision<'t>;

    /// What becomes of a frame that carries no IP.
    #[inline(always)]
    fn other(_ether_type: u16) -> Step {
        PassReason::NotIp.into()
    }
}

/// Decides what becomes of a frame, and rewrites it where that is called for: all programs in a row.
#[inline]
pub fn forward<F: Frame, T: Tables>(frame: &mut F, tables: &T) -> Verdict {
    // Nearly as many as the kernel takes (`MAX_TAIL_CALL_CNT` of its `include/linux/bpf.h`).
    const PROGRAMS: usize = 32;
    let mut program = Detour::Common;
    for _ in 0..PROGRAMS {
        let step = match program {
            Detour::Common => common(frame, tables),
            Detour::Tagged => tagged(frame, tables),
            Detour::Icmp => icmp(frame, tables),
            Detour::Icmp6 => icmp6(frame, tables),
            Detour::Fragment => fragment(frame, tables),
            Detour::Flow => flow(frame, tables),
            Detour::Syn => syn(frame, tables),
            Detour::Answer => answer(frame, tables),
            Detour::Moving => moving(frame, tables),
            Detour::Reset => reset(frame, tables),
            Detour::Refuse => refuse(frame, tables),
        };
        match step.unpacked() {
            Ok(verdict) => return verdict,
            Err(next) => program = next,
        }
    }
    DropReason::TableError.into()
}

/// The common path.
#[inline(always)]
pub fn common<F: Frame, T: Tables>(frame: &mut F, tables: &T) -> Step {
    Packets::<Whole<true>>::run(frame, tables)
}

/// The same for frames with VLAN tags.
#[inline(always)]
pub fn tagged<F: Frame, T: Tables>(frame: &mut F, tables: &T) -> Step {
    untagged::<Packets<Whole<false>>, _, _>(frame, tables)
}

/// Who has a flow whose row moves.
#[inline(always)]
pub fn moving<F: Frame, T: Tables>(frame: &mut F, tables: &T) -> Step {
    moving::Moving::run(frame, tables)
}

/// ICMP.
#[inline(always)]
pub fn icmp<F: Frame, T: Tables>(frame: &mut F, tables: &T) -> Step {
    untagged::<Packets<Only<false, icmp::Icmp>>, _, _>(frame, tables)
}

/// ICMPv6.
#[inline(always)]
pub fn icmp6<F: Frame, T: Tables>(frame: &mut F, tables: &T) -> Step {
    untagged::<Packets<Only<true, icmp::Icmp>>, _, _>(frame, tables)
}

/// Fragments, and packets with IPv4 options or IPv6 extension headers.
#[inline(always)]
pub fn fragment<F: Frame, T: Tables>(frame: &mut F, tables: &T) -> Step {
    untagged::<Packets<fragment::Fragments>, _, _>(frame, tables)
}

/// A flow that has to be remembered.
#[inline(always)]
pub fn flow<F: Frame, T: Tables>(frame: &mut F, tables: &T) -> Step {
    untagged::<Packets<flow::Remember>, _, _>(frame, tables)
}

/// A SYN whose segment size is limited.
#[inline(always)]
pub fn syn<F: Frame, T: Tables>(frame: &mut F, tables: &T) -> Step {
    untagged::<syn::Clamp, _, _>(frame, tables)
}

/// An ICMP error about a packet that can go nowhere, where the ration is not used up.
#[inline(always)]
pub fn answer<F: Frame, T: Tables>(frame: &mut F, tables: &T) -> Step {
    untagged::<answer::Answer, _, _>(frame, tables)
}

/// An RST to who has a connection with a backend that died.
#[inline(always)]
pub fn reset<F: Frame, T: Tables>(frame: &mut F, tables: &T) -> Step {
    untagged::<reset::Reset, _, _>(frame, tables)
}

/// What senders are told of packets that no backend takes.
#[inline(always)]
pub fn refuse<F: Frame, T: Tables>(frame: &mut F, tables: &T) -> Step {
    untagged::<refuse::Refuse, _, _>(frame, tables)
}

/// Takes VLAN tags off before a program's work, and puts them back behind it.
#[inline(always)]
fn untagged<P: Program, F: Frame, T: Tables>(frame: &mut F, tables: &T) -> Step {
    let Some(tags) = Tags::take_off(frame) else {
        return PassReason::Malformed.into();
    };
    let step = P::run(frame, tables);
    match tags.put_back(frame) {
        Some(()) => step,
        None => DropReason::NoHeadroom.into(),
    }
}

/// What a program does to a frame without tags.
trait Program {
    fn run<F: Frame, T: Tables>(frame: &mut F, tables: &T) -> Step;
}

/// A program that looks at IP packets.
struct Packets<P>(PhantomData<P>);

impl<P: Pass> Program for Packets<P> {
    #[inline(always)]
    fn run<F: Frame, T: Tables>(frame: &mut F, tables: &T) -> Step {
        match decide::<P, _, _>(frame.cursor(), tables) {
            Decision::Final(step) => step,
            Decision::Encapsulate(inner) => tunnel::send(frame, inner, tables).into(),
        }
    }
}

#[inline(always)]
fn decide<'p, 't, P: Pass, C: Cursor<'p>, T: Tables>(mut cursor: C, tables: &'t T) -> Decision<'t> {
    let Some(eth) = cursor.take::<Eth>() else {
        return PassReason::Malformed.into();
    };
    if !eth.is_for(tables.interface()) {
        return PassReason::NotOurMac.into();
    }
    match eth.ether_type() {
        Eth::IPV4 if tables.serves(Ipv4::V6) => packet::<P, Ipv4, _, _>(eth, cursor, tables),
        Eth::IPV6 if tables.serves(Ipv6::V6) => packet::<P, Ipv6, _, _>(eth, cursor, tables),
        Eth::IPV4 | Eth::IPV6 => PassReason::NotVip.into(),
        other => P::other(other).into(),
    }
}

#[inline(always)]
fn packet<'p, 't, P: Pass, I: Ip + 'p, C: Cursor<'p>, T: Tables>(
    eth: &'p mut Eth,
    mut cursor: C,
    tables: &'t T,
) -> Decision<'t> {
    match cursor.take::<I>() {
        Some(ip) => P::packet(eth, ip, cursor, tables),
        None => PassReason::Malformed.into(),
    }
}

/// A pass over the packets of one family; the other's are in another program.
struct Only<const V6: bool, P>(PhantomData<P>);

impl<const V6: bool, P: Pass> Pass for Only<V6, P> {
    #[inline(always)]
    fn packet<'p, 't, I: Ip + 'p, C: Cursor<'p>, T: Tables>(
        eth: &'p mut Eth,
        ip: &'p mut I,
        cursor: C,
        tables: &'t T,
    ) -> Decision<'t> {
        if I::V6 != V6 {
            return DropReason::TableError.into();
        }
        P::packet(eth, ip, cursor, tables)
    }
}

/// Whole TCP and UDP packets, those of the front service before others where `FRONT`: that writes the way to a
/// backend out twice, which the verifier walks twice.
struct Whole<const FRONT: bool>;

impl<const FRONT: bool> Pass for Whole<FRONT> {
    #[inline(always)]
    fn other(ether_type: u16) -> Step {
        if FRONT && is_tag(ether_type) {
            return Detour::Tagged.into();
        }
        PassReason::NotIp.into()
    }

    #[inline(always)]
    fn packet<'p, 't, I: Ip + 'p, C: Cursor<'p>, T: Tables>(
        eth: &'p mut Eth,
        ip: &'p mut I,
        mut cursor: C,
        tables: &'t T,
    ) -> Decision<'t> {
        let payload = match ip.plain_payload(&mut cursor) {
            Ok(payload) => payload,
            Err(portless) => return other::portless(portless, ip, tables),
        };
        let transport = match transport(payload, &mut cursor, tables) {
            Ok(transport) => transport,
            Err(portless) => return other::portless(portless, ip, tables),
        };
        let packet = Packet {
            eth,
            ip,
            transport,
            len: cursor.frame_len(),
            transport_len: payload.len,
            is_whole: true,
            program: Detour::Common,
        };
        if FRONT && let Some(service) = select::front(&packet, tables) {
            return conclude(to_backend::send(packet, service, tables));
        }
        conclude(balance(packet, tables))
    }
}

/// The header behind an IP header, where `cursor` stands.
///
/// # Errors
///
/// As of [`Transport::take`].
#[inline(always)]
fn transport<'p, C: Cursor<'p>, T: Tables>(
    payload: Payload,
    cursor: &mut C,
    tables: &T,
) -> Result<Transport<'p>, Portless> {
    let mut transport = Transport::take(payload, cursor)?;
    if transport.protocol == UDP && tables.uses(Feature::Quic) {
        transport.read_quic(payload.len, cursor);
    }
    Ok(transport)
}

/// A service's packet to a backend, a backend's to its client.
#[inline(always)]
fn balance<'t, I: Ip, T: Tables>(mut packet: Packet<'_, I>, tables: &'t T) -> Fate<'t> {
    let destination = packet.ip.destination();
    let ports = packet.transport.ports();
    let protocol = packet.transport.protocol;
    let may_be_ours = may_be_ours(destination, tables);
    if may_be_ours {
        if let Some(service) = select::service(destination, ports.destination, protocol, tables) {
            return to_backend::send(packet, service, tables);
        }
        if let Some(flow) = full_nat::reply(&packet, tables) {
            return to_client::send_flow(packet, &flow, tables);
        }
        if let Some(verdict) = probe::answered(&mut packet, tables) {
            return Ok(verdict.into());
        }
    }
    if let Some(pair) = select::backend(packet.ip.source(), ports.source, protocol, tables) {
        return to_client::send(packet, pair, may_be_ours, tables);
    }
    if may_be_ours {
        Err(other::no_service(packet.ip, tables).into())
    } else {
        Err(PassReason::NotVip.into())
    }
}

/// Whether the directory may hold an address; `false` is certain.
#[inline(always)]
fn may_be_ours<A: IpAddress, T: Tables>(address: A, tables: &T) -> bool {
    let key = address.key(Kind::Address, [0; 2], 0);
    tables.addresses().may_hold(key.tag)
}

/// What an address is: [`VIP`](crate::directory::VIP), [`LOCAL`](crate::directory::LOCAL) and
/// [`POOL`](crate::directory::POOL), or 0.
#[inline(always)]
fn owner<A: IpAddress, T: Tables>(address: A, tables: &T) -> u64 {
    let key = address.key(Kind::Address, [0; 2], 0);
    tables.find(&key, A::V6).unwrap_or(0)
}

/// Where a packet goes, or why it does not: both are decisions, the second one by `?`.
type Fate<'t> = Result<Decision<'t>, Decision<'t>>;

#[inline(always)]
const fn conclude(fate: Fate<'_>) -> Decision<'_> {
    match fate {
        Ok(decision) | Err(decision) => decision,
    }
}
