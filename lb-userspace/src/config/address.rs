//! Addresses as people write them: `203.0.113.10:80/tcp`, `[2001:db8::1]:80`.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use thiserror::Error;

use super::{
    model::{PortRange, Ports, Protocol, Vip},
    values::quoted,
};

/// Why a text is no VIP or no backend address.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum AddressError {
    /// `10.0.0.11:*`, of a backend.
    #[error("`*` is not a port of a backend")]
    AllPortsOfBackend,
    /// The part before the port is no IP address.
    #[error("{} is not an IP address", quoted(.text))]
    NotAnAddress {
        /// The part.
        text: String,
    },
    /// A port that is no number from 1 to 65535.
    #[error("{} is not a port, expected a number from 1 to 65535", quoted(.text))]
    NotAPort {
        /// The part.
        text: String,
    },
    /// A single port, or `*`, where a range is wanted.
    #[error("{} is not a range of ports", quoted(.text))]
    NotARange {
        /// What stands there.
        text: String,
    },
    /// Something else than an IPv6 address in brackets.
    #[error("{} in brackets is not an IPv6 address", quoted(.text))]
    NotIpv6 {
        /// What stands in the brackets.
        text: String,
    },
    /// There is an address only.
    #[error("{} has no port", quoted(.text))]
    NoPort {
        /// The address.
        text: String,
    },
    /// A VIP without `/tcp` or `/udp`.
    #[error("{} has no protocol, expected ADDRESS:PORT/PROTOCOL", quoted(.text))]
    NoProtocol {
        /// All of it.
        text: String,
    },
    /// `203.0.113.10:8099-8000/udp`.
    #[error("port range {} does not end above its beginning", quoted(.text))]
    EmptyRange {
        /// The range.
        text: String,
    },
    /// A backend with `/tcp` or `/udp`.
    #[error("a backend has the protocol of its VIP, not {} of its own", quoted(.text))]
    ProtocolOfBackend {
        /// The protocol.
        text: String,
    },
    /// An IPv6 address and perhaps a port, but no brackets.
    #[error("IPv6 address {} needs brackets", quoted(.text))]
    Unbracketed {
        /// Address and port.
        text: String,
    },
    /// Neither `tcp` nor `udp`.
    #[error("unknown protocol {}, expected `tcp` or `udp`", quoted(.text))]
    UnknownProtocol {
        /// The part.
        text: String,
    },
    /// An address to which no packet can be forwarded.
    #[error("{address} is {kind} address, to which nothing can be forwarded")]
    Unusable {
        /// The address as written.
        address: String,
        /// With its article: `a multicast`.
        kind: &'static str,
    },
}

impl AddressError {
    /// What to write instead.
    #[must_use]
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::AllPortsOfBackend => "write the address alone: packets keep their port",
            Self::EmptyRange { .. } => "write FIRST-LAST, or a single port",
            Self::NotARange { .. } => "write FIRST-LAST: 10000-32767",
            Self::NotAnAddress { .. } => "write an address, names are not resolved",
            Self::NotIpv6 { .. } => "write IPv4 without brackets and IPv6 as [2001:db8::1]:80",
            Self::ProtocolOfBackend { .. } => "write ADDRESS:PORT only",
            Self::NotAPort { .. } => "take a port from 1 to 65535",
            Self::NoPort { .. } => "add the port: 192.0.2.1:80 or \"[2001:db8::1]:80\"",
            Self::NoProtocol { .. } | Self::UnknownProtocol { .. } => "end with /tcp or /udp",
            Self::Unbracketed { .. } => "write \"[2001:db8::1]:80\"",
            Self::Unusable { .. } => "take a unicast address that the network routes",
        }
    }

    /// The part of the text that is wrong.
    pub(super) fn part(&self) -> &str {
        match self {
            Self::AllPortsOfBackend => "*",
            Self::NotAnAddress { text }
            | Self::NotAPort { text }
            | Self::NotARange { text }
            | Self::NotIpv6 { text }
            | Self::ProtocolOfBackend { text }
            | Self::NoPort { text }
            | Self::NoProtocol { text }
            | Self::EmptyRange { text }
            | Self::Unbracketed { text }
            | Self::UnknownProtocol { text } => text,
            Self::Unusable { address, .. } => address,
        }
    }
}

