//! What a guest's log says, and what is wrong with it.

use std::{collections::BTreeMap, fmt::Write as _};

use super::{guest::STEPS, qemu::End};
use crate::test::Tally;

/// Words of the kernel, or of the guest's first process, that nobody wants to read.
const COMPLAINTS: [&str; 5] = ["BUG:", "Oops", "WARNING:", "Kernel panic", "FAIL:"];

/// What a guest did.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Report {
    /// Release of the kernel that ran.
    release: String,
    /// Instructions that the verifier walked, of every variant of a program, by the program.
    programs: BTreeMap<String, Vec<u32>>,
    /// Results of the tests, by step.
    steps: BTreeMap<String, Tally>,
    /// Lines with one of [`COMPLAINTS`].
    complaints: Vec<String>,
}

impl Report {
    /// Reads a log.
    pub(crate) fn of(log: &str) -> Self {
        let mut report = Self::default();
        let mut step = String::new();
        for line in log.lines().map(str::trim_end) {
            if let Some(release) = line.strip_prefix("@kernel ") {
                release.clone_into(&mut report.release);
            } else if let Some(name) = line.strip_prefix("@step ") {
                name.clone_into(&mut step);
            } else if let Some((program, walked)) = loaded(line) {
                report.programs.entry(program).or_default().push(walked);
            }
            report
                .steps
                .entry(step.clone())
                .or_default()
                .add(Tally::of(line));
            if COMPLAINTS.iter().any(|words| line.contains(words)) {
                report.complaints.push(line.to_owned());
            }
        }
        report
    }

    /// What is wrong, nothing if all is well.
    pub(crate) fn faults(&self, release: &str, end: End) -> Vec<String> {
        let mut faults = Vec::new();
        match end {
            End::Success => {}
            End::Failure(code) => faults.push(format!(
                "the guest ended without a word of success (QEMU's exit code {code:?})"
            )),
            End::Hang => faults.push("the guest hung".to_owned()),
        }
        if self.release != release {
            faults.push(format!("kernel `{}` ran, expected {release}", self.release));
        }
        if self.programs.is_empty() {
            faults.push("no program was loaded".to_owned());
        }
        faults.extend(STEPS.iter().filter_map(|step| self.fault_of(step.name)));
        faults.extend(self.complaints.iter().cloned());
        faults
    }

    /// A step without a test that passed is a fault as well: it tested nothing.
    fn fault_of(&self, step: &str) -> Option<String> {
        let Tally { passed, failed } = self.tally(step);
        (passed == 0 || failed > 0).then(|| format!("{step}: {passed} passed, {failed} failed"))
    }

    fn tally(&self, step: &str) -> Tally {
        self.steps.get(step).copied().unwrap_or_default()
    }

    /// In one line: programs with the fewest and the most instructions of their variants, and the
    /// tests that passed.
    pub(crate) fn summary(&self) -> String {
        let mut text = "instructions walked:".to_owned();
        for (program, walked) in &self.programs {
            let variants = walked.len();
            let least = walked.iter().min().copied().unwrap_or_default();
            let most = walked.iter().max().copied().unwrap_or_default();
            // Writing to a String cannot fail.
            write!(text, " {program} {least} to {most} in {variants} variants;")
                .unwrap_or_default();
        }
        text += " tests passed:";
        for step in STEPS {
            write!(text, " {} {}", step.name, self.tally(step.name).passed).unwrap_or_default();
        }
        text
    }
}

/// From `program xlb (IPv4 alone): 1234 instructions walked`.
fn loaded(line: &str) -> Option<(String, u32)> {
    let (program, rest) = line.strip_prefix("program ")?.split_once(" (")?;
    let (_, rest) = rest.split_once("): ")?;
    let walked = rest.strip_suffix(" instructions walked")?;
    Some((program.to_owned(), walked.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RELEASE: &str = "6.1.0-9-cloud-amd64";

    /// The log of a guest in which all is well.
    fn log() -> String {
        let steps = STEPS.iter().map(|step| {
            let result = "test result: ok. 3 passed; 0 failed; 0 ignored";
            format!("@step {}\r\n{result}\r\n", step.name)
        });
        format!(
            "@kernel {RELEASE}\r\n\
             program xlb (everything): 900 instructions walked\r\n\
             program xlb (IPv4 alone): 500 instructions walked\r\n\
             {}@end\r\n",
            steps.collect::<String>()
        )
    }

    fn faults(log: &str) -> Vec<String> {
        Report::of(log).faults(RELEASE, End::Success)
    }

    #[test]
    fn a_good_log_has_no_faults() {
        assert_eq!(faults(&log()), Vec::<String>::new());
        let summary = Report::of(&log()).summary();
        assert!(
            summary.contains("xlb 500 to 900 in 2 variants"),
            "{summary}"
        );
        assert!(summary.contains("fixtures 3"), "{summary}");
    }

    #[test]
    fn a_guest_that_did_not_say_success_failed() {
        for end in [End::Failure(Some(0)), End::Failure(None), End::Hang] {
            assert_eq!(Report::of(&log()).faults(RELEASE, end).len(), 1);
        }
    }

    #[test]
    fn complaints_missing_steps_and_other_kernels_are_faults() {
        for words in [
            "[ 1.0] BUG: unable to handle",
            "FAIL: e2e: exit 101",
            "WARNING: CPU: 0",
        ] {
            assert_eq!(faults(&(log() + words + "\r\n")), [words]);
        }
        assert_eq!(
            faults(&log().replace("3 passed", "0 passed")).len(),
            STEPS.len()
        );
        assert_eq!(
            faults(&log().replace("0 failed", "2 failed")).len(),
            STEPS.len()
        );
        assert_eq!(
            faults(&log().replace("@kernel 6.1", "@kernel 6.2")).len(),
            1
        );
        assert_eq!(faults(&log().replace("program xlb", "program")).len(), 1);
        assert!(faults("").len() > STEPS.len());
    }
}
