//! How the demonstration looks. Colour never tells more than the words do.

use std::{
    env,
    io::{self, Write as _},
};

use anyhow::{Context as _, Result};

use super::load::burst::Tally;

/// Characters of a bar, which is full at [`FULL`].
const BAR_WIDTH: u32 = 30;

/// A share that no backend of this demonstration reaches while the others live.
const FULL: f64 = 0.5;

/// Standard output.
#[derive(Clone, Copy, Debug)]
pub(super) struct Screen {
    paints: bool,
    bar: char,
}

impl Screen {
    /// With or without colour; with blocks where the locale has them.
    pub(super) fn new(paints: bool) -> Self {
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"]
            .into_iter()
            .find_map(|name| env::var(name).ok().filter(|value| !value.is_empty()));
        let has_blocks = locale.is_some_and(|locale| {
            let locale = locale.to_ascii_lowercase();
            locale.contains("utf-8") || locale.contains("utf8")
        });
        let bar = if has_blocks { '█' } else { '#' };
        Self { paints, bar }
    }

    /// Whether there is colour.
    pub(super) const fn paints(self) -> bool {
        self.paints
    }

    /// What the next lines are about.
    pub(super) fn title(self, title: &str) -> Result<()> {
        print(&format!("\n{}\n", self.paint("1", title)))
    }

    /// A command that is run.
    pub(super) fn command(self, command: &str) -> Result<()> {
        print(&format!(
            "  {}\n",
            self.paint("36", &format!("$ {command}"))
        ))
    }

    /// What came of it.
    #[expect(
        clippy::unused_self,
        reason = "that such a line has no colour is nobody else's business"
    )]
    pub(super) fn line(self, line: &str) -> Result<()> {
        print(&format!("    {line}\n"))
    }

    /// What came of it, in several lines.
    pub(super) fn text(self, text: &str) -> Result<()> {
        text.lines().try_for_each(|line| self.line(line))
    }

    /// The share of every backend as a bar.
    pub(super) fn bars(self, tally: &Tally, backends: &[&str]) -> Result<()> {
        backends.iter().try_for_each(|name| {
            let share = tally.share(name);
            let count = tally.0.get(*name).copied().unwrap_or_default();
            let bar = self.paint("32", &self.bar(share));
            let count = grouped(count as usize);
            self.line(&format!(
                "{name}  {bar} {:4.1} %  {count:>7}",
                share * 100.0
            ))
        })
    }

    /// A bar with the blanks to its right.
    fn bar(self, share: f64) -> String {
        let full = f64::from(BAR_WIDTH) * share / FULL;
        let mark = |at: f64| if at < full { self.bar } else { ' ' };
        let places = (0..BAR_WIDTH).map(|place| f64::from(place) + 0.5);
        places.map(mark).collect()
    }

    /// `ok` or `FAILED`.
    pub(super) fn verdict(self, is_good: bool) -> String {
        if is_good {
            self.paint("32", "ok")
        } else {
            self.paint("1;31", "FAILED")
        }
    }

    fn paint(self, color: &str, text: &str) -> String {
        if self.paints {
            format!("\x1b[{color}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}

/// Prints text as it is.
pub(super) fn print(text: &str) -> Result<()> {
    let mut stdout = io::stdout().lock();
    stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
        .context("cannot write to stdout")
}

/// A count with commas: `12,345`.
pub(super) fn grouped(count: usize) -> String {
    if count < 1000 {
        return count.to_string();
    }
    format!("{},{:03}", grouped(count / 1000), count % 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_grouped_by_thousands() {
        for (count, text) in [
            (0, "0"),
            (999, "999"),
            (1000, "1,000"),
            (1_020_034, "1,020,034"),
        ] {
            assert_eq!(grouped(count), text);
        }
    }

    #[test]
    fn without_colour_there_are_only_words() {
        let screen = Screen::new(false);
        assert_eq!(screen.verdict(true), "ok");
        assert_eq!(screen.verdict(false), "FAILED");
        assert_eq!(Screen::new(true).verdict(true), "\x1b[32mok\x1b[0m");
    }

    #[test]
    fn bars_are_as_long_as_shares() {
        let screen = Screen {
            paints: false,
            bar: '#',
        };
        let length = |share| screen.bar(share).trim_end().len();
        assert_eq!((length(0.0), length(1.0 / 3.0), length(0.5)), (0, 20, 30));
        assert_eq!(screen.bar(0.1).len(), 30);
    }
}