/// `203.0.113.10:80/tcp`, `[2001:db8::10]:8000-8099/udp` or `203.0.113.10:*/tcp`.
impl FromStr for Vip {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let (endpoint, protocol) =
            text.rsplit_once('/')
                .ok_or_else(|| match parse_endpoint(text) {
                    Ok(_) => AddressError::NoProtocol {
                        text: text.to_owned(),
                    },
                    Err(error) => error,
                })?;
        let (address, ports) = parse_endpoint(endpoint)?;
        Ok(Self {
            address,
            ports,
            protocol: parse_protocol(protocol)?,
        })
    }
}

/// Address and ports of a backend; `None` where there is an address only.
pub(super) fn parse_backend_parts(text: &str) -> Result<(IpAddr, Option<Ports>), AddressError> {
    if let Some((_, protocol)) = text.rsplit_once('/')
        && parse_protocol(protocol).is_ok()
    {
        let text = protocol.to_owned();
        return Err(AddressError::ProtocolOfBackend { text });
    }
    if let Some(address) = lone_address(text) {
        return Ok((usable(address)?, None));
    }
    match parse_endpoint(text)? {
        (_, Ports::All) => Err(AddressError::AllPortsOfBackend),
        (address, ports) => Ok((address, Some(ports))),
    }
}

/// An IPv4 address, or an IPv6 address in brackets, with nothing behind it.
fn lone_address(text: &str) -> Option<&str> {
    let bracketed = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    match bracketed {
        Some(address) => address.parse::<Ipv6Addr>().is_ok().then_some(address),
        None => text.parse::<Ipv4Addr>().is_ok().then_some(text),
    }
}

fn parse_protocol(text: &str) -> Result<Protocol, AddressError> {
    match text {
        "tcp" => Ok(Protocol::Tcp),
        "udp" => Ok(Protocol::Udp),
        _ => Err(AddressError::UnknownProtocol {
            text: text.to_owned(),
        }),
    }
}

fn parse_endpoint(text: &str) -> Result<(IpAddr, Ports), AddressError> {
    let (address, ports) = split_port(text)?;
    Ok((usable(address)?, parse_ports(ports)?))
}

/// Address without brackets, and what stands behind the colon.
fn split_port(text: &str) -> Result<(&str, &str), AddressError> {
    let no_port = || AddressError::NoPort {
        text: text.to_owned(),
    };
    if let Some(bracketed) = text.strip_prefix('[') {
        let (address, rest) = bracketed
            .split_once(']')
            .ok_or_else(|| not_an_address(text))?;
        // Brackets are for IPv6 only (RFC 3986 §3.2.2).
        address
            .parse::<Ipv6Addr>()
            .map_err(|_not_ipv6| AddressError::NotIpv6 {
                text: address.to_owned(),
            })?;
        let port = rest.strip_prefix(':').ok_or_else(no_port)?;
        return Ok((address, port));
    }
    let (address, port) = text
        .rsplit_once(':')
        .ok_or_else(|| match text.parse::<IpAddr>() {
            Ok(_) => no_port(),
            Err(_) => not_an_address(text),
        })?;
    if address.contains(':') {
        return Err(AddressError::Unbracketed {
            text: text.to_owned(),
        });
    }
    Ok((address, port))
}

fn not_an_address(text: &str) -> AddressError {
    AddressError::NotAnAddress {
        text: text.to_owned(),
    }
}

fn parse_ports(text: &str) -> Result<Ports, AddressError> {
    if text == "*" {
        return Ok(Ports::All);
    }
    match text.split_once('-') {
        Some((first, last)) if is_number(first) && is_number(last) => {
            let (first, last) = (parse_port(first)?, parse_port(last)?);
            if first >= last {
                let text = text.to_owned();
                return Err(AddressError::EmptyRange { text });
            }
            Ok(Ports::Range(PortRange { first, last }))
        }
        _ => parse_port(text).map(Ports::One),
    }
}

