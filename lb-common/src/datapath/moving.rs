//! Rows that move: a flow goes where its entry among the tracked ones says, and without one to the row's
//! `old` owner, which is alive. Only packets that open a flow go to `primary`, once they are tracked.
//!
//! | the packet | tracked | not tracked |
//! |---|---|---|
//! | a SYN, an Initial of QUIC | to its owner, unless that flow was ended | tracked, to `primary`; no room: to `old` |
//! | another packet of TCP or QUIC | to its owner; does not follow the SYN: to `old` | to `old` |
//! | the same, `old` died and its flows are reset | to its owner | an RST to its sender |
//! | UDP, or by the client alone; the row still learns | to its owner | tracked, to `old` |
//! | the same, the row has learned | to its owner | tracked, to `primary` |
//!
//! Nothing is tracked where both owners are the same, but in the place of a flow that was ended: without an
//! entry a flow goes there anyway. So that the daemon knows when the row may be stable again, a packet that
//! goes elsewhere than to `primary` leaves its time.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::{Detour, Program, Step, Tables, refuse};
use crate::{
    DropReason,
    backend::Header,
    bits,
    directory::Way,
    flow::Flow,
    row::Row,
    tracked::{ENTRIES, Origin, Place, Tracked},
    verdict::TrackEvent,
    wire::{Frame, Transport},
};

/// Asked of the program of moving rows, and answered: the only value of this CPU in the map `QUESTION`.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C, align(8))]
pub struct Question {
    /// The hash of the packet's flow.
    pub hash: u64,
    /// What the directory says of its service.
    pub service: u64,
    /// TCP's sequence number.
    pub sequence: u32,
    /// [`Question::OPENS`] or [`Question::CLOSES`], or neither.
    pub signal: u8,
    /// A [`Turn`] as number.
    pub turn: u8,
    /// The program that asks: a [`Detour`] as number.
    pub back: u8,
    /// Zero.
    pub reserved: u8,
    /// The owner, as rows name it.
    pub owner: u16,
    /// Who else may have the flow and would be asked by the owner; [`Row::NONE`]: nobody.
    pub other: u16,
    /// An [`Answer`] as number.
    pub answer: u32,
}

/// What became of a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
enum Answer {
    /// Nothing yet.
    Awaited = 0,
    /// The flow is with `owner`.
    Owner = 1,
    /// Nobody has it: its sender is told.
    Reset = 2,
    /// It cannot be opened now.
    Untracked = 3,
}

/// In the place of an owner.
const NOBODY: u32 = Row::NONE as u32;

/// An owner, and the other one that may have the flow.
type Owners = (u32, Option<u32>);

/// What the answer does to the flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Turn {
    /// It is tracked, or seen.
    Track = 0,
    /// Nothing; but a packet of it goes there.
    Follow = 1,
    /// Nothing: an error is about it.
    Ask = 2,
}

impl Question {
    /// A SYN, or an Initial of QUIC: it opens a connection.
    pub const OPENS: u8 = 1;
    /// A FIN or RST.
    pub const CLOSES: u8 = 2;

    #[inline(always)]
    const fn opens(&self) -> bool {
        self.signal == Self::OPENS
    }

    /// The answer, once: the next packet of the flow asks anew.
    #[inline(always)]
    const fn take_answer(&mut self, asked: &Self) -> Answer {
        if self.hash != asked.hash {
            return Answer::Awaited;
        }
        let answer = match self.answer {
            0 => Answer::Awaited,
            1 => Answer::Owner,
            2 => Answer::Reset,
            _ => Answer::Untracked,
        };
        self.answer = Answer::Awaited as u32;
        answer
    }

    #[inline(always)]
    const fn turn(&self) -> Turn {
        match self.turn {
            0 => Turn::Track,
            1 => Turn::Follow,
            _ => Turn::Ask,
        }
    }
}

/// What a packet says of its connection.
#[inline(always)]
pub(super) const fn signal(transport: &Transport<'_>) -> u8 {
    if transport.opens() {
        Question::OPENS
    } else if transport.marks() == Flow::CLOSING {
        Question::CLOSES
    } else {
        0
    }
}

