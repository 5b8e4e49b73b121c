//! What becomes of a packet, and why.
//!
//! A reason's number is also the index of its counter, the label of its metric and its line in
//! `xlb drops`. Numbers are never used again for another meaning.

/// What becomes of a packet. Every packet ends in exactly one.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Sent out of the interface that it came in by.
    Transmit,
    /// Sent out of another interface, named by its index.
    Redirect(u32),
    /// Made into an answer to its sender, and sent out of the interface that it came in by.
    Answer(AnswerReason),
    /// Left to the kernel.
    Pass(PassReason),
    /// Thrown away.
    Drop(DropReason),
}

impl Verdict {
    /// The verdict for the reason of a number; one that is none is a fault of xlb.
    pub fn of_reason(number: u32) -> Self {
        fn find<R: Copy + Into<Verdict>>(
            all: &[R],
            index: fn(R) -> u32,
            number: u32,
        ) -> Option<Verdict> {
            let reason = all.iter().find(|reason| index(**reason) == number)?;
            Some((*reason).into())
        }
        find(PassReason::ALL, PassReason::index, number)
            .or_else(|| find(AnswerReason::ALL, AnswerReason::index, number))
            .or_else(|| find(DropReason::ALL, DropReason::index, number))
            .unwrap_or(Self::Drop(DropReason::TableError))
    }
}

impl From<AnswerReason> for Verdict {
    #[inline(always)]
    fn from(reason: AnswerReason) -> Self {
        Self::Answer(reason)
    }
}

impl From<PassReason> for Verdict {
    #[inline(always)]
    fn from(reason: PassReason) -> Self {
        Self::Pass(reason)
    }
}

impl From<DropReason> for Verdict {
    #[inline(always)]
    fn from(reason: DropReason) -> Self {
        Self::Drop(reason)
    }
}

/// Counters of reasons: the length of the map `REASONS`.
pub const REASONS: u32 = 64;

/// The first number of an [`AnswerReason`]; those below are [`PassReason`]s.
pub const FIRST_ANSWER: u32 = 24;

/// The first number of a [`DropReason`].
pub const FIRST_DROP: u32 = 32;

/// The first number of a [`TrackEvent`], which is no reason.
pub const FIRST_EVENT: u32 = 60;

