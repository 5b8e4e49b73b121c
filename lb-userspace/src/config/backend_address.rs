//! Addresses of backends as people write them, and whether they go with their service:
//! `10.0.0.11:8080`, `[2001:db8:1::1]:9000-9099`, or `10.0.0.11` where packets keep their ports.

use std::net::{IpAddr, SocketAddr};

use thiserror::Error;

use super::{
    address::{AddressError, parse_backend_parts},
    model::{Mode, Ports, Vip},
};

/// A backend's address as it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BackendAddress {
    /// Its IP address.
    pub ip: IpAddr,
    /// One port or a range; `None`: packets keep their port.
    pub ports: Option<Ports>,
}

/// Why the ports of a backend do not go with its service.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Misfit {
    /// No port, where a new one must be written into packets.
    #[error("`{0}` has no port")]
    NoPort(IpAddr),
    /// One port for several: replies could not be told apart.
    #[error(
        "one backend port for the ports {0} of the VIP: replies would not tell which was meant"
    )]
    OneForSeveral(Ports),
    /// Several ports for one.
    #[error("backend ports {found} for the one port {vip} of the VIP")]
    SeveralForOne {
        /// The backend's.
        found: Ports,
        /// The VIP's.
        vip: Ports,
    },
    /// A range of another length.
    #[error("{} backend ports for {} ports of the VIP", .found.count(), .vip.count())]
    OtherLength {
        /// The backend's.
        found: Ports,
        /// The VIP's.
        vip: Ports,
    },
    /// Another port, in a mode that does not rewrite it.
    #[error("backend port {found}, but mode `{}` leaves port {vip} as it is", .mode.word())]
    Unchanged {
        /// The mode.
        mode: Mode,
        /// The backend's.
        found: Ports,
        /// The VIP's.
        vip: Ports,
    },
}

impl Misfit {
    /// What to write instead.
    #[must_use]
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::NoPort(_) => "add the port: 192.0.2.1:80 or \"[2001:db8::1]:80\"",
            Self::SeveralForOne { .. } => "give one port",
            Self::OneForSeveral(_) | Self::OtherLength { .. } => {
                "leave the port out to keep it, or give a range of the same length"
            }
            Self::Unchanged { .. } => {
                "leave the port out; `probe: { port: … }` probes another one than packets go to"
            }
        }
    }
}

impl BackendAddress {
    /// Parses an address with a port, a range, or nothing behind it: a unicast address that packets
    /// can be sent to, and ports from 1.
    ///
    /// # Errors
    /// Says which part is wrong and how it should look.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let (ip, ports) = parse_backend_parts(text)?;
        Ok(Self { ip, ports })
    }

    /// That of a backend of a service with this VIP: the reverse of [`Self::fit`], up to a port that
    /// need not be written.
    #[must_use]
    pub const fn of(vip: Vip, address: SocketAddr) -> Self {
        let ports = match vip.ports.moved_to(address.port()) {
            Ports::All => None,
            ports => Some(ports),
        };
        Self {
            ip: address.ip(),
            ports,
        }
    }

    /// Where the backend of a service listens: the first of its ports, and 0 for all.
    ///
    /// # Errors
    /// Where its ports do not go with those of the VIP.
    pub fn fit(self, vip: Vip, mode: Mode) -> Result<SocketAddr, Misfit> {
        let ports = match self.ports {
            None if vip.ports.is_one() && mode.is_nat() => return Err(Misfit::NoPort(self.ip)),
            None => vip.ports,
            Some(found) => fitting(found, vip.ports, mode)?,
        };
        Ok(SocketAddr::new(self.ip, ports.first()))
    }

    /// The same where the service is not known.
    pub(super) fn anywhere(self) -> SocketAddr {
        SocketAddr::new(self.ip, self.ports.map_or(0, Ports::first))
    }
}

fn fitting(found: Ports, vip: Ports, mode: Mode) -> Result<Ports, Misfit> {
    match (vip, found) {
        _ if found == vip => Ok(found),
        _ if !mode.is_nat() => Err(Misfit::Unchanged { mode, found, vip }),
        (Ports::One(_), Ports::One(_)) => Ok(found),
        (Ports::One(_), _) => Err(Misfit::SeveralForOne { found, vip }),
        (_, Ports::One(_)) => Err(Misfit::OneForSeveral(vip)),
        _ if found.count() == vip.count() => Ok(found),
        _ => Err(Misfit::OtherLength { found, vip }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fit(vip: &str, mode: Mode, backend: &str) -> Result<String, Misfit> {
        let backend = BackendAddress::parse(backend).unwrap();
        let fitted = backend.fit(vip.parse().unwrap(), mode);
        fitted.map(|address| address.to_string())
    }

    #[test]
    fn ports_that_are_left_out_are_the_vips() {
        for (vip, mode, backend, listens) in [
            ("192.0.2.1:80/tcp", Mode::L2Dsr, "10.0.0.1", "10.0.0.1:80"),
            ("192.0.2.1:80-89/tcp", Mode::Nat, "10.0.0.1", "10.0.0.1:80"),
            ("192.0.2.1:*/tcp", Mode::Nat, "10.0.0.1", "10.0.0.1:0"),
            (
                "192.0.2.1:80/tcp",
                Mode::Gue,
                "[2001:db8::1]",
                "[2001:db8::1]:80",
            ),
        ] {
            assert_eq!(fit(vip, mode, backend).as_deref(), Ok(listens), "{backend}");
        }
    }

    #[test]
    fn ports_that_are_given_must_be_as_many() {
        const VIP: &str = "192.0.2.1:80-89/tcp";
        let fit = |backend| fit(VIP, Mode::Nat, backend);
        assert_eq!(fit("10.0.0.1:8080-8089").as_deref(), Ok("10.0.0.1:8080"));
        assert!(matches!(
            fit("10.0.0.1:80-88"),
            Err(Misfit::OtherLength { .. })
        ));
        assert!(matches!(fit("10.0.0.1:80"), Err(Misfit::OneForSeveral(_))));
    }

    #[test]
    fn direct_answers_come_from_the_vips_own_port() {
        for mode in [Mode::L2Dsr, Mode::Ipip, Mode::Gue] {
            let fit = |backend| fit("192.0.2.1:80/tcp", mode, backend);
            assert!(matches!(
                fit("10.0.0.1:8080"),
                Err(Misfit::Unchanged { .. })
            ));
            assert_eq!(fit("10.0.0.1:80").as_deref(), Ok("10.0.0.1:80"));
        }
    }
}
