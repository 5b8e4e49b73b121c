//! Numbers from the metrics page.

use lb_tests::daemon::Xlb;

/// What the page says of a series, such as `xlb_service_up{service="web"}`.
pub(crate) fn sample(xlb: &Xlb<'_>, series: &str) -> u64 {
    let page = xlb.metrics().unwrap();
    let mut values = page
        .lines()
        .filter_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    let value = values.next().map(|value| value.parse().unwrap());
    value.unwrap_or_else(|| panic!("no {series} in\n{page}"))
}

/// Packets that were dropped for a reason.
pub(crate) fn dropped(xlb: &Xlb<'_>, reason: &str) -> u64 {
    sample(
        xlb,
        &format!("xlb_dropped_packets_total{{reason=\"{reason}\"}}"),
    )
}
