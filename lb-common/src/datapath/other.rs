//! What is neither for a service nor from a backend.

use network_types::ip::IpProto;

use super::Tables;
use crate::{
    DropReason, PassReason, Verdict,
    directory::{Kind, LOCAL, VIP},
    wire::{Ip, IpAddress as _, Portless},
};

/// A packet without the ports that a service is found by.
#[inline(always)]
pub(super) fn portless<I: Ip, T: Tables>(portless: Portless, ip: &I, tables: &T) -> Verdict {
    match portless {
        Portless::Malformed => Verdict::Pass(PassReason::Malformed),
        Portless::ExtensionHeaders => Verdict::Pass(PassReason::ExtensionHeaders),
        Portless::Fragment => by_owner(
            ip,
            tables,
            PassReason::LocalFragment.into(),
            DropReason::Fragment.into(),
        ),
        Portless::Other(protocol) if protocol == icmp::<I>() => {
            by_owner(ip, tables, PassReason::Icmp.into(), PassReason::Icmp.into())
        }
        Portless::Other(_) => no_service(ip, tables),
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
fn by_owner<I: Ip, T: Tables>(ip: &I, tables: &T, local: Verdict, foreign: Verdict) -> Verdict {
    let key = ip.destination().key(Kind::Address, [0; 2], 0);
    match tables.find(&key, I::V6) {
        Some(value) if value & VIP == 0 => PassReason::NotVip.into(),
        Some(value) if value & LOCAL != 0 => local,
        Some(_) => foreign,
        None => PassReason::NotVip.into(),
    }
}

const fn icmp<I: Ip>() -> u8 {
    if I::V6 {
        IpProto::Ipv6Icmp as u8
    } else {
        IpProto::Icmp as u8
    }
}
