//! What backends say they are good for, and what is made of it.
//!
//! Tables are not built anew with every probe: what is said is done where it differs enough from what is done, and not
//! too soon after the last time. What cannot be understood changes nothing.
//!
//! Pure: instants are handed in.

use std::time::Duration;

use tokio::time::Instant;

use crate::{config::model::FeedbackMode, slot_table::Part};

/// What differs by less, in hundredths, is the same; but for nothing and all.
const LEAST: u8 = 10;

/// From one change to the next, at least.
const BETWEEN: Duration = Duration::from_secs(5);

/// What a backend said with one probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Advice {
    /// It is good for so much of its weight.
    Takes(Part),
    /// Nothing that can be understood.
    Invalid,
}

impl Advice {
    /// Reads what an agent says, as HAProxy's `agent-check` has it, as far as that is about weights: `75%`, alone or
    /// beside `up` or `ready`.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let words = text.split([' ', '\t', ',']);
        let words = words.filter(|word| !matches!(*word, "" | "up" | "ready"));
        let words: Vec<&str> = words.collect();
        let [word] = words.as_slice() else {
            return Self::Invalid;
        };
        let digits = word.strip_suffix('%');
        let is_number = |digits: &&str| digits.bytes().all(|byte| byte.is_ascii_digit());
        let percent = digits.filter(is_number).and_then(|it| it.parse().ok());
        let percent = percent.filter(|percent| *percent <= Part::WHOLE.percent());
        percent.map_or(Self::Invalid, |percent| Self::Takes(Part::of(percent)))
    }
}

/// What is known of a backend's advice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Advised {
    mode: FeedbackMode,
    last: Option<Part>,
    used: Part,
    changed: Option<Instant>,
    invalid: u64,
}

impl Advised {
    /// It has said nothing.
    pub(super) const fn new(mode: FeedbackMode) -> Self {
        Self {
            mode,
            last: None,
            used: Part::WHOLE,
            changed: None,
            invalid: 0,
        }
    }

    /// Goes by another mode.
    pub(super) const fn set_mode(&mut self, mode: FeedbackMode) {
        self.mode = mode;
        if matches!(mode, FeedbackMode::Observe) {
            self.used = Part::WHOLE;
            self.changed = None;
        }
    }

    /// Takes what it says; whether something else is to be done.
    pub(super) fn hear(&mut self, advice: Advice, now: Instant) -> bool {
        let Advice::Takes(part) = advice else {
            self.invalid += 1;
            return false;
        };
        self.last = Some(part);
        let is_early = self
            .changed
            .is_some_and(|changed| now.duration_since(changed) < BETWEEN);
        let changes = self.mode == FeedbackMode::Apply && !is_early && self.differs(part);
        if changes {
            self.used = part;
            self.changed = Some(now);
        }
        changes
    }

    fn differs(&self, part: Part) -> bool {
        let is_end = part == Part::NONE || part == Part::WHOLE;
        let by = part.percent().abs_diff(self.used.percent());
        by >= LEAST || is_end && by > 0
    }

    /// Whether that is done.
    #[must_use]
    pub const fn mode(&self) -> FeedbackMode {
        self.mode
    }

    /// What it said last.
    #[must_use]
    pub const fn last(&self) -> Option<Part> {
        self.last
    }

    /// What is done.
    #[must_use]
    pub const fn used(&self) -> Part {
        self.used
    }

    /// How often it said nothing that could be understood.
    #[must_use]
    pub const fn invalid(&self) -> u64 {
        self.invalid
    }
}

