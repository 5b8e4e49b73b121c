//! What holds of every frame.

mod packets;

use std::{collections::BTreeMap, net::IpAddr};

use lb_common::{
    AnswerReason, DropReason, PassReason, Verdict,
    address::Address,
    backend::{Backend, Mode},
    datapath::Fib,
    flow::{Flow, FlowKey, Side},
    wire::Ports,
};
use lb_tests::image::{Host, Outcome};
use packets::{direct, is_syn, refused, translated, wrapped};

use crate::{
    BACK, FRONT,
    oracle::{self, Packet},
    scene::Scene,
};

/// Whether a frame leaves.
#[must_use]
pub const fn is_sent(verdict: Verdict) -> bool {
    matches!(verdict, Verdict::Transmit | Verdict::Redirect(_))
}

/// Judges what becomes of frames in a scene.
#[derive(Debug)]
pub struct Witness<'s> {
    scene: &'s Scene,
    fib: Fib,
}

/// A frame, and what became of it.
struct Change<'a> {
    ingress: u32,
    before: &'a [u8],
    after: &'a [u8],
    outcome: &'a Outcome,
}

impl<'s> Witness<'s> {
    /// Judges in this scene.
    #[must_use]
    pub const fn new(scene: &'s Scene, fib: Fib) -> Self {
        Self { scene, fib }
    }

    /// Judges one frame.
    pub fn judge(&self, ingress: u32, before: &[u8], outcome: &Outcome) {
        let change = Change {
            ingress,
            before,
            after: &outcome.frame,
            outcome,
        };
        assert!(outcome.counted.len() <= 1, "counted twice: {outcome:?}");
        match outcome.verdict {
            Verdict::Pass(PassReason::ClientUnresolved) => self.passed_on(&change),
            Verdict::Pass(reason) => change.is_untouched(reason.label()),
            Verdict::Drop(reason) => change.is_dropped(reason),
            Verdict::Answer(reason) => self.answered(&change, reason),
            Verdict::Transmit => self.sent(&change, ingress),
            Verdict::Redirect(ifindex) => {
                assert_ne!(ifindex, ingress, "redirected to where it came from");
                self.sent(&change, ifindex);
            }
        }
    }

    /// Rewritten for the kernel, which takes the hop and writes the MAC addresses.
    fn passed_on(&self, change: &Change<'_>) {
        assert_eq!(self.fib, Fib::Unresolved);
        let (before, after) = change.packets();
        assert_eq!(change.before[..12], change.after[..12], "MAC addresses");
        assert_eq!(before.hops, after.hops, "hops");
        translated(change, &before, &after);
    }

    fn sent(&self, change: &Change<'_>, ifindex: u32) {
        let Change { before, after, .. } = change;
        let own = self.scene.image.interfaces[ifindex as usize].mac();
        let gateway = matches!(self.fib, Fib::Resolved { .. });
        assert!(
            gateway || own.to_le_bytes()[..6] == after[6..12],
            "from another MAC address than the interface's"
        );
        assert_eq!(after[0] & 1, 0, "to a group");
        let (was, is) = change.packets();
        assert!(was.hops > 1, "sent without a hop left");
        if !self.scene.is_sound {
            return;
        }
        assert!(may_send(was.source), "sent for {}", was.source);
        let [(pair, traffic)] = change.outcome.counted[..] else {
            panic!("sent and not counted");
        };
        let backend = &self.scene.image.backends[pair as usize];
        let forward = traffic.packets == 1;
        if forward {
            assert!(!self.scene.is_vip(was.source), "from a VIP to a backend");
            let limit = usize::from(backend.mtu);
            assert!(
                was.len() <= limit,
                "{} bytes by a way of {limit}",
                was.len()
            );
        }
        match mode(backend) {
            Mode::L2Dsr if forward => direct(change, &was, &is),
            Mode::Ipip | Mode::Gue if forward => wrapped(change, &was, backend),
            Mode::Nat | Mode::FullNat => {
                assert_eq!(was.hops - 1, is.hops, "one hop");
                assert_eq!(before[12..was.ip], after[12..is.ip], "tags");
                translated(change, &was, &is);
                let end = if forward { is.destination } else { is.source };
                let expected = if forward {
                    backend.address
                } else {
                    backend.vip
                };
                assert_eq!(Address::from(end), expected);
            }
            _ => panic!("sent back from a direct mode: {:?}", change.outcome),
        }
    }

