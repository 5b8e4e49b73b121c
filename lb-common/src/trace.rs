//! What the traced programs write down of one packet: each look-up and its answer, each program, the verdict.
//!
//! They are the programs of the data path over the same maps, built a second time (feature `trace` of `lb-ebpf`) with a
//! view of the maps that writes nothing but this: the map [`JOURNAL`], and flows that the packet would have remembered,
//! in a map of its own. So the programs that packets go through bear nothing of it, not even an instruction.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{
    bits,
    datapath::{Detour, Direction},
    directory::Kind,
    row::Row,
    verdict::TrackEvent,
};

/// The map with the only [`Journal`].
pub const JOURNAL: &str = "JOURNAL";
/// The map of flows that were remembered for the packet's own sake: empty before it.
pub const SHADOW: &str = "SHADOW";
/// Flows that one packet may have remembered, at most.
pub const SHADOWS: u32 = 16;

/// Entries of a journal, a power of two; a packet makes some ten to forty.
pub const MOST: usize = 128;

/// One packet's way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Journal {
    /// Entries made; of more than [`MOST`] the first ones are overwritten.
    pub length: u32,
    /// Index of the interface that the packet comes in by: said before.
    pub ingress: u32,
    /// Flows that can be remembered yet: said before, fewer with each that would be.
    pub room: u32,
    /// Zero.
    pub reserved: u32,
    /// In the order in which they were made.
    pub entries: [Entry; MOST],
}

/// One entry: what it is about, and what belongs to it.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Entry {
    /// A [`Topic`] as number.
    pub topic: u32,
    /// By topic.
    pub detail: u32,
    /// By topic.
    pub words: [u64; 2],
}

/// What an entry is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Topic {
    /// The directory was asked: whether something was there; the tag, the value.
    Find = 1,
    /// A row of a table: whether there is one; first element and slot, the row.
    Row = 2,
    /// A backend or header: whether there is one; its pair.
    Backend = 3,
    /// A remembered flow: whether there is one; its pair.
    Flow = 4,
    /// A flow to be remembered: [`Claim`](crate::datapath::Claim) as number; its pair.
    Claim = 5,
    /// A fragment's first one: whether it is known.
    Fragment = 6,
    /// The kernel's forwarding table: 0 no route, 1 no neighbour yet, 2 resolved; the interface.
    Fib = 7,
    /// What became of a flow that was to be tracked: its number.
    Track = 8,
    /// Counted: 0 towards a backend, 1 back; pair, bytes.
    Counted = 9,
    /// Another program goes on: its index.
    Program = 10,
    /// The verdict: passed, answered or dropped, the reason's number.
    Reason = 11,
    /// The verdict: sent by the interface that it came by.
    Transmit = 12,
    /// The verdict: sent by another interface, its index.
    Redirect = 13,
}

/// An entry as what it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// What the directory says.
    Find {
        /// What was looked for.
        kind: Kind,
        /// The last 32 bits of an IPv4 address, as it is written; of IPv6 they are mixed with the others.
        address: u32,
        /// Whether it is one of IPv6.
        v6: bool,
        /// Its port.
        port: u16,
        /// Its protocol.
        protocol: u8,
        /// What was found.
        value: Option<u64>,
    },
    /// What stands in a slot.
    Row {
        /// The table's first element.
        element: u32,
        /// The slot.
        slot: u32,
        /// Who has it.
        row: Option<Row>,
    },
    /// A backend, or a service's header, was read.
    Backend {
        /// Its pair.
        pair: u32,
        /// Whether it is there.
        known: bool,
    },
    /// Whether a flow is remembered, and with which pair.
    Flow(Option<u32>),
    /// A flow was to be remembered.
    Claim {
        /// With this pair.
        pair: u32,
        /// Whether it was.
        made: bool,
    },
    /// Whether a fragment's first one is known.
    Fragment(bool),
    /// What the kernel's forwarding table says: the interface.
    Fib(Route),
    /// What became of a flow that was to be tracked.
    Track(TrackEvent),
    /// The packet would be counted.
    Counted {
        /// Under this pair.
        pair: u32,
        /// So.
        direction: Direction,
        /// With so many bytes.
        bytes: u64,
    },
    /// Another program goes on.
    Program(Detour),
    /// Passed, answered or dropped for the reason of this number.
    Reason(u32),
    /// Sent by the interface that it came by.
    Transmit,
    /// Sent by this interface.
    Redirect(u32),
}

/// What the kernel's forwarding table says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// No route, or the kernel does not forward.
    None,
    /// A route, whose neighbour is not resolved.
    Unresolved,
    /// By this interface.
    By(u32),
}

