//! What has to fit together within one service.

use super::{
    backends::BackendDraft,
    model::{Check, Mode, Path, Protocol, Service, Vip},
    passive,
    probe::Setting,
    problems::{Finding, Problems},
    quota,
    services::ServiceDraft,
    source::{Span, Spanned},
};

impl ServiceDraft {
    /// Reports what does not fit, and notes what may surprise.
    pub(super) fn check(&self, problems: &mut Problems) {
        self.check_families(problems);
        self.check_probe(problems);
        self.check_via_vip(problems);
        self.check_mss(problems);
        self.check_sources(problems);
        self.check_second_chance(problems);
        if let Ok(vip) = &self.vip {
            self.connections.check(vip, problems);
        }
        if let (Ok(vip), Ok(probe)) = (&self.vip, &self.probe) {
            let is_probed = probe.probes(vip.value.protocol);
            self.recovery.check(is_probed, problems);
            if let Ok(Some(passive)) = &self.passive {
                passive::check(passive, vip.value.protocol, is_probed, problems);
            }
        }
        self.note_unprobed(problems);
        self.note_unused(problems);
        let (Ok(slots), Ok(backends)) = (&self.slots, &self.backends) else {
            return;
        };
        match slots {
            Some(slots) if backends.len() > slots.value as usize => {
                problems.error(too_few_slots(slots, backends.len()));
            }
            _ => check_weights(slots.as_ref(), backends, problems),
        }
    }

    fn check_families(&self, problems: &mut Problems) {
        let (Ok(vip), Ok(backends)) = (&self.vip, &self.backends) else {
            return;
        };
        let expected = family(vip.value.address.is_ipv4());
        for backend in backends {
            let (Ok(address), Ok(mode)) = (&backend.address, backend.mode) else {
                continue;
            };
            let found = family(address.value.is_ipv4());
            if found == expected || mode.is_tunnel() {
                continue;
            }
            let message = format!("{found} backend in an {expected} service");
            problems.error(
                Finding::at(address.span, message)
                    .label(format!("this is {found}"))
                    .also(vip.span, format!("the VIP is {expected}"))
                    .hint("make one service for each address family, or use mode `ipip` or `gue`"),
            );
        }
    }

    /// A datagram is answered by who understands it alone.
    fn check_via_vip(&self, problems: &mut Problems) {
        let (Ok(vip), Ok(Setting::On(probe))) = (&self.vip, &self.probe) else {
            return;
        };
        let is_answered = matches!(*probe.check, Check::Udp(_) | Check::Dns(_));
        let is_asked = vip.value.protocol == Protocol::Tcp || is_answered;
        if probe.via_vip != Path::Off && !is_asked {
            let message = "a service over UDP is probed by way of its VIP by datagrams alone";
            problems.error(
                Finding::at(vip.span, message)
                    .label("this is UDP")
                    .hint("use a probe of `type: udp` or `dns`, or take `via_vip` out of `probe`"),
            );
        }
    }

    /// A backend that listens on several ports has none that is its own.
    fn check_probe(&self, problems: &mut Problems) {
        let (Ok(vip), Ok(probe)) = (&self.vip, &self.probe) else {
            return;
        };
        let Vip {
            ports, protocol, ..
        } = vip.value;
        let has_port = match probe {
            Setting::On(probe) => probe.port.is_some(),
            Setting::Unsaid => protocol == Protocol::Udp,
            Setting::Off => true,
        };
        if !ports.is_one() && !has_port {
            problems.error(
                Finding::at(vip.span, "a service on several ports, and no port to probe")
                    .label("which of these?")
                    .hint("add `probe: { port: 80 }`, or `probe: none`"),
            );
        }
    }

    fn check_mss(&self, problems: &mut Problems) {
        let (Ok(vip), Ok(Some(mss))) = (&self.vip, &self.mss) else {
            return;
        };
        if vip.value.protocol != Protocol::Tcp {
            problems.error(
                Finding::at(mss.span, "`mss` in a UDP service")
                    .label("only TCP has segments")
                    .also(vip.span, "the VIP")
                    .hint("remove it"),
            );
        }
    }

