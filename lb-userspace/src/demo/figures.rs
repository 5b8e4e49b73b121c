//! What was measured, and what it had to be.

use std::time::Duration;

use super::{load::burst::Tally, screen::Screen};

/// One figure.
#[derive(Debug)]
struct Figure {
    what: String,
    measured: String,
    wanted: String,
    is_good: bool,
}

/// All figures, in the order of the story.
#[derive(Debug, Default)]
pub(super) struct Figures(Vec<Figure>);

impl Figures {
    /// How many there are.
    pub(super) const fn count(&self) -> usize {
        self.0.len()
    }

    /// How many are off.
    pub(super) fn off(&self) -> usize {
        self.0.iter().filter(|figure| !figure.is_good).count()
    }

    /// Something that must be so.
    pub(super) fn must(&mut self, what: &str, measured: &str, wanted: &str, is_good: bool) {
        self.0.push(Figure {
            what: what.to_owned(),
            measured: measured.to_owned(),
            wanted: wanted.to_owned(),
            is_good,
        });
    }

    /// A count that must be 0.
    pub(super) fn none(&mut self, what: &str, count: usize) {
        self.must(what, &count.to_string(), "0", count == 0);
    }

    /// A time that must be below a limit.
    pub(super) fn within(&mut self, what: &str, took: Duration, limit: Duration) {
        let measured = format!("{:.2} s", took.as_secs_f64());
        let wanted = format!("< {} s", limit.as_secs());
        self.must(what, &measured, &wanted, took < limit);
    }

    /// Backends that must have equal shares, as far as so few flows can tell.
    pub(super) fn even(&mut self, what: &str, tally: &Tally, backends: &[&str]) {
        let wanted = 1.0 / f64::from(u32::try_from(backends.len()).unwrap_or(u32::MAX).max(1));
        let off = tolerance(wanted, tally.total());
        let shares = backends.iter().map(|name| tally.share(name));
        let worst = shares
            .max_by(|a, b| (a - wanted).abs().total_cmp(&(b - wanted).abs()))
            .unwrap_or_default();
        self.must(
            what,
            &format!("{:.1} %", worst * 100.0),
            &format!("{:.1} % +- {:.1}", wanted * 100.0, off * 100.0),
            (worst - wanted).abs() <= off,
        );
    }

    /// What could not be removed: nothing.
    pub(super) fn nothing_left(&mut self, left: &[String]) {
        let measured = match left {
            [] => "nothing".to_owned(),
            left => left.join(", "),
        };
        self.must("left behind", &measured, "nothing", left.is_empty());
    }

    /// All of them as a table with a verdict each.
    pub(super) fn table(&self, screen: Screen) -> String {
        let width = |text: fn(&Figure) -> &str| {
            let lengths = self.0.iter().map(|figure| text(figure).chars().count());
            lengths.max().unwrap_or_default()
        };
        let what = width(|figure| &figure.what);
        let measured = width(|figure| &figure.measured);
        let wanted = width(|figure| &figure.wanted);
        let line = |figure: &Figure| {
            format!(
                "{:what$}  {:>measured$}   {:wanted$}  {}\n",
                figure.what,
                figure.measured,
                figure.wanted,
                screen.verdict(figure.is_good)
            )
        };
        self.0.iter().map(line).collect()
    }
}

/// How far a share may be off: 5 % of it; where flows are few, five standard deviations of a
/// binomial distribution, which chance passes once in a million.
fn tolerance(share: f64, flows: u32) -> f64 {
    let deviation = (share * (1.0 - share) / f64::from(flows.max(1))).sqrt();
    (0.05 * share).max(5.0 * deviation)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(b1: u32, b2: u32) -> Tally {
        Tally([("b1".to_owned(), b1), ("b2".to_owned(), b2)].into())
    }

    #[test]
    fn many_flows_must_be_even_within_5_percent() {
        let mut figures = Figures::default();
        figures.even("even", &tally(104_000, 96_000), &["b1", "b2"]);
        assert_eq!(figures.off(), 0);
        figures.even("uneven", &tally(106_000, 94_000), &["b1", "b2"]);
        assert_eq!(figures.off(), 1);
        figures.even(
            "a third backend is silent",
            &tally(9000, 9000),
            &["b1", "b2", "b3"],
        );
        assert_eq!(figures.off(), 2);
    }

    #[test]
    fn few_flows_may_be_as_uneven_as_chance_makes_them() {
        assert!((tolerance(1.0 / 3.0, 20_000) - 1.0 / 60.0).abs() < 1e-4);
        assert!(tolerance(1.0 / 3.0, 2000) > 0.05);
    }

    #[test]
    fn what_is_left_behind_is_off() {
        let mut figures = Figures::default();
        figures.none("none broken", 0);
        figures.nothing_left(&[]);
        figures.nothing_left(&["a folder".to_owned()]);
        assert_eq!((figures.count(), figures.off()), (3, 1));
    }

    #[test]
    fn the_table_says_which_figure_is_off() {
        let mut figures = Figures::default();
        figures.none("broken", 2);
        figures.within(
            "last failure",
            Duration::from_millis(340),
            Duration::from_secs(1),
        );
        assert_eq!(
            figures.table(Screen::new(false)),
            "broken             2   0      FAILED\n\
             last failure  0.34 s   < 1 s  ok\n"
        );
    }
}