/// How much of its slots a backend takes that takes `used`, where the one of its service that takes most takes `most`:
/// it is shares that count, so that all that are half as good are as good as ever.
#[must_use]
pub fn relative(used: Part, most: Part) -> Part {
    let (used, most) = (u16::from(used.percent()), u16::from(most.percent()));
    let percent = (used * 100).checked_div(most).unwrap_or(0);
    // Some stays some.
    let percent = percent.max(u16::from(used > 0));
    u8::try_from(percent).map_or(Part::WHOLE, Part::of)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_percentage_is_advice_and_nothing_else() {
        for (text, percent) in [
            ("75%", 75),
            ("0%", 0),
            ("100%", 100),
            ("up 75%", 75),
            (" ready,\t7% ", 7),
        ] {
            let advice = Advice::Takes(Part::of(percent));
            assert_eq!(Advice::parse(text), advice, "{text}");
        }
        for text in [
            "",
            "75",
            "101%",
            "-1%",
            "+7%",
            "7.5%",
            "%",
            "256%",
            "1000%",
            "down",
            "drain",
            "75% 50%",
            "75% maxconn:30",
            "seventy%",
            "７%",
        ] {
            assert_eq!(Advice::parse(text), Advice::Invalid, "{text}");
        }
    }

    fn said(percent: u8) -> Advice {
        Advice::Takes(Part::of(percent))
    }

    #[test]
    fn what_is_observed_is_not_done() {
        let now = Instant::now();
        let mut advised = Advised::new(FeedbackMode::Observe);
        assert!(!advised.hear(said(0), now));
        assert_eq!(
            (advised.last(), advised.used()),
            (Some(Part::NONE), Part::WHOLE)
        );
    }

    #[test]
    fn little_differences_are_none_and_changes_do_not_come_too_often() {
        let begun = Instant::now();
        let mut advised = Advised::new(FeedbackMode::Apply);
        let mut hear = |seconds, percent| {
            let changes = advised.hear(said(percent), begun + Duration::from_secs(seconds));
            (changes, advised.used().percent())
        };
        assert_eq!(hear(0, 95), (false, 100));
        assert_eq!(hear(0, 50), (true, 50));
        assert_eq!(hear(4, 100), (false, 50), "too soon");
        assert_eq!(hear(5, 59), (false, 50));
        assert_eq!(hear(5, 40), (true, 40));
        assert_eq!(hear(10, 35), (false, 40));
        assert_eq!(hear(20, 5), (true, 5));
        assert_eq!(hear(30, 0), (true, 0), "nothing is not next to nothing");
        assert_eq!(hear(40, 9), (false, 0));
    }

    #[test]
    fn what_cannot_be_understood_changes_nothing() {
        let now = Instant::now();
        let mut advised = Advised::new(FeedbackMode::Apply);
        assert!(advised.hear(said(50), now));
        let before = advised;
        assert!(!advised.hear(Advice::Invalid, now + BETWEEN * 2));
        assert_eq!(advised.invalid(), 1);
        assert_eq!(
            (advised.last(), advised.used()),
            (before.last(), before.used())
        );
        advised.set_mode(FeedbackMode::Observe);
        assert_eq!(advised.used(), Part::WHOLE);
    }

    proptest! {
        #[test]
        fn what_is_done_is_something_that_was_said_and_changes_are_bounded(
            steps in prop::collection::vec((0_u64..3000, 0_u8..=100), 1..200),
        ) {
            let begun = Instant::now();
            let (mut now, mut changes) = (begun, 0);
            let mut advised = Advised::new(FeedbackMode::Apply);
            for (millis, percent) in steps {
                now += Duration::from_millis(millis);
                if advised.hear(said(percent), now) {
                    changes += 1;
                    prop_assert_eq!(advised.used().percent(), percent);
                }
            }
            prop_assert!(changes <= 1 + now.duration_since(begun).as_secs() / BETWEEN.as_secs());
        }

        #[test]
        fn the_best_takes_all_and_the_others_their_part_of_that(one in 0_u8..=100, other in 0_u8..=100) {
            let (used, most) = (Part::of(one.min(other)), Part::of(one.max(other)));
            prop_assert_eq!(relative(most, most), if most > Part::NONE { Part::WHOLE } else { Part::NONE });
            prop_assert!(relative(used, most) >= used);
            prop_assert_eq!(relative(used, most) == Part::NONE, used == Part::NONE);
        }
    }
}