fn parse_port(text: &str) -> Result<u16, AddressError> {
    match text.parse() {
        Ok(port) if port != 0 && is_number(text) => Ok(port),
        Ok(_) | Err(_) => Err(AddressError::NotAPort {
            text: text.to_owned(),
        }),
    }
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

/// `10000-32767`.
pub(super) fn parse_port_range(text: &str) -> Result<PortRange, AddressError> {
    match parse_ports(text)? {
        Ports::Range(range) => Ok(range),
        Ports::One(_) | Ports::All => Err(AddressError::NotARange {
            text: text.to_owned(),
        }),
    }
}

/// An address to which packets can be sent.
pub(super) fn parse_unicast(text: &str) -> Result<IpAddr, AddressError> {
    usable(text)
}

fn usable(text: &str) -> Result<IpAddr, AddressError> {
    let address = text.parse().map_err(|_not_an_ip| not_an_address(text))?;
    match unusable_kind(address) {
        None => Ok(address),
        Some(kind) => Err(AddressError::Unusable {
            address: text.to_owned(),
            kind,
        }),
    }
}

/// What keeps an address from being that of a VIP or a backend.
fn unusable_kind(address: IpAddr) -> Option<&'static str> {
    let is_broadcast = matches!(address, IpAddr::V4(v4) if v4.is_broadcast());
    let is_link_local = matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local());
    let is_mapped = matches!(address, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some());
    let kinds = [
        (address.is_unspecified(), "the unspecified"),
        (address.is_multicast(), "a multicast"),
        (address.is_loopback(), "a loopback"),
        (is_broadcast, "the broadcast"),
        (is_link_local, "a link-local"),
        (is_mapped, "an IPv4-mapped"),
    ];
    kinds.iter().find_map(|(is, kind)| is.then_some(*kind))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_shown_is_read_again(address: IpAddr, ports in ports(), is_tcp: bool) {
            prop_assume!(unusable_kind(address).is_none());
            let protocol = if is_tcp { Protocol::Tcp } else { Protocol::Udp };
            let vip = Vip { address, ports, protocol };
            prop_assert_eq!(vip.to_string().parse(), Ok(vip));
            if ports != Ports::All {
                let text = vip.to_string();
                let (backend, _) = text.split_once('/').unwrap();
                prop_assert_eq!(parse_backend_parts(backend), Ok((address, Some(ports))));
            }
        }

        #[test]
        fn mistakes_name_a_part_of_the_text(text in "[0-9a-f:.\\[\\]/*-]{0,24}(/tcp)?") {
            if let Err(error) = text.parse::<Vip>() {
                prop_assert!(text.contains(error.part()), "{:?} of {}", error, text);
            }
            if let Err(error) = parse_backend_parts(&text) {
                prop_assert!(text.contains(error.part()), "{:?} of {}", error, text);
            }
        }
    }

    fn ports() -> impl Strategy<Value = Ports> {
        let range = (1_u16..1000, 1000_u16..);
        prop_oneof![
            (1_u16..).prop_map(Ports::One),
            range.prop_map(|(first, last)| Ports::Range(PortRange { first, last })),
            Just(Ports::All),
        ]
    }

    #[test]
    fn ports_are_plain_numbers() {
        for port in [
            "", "0", "+80", "-1", "65536", "0x50", "8 0", "80.0", "1-", "-", "1-2-3",
        ] {
            let text = format!("192.0.2.1:{port}/tcp");
            let port = port.to_owned();
            assert_eq!(
                text.parse::<Vip>(),
                Err(AddressError::NotAPort { text: port })
            );
        }
    }

    #[test]
    fn zones_are_no_part_of_an_address() {
        let error = "[fe80::1%eth0]:80/tcp".parse::<Vip>();
        assert!(
            matches!(error, Err(AddressError::NotIpv6 { .. })),
            "{error:?}"
        );
    }
}