/// The owner of a moving row that a packet goes to, as the row would name it, and another one where that hands
/// over what it does not know.
///
/// # Errors
///
/// The program that answers the question, or that nobody has the flow.
#[inline(always)]
pub(super) fn owner<T: Tables>(asked: &Question, tables: &T) -> Result<Owners, Step> {
    let mut question = tables.question().ok_or(DropReason::TableError)?;
    match question.take_answer(asked) {
        Answer::Awaited => {
            *question = *asked;
            Err(Detour::Moving.into())
        }
        Answer::Owner if question.owner == Row::NONE => Err(refuse::or_drop(asked.turn(), tables)),
        Answer::Owner => {
            let other = (question.other != Row::NONE).then_some(question.other.into());
            Ok((question.owner.into(), other))
        }
        Answer::Reset if asked.turn() == Turn::Ask => Err(DropReason::NoBackend.into()),
        Answer::Reset => Err(Detour::Reset.into()),
        Answer::Untracked => Err(DropReason::Untracked.into()),
    }
}

/// The program of moving rows: it sees the question, not the packet.
pub(super) struct Moving;

impl Program for Moving {
    #[inline(always)]
    fn run<F: Frame, T: Tables>(_: &mut F, tables: &T) -> Step {
        let Some(mut question) = tables.question() else {
            return DropReason::TableError.into();
        };
        match choose(&question, tables) {
            Ok((owner, other, answer)) => {
                question.owner = bits::low_word(owner);
                question.other = bits::low_word(other);
                question.answer = answer as u32;
                Step::detour(question.back.into())
            }
            Err(reason) => reason.into(),
        }
    }
}

/// The entries of a bucket.
pub trait Entries {
    /// One of them.
    fn load(&self, index: usize) -> Tracked;

    /// Puts another entry in the place of `before`, if that is still there.
    fn replace(&self, index: usize, before: Tracked, after: Tracked) -> bool;

    /// Leaves word of whose an entry is that was put there.
    fn note_origin(&self, index: usize, origin: Origin);
}

#[inline(always)]
fn choose<T: Tables>(question: &Question, tables: &T) -> Result<(u32, u32, Answer), DropReason> {
    let Question { hash, service, .. } = *question;
    let table = Way::table(service);
    let (element, slot) = (table.element(), table.slot(hash));
    let row = tables.row(element, slot).ok_or(DropReason::TableError)?;
    // It may have come to rest meanwhile.
    let (owner, flags) = if row.is_moving() {
        let header = tables.backend(Way::extent(service));
        let header: &Header = zerocopy::transmute_ref!(header.ok_or(DropReason::TableError)?);
        let place = Place::of(hash);
        let bucket = tables.tracked(place.bucket).ok_or(DropReason::TableError)?;
        let seeker = Seeker {
            question,
            row,
            bucket,
            tag: place.tag,
            now: tables.clock(),
            idle: header.idle.into(),
            learns: header.flags & Header::LEARNS != 0,
        };
        (seeker.owner(tables), header.flags)
    } else {
        (row.primary(), 0)
    };
    let resets = flags & Header::RESETS != 0 && row.old() == NOBODY;
    let other = if flags & Header::HANDS_OVER != 0 && !question.opens() {
        other(row, owner)
    } else {
        NOBODY
    };
    // Of a row whose owner died, what is no SYN tells of a flow that was with it.
    let tells = owner != row.primary() || row.is_rehashed() && !question.opens();
    if tells && question.turn() != Turn::Ask {
        tables.touch(element, slot);
    }
    Ok((owner, other, answer(question, row, owner, resets)))
}

/// Who else may have a flow that goes to `owner`: it may have been opened by way of another balancer.
#[inline(always)]
const fn other(row: Row, owner: u32) -> u32 {
    let other = if owner == row.old() {
        row.primary()
    } else {
        row.old()
    };
    if other == owner { NOBODY } else { other }
}

/// What it means that nobody has a flow. `resets`: the row's flows were with a backend that died, and
/// their clients are to know.
#[inline(always)]
const fn answer(question: &Question, row: Row, owner: u32, resets: bool) -> Answer {
    if owner != NOBODY || !resets {
        Answer::Owner
    } else if !question.opens() {
        Answer::Reset
    } else if row.primary() == NOBODY {
        Answer::Owner
    } else {
        Answer::Untracked
    }
}

/// Looks for a flow's entry in a bucket.
struct Seeker<'q, B> {
    question: &'q Question,
    row: Row,
    bucket: B,
    tag: u64,
    now: u32,
    idle: u32,
    /// Whether no packet says that it opens a flow, or ends it.
    learns: bool,
}

