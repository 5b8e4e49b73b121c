//! Figures as people read them.

/// A count with an SI unit: `412`, `18.2k`, `1.9M`.
pub(crate) fn si(count: u64) -> String {
    let mut unit = 1_u64;
    for name in ["", "k", "M", "G", "T", "P"] {
        if count / unit < 1000 || name == "P" {
            return scaled(count, unit, name);
        }
        unit = unit.saturating_mul(1000);
    }
    count.to_string()
}

fn scaled(count: u64, unit: u64, name: &str) -> String {
    let whole = count / unit;
    if unit == 1 || whole >= 100 {
        return format!("{whole}{name}");
    }
    format!("{whole}.{}{name}", count % unit * 10 / unit)
}

/// Seconds in the two largest units: `3d04h`, `12m07s`, `9s`.
pub(crate) fn seconds(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{minutes}m{:02}s", seconds % 60),
        3600..86_400 => format!("{hours}h{:02}m", minutes % 60),
        _ => format!("{days}d{:02}h", hours % 24),
    }
}

/// Milliseconds as a time that passed: `0.6s`, `1m30s`.
pub(crate) fn millis(millis: u64) -> String {
    match millis {
        0..10_000 => format!("{}.{}s", millis / 1000, millis % 1000 / 100),
        _ => seconds(millis / 1000),
    }
}

/// Microseconds as what a probe takes: `0.4ms`.
pub(crate) fn micros(micros: u64) -> String {
    let tenths = (micros + 50) / 100;
    format!("{}.{}ms", tenths / 10, tenths % 10)
}

/// A share, 0 to 1, in percent.
pub(crate) fn percent(share: f64) -> String {
    format!("{:.1}%", share * 100.0)
}

/// A word as a shell takes it.
pub(crate) fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@%+=,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_keep_three_figures() {
        for (count, text) in [
            (0, "0"),
            (999, "999"),
            (1000, "1.0k"),
            (18_249, "18.2k"),
            (999_999, "999k"),
            (1_860_000, "1.8M"),
            (u64::MAX, "18446P"),
        ] {
            assert_eq!(si(count), text);
        }
    }

    #[test]
    fn times_keep_two_units() {
        for (time, text) in [
            (59, "59s"),
            (61, "1m01s"),
            (3_660, "1h01m"),
            (3 * 86_400 + 4 * 3_600, "3d04h"),
        ] {
            assert_eq!(seconds(time), text);
        }
    }

    #[test]
    fn words_survive_a_shell() {
        assert_eq!(quoted("10.0.0.1:80"), "10.0.0.1:80");
        assert_eq!(quoted("[::1]:80"), "'[::1]:80'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
    }
}
