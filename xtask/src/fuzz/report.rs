//! What libFuzzer says, in one line.

use std::fmt;

/// How far a run came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Report {
    executions: u64,
    seconds: u64,
    covered: u64,
    edges: u64,
    inputs: u64,
    finding: Option<String>,
    /// Whether a panic is being told.
    panics: bool,
}

impl Report {
    /// Takes note of a line; whether people should see it.
    pub(crate) fn read(&mut self, line: &str) -> bool {
        if let Some(number) = line.strip_prefix("stat::number_of_executed_units:") {
            self.executions = number.trim().parse().unwrap_or(0);
        } else if line.contains("inline 8-bit counters") {
            self.edges = before(line, " inline 8-bit counters");
        } else if let Some((_, seconds)) = line.split_once(" runs in ") {
            self.seconds = before(seconds, " second");
        } else if line.contains("Test unit written to ") {
            let (_, file) = line.rsplit_once(' ').unwrap_or_default();
            self.finding = Some(file.to_owned());
        } else if line.starts_with('#') && line.contains(" cov: ") {
            self.covered = after(line, " cov: ");
            self.inputs = after(line, " corp: ");
        }
        self.is_telling(line)
    }

    /// A panic's message is shown, without its backtrace.
    fn is_telling(&mut self, line: &str) -> bool {
        if line.contains("panicked at") {
            self.panics = true;
        } else if line.starts_with("stack backtrace:") || line.starts_with("note: ") {
            self.panics = false;
        }
        self.panics || line.contains("ERROR: libFuzzer")
    }
}

/// The number that ends where `label` begins.
fn before(line: &str, label: &str) -> u64 {
    let (head, _) = line.split_once(label).unwrap_or_default();
    let digits = head.rsplit(|c: char| !c.is_ascii_digit()).next();
    digits.and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

/// The number that begins behind `label`.
fn after(line: &str, label: &str) -> u64 {
    let (_, tail) = line.split_once(label).unwrap_or_default();
    let digits = tail.split(|c: char| !c.is_ascii_digit()).next();
    digits.and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            executions,
            seconds,
            covered,
            edges,
            inputs,
            finding,
            panics: _,
        } = self;
        write!(
            f,
            "{executions} executions in {seconds} s, {covered} of {edges} edges covered, {inputs} inputs \
             kept; "
        )?;
        match finding {
            Some(file) => write!(f, "found {file}: see `cargo xtask fuzz --explain {file}`"),
            None => f.write_str("nothing found"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quiet_run_is_one_line() {
        let mut report = Report::default();
        for line in [
            "INFO: Loaded 1 modules   (6633 inline 8-bit counters): 6633 [0x56, 0x57), ",
            "#801\tINITED cov: 1147 ft: 1890 corp: 159/28Kb exec/s: 0 rss: 28Mb",
            "#4705898\tDONE   cov: 2051 ft: 9000 corp: 812/99Kb lim: 4096 exec/s: 77145 rss: 31Mb",
            "Done 4705898 runs in 61 second(s)",
            "stat::number_of_executed_units: 4705898",
        ] {
            assert!(!report.read(line), "{line}");
        }
        assert_eq!(
            report.to_string(),
            "4705898 executions in 61 s, 2051 of 6633 edges covered, 812 inputs kept; nothing found"
        );
    }

    #[test]
    fn a_finding_is_told_with_its_panic_and_its_file() {
        let mut report = Report::default();
        let lines = [
            ("thread '<unnamed>' panicked at src/laws.rs:127:9:", true),
            ("assertion `left == right` failed: checksum", true),
            ("stack backtrace:", false),
            ("   0: __rustc::rust_begin_unwind", false),
            ("==1== ERROR: libFuzzer: deadly signal", true),
            (
                "artifact_prefix='f/'; Test unit written to f/crash-1",
                false,
            ),
        ];
        for (line, shown) in lines {
            assert_eq!(report.read(line), shown, "{line}");
        }
        assert!(report.to_string().ends_with("--explain f/crash-1`"));
    }
}
