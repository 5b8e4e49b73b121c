//! A flow that has to be remembered: by full NAT, or of a NAT backend that several services share.
//!
//! The program does nothing else: the packet goes back to the common path, which finds the flow then.

use super::{
    Decision, Detour, Pass, Step, Tables, full_nat,
    moving::Turn,
    other,
    select::{self, Selector, Tuple},
    shared,
    to_backend::FULL_NAT,
    transport,
};
use crate::{
    DropReason, PassReason,
    directory::Way,
    flow::{Flow, FlowKey},
    fragment::{Fragment, FragmentKey},
    wire::{Cursor, Eth, Ip, IpAddress, Ports, Transport},
};

/// The program of flows to be remembered.
pub(super) struct Remember;

/// A client's packet, as far as a flow is told by it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asks<A> {
    /// Who asks.
    pub(super) client: A,
    /// Whom.
    pub(super) vip: A,
    /// The client's port, and that of the VIP.
    pub(super) ports: Ports,
    /// IP protocol number.
    pub(super) protocol: u8,
    /// Marks of the flow's entry.
    pub(super) marks: u32,
}

impl<A: Copy> Asks<A> {
    #[inline(always)]
    const fn tuple(&self) -> Tuple<A> {
        Tuple {
            client: self.client,
            vip: self.vip,
            ports: self.ports,
            protocol: self.protocol,
        }
    }
}

/// What is about to be remembered, put together: the only value of this CPU in the map `DRAFT`. A
/// program's stack has no room for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Draft {
    /// By what a flow's packets of the side that is remembered first are found.
    pub reply_key: FlowKey,
    /// What they get.
    pub reply: Flow,
    /// The other side's.
    pub key: FlowKey,
    /// What these get.
    pub flow: Flow,
    /// By what fragments of a packet are found.
    pub fragment_key: FragmentKey,
    /// What becomes of them.
    pub fragment: Fragment,
}

impl Pass for Remember {
    #[inline(always)]
    fn packet<'p, 't, I: Ip + 'p, C: Cursor<'p>, T: Tables>(
        _eth: &'p mut Eth,
        ip: &'p mut I,
        mut cursor: C,
        tables: &'t T,
    ) -> Decision<'t> {
        let piece = match ip.piece(&mut cursor) {
            Ok(piece) => piece,
            Err(portless) => return other::portless(portless, ip, tables),
        };
        let Ok(transport) = transport(piece.payload, &mut cursor, tables) else {
            return PassReason::Malformed.into();
        };
        let asks = Asks {
            client: ip.source(),
            vip: ip.destination(),
            ports: transport.ports(),
            protocol: transport.protocol,
            marks: transport.marks(),
        };
        match remember(&asks, &transport, cursor.frame_len(), tables) {
            Ok(()) => Detour::Common.into(),
            Err(step) => step.into(),
        }
    }
}

#[inline(always)]
fn remember<A: IpAddress, T: Tables>(
    asks: &Asks<A>,
    transport: &Transport<'_>,
    len: usize,
    tables: &T,
) -> Result<(), Step> {
    let service = select::service(asks.vip, asks.ports.destination, asks.protocol, tables)
        .ok_or(DropReason::NoSuchPort)?;
    let (flow, hash) = asks.tuple().hashes(service, tables);
    let selector = Selector {
        hash,
        flow,
        transport: Some(transport),
        turn: Turn::Follow,
        program: Detour::Flow,
    };
    let made = try_remember(asks, &selector, service, tables);
    // From the program of moving rows the packet comes back here.
    if made.is_err_and(|step| step != Detour::Moving.into()) {
        tables.count(Way::extent(service), super::Direction::Forward, len);
    }
    made
}

#[inline(always)]
fn try_remember<A: IpAddress, T: Tables>(
    asks: &Asks<A>,
    selector: &Selector<'_>,
    service: u64,
    tables: &T,
) -> Result<(), Step> {
    let pair = select::owner(selector, service, tables)?.pair;
    let backend = tables.backend(pair).ok_or(DropReason::TableError)?;
    if tables.mode(backend) == FULL_NAT {
        full_nat::remember(asks, selector.flow, pair, backend, tables)?;
    } else {
        shared::remember(asks, pair, selector.hash, service, tables)?;
    }
    Ok(())
}