    /// Only the header of GUE has room for another backend, and only TCP has connections that a host knows.
    fn check_second_chance(&self, problems: &mut Problems) {
        let (Ok(vip), Ok(Some(tunnel)), Ok(backends)) = (&self.vip, &self.tunnel, &self.backends)
        else {
            return;
        };
        if !tunnel.value.second_chance {
            return;
        }
        let span = problems.source().narrow(tunnel.span, "second_chance");
        if vip.value.protocol != Protocol::Tcp {
            problems.error(
                Finding::at(span, "`second_chance` in a UDP service")
                    .label("only TCP has connections that a host knows")
                    .also(vip.span, "the VIP")
                    .hint("remove it"),
            );
        }
        let mut modes = backends.iter().map(|backend| &backend.mode);
        if !modes.any(|mode| !matches!(mode, Ok(mode) if *mode != Mode::Gue)) {
            problems.error(
                Finding::at(span, "`second_chance` in a service without `gue`")
                    .label("no other tunnel names a second backend")
                    .hint("use `mode: gue`, or remove it"),
            );
        }
    }

    /// Sources of `full-nat` are those of packets of the VIP's family.
    fn check_sources(&self, problems: &mut Problems) {
        let (Ok(vip), Ok(Some(pool))) = (&self.vip, &self.full_nat) else {
            return;
        };
        let is_ipv4 = vip.value.address.is_ipv4();
        let mut sources = pool.value.sources.iter();
        if let Some(foreign) = sources.find(|source| source.is_ipv4() != is_ipv4) {
            let message = format!(
                "{} source in an {} service",
                family(!is_ipv4),
                family(is_ipv4)
            );
            problems.error(
                Finding::at(
                    problems.source().narrow(pool.span, &foreign.to_string()),
                    message,
                )
                .also(vip.span, format!("the VIP is {}", family(is_ipv4)))
                .hint("give addresses of the VIP's family"),
            );
        }
    }

    fn note_unprobed(&self, problems: &mut Problems) {
        let (Ok(vip), Ok(Setting::Unsaid)) = (&self.vip, &self.probe) else {
            return;
        };
        if vip.value.protocol == Protocol::Tcp {
            return;
        }
        problems.note(
            Finding::at(
                vip.span,
                "backends of a UDP service are not probed and count as up",
            )
            .hint(
                "say so with `probe: none`, or probe a TCP port: `probe: { type: tcp, port: 53 }`",
            ),
        );
    }

    /// What is said about modes that no backend has.
    fn note_unused(&self, problems: &mut Problems) {
        if let Ok(Some(tunnel)) = &self.tunnel {
            self.note_unless(
                Mode::is_tunnel,
                "tunnel",
                "`ipip` or `gue`",
                tunnel.span,
                problems,
            );
        }
        if let Ok(Some(pool)) = &self.full_nat {
            let is_full_nat = |mode| mode == Mode::FullNat;
            self.note_unless(is_full_nat, "full_nat", "`full-nat`", pool.span, problems);
        }
    }

    fn note_unless(
        &self,
        is_used: impl Fn(Mode) -> bool,
        key: &str,
        modes: &str,
        span: Span,
        problems: &mut Problems,
    ) {
        let Ok(backends) = &self.backends else {
            return;
        };
        // A mode that could not be read may have been the right one.
        if backends.iter().any(|b| b.mode.map_or(true, &is_used)) {
            return;
        }
        let message = format!("`{key}`, but no backend is in mode {modes}");
        let hint = "set `mode`, or remove it";
        problems.note(Finding::at(span, message).hint(hint));
    }
}

const fn family(is_ipv4: bool) -> &'static str {
    if is_ipv4 { "IPv4" } else { "IPv6" }
}

fn too_few_slots(slots: &Spanned<u32>, backends: usize) -> Finding {
    let Spanned { value, span } = slots;
    Finding::at(*span, format!("{value} slots for {backends} backends"))
        .label("fewer slots than backends")
        .hint("leave `slots` out, or give at least 100 for each backend")
}

fn check_weights(slots: Option<&Spanned<u32>>, backends: &[BackendDraft], problems: &mut Problems) {
    let weights = backends.iter().map(|backend| backend.weight.as_ref());
    let Ok(spanned) = weights.collect::<Result<Vec<_>, _>>() else {
        return;
    };
    let weights: Vec<_> = spanned.iter().map(|weight| weight.value).collect();
    let slots = slots.map_or_else(
        || Service::default_slots(weights.len()),
        |slots| slots.value,
    );
    let owners = quota::own_a_slot(&weights, slots);
    let losers = spanned.iter().zip(owners).filter(|(_, owns)| !owns);
    for (weight, _) in losers {
        let message = format!(
            "weight {} is too small for one of {slots} slots",
            weight.value
        );
        problems.error(
            Finding::at(weight.span, message)
                .label("would own no slot")
                .hint("use larger `slots` or weights that lie closer together; 0 drains a backend"),
        );
    }
}
