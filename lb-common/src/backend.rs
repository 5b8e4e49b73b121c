//! A service's backend as the data path sees it: one cache line, in the map `BACKENDS`.
//!
//! A service holds an *extent* of that map. Its first entry is a [`Header`], which only the daemon
//! reads; the others are [`Backend`]s, and [`Row`](crate::row::Row)s name them by their distance
//! from the header. The index of an entry in the map is its *pair*: the statistics of a service's
//! backend stand under the same index in `STATS`, those of packets that the service dropped under
//! its header's.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{address::Address, next_hop::NextHop};

/// A backend of one service. Written before anything names its index and then left alone, but for
/// `next_hop` and `state`, which are single aligned stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(8))]
pub struct Backend {
    /// Where packets go.
    pub address: Address,
    /// Where clients sent them: what replies must claim to come from.
    pub vip: Address,
    /// The backend's port, or the first of a range, network byte order.
    pub port: [u8; 2],
    /// The VIP's port, or the first of a range, network byte order; 0 for all ports.
    pub vip_port: [u8; 2],
    /// What the way towards the backend adds to the IPv4 header checksum: VIP address → backend
    /// address ([`checksum::Delta`](crate::checksum::Delta)). The way back adds its complement.
    pub ip_delta: u16,
    /// The same for the TCP or UDP checksum: address and port.
    pub l4_delta: u16,
    /// The way there. Changes at run time.
    pub next_hop: NextHop,
    /// Changes at run time; of the data path full NAT and moving rows read it.
    pub standing: Standing,
    /// Weight, for the next daemon. Changes at run time, in one word with `mss`.
    pub weight: u16,
    /// The largest TCP segment that a SYN may announce; 0: any. Changes at run time.
    pub mss: u16,
    /// The [`Mode`] as number.
    pub mode: u8,
    /// [`Backend::SHARED`], or in [`Mode::FullNat`] and [`Mode::L2Dsr`] nothing. Changes at run time,
    /// in one word with `mtu`.
    pub flags: u8,
    /// Bytes of the longest IP packet that may go this way, before it is encapsulated. Changes at run
    /// time.
    pub mtu: u16,
    /// What is added to a port on the way to the backend, modulo 2¹⁶: `port - vip_port`.
    pub port_shift: u16,
    /// Full NAT: index of the pool in `POOLS`.
    pub index: u16,
}

impl Backend {
    /// [`Mode::Nat`]: other services have this backend, too, so that a reply alone does not tell whose
    /// it is, and flows are remembered in `FLOWS`.
    pub const SHARED: u8 = 1;

    /// The backend's port for a port of the VIP, both in network byte order.
    #[inline(always)]
    #[must_use]
    pub const fn port_for(&self, vip_port: [u8; 2]) -> [u8; 2] {
        let port = u16::from_be_bytes(vip_port);
        port.wrapping_add(self.port_shift).to_be_bytes()
    }

    /// The VIP's port for a port of the backend, both in network byte order.
    #[inline(always)]
    #[must_use]
    pub const fn vip_port_for(&self, port: [u8; 2]) -> [u8; 2] {
        let port = u16::from_be_bytes(port);
        port.wrapping_sub(self.port_shift).to_be_bytes()
    }
}

const _: () = assert!(size_of::<Backend>() == 64);

/// How packets reach a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Mode {
    /// The destination is rewritten; replies come back through xlb.
    Nat = 0,
    /// The source, too: an address and a port of a pool.
    FullNat = 1,
    /// Only the MAC addresses are; replies go to the client directly.
    L2Dsr = 2,
    /// In an IP packet of either family (RFC 2003, RFC 2473, RFC 4213).
    Ipip = 3,
    /// In UDP: Generic UDP Encapsulation, variant 1 (draft-ietf-intarea-gue, §3.2).
    Gue = 4,
}

impl Mode {
    /// Every mode, in the order of the numbers.
    pub const ALL: [Self; 5] = [Self::Nat, Self::FullNat, Self::L2Dsr, Self::Ipip, Self::Gue];

    /// Modes whose packets the plain program does not send ([`maps::PLAIN_PROGRAM`](crate::maps::PLAIN_PROGRAM)).
    pub const NOT_PLAIN: u32 = Self::FullNat.bit();
    /// In the place of a mode's number: there is more than one.
    pub const ANY: u8 = u8::MAX;

    /// The number of the only mode of such bits, or [`Self::ANY`].
    #[must_use]
    pub fn only(modes: u32) -> u8 {
        let only = Self::ALL.into_iter().find(|mode| mode.bit() == modes);
        only.map_or(Self::ANY, |mode| mode as u8)
    }

    /// Its bit in [`Constants::modes`](crate::maps::Constants::modes).
    #[must_use]
    pub const fn bit(self) -> u32 {
        1 << self as u32
    }
}

/// A backend at the end of a tunnel ([`Mode::Ipip`], [`Mode::Gue`]): the same entry under the names
/// that its fields have there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(8))]
pub struct Tunnel {
    /// Where the outer header goes, of either family.
    pub destination: Address,
    /// Where it comes from, of the same family; the low `spread` bits are zero.
    pub source: Address,
    /// GUE: UDP destination port, network byte order.
    pub port: [u8; 2],
    /// 1 where the outer header is IPv6, else 0.
    pub v6: u8,
    /// Free for later use; zero.
    pub reserved: u8,
    /// Outer IPv4: the sum ([`checksum::sum`](crate::checksum::sum)) of the header's words that are the
    /// same in every packet: all but type of service, length, checksum and the bits that vary.
    pub header_sum: u16,
    /// Outer IPv6: the sum of source and destination, for GUE's UDP checksum.
    pub address_sum: u16,
    /// As in [`Backend`].
    pub next_hop: NextHop,
    /// As in [`Backend`].
    pub standing: Standing,
    /// As in [`Backend`].
    pub weight: u16,
    /// As in [`Backend`].
    pub mss: u16,
    /// As in [`Backend`].
    pub mode: u8,
    /// Low bits of the source that vary with the flow: 0 to [`Tunnel::MAX_SPREAD`].
    pub spread: u8,
    /// As in [`Backend`].
    pub mtu: u16,
    /// Free for later use; zero.
    pub reserved2: u16,
    /// Index in `PATHS`.
    pub index: u16,
}