impl<B: Entries> Seeker<'_, B> {
    #[inline(always)]
    fn owner<T: Tables>(&self, tables: &T) -> u32 {
        let (index, entry) = self.find();
        // One way for the verifier, not one for each place.
        let index = tables.settled(index);
        let gives_way = self.opens() && entry.is_closing();
        if index < ENTRIES as u64 && !gives_way && self.is_current(entry, tables) {
            self.of_entry(index, entry, tables)
        } else {
            self.of_none(gives_way, tables)
        }
    }

    #[inline(always)]
    const fn opens(&self) -> bool {
        self.question.opens() && !self.learns
    }

    /// The first live entry with the tag; [`ENTRIES`] where there is none.
    #[inline(always)]
    fn find(&self) -> (u64, Tracked) {
        let mut found = (ENTRIES as u64, Tracked::FREE);
        for index in (0..ENTRIES).rev() {
            let entry = self.bucket.load(index);
            if entry.tag() == self.tag && entry.is_live(self.now, self.idle) {
                found = (index as u64, entry);
            }
        }
        found
    }

    /// Whether an entry's backend is still the one that the flow was with: it may have died since.
    #[inline(always)]
    fn is_current<T: Tables>(&self, entry: Tracked, tables: &T) -> bool {
        let pair = Way::extent(self.question.service).wrapping_add(entry.owner());
        let backend = tables.backend(pair);
        backend.is_some_and(|backend| entry.is_since(backend.standing.since(), self.now))
    }

    /// Where a flow goes that has an entry.
    #[inline(always)]
    fn of_entry<T: Tables>(&self, index: u64, entry: Tracked, tables: &T) -> u32 {
        let asked = self.question;
        let after = if !entry.is_confirmed() && self.opens() {
            Tracked::half_open(self.tag, entry.owner(), self.now, asked.sequence)
        } else if entry.is_confirmed() || entry.is_followed_by(asked.sequence) {
            let closes = asked.signal == Question::CLOSES && !self.learns;
            entry.seen_at(self.now, closes)
        } else {
            return self.row.old();
        };
        if asked.turn() == Turn::Track && after != entry {
            // Linux 6.1 does not remember how large it is where it was kept on the stack.
            let index = bits::low_half(tables.settled(index)) as usize;
            // Another CPU may be faster, with another packet of the flow.
            let _replaced = self.bucket.replace(index, entry, after);
        }
        entry.owner()
    }

    /// Where a flow goes that has none, and gets one where it may. `supersedes`: in the place of one that was
    /// ended, which it must not be taken for.
    #[inline(always)]
    fn of_none<T: Tables>(&self, supersedes: bool, tables: &T) -> u32 {
        let asked = self.question;
        let (primary, old) = (self.row.primary(), self.row.old());
        let (entry, otherwise) = if self.opens() {
            let entry = Tracked::half_open(self.tag, primary, self.now, asked.sequence);
            (entry, old)
        } else if !self.learns {
            return old;
        } else if self.row.misses_are_new() {
            (Tracked::confirmed(self.tag, primary, self.now), primary)
        } else {
            (Tracked::confirmed(self.tag, old, self.now), old)
        };
        let is_needed = primary != old || supersedes;
        if !is_needed || entry.owner() == NOBODY {
            return entry.owner();
        }
        if asked.turn() != Turn::Track {
            return otherwise;
        }
        let owner = self.insert(entry);
        let event = match owner {
            Some(_) => TrackEvent::Tracked,
            None => TrackEvent::Refused,
        };
        tables.note_event(event);
        owner.unwrap_or(otherwise)
    }

    /// Puts an entry in the first place that is free; who has the flow then.
    #[inline(always)]
    fn insert(&self, entry: Tracked) -> Option<u32> {
        for index in 0..ENTRIES {
            let before = self.bucket.load(index);
            if before.is_live(self.now, self.idle) && before.tag() != self.tag {
                continue;
            }
            if self.bucket.replace(index, before, entry) {
                let extent = Way::extent(self.question.service);
                let origin = Origin::of(self.question.hash, extent);
                self.bucket.note_origin(index, origin);
                return Some(entry.owner());
            }
            // Another CPU was faster: maybe with the same flow.
            let theirs = self.bucket.load(index);
            if theirs.tag() == self.tag {
                return Some(theirs.owner());
            }
        }
        None
    }
}
