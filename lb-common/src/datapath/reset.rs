//! An RST for a connection whose backend died, or that no backend takes, made of a packet of its client, in the
//! name of the VIP.
//!
//! Its sequence number is what the packet acknowledges, so that the client takes it (RFC 9293, §3.10.7.1). What
//! acknowledges nothing, a SYN above all, is acknowledged itself, unless it is about a connection that there was.
//! There is none for an RST. It is not rationed: no host rations its own, and it is never longer than what it
//! answers.

use super::{Program, Step, Tables};
use crate::{
    AnswerReason, DropReason, bits,
    checksum::fold,
    wire::{
        Cursor, Eth, Frame, Ip, IpAddress, Ipv4, Ipv6, Ports,
        transport::{ACK, FIN, RST, SYN, Segment, TCP, Tcp},
    },
};

/// The program of RSTs.
pub(super) struct Reset;

impl Program for Reset {
    #[inline(always)]
    fn run<F: Frame, T: Tables>(frame: &mut F, _: &T) -> Step {
        let made = match frame.head::<Eth>().map(|eth| eth.ether_type()) {
            Some(Eth::IPV4) => make::<Ipv4, _>(frame, Answers::Acknowledging),
            Some(Eth::IPV6) => make::<Ipv6, _>(frame, Answers::Acknowledging),
            _ => None,
        };
        match made {
            Some(()) => AnswerReason::Reset.into(),
            None => DropReason::NoBackend.into(),
        }
    }
}

/// Which packets are answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answers {
    /// Those that acknowledge something.
    Acknowledging,
    /// All.
    All,
}

/// Makes an RST of a packet; `None` where there is none for it.
#[inline(always)]
pub(super) fn make<I: Ip, F: Frame>(frame: &mut F, answers: Answers) -> Option<()> {
    const LEN: usize = size_of::<Tcp>();
    let asks = Asks::<I>::read(frame.cursor(), answers)?;
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
    /// Sequence and acknowledgement number that answer it, as they lie on the wire.
    numbers: [u8; 8],
    /// The answer's flags.
    flags: u8,
}

impl<I: Ip> Asks<I> {
    #[inline(always)]
    fn read<'p, C: Cursor<'p>>(mut cursor: C, answers: Answers) -> Option<Self>
    where
        I: 'p,
    {
        let eth = *cursor.take::<Eth>()?;
        let ip = cursor.take::<I>()?;
        let payload = ip.payload(&mut cursor).ok()?;
        if payload.protocol != TCP || payload.len < size_of::<Tcp>() {
            return None;
        }
        let tcp = cursor.take::<Tcp>()?;
        let [.., a, b, c, d] = tcp.segment.numbers;
        let (numbers, flags) = match tcp.segment.flags() & (RST | ACK) {
            ACK => ([a, b, c, d, 0, 0, 0, 0], RST),
            0 if answers == Answers::All => {
                let [a, b, c, d] = behind(&tcp.segment, payload.len)?.to_be_bytes();
                ([0, 0, 0, 0, a, b, c, d], RST | ACK)
            }
            _ => return None,
        };
        Some(Self {
            eth,
            client: ip.source(),
            vip: ip.destination(),
            ports: tcp.ports,
            numbers,
            flags,
        })
    }

    #[inline(always)]
    #[expect(
        clippy::many_single_char_names,
        reason = "the bytes of two numbers, and the words that they make"
    )]
    fn rst(&self) -> Tcp {
        const OFFSET: u8 = 0x50;
        let [a, b, c, d, e, f, g, h] = self.numbers;
        let words = [[a, b], [c, d], [e, f], [g, h], [OFFSET, self.flags]];
        let [a, b, c, d, e] = words.map(|word| u32::from(u16::from_ne_bytes(word)));
        let own = u32::from(self.ports.sum()) + a + b + c + d + e;
        let pseudo = u32::from(self.client.sum())
            + u32::from(self.vip.sum())
            + u32::from(u16::from(TCP).to_be())
            + u32::from(bits::length(size_of::<Tcp>()).to_be());
        Tcp {
            ports: self.ports.reversed(),
            segment: Segment {
                numbers: self.numbers,
                flags_window: [OFFSET, self.flags, 0, 0],
            },
            checksum: (!fold(own + pseudo)).to_ne_bytes(),
            urgent: [0; 2],
        }
    }
}

/// The sequence number behind a segment of `len` bytes, its header included: SYN and FIN have one each.
#[inline(always)]
fn behind(segment: &Segment, len: usize) -> Option<u32> {
    let [offset, flags, ..] = segment.flags_window;
    let data = len.checked_sub(usize::from(offset >> 4) * 4)?;
    let ends = u32::from(flags & SYN != 0) + u32::from(flags & FIN != 0);
    Some(
        segment
            .sequence()
            .wrapping_add(u32::from(bits::length(data)))
            .wrapping_add(ends),
    )
}