macro_rules! reasons {
    ($(#[$doc:meta])* $name:ident { $($(#[doc = $text:literal])+ $variant:ident = $number:literal, $label:literal;)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u32)]
        pub enum $name { $($(#[doc = $text])+ $variant = $number,)+ }

        impl $name {
            /// Every reason, in the order of the numbers.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The name that operators see, as in `xlb_dropped_packets_total{reason="no_backend"}`.
            #[must_use]
            pub const fn label(self) -> &'static str {
                match self { $(Self::$variant => $label,)+ }
            }

            /// One line of help.
            #[must_use]
            pub const fn explanation(self) -> &'static str {
                match self { $(Self::$variant => concat!($($text),+),)+ }
            }

            /// Its counter's index.
            #[must_use]
            pub const fn index(self) -> u32 {
                self as u32
            }
        }
    };
}

pub(crate) use reasons;

reasons! {
    /// Why a packet was left to the kernel.
    PassReason {
        /// Neither IPv4 nor IPv6: ARP, LLDP and the like.
        NotIp = 0, "not_ip";
        /// The frame is addressed to another machine, to a group or to all.
        NotOurMac = 1, "not_our_mac";
        /// Neither for a VIP nor from a NAT backend.
        NotVip = 2, "not_vip";
        /// A backend's packet for an address of this host: an answer to a probe, for one.
        ToHost = 3, "to_host";
        /// For a VIP that is also an address of this host, on a port without a service.
        LocalPort = 4, "local_port";
        /// ICMP or ICMPv6 for a VIP.
        Icmp = 5, "icmp";
        /// A header that is cut short or contradicts itself: the kernel counts those.
        Malformed = 6, "malformed";
        /// A backend's packet for a prefix that is reached without translation.
        Direct = 7, "direct";
        /// A translated reply whose next hop the kernel must resolve first.
        ClientUnresolved = 8, "client_unresolved";
        /// A fragment for a VIP that is also an address of this host.
        LocalFragment = 9, "local_fragment";
        /// More IPv6 extension headers than are followed.
        ExtensionHeaders = 10, "extension_headers";
    }
}

reasons! {
    /// Why a packet was answered by xlb itself.
    AnswerReason {
        /// An echo request for a VIP.
        Echo = 24, "echo";
        /// Its time to live ran out: the sender is told (time exceeded).
        TimeExceeded = 25, "time_exceeded";
        /// It is longer than the way allows: the sender is told (fragmentation needed, packet too big).
        PacketTooBig = 26, "packet_too_big";
        /// TCP of a connection whose backend died, where the service says so: its client is told (RST).
        Reset = 27, "reset";
        /// No backend of the service is live, and the service says that clients are told (RST, port
        /// unreachable).
        Refused = 28, "refused";
    }
}

reasons! {
    /// Why a packet was thrown away.
    DropReason {
        /// No backend of the service is live.
        NoBackend = 32, "no_backend";
        /// The VIP has no service on this port, and the address is not one of this host.
        NoSuchPort = 33, "no_such_port";
        /// The packet's time to live ran out.
        TtlExpired = 34, "ttl_expired";
        /// The backend's next hop is not resolved: it does not answer ARP or neighbour discovery.
        BackendUnresolved = 35, "backend_unresolved";
        /// No route leads to the client, and the kernel does not forward.
        ClientUnroutable = 36, "client_unroutable";
        /// It claims to come from a backend, but not by a backend's interface or MAC address.
        ForgedBackend = 37, "forged_backend";
        /// A backend calls its own VIP and was chosen itself: the reply would not cross xlb.
        Hairpin = 38, "hairpin";
        /// A fragment for a VIP that cannot be balanced: of another protocol than TCP and UDP, or too
        /// short for its ports.
        Fragment = 39, "fragment";
        /// A table pointed outside of another one: a fault of xlb.
        TableError = 40, "table_error";
        /// A backend answers to a VIP: what asked it claimed an address that no client has.
        Martian = 41, "martian";
        /// The packet is longer than the way to its backend allows.
        MtuExceeded = 42, "mtu_exceeded";
        /// The driver left no room before the frame for another header.
        NoHeadroom = 43, "no_headroom";
        /// A mode that the program was not loaded for: a fault of xlb.
        ModeUnknown = 44, "mode_unknown";
        /// For a service, from an address that no client has: a group, loopback, a VIP.
        MartianSource = 45, "martian_source";
        /// A later fragment for a VIP that came before the first one, or long after it.
        FragmentEarly = 46, "fragment_early";
        /// An ICMP error for a VIP about a packet of no flow.
        IcmpUnmatched = 47, "icmp_unmatched";
        /// An ICMP error about a tunnel of xlb's own: its path MTU is noted, and the error ends here.
        TunnelError = 48, "tunnel_error";
        /// Full NAT: every place tried in the pool is another flow's.
        PoolExhausted = 49, "pool_exhausted";
        /// No more flows can be remembered.
        FlowsFull = 50, "flows_full";
        /// Services share a backend, and the client's flow to another one has the same ends.
        NatCollision = 51, "nat_collision";
        /// A connection to be opened finds no place among the tracked flows, while others of its row are
        /// reset: its client tries again.
        Untracked = 52, "untracked";
    }
}

reasons! {
    /// What became of a flow that was to be tracked as its row moves. Counted beside the reasons.
    TrackEvent {
        /// It was new to the table and found a place.
        Tracked = 60, "tracked";
        /// There was no place: it stays with the row's old owner.
        Refused = 61, "refused";
    }
}

const _: () = {
    let mut rest = PassReason::ALL;
    while let [reason, others @ ..] = rest {
        assert!(reason.index() < FIRST_ANSWER);
        rest = others;
    }
    let mut rest = AnswerReason::ALL;
    while let [reason, others @ ..] = rest {
        assert!(reason.index() >= FIRST_ANSWER && reason.index() < FIRST_DROP);
        rest = others;
    }
    let mut rest = DropReason::ALL;
    while let [reason, others @ ..] = rest {
        assert!(reason.index() >= FIRST_DROP && reason.index() < FIRST_EVENT);
        rest = others;
    }
    let mut rest = TrackEvent::ALL;
    while let [event, others @ ..] = rest {
        assert!(event.index() >= FIRST_EVENT && event.index() < REASONS);
        rest = others;
    }
};