impl Tunnel {
    /// Largest number of source bits that vary: those of one 16-bit word, so that one addition brings
    /// the checksum up to date.
    pub const MAX_SPREAD: u8 = 16;

    /// What encapsulation adds to a packet at most, in bytes. `hands_over`: GUE may name another backend.
    #[must_use]
    pub const fn overhead(mode: Mode, outer_v6: bool, hands_over: bool) -> u16 {
        let (ip, address) = if outer_v6 { (40, 16) } else { (20, 4) };
        match mode {
            Mode::Ipip => ip,
            Mode::Gue if hands_over => ip + 8 + 8 + address,
            Mode::Gue => ip + 8,
            Mode::Nat | Mode::FullNat | Mode::L2Dsr => 0,
        }
    }
}

const _: () = assert!(size_of::<Tunnel>() == size_of::<Backend>());
const _: () = assert!(core::mem::offset_of!(Tunnel, mode) == core::mem::offset_of!(Backend, mode));

/// What an entry of `BACKENDS` holds, as the daemon left it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum State {
    /// Nothing: the entry may be used.
    Free = 0,
    /// The [`Header`] of an extent.
    Header = 1,
    /// A backend whose first probe has not ended.
    Unknown = 2,
    /// A backend that answers.
    Up = 3,
    /// A backend that does not.
    Down = 4,
}

impl TryFrom<u32> for State {
    type Error = u32;

    fn try_from(number: u32) -> Result<Self, u32> {
        Ok(match number {
            0 => Self::Free,
            1 => Self::Header,
            2 => Self::Unknown,
            3 => Self::Up,
            4 => Self::Down,
            other => return Err(other),
        })
    }
}

/// A backend's [`State`], and since when its flows count: entries of tracked flows that were last seen
/// until then are of before it died, or of another backend. One word.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(transparent)]
pub struct Standing(pub u32);

impl Standing {
    const STATE: u32 = 7;
    const SINCE_SHIFT: u32 = 3;

    /// `since`: a second of [`Control::clock`](crate::maps::Control), below 2²⁹.
    #[must_use]
    pub const fn new(state: State, since: u32) -> Self {
        Self(state as u32 | since << Self::SINCE_SHIFT)
    }

    /// The state.
    ///
    /// # Errors
    ///
    /// The number of one that there is not.
    pub fn state(self) -> Result<State, u32> {
        State::try_from(self.0 & Self::STATE)
    }

    /// Whether it is in a state.
    #[inline(always)]
    #[must_use]
    pub const fn is(self, state: State) -> bool {
        self.0 & Self::STATE == state as u32
    }

    /// The last second whose flows do not count.
    #[inline(always)]
    #[must_use]
    pub const fn since(self) -> u32 {
        self.0 >> Self::SINCE_SHIFT
    }
}

/// The first entry of an extent: what the next daemon needs to adopt it, and what moving rows
/// do. Laid over a [`Backend`], `standing` at the same place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(8))]
pub struct Header {
    /// The service's VIP.
    pub vip: Address,
    /// The VIP's port, or the first of a range, network byte order; 0 for all ports.
    pub port: [u8; 2],
    /// IP protocol number.
    pub protocol: u8,
    /// [`Header::RESETS`], [`Header::LEARNS`], [`Header::HANDS_OVER`], [`Header::REFUSES`]. Changes at run time.
    pub flags: u8,
    /// Entries of the extent, this one included.
    pub length: u32,
    /// The slot table's extent: see [`directory::Table`](crate::directory::Table).
    pub table: u32,
    /// The VIP's last port, network byte order: the same for one port, 65535 for all.
    pub last_port: [u8; 2],
    /// Seconds that a tracked flow of the service may be silent.
    pub idle: u16,
    /// Seconds after which a row that moves comes to rest, for the next daemon; 0: never.
    pub deadline: u16,
    /// Bits of a client's address that its backend is chosen by, and nothing else; 0: by the whole flow. Changes
    /// at run time.
    pub affinity: u8,
    /// Free for later use; zero.
    pub reserved: u8,
    /// Free for later use; zero.
    pub reserved2: [u16; 6],
    /// [`State::Header`].
    pub standing: Standing,
    /// Free for later use; zero.
    pub reserved3: [u32; 3],
}

impl Header {
    /// Connections of a backend that died are reset.
    pub const RESETS: u8 = 1;
    /// No packet says that it opens a flow: what a moving row does not know is learned before it is new.
    pub const LEARNS: u8 = 2;
    /// Backends at the end of GUE hand packets of connections that they do not know to the row's other owner, which
    /// the tunnel's header names.
    pub const HANDS_OVER: u8 = 4;
    /// Clients whose packets no backend takes are told.
    pub const REFUSES: u8 = 8;
}

const _: () = assert!(size_of::<Header>() == size_of::<Backend>());
const _: () =
    assert!(core::mem::offset_of!(Header, standing) == core::mem::offset_of!(Backend, standing));
const _: () = assert!(core::mem::offset_of!(Backend, next_hop) % 8 == 0);
