//! An RST for a connection whose backend died, made of a packet of its client, in the name of the VIP.
//!
//! Its sequence number is what the packet acknowledges, so that the client takes it (RFC 9293, §3.10.7.1).
//! There is none for an RST, nor for what acknowledges nothing. It is not rationed: no host rations its own,
//! and it is never longer than what it answers.

use super::{Program, Step, Tables};
use crate::{
    AnswerReason, DropReason, bits,
    checksum::fold,
    wire::{
        Cursor, Eth, Frame, Ip, IpAddress, Ipv4, Ipv6, Ports,
        transport::{Segment, TCP, Tcp},
    },
};

/// The program of RSTs.
pub(super) struct Reset;

impl Program for Reset {
    #[inline(always)]
    fn run<F: Frame, T: Tables>(frame: &mut F, _: &T) -> Step {
        let made = match frame.head::<Eth>().map(|eth| eth.ether_type()) {
            Some(Eth::IPV4) => make::<Ipv4, _>(frame),
            Some(Eth::IPV6) => make::<Ipv6, _>(frame),
            _ => None,
        };
        match made {
            Some(()) => AnswerReason::Reset.into(),
            None => DropReason::NoBackend.into(),
        }
    }
}

#[inline(always)]
fn make<I: Ip, F: Frame>(frame: &mut F) -> Option<()> {
    const LEN: usize = size_of::<Tcp>();
    let asks = Asks::<I>::read(frame.cursor())?;
    if !frame.truncate(Eth::LEN + size_of::<I>() + LEN) {
        return None;
    }
    let mut cursor = frame.cursor();
    *cursor.take::<Eth>()? = asks.eth.returned();
    *cursor.take::<I>()? = I::of_own(asks.vip, asks.client, (TCP, 0), LEN);
    *cursor.take::<Tcp>()? = asks.rst();
    Some(())
}

/// What a client's packet says.
struct Asks<I: Ip> {
    eth: Eth,
    client: I::Address,
    vip: I::Address,
    ports: Ports,
    acknowledged: [u8; 4],
}

impl<I: Ip> Asks<I> {
    #[inline(always)]
    fn read<'p, C: Cursor<'p>>(mut cursor: C) -> Option<Self>
    where
        I: 'p,
    {
        const RST: u8 = 4;
        const ACK: u8 = 16;
        let eth = *cursor.take::<Eth>()?;
        let ip = cursor.take::<I>()?;
        let payload = ip.payload(&mut cursor).ok()?;
        if payload.protocol != TCP || payload.len < size_of::<Tcp>() {
            return None;
        }
        let tcp = cursor.take::<Tcp>()?;
        let [.., a, b, c, d] = tcp.segment.numbers;
        (tcp.segment.flags() & (RST | ACK) == ACK).then_some(Self {
            eth,
            client: ip.source(),
            vip: ip.destination(),
            ports: tcp.ports,
            acknowledged: [a, b, c, d],
        })
    }

    #[inline(always)]
    fn rst(&self) -> Tcp {
        const OFFSET_FLAGS: [u8; 2] = [0x50, 4];
        let [a, b, c, d] = self.acknowledged;
        let [offset, flags] = OFFSET_FLAGS;
        let own = u32::from(self.ports.sum())
            + u32::from(u16::from_ne_bytes([a, b]))
            + u32::from(u16::from_ne_bytes([c, d]))
            + u32::from(u16::from_ne_bytes(OFFSET_FLAGS));
        let pseudo = u32::from(self.client.sum())
            + u32::from(self.vip.sum())
            + u32::from(u16::from(TCP).to_be())
            + u32::from(bits::length(size_of::<Tcp>()).to_be());
        Tcp {
            ports: self.ports.reversed(),
            segment: Segment {
                numbers: [a, b, c, d, 0, 0, 0, 0],
                flags_window: [offset, flags, 0, 0],
            },
            checksum: (!fold(own + pseudo)).to_ne_bytes(),
            urgent: [0; 2],
        }
    }
}