    /// An ICMP message to whom the packet came from.
    fn answered(&self, change: &Change<'_>, reason: AnswerReason) {
        let Change { before, after, .. } = change;
        let (was, is) = change.packets();
        assert_eq!(after[..6], before[6..12], "to another MAC address");
        assert_eq!(after[6..12], before[..6], "from another MAC address");
        assert_eq!(is.destination, was.source, "to somebody else");
        assert!(may_send(was.source), "to a group");
        assert_eq!(
            is.header_residue(after),
            if reason == AnswerReason::Echo {
                was.header_residue(before)
            } else {
                0
            }
        );
        if self.scene.is_sound {
            assert!(self.scene.is_vip(is.source), "in the name of {}", is.source);
        }
        let icmp = if is.v6 { oracle::ICMP6 } else { oracle::ICMP };
        let is_rst = reason == AnswerReason::Reset
            || reason == AnswerReason::Refused && was.protocol == oracle::TCP;
        let number = if is_rst { oracle::TCP } else { icmp };
        assert_eq!(is.protocol, number);
        match reason {
            AnswerReason::Echo => {
                assert_eq!(before.len(), after.len(), "an echo of another length");
                assert_eq!(was.residue(before), is.residue(after), "checksum");
                assert_eq!(before[was.payload + 4..], after[is.payload + 4..]);
            }
            AnswerReason::Reset => {
                assert_eq!(was.protocol, oracle::TCP, "of another protocol");
                assert_eq!(is.residue(after), Some(0), "checksum");
                let (tcp, asked) = (&after[is.payload..], &before[was.payload..]);
                assert_eq!(tcp[..4], [&asked[2..4], &asked[..2]].concat(), "ports");
                assert_eq!(tcp[4..8], asked[8..12], "sequence number");
                assert_eq!((tcp[13], asked[13] & 0x14), (4, 0x10), "flags");
                assert!(after.len() <= before.len(), "longer than what it answers");
            }
            AnswerReason::Refused if is_rst => refused(change, &was, &is),
            AnswerReason::TimeExceeded | AnswerReason::PacketTooBig | AnswerReason::Refused => {
                assert!(!was.is_icmp_error(before), "an error about an error");
                assert_ne!(was.fragment, Some(true), "an error about a later fragment");
                assert_eq!(is.residue(after), Some(0), "checksum");
                assert!(is.len() <= if is.v6 { 1280 } else { 576 }, "too long");
                let quoted = &after[is.payload + 8..is.end];
                assert_eq!(*quoted, before[was.ip..was.ip + quoted.len()], "quotation");
                assert!(quoted.len() >= was.payload - was.ip, "no header is quoted");
            }
        }
    }

    /// What a backend answers to a packet that was translated is known to be an answer and, where it is
    /// sent, comes from whom the packet was for.
    pub fn ask_back(&self, host: &Host<'_>, before: &[u8], outcome: &Outcome) {
        let [(pair, traffic)] = outcome.counted[..] else {
            return;
        };
        let ifindex = match outcome.verdict {
            Verdict::Transmit | Verdict::Redirect(_) if traffic.packets == 1 => {
                let backend = &self.scene.image.backends[pair as usize];
                backend.next_hop.ifindex()
            }
            _ => return,
        };
        let (Some(was), Some(answer)) = (Packet::read(before), oracle::answer(&outcome.frame, &[]))
        else {
            return;
        };
        let backend = &self.scene.image.backends[pair as usize];
        let is_nat = [Mode::Nat as u8, Mode::FullNat as u8].contains(&backend.mode);
        if !self.scene.is_sound || !is_nat || was.fragment.is_some() || !was.has_ports() {
            return;
        }
        let back = host.run(ifindex, &answer);
        match back.verdict {
            Verdict::Transmit | Verdict::Redirect(_) => {
                let is = Packet::read(&back.frame).expect("a packet comes back");
                assert_eq!((is.source, is.destination), (was.destination, was.source));
                let (from, to) = was.ports(before).expect("ports");
                assert_eq!(is.ports(&back.frame), Some((to, from)), "ports");
            }
            Verdict::Pass(PassReason::NotVip | PassReason::LocalPort)
            | Verdict::Drop(DropReason::NoSuchPort | DropReason::TableError) => {
                panic!("an answer is not known: {:?}", back.verdict);
            }
            Verdict::Pass(_) | Verdict::Drop(_) | Verdict::Answer(_) => {}
        }
    }