impl Journal {
    /// What it says, in order; entries of no known topic are left out.
    pub fn events(&self) -> impl Iterator<Item = Event> {
        let length = self.length as usize;
        let first = length.saturating_sub(MOST);
        let entries = (first..length).filter_map(|index| self.entries.get(index % MOST));
        entries.filter_map(Entry::event)
    }
}

impl Entry {
    /// What it says; `None`: it is no entry.
    #[must_use]
    pub fn event(&self) -> Option<Event> {
        let Self {
            topic,
            detail,
            words: [first, second],
        } = *self;
        let (is, low) = (detail != 0, bits::low_half(first));
        Some(match topic {
            it if it == Topic::Find as u32 => find(first, is.then_some(second))?,
            it if it == Topic::Row as u32 => Event::Row {
                element: low,
                slot: bits::low_half(first >> 32),
                row: is.then_some(Row(bits::low_half(second))),
            },
            it if it == Topic::Backend as u32 => Event::Backend {
                pair: low,
                known: is,
            },
            it if it == Topic::Flow as u32 => Event::Flow(is.then_some(low)),
            it if it == Topic::Claim as u32 => Event::Claim {
                pair: low,
                made: is,
            },
            it if it == Topic::Fragment as u32 => Event::Fragment(is),
            it if it == Topic::Fib as u32 => Event::Fib(match detail {
                0 => Route::None,
                1 => Route::Unresolved,
                _ => Route::By(low),
            }),
            it if it == Topic::Track as u32 => Event::Track(
                TrackEvent::ALL
                    .iter()
                    .copied()
                    .find(|event| event.index() == detail)?,
            ),
            it if it == Topic::Counted as u32 => Event::Counted {
                pair: low,
                direction: if is {
                    Direction::Return
                } else {
                    Direction::Forward
                },
                bytes: second,
            },
            _ => return self.step(),
        })
    }

    /// What a program came to.
    fn step(&self) -> Option<Event> {
        let number = self.detail;
        Some(match self.topic {
            it if it == Topic::Program as u32 => {
                let mut detours = Detour::ALL.into_iter();
                Event::Program(detours.find(|detour| *detour as u32 == number)?)
            }
            it if it == Topic::Reason as u32 => Event::Reason(number),
            it if it == Topic::Transmit as u32 => Event::Transmit,
            it if it == Topic::Redirect as u32 => Event::Redirect(number),
            _ => return None,
        })
    }
}

/// What the tag of a look-up says ([`tag`](crate::directory::tag)).
fn find(tag: u64, value: Option<u64>) -> Option<Event> {
    let [kind, protocol, p0, p1, a, b, c, d] = tag.to_ne_bytes();
    let is_kind = |it: &Kind| *it as u8 == kind & !V6;
    Some(Event::Find {
        kind: KINDS.into_iter().find(is_kind)?,
        address: u32::from_be_bytes([a, b, c, d]),
        v6: kind & V6 != 0,
        port: u16::from_be_bytes([p0, p1]),
        protocol,
        value,
    })
}

/// The bit of a tag's kind that says IPv6.
const V6: u8 = 1 << 7;

const KINDS: [Kind; 6] = [
    Kind::Service,
    Kind::Backend,
    Kind::Address,
    Kind::Ranges,
    Kind::BackendRanges,
    Kind::Tunnel,
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::Key;
    use zerocopy::FromZeros as _;

    #[test]
    fn a_look_up_says_what_was_looked_for() {
        let address = core::net::IpAddr::from([203, 0, 113, 10]);
        let key = Key::new(Kind::Backend, address.into(), 443, 17);
        let asked = Event::Find {
            kind: Kind::Backend,
            address: u32::from_be_bytes([203, 0, 113, 10]),
            v6: false,
            port: 443,
            protocol: 17,
            value: Some(7),
        };
        let entry = Entry {
            topic: Topic::Find as u32,
            detail: 1,
            words: [key.tag, 7],
        };
        assert_eq!(entry.event(), Some(asked));
    }

    #[test]
    fn the_last_entries_of_a_long_journal_are_there_in_order() {
        let mut journal = Journal::new_zeroed();
        for number in 0..300 {
            let place = journal.length as usize % MOST;
            journal.entries[place] = Entry {
                topic: Topic::Redirect as u32,
                detail: number,
                words: [0; 2],
            };
            journal.length += 1;
        }
        assert!(journal.events().eq((172..300).map(Event::Redirect)));
    }
}
