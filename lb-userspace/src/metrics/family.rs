//! A family of series in the text of the exposition format, version 0.0.4
//! (<https://prometheus.io/docs/instrumenting/exposition_formats/>).
//!
//! Written as it is made: of ten thousand backends there are some 250,000 series, and as objects of the library, sorted
//! and encoded, they cost twenty times as much as their text.

use std::time::Duration;

/// A family: gauges or counters of one name.
#[derive(Debug)]
pub(super) struct Family {
    name: &'static str,
    /// Bytes before the first series.
    head: usize,
    text: String,
}

/// Gauges.
pub(super) fn gauge(name: &'static str, help: &str) -> Family {
    Family::new(name, help, "gauge")
}

/// Counters.
pub(super) fn counter(name: &'static str, help: &str) -> Family {
    Family::new(name, help, "counter")
}

impl Family {
    fn new(name: &'static str, help: &str, kind: &str) -> Self {
        let text = format!("# HELP {name} {help}\n# TYPE {name} {kind}\n");
        let head = text.len();
        Self { name, head, text }
    }

    /// One more series.
    pub(super) fn add(&mut self, labels: &[(&str, &str)], value: impl Value) {
        self.text.push_str(self.name);
        for (number, (name, value)) in labels.iter().enumerate() {
            self.text.push(if number == 0 { '{' } else { ',' });
            self.text.push_str(name);
            self.text.push_str("=\"");
            push_escaped(&mut self.text, value);
            self.text.push('"');
        }
        let end = if labels.is_empty() { " " } else { "} " };
        self.text.push_str(end);
        value.write_to(&mut self.text);
        self.text.push('\n');
    }

    /// With one more series.
    pub(super) fn sample(mut self, labels: &[(&str, &str)], value: impl Value) -> Self {
        self.add(labels, value);
        self
    }

    /// Its lines; none where there is no series: a family without any is malformed.
    pub(super) fn text(&self) -> &str {
        if self.text.len() > self.head {
            &self.text
        } else {
            ""
        }
    }
}

/// A label's value, in which backslash, quote and end of line are escaped.
fn push_escaped(text: &mut String, value: &str) {
    let mut rest = value;
    while let Some(at) = rest.find(['\\', '"', '\n']) {
        let (plain, special) = rest.split_at(at);
        text.push_str(plain);
        text.push('\\');
        let mut others = special.chars();
        text.push(
            others
                .next()
                .map_or(' ', |it| if it == '\n' { 'n' } else { it }),
        );
        rest = others.as_str();
    }
    text.push_str(rest);
}

/// What a series is worth.
pub(super) trait Value {
    /// Writes it as a number.
    fn write_to(self, text: &mut String);
}

macro_rules! integers {
    ($($kind:ty),+) => {
        $(impl Value for $kind {
            fn write_to(self, text: &mut String) {
                text.push_str(itoa::Buffer::new().format(self));
            }
        })+
    };
}

integers!(u64, u32, u16, i32);

impl Value for bool {
    fn write_to(self, text: &mut String) {
        text.push(if self { '1' } else { '0' });
    }
}

/// In seconds.
impl Value for Duration {
    fn write_to(self, text: &mut String) {
        text.push_str(&self.as_secs_f64().to_string());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_escaped_and_values_are_exact() {
        let mut family = counter("xlb_things_total", "Things.");
        assert_eq!(family.text(), "");
        family.add(&[("name", "a \"b\" \\ c\nd"), ("kind", "")], u64::MAX);
        family.add(&[], true);
        family.add(&[("kind", "ü")], Duration::from_micros(1500));
        let lines = [
            "# HELP xlb_things_total Things.",
            "# TYPE xlb_things_total counter",
            r#"xlb_things_total{name="a \"b\" \\ c\nd",kind=""} 18446744073709551615"#,
            "xlb_things_total 1",
            "xlb_things_total{kind=\"ü\"} 0.0015",
            "",
        ];
        assert_eq!(family.text(), lines.join("\n"));
    }
}