    /// Each flow of full NAT has both its sides.
    pub fn judge_flows(&self, flows: &BTreeMap<FlowKey, Flow>) {
        if !self.scene.is_sound {
            return;
        }
        let pooled = flows.iter().filter(|(_, flow)| flow.pool != Flow::NO_POOL);
        let (mut asks, mut replies) = (0, 0);
        for (key, flow) in pooled {
            let side = if key.is_of(Side::Client) {
                asks += 1;
                Side::Backend
            } else {
                replies += 1;
                Side::Client
            };
            let ports = flow.ports();
            let turned = FlowKey::new(
                side,
                flow.destination,
                flow.source,
                Ports {
                    source: ports.destination,
                    destination: ports.source,
                },
                key.protocol(),
            );
            let other = flows.get(&turned).expect("the flow's other side");
            assert_eq!(
                (other.source, other.destination),
                (key.destination, key.source)
            );
        }
        assert_eq!(asks, replies, "sides of flows");
    }
}

/// Whatever may become of packets where tables are sound.
pub fn verdicts() -> impl Iterator<Item = Verdict> {
    let passed = PassReason::ALL.iter().map(|reason| Verdict::from(*reason));
    let answered = AnswerReason::ALL
        .iter()
        .map(|reason| Verdict::from(*reason));
    let dropped = DropReason::ALL.iter().map(|reason| Verdict::from(*reason));
    let sent = [
        Verdict::Transmit,
        Verdict::Redirect(BACK),
        Verdict::Redirect(FRONT),
    ];
    let fault = [DropReason::TableError, DropReason::ModeUnknown].map(Verdict::from);
    let all = sent
        .into_iter()
        .chain(passed)
        .chain(answered)
        .chain(dropped);
    all.filter(move |verdict| !fault.contains(verdict))
}

/// Whether a host may have an address.
fn may_send(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            !(v4.is_multicast() || v4.is_broadcast() || v4.is_loopback() || v4.is_unspecified())
        }
        IpAddr::V6(v6) => !(v6.is_multicast() || v6.is_loopback() || v6.is_unspecified()),
    }
}

/// A backend's mode.
fn mode(backend: &Backend) -> Mode {
    let mut modes = Mode::ALL.into_iter();
    let found = modes.find(|mode| *mode as u8 == backend.mode);
    found.expect("a mode of a sound scene")
}

impl Change<'_> {
    /// The packet before and after.
    fn packets(&self) -> (Packet, Packet) {
        let before = Packet::read(self.before).expect("a packet went in");
        let after = Packet::read(self.after).expect("a packet comes out");
        (before, after)
    }

    fn is_untouched(&self, why: &str) {
        assert!(
            self.before == self.after,
            "passed as {why} by interface {}, but not as it came",
            self.ingress
        );
    }

    /// Where it turns out late that a frame cannot be sent, it is not as it was, and nobody sees it: there
    /// was no room for an answer or another header, or the segment size was clamped already.
    fn is_dropped(&self, reason: DropReason) {
        let is_late = matches!(
            reason,
            DropReason::NoHeadroom
                | DropReason::TtlExpired
                | DropReason::MtuExceeded
                | DropReason::NoBackend
        );
        let is_syn = || Packet::read(self.before).is_some_and(|was| is_syn(self.before, &was));
        assert!(
            is_late || self.before == self.after || is_syn(),
            "{reason:?} changed a frame"
        );
    }
}
