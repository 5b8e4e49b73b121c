//! What is neither for a service nor from a backend.

use super::{Decision, Detour, Tables, owner};
use crate::{
    DropReason, PassReason, Verdict,
    directory::{LOCAL, VIP},
    wire::{Ip, Portless, icmp::number},
};

/// A packet without the ports that a service is found by.
#[inline(always)]
pub(super) fn portless<'t, I: Ip, T: Tables>(
    portless: Portless,
    ip: &I,
    tables: &T,
) -> Decision<'t> {
    match portless {
        Portless::Malformed => PassReason::Malformed.into(),
        Portless::ExtensionHeaders => PassReason::ExtensionHeaders.into(),
        Portless::Fragment | Portless::Extended => Detour::Fragment.into(),
        Portless::Other(protocol) if protocol == number::<I>() => Detour::icmp::<I>().into(),
        Portless::Other(_) => no_service(ip, tables).into(),
    }
}

/// A packet for a port (or protocol) without a service.
#[inline(always)]
pub(super) fn no_service<I: Ip, T: Tables>(ip: &I, tables: &T) -> Verdict {
    by_owner(
        ip,
        tables,
        PassReason::LocalPort.into(),
        DropReason::NoSuchPort.into(),
    )
}

/// The verdict by whose the destination is: a VIP that is this host's too (`local`), a VIP that is
/// not (`foreign`), or no VIP.
#[inline(always)]
pub(super) fn by_owner<I: Ip, T: Tables>(
    ip: &I,
    tables: &T,
    local: Verdict,
    foreign: Verdict,
) -> Verdict {
    match owner(ip.destination(), tables) {
        value if value & VIP == 0 => PassReason::NotVip.into(),
        value if value & LOCAL != 0 => local,
        _ => foreign,
    }
}
