//! Flows that are remembered because nothing else tells where their packets go: those of full NAT in
//! both directions, and replies of NAT backends that several services share. The map `FLOWS`.
//!
//! A hash map that never evicts. An entry is claimed with `BPF_NOEXIST`, so that two CPUs cannot give
//! one key to two flows; the daemon takes out what has been idle. A miss is a new flow, or none of
//! ours.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{address::Address, wire::Ports};

/// Whose packets a key is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Side {
    /// A client's, towards a VIP (full NAT).
    Client = 1,
    /// A backend's: towards the address that its flow was given (full NAT), or to the client itself
    /// (shared NAT backends).
    Backend = 2,
}

/// A packet's five-tuple, and the side that it comes from.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    FromBytes,
    IntoBytes,
    Immutable,
    KnownLayout,
)]
#[repr(C, align(8))]
pub struct FlowKey {
    /// Sender.
    pub source: Address,
    /// Receiver.
    pub destination: Address,
    /// Ports of both, network byte order.
    pub ports: [u8; 4],
    /// IP protocol number, a [`Side`] as number, and zeros: together, as the kernel hashes keys by four bytes,
    /// and a load must wait for the stores that it spans.
    kind: [u8; 4],
}

const _: () = assert!(size_of::<FlowKey>() == 40);

impl FlowKey {
    /// The key of a packet.
    #[inline(always)]
    #[must_use]
    pub const fn new(
        side: Side,
        source: Address,
        destination: Address,
        ports: Ports,
        protocol: u8,
    ) -> Self {
        Self {
            source,
            destination,
            ports: ports.bytes(),
            kind: (protocol as u32 | (side as u32) << 8).to_le_bytes(),
        }
    }

    /// IP protocol number.
    #[inline(always)]
    #[must_use]
    pub const fn protocol(&self) -> u8 {
        let [protocol, ..] = self.kind;
        protocol
    }

    /// Whether the packets are of this side.
    #[must_use]
    pub const fn is_of(&self, side: Side) -> bool {
        let [_, number, ..] = self.kind;
        number == side as u8
    }
}

/// What becomes of a flow's packets in one direction. All but `seen` and `marks` is written as the
/// entry is claimed and then left alone.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C, align(8))]
pub struct Flow {
    /// The sender that they get.
    pub source: Address,
    /// The receiver that they get.
    pub destination: Address,
    /// The ports that they get, network byte order: source, destination.
    pub ports: [u8; 4],
    /// The backend's pair: its packets are counted there, and its entry has the way there.
    pub pair: u32,
    /// What the change adds to the IPv4 header checksum.
    pub ip_delta: u16,
    /// What it adds to the TCP or UDP checksum.
    pub l4_delta: u16,
    /// Full NAT: index of the pool in `POOLS`; else [`Flow::NO_POOL`].
    pub pool: u16,
    /// Free for later use; zero.
    pub reserved: u16,
    /// [`Control::clock`](crate::maps::Control) when its last packet passed; 0: none has. Changes at
    /// run time.
    pub seen: u32,
    /// [`Flow::CLOSING`], [`Flow::OPENING`] or neither. Changes at run time.
    pub marks: u32,
}

const _: () = assert!(size_of::<Flow>() == 56);

impl Flow {
    /// The flow has no place in a pool.
    pub const NO_POOL: u16 = u16::MAX;
    /// A FIN or RST was seen in this direction.
    pub const CLOSING: u32 = 1;
    /// A SYN was seen since: the ends use the same ports again.
    pub const OPENING: u32 = 2;

    /// The marks after a packet with these ones.
    #[inline(always)]
    #[must_use]
    pub const fn marked(marks: u32, packet: u32) -> u32 {
        if packet == Self::OPENING {
            packet
        } else {
            marks | packet
        }
    }

    /// The ports that packets get.
    #[inline(always)]
    #[must_use]
    pub const fn ports(&self) -> Ports {
        Ports::from_bytes(self.ports)
    }
}
