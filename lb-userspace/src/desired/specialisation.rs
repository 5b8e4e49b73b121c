//! What the program must be able to do: the verifier removes the rest from it.

use lb_common::{
    backend::Mode,
    maps::{Constants, Feature},
    probe_link::ProbeLink,
};

use super::{claims::shares_backends, state::State};
use crate::config::model::{self, Config, Echo, Service, WhenEmpty};

/// What the program must be able to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Specialisation {
    /// Whether a service has an IPv4 VIP.
    pub ipv4: bool,
    /// Whether a service has an IPv6 VIP.
    pub ipv6: bool,
    /// [`Mode::bit`]s of its backends.
    pub modes: u32,
    /// [`Feature`]s' bits.
    pub features: u32,
    /// ICMP messages that each CPU may make in a second.
    pub icmp_rate: u32,
    /// The link that probes of the path come in by; `None`: there are none.
    pub probe_link: Option<ProbeLink>,
}

/// Features that tables make use of, so that a program must have them as long as a table does.
const OF_TABLES: u32 = Feature::Ranges as u32
    | Feature::Mss as u32
    | Feature::Shared as u32
    | Feature::Affinity as u32
    | Feature::Quic as u32
    | Feature::SecondChance as u32
    | Feature::Refusal as u32;

impl Specialisation {
    /// What a configuration (with its overrides) needs. `tracks`: whether the kernel can track flows.
    #[must_use]
    pub fn of(config: &Config, tracks: bool) -> Self {
        let services = &config.services;
        let serves = |v6| services.iter().any(|s| s.vip.address.is_ipv6() == v6);
        let backends = services.iter().flat_map(|service| &service.backends);
        Self {
            ipv4: serves(false),
            ipv6: serves(true),
            modes: backends.fold(0, |modes, b| modes | mode(b.mode).bit()),
            features: features(config) | (u32::from(tracks) * Feature::Tracking as u32),
            icmp_rate: config.icmp.rate,
            probe_link: None,
        }
    }

    /// What a program runs with.
    #[must_use]
    pub const fn of_program(constants: &Constants) -> Self {
        Self {
            ipv4: constants.ipv4 != 0,
            ipv6: constants.ipv6 != 0,
            modes: constants.modes,
            features: constants.features,
            icmp_rate: constants.icmp_rate,
            probe_link: ProbeLink::of_constants(constants.probe_link, constants.probe_port),
        }
    }

    /// Whether flows have to be remembered.
    #[must_use]
    pub const fn remembers_flows(self) -> bool {
        self.modes & Mode::FullNat.bit() != 0 || self.features & Feature::Shared as u32 != 0
    }

    /// The constants of a program that is specialised like this, and in other respects as before.
    #[must_use]
    pub fn constants(self, before: Constants) -> Constants {
        let Self {
            ipv4,
            ipv6,
            modes,
            features,
            icmp_rate,
            probe_link,
        } = self;
        let ifindex = probe_link.and_then(|link| u16::try_from(link.ifindex).ok());
        Constants {
            probe_link: ifindex.unwrap_or(0),
            probe_port: probe_link.map_or(0, |link| link.first_port),
            ipv4: ipv4.into(),
            ipv6: ipv6.into(),
            modes,
            features,
            icmp_rate,
            ..before
        }
    }

    /// The same with or without tracked flows.
    #[must_use]
    pub const fn tracking(self, tracks: bool) -> Self {
        let features = self.features & !(Feature::Tracking as u32);
        Self {
            features: features | (tracks as u32 * Feature::Tracking as u32),
            ..self
        }
    }

    /// What a program must be able to do while the tables change: what they say before and what they
    /// will say. All that is no business of tables is as it will be.
    #[must_use]
    pub const fn on_the_way_from(self, before: Self) -> Self {
        Self {
            ipv4: self.ipv4 || before.ipv4,
            ipv6: self.ipv6 || before.ipv6,
            modes: self.modes | before.modes,
            features: self.features | before.features & OF_TABLES,
            icmp_rate: self.icmp_rate,
            probe_link: self.probe_link,
        }
    }
}

/// What a state needs beside its configuration: for backends that stay for their flows' sake.
pub(super) fn serving(state: &State) -> Specialisation {
    let services = state.services.iter();
    let backends = services.flat_map(|service| &service.backends);
    backends.fold(state.specialisation, |needs, backend| Specialisation {
        modes: needs.modes | backend.forwarding.mode().bit(),
        features: needs.features | (u32::from(backend.shared) * Feature::Shared as u32),
        ..needs
    })
}

fn features(config: &Config) -> u32 {
    let any = |uses: fn(&Service) -> bool| config.services.iter().any(uses);
    let used = [
        (any(|service| !service.vip.ports.is_one()), Feature::Ranges),
        (config.icmp.echo == Echo::Answer, Feature::Echo),
        (any(|service| service.mss.is_some()), Feature::Mss),
        (shares_backends(config), Feature::Shared),
        (any(|service| service.affinity.is_some()), Feature::Affinity),
        (any(|service| service.quic), Feature::Quic),
        (
            any(|service| service.tunnel.second_chance),
            Feature::SecondChance,
        ),
        (any(refuses), Feature::Refusal),
        (any(Service::is_watched), Feature::Signals),
    ];
    let bits = used.iter().filter(|(is_used, _)| *is_used);
    bits.fold(0, |features, (_, feature)| features | *feature as u32)
}

fn refuses(service: &Service) -> bool {
    service.guards.when_empty == WhenEmpty::Reset
}

/// The data path's word for a mode.
pub(super) const fn mode(mode: model::Mode) -> Mode {
    match mode {
        model::Mode::Nat => Mode::Nat,
        model::Mode::FullNat => Mode::FullNat,
        model::Mode::L2Dsr => Mode::L2Dsr,
        model::Mode::Ipip => Mode::Ipip,
        model::Mode::Gue => Mode::Gue,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn on_the_way_a_program_does_what_was_and_what_will_be() {
        let before = Specialisation {
            ipv4: true,
            modes: Mode::Nat.bit(),
            features: Feature::Mss as u32 | Feature::Echo as u32,
            icmp_rate: 7,
            ..Specialisation::default()
        };
        let after = Specialisation {
            ipv6: true,
            modes: Mode::Gue.bit(),
            features: Feature::Ranges as u32,
            icmp_rate: 9,
            ..Specialisation::default()
        };
        let both = Specialisation {
            ipv4: true,
            ipv6: true,
            modes: Mode::Nat.bit() | Mode::Gue.bit(),
            features: Feature::Mss as u32 | Feature::Ranges as u32,
            icmp_rate: 9,
            probe_link: None,
        };
        assert_eq!(after.on_the_way_from(before), both);
        assert_eq!(after.on_the_way_from(after), after);
    }
}
