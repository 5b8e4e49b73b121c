//! Routes to clients, between what they mean and how they stand in `ROUTES`.

use std::net::IpAddr;

use ipnet::IpNet;
use lb_common::{address::Address, next_hop::NextHop, route};
use zerocopy::FromZeros as _;

use super::state::{Action, Route};

/// The entry of a route; `None` ends the list.
pub(super) fn entry(route: Option<&Route>) -> route::Route {
    let mut entry = route::Route::new_zeroed();
    let Some(Route { prefix, action }) = route else {
        return entry;
    };
    entry.prefix = prefix.network().into();
    entry.mask = mask(prefix);
    let (action, next_hop) = match *action {
        Action::Direct => (route::Action::Direct, NextHop::UNRESOLVED),
        Action::Fib => (route::Action::Fib, NextHop::UNRESOLVED),
        Action::NextHop(next_hop) => (route::Action::NextHop, next_hop),
    };
    entry.action = action as u32;
    entry.next_hop = next_hop;
    entry
}

/// What an entry means; `None` for the end of the list, and for what is not an entry.
pub(super) fn meaning(entry: &route::Route) -> Option<Route> {
    const NEXT_HOP: u32 = route::Action::NextHop as u32;
    const FIB: u32 = route::Action::Fib as u32;
    const DIRECT: u32 = route::Action::Direct as u32;
    let action = match entry.action {
        NEXT_HOP => Action::NextHop(entry.next_hop),
        FIB => Action::Fib,
        DIRECT => Action::Direct,
        _ => return None,
    };
    let address = IpAddr::from(entry.prefix);
    let ones: u32 = entry.mask.0.iter().map(|byte| byte.count_ones()).sum();
    let length = if address.is_ipv4() {
        ones.checked_sub(96)?
    } else {
        ones
    };
    let prefix = IpNet::new(address, u8::try_from(length).ok()?).ok()?;
    Some(Route { prefix, action })
}

fn mask(prefix: &IpNet) -> Address {
    match prefix {
        IpNet::V4(v4) => {
            let mut mask = [0xff; 16];
            let (_, last) = mask.split_at_mut(12);
            last.copy_from_slice(&v4.netmask().octets());
            Address(mask)
        }
        IpNet::V6(v6) => Address(v6.netmask().octets()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_means_the_route_it_was_made_of() {
        let hop = NextHop::new([2; 6], 3, false);
        for text in [
            "0.0.0.0/0",
            "10.1.2.0/23",
            "192.0.2.7/32",
            "::/0",
            "2001:db8::/33",
        ] {
            for action in [Action::Direct, Action::Fib, Action::NextHop(hop)] {
                let route = Route {
                    prefix: text.parse().unwrap(),
                    action,
                };
                let entry = entry(Some(&route));
                assert_eq!(meaning(&entry), Some(route));
            }
        }
        assert_eq!(meaning(&entry(None)), None);
    }

    #[test]
    fn the_default_route_of_ipv4_is_no_prefix_of_ipv6() {
        let route = Route {
            prefix: "0.0.0.0/0".parse().unwrap(),
            action: Action::Fib,
        };
        let entry = entry(Some(&route));
        assert_eq!(entry.mask.0[..12], [0xff; 12]);
        assert_eq!(entry.mask.0[12..], [0; 4]);
        assert_eq!(entry.prefix.0[10..12], [0xff; 2]);
    }
}
