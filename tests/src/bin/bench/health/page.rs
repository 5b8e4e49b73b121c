//! Figures of the daemon's page of metrics.

use lb_tests::daemon::Xlb;

/// A page.
pub(super) struct Page(String);

impl Page {
    pub(super) fn of(xlb: &Xlb<'_>) -> Self {
        Self(xlb.metrics().expect("a page of metrics"))
    }

    /// The value of a series.
    pub(super) fn value(&self, series: &str) -> f64 {
        let mut lines = self.0.lines();
        let value = lines.find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        let value = value.unwrap_or_else(|| panic!("no {series}"));
        value.parse().expect("a number")
    }
}
