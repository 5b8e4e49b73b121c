//! What happens, drawn from a seed: a state machine that leaves two backends at least.

use std::fmt;

use crate::random::Random;

pub(super) const BACKENDS: u8 = 5;
/// The last of so many services has a million slots.
const MOST_GROWN: usize = 7;

/// Something that happens to the balancers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A backend gets no new flows.
    Drain(u8),
    /// It gets them again.
    Ready(u8),
    /// It is taken out of the service.
    Remove(u8),
    /// It is in the service again.
    Add(u8),
    /// Its share changes.
    Weigh(u8, u16),
    /// Its server dies.
    Kill(u8),
    /// And is started again.
    Revive(u8),
    /// The file is read again, with another program as a consequence.
    Reload,
    /// The daemons are killed, and others started.
    Restart,
    /// The same, and the others have another program.
    Upgrade,
    /// The configuration outgrows the maps.
    Grow,
    /// The balancer that has the traffic dies, the other one takes over, and the dead one joins it again.
    FailOver,
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::Drain(number) => format!("drain b{number}"),
            Self::Ready(number) => format!("ready b{number}"),
            Self::Remove(number) => format!("remove b{number}"),
            Self::Add(number) => format!("add b{number}"),
            Self::Weigh(number, weight) => format!("weight b{number} {weight}"),
            Self::Kill(number) => format!("b{number} dies"),
            Self::Revive(number) => format!("b{number} returns"),
            Self::Reload => "reload, another program".to_owned(),
            Self::Restart => "SIGKILL and restart".to_owned(),
            Self::Upgrade => "upgrade of the program".to_owned(),
            Self::Grow => "maps grow".to_owned(),
            Self::FailOver => "the other balancer takes over".to_owned(),
        };
        f.pad(&text)
    }
}

/// A backend of the service over TCP, as the events left it.
#[derive(Clone, Copy, Debug)]
struct Backend {
    is_there: bool,
    is_ready: bool,
    is_up: bool,
}

/// All that happens.
#[derive(Clone, Debug)]
pub(super) struct Script {
    random: Random,
    backends: [Backend; BACKENDS as usize],
    /// Services that were added to make the maps grow.
    pub(super) grown: usize,
    /// How often the file was read again for another program.
    pub(super) reloads: usize,
}

impl Script {
    pub(super) const fn new(seed: u64) -> Self {
        let backend = Backend {
            is_there: true,
            is_ready: true,
            is_up: true,
        };
        Self {
            random: Random::new(seed),
            backends: [backend; BACKENDS as usize],
            grown: 0,
            reloads: 0,
        }
    }

    /// Whether the backend of this name answers probes.
    pub(super) fn is_up(&self, name: &str) -> bool {
        let number = name
            .strip_prefix('b')
            .and_then(|number| number.parse().ok());
        let backend = number.and_then(|number: usize| self.backends.get(number - 1));
        backend.is_some_and(|backend| backend.is_up)
    }

    /// What happens next.
    pub(super) fn next(&mut self) -> Event {
        let event = self.draw();
        self.note(event);
        event
    }

    fn draw(&mut self) -> Event {
        let taking = |it: &Backend| it.is_there && it.is_ready && it.is_up;
        let spare = self.backends.iter().filter(|it| taking(it)).count() > 2;
        let number = 1 + self.random.below(usize::from(BACKENDS)) as u8;
        let Backend {
            is_there,
            is_ready,
            is_up,
        } = *self.backend(number);
        match self.random.below(12) {
            0 | 1 => Event::FailOver,
            _ if !is_there => Event::Add(number),
            _ if !is_up => Event::Revive(number),
            2 | 3 if !is_ready => Event::Ready(number),
            2 | 3 if spare => Event::Drain(number),
            4 if spare => Event::Remove(number),
            5 if spare => Event::Kill(number),
            6 => Event::Restart,
            7 => Event::Reload,
            8 => Event::Upgrade,
            9 if self.grown < MOST_GROWN => Event::Grow,
            _ => Event::Weigh(number, 1 + self.random.below(5) as u16),
        }
    }

    const fn note(&mut self, event: Event) {
        match event {
            Event::Drain(number) => self.backend(number).is_ready = false,
            Event::Ready(number) => self.backend(number).is_ready = true,
            Event::Remove(number) => self.backend(number).is_there = false,
            Event::Add(number) => {
                self.backend(number).is_there = true;
                self.backend(number).is_ready = true;
            }
            Event::Kill(number) => self.backend(number).is_up = false,
            Event::Revive(number) => self.backend(number).is_up = true,
            Event::Reload => self.reloads += 1,
            Event::Grow => self.grown += 1,
            Event::Weigh(..) | Event::Restart | Event::Upgrade | Event::FailOver => {}
        }
    }

    const fn backend(&mut self, number: u8) -> &mut Backend {
        &mut self.backends[number as usize - 1]
    }
}
