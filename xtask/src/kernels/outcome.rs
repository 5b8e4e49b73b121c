//! What became of a kernel, and of all of them.

use std::{
    fmt,
    io::{Write as _, stdout},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::Result;

use super::matrix::Suite;

/// A guest that ended.
#[derive(Debug)]
pub(crate) struct Guest {
    /// Release of its kernel.
    pub(crate) release: String,
    /// What it did, in one line.
    pub(crate) summary: String,
    /// What is wrong, nothing if all is well.
    pub(crate) faults: Vec<String>,
    /// What it said.
    pub(crate) log: PathBuf,
    /// How long it lived.
    pub(crate) seconds: u64,
}

/// What became of a suite's kernel.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// The suite.
    pub(crate) suite: Suite,
    /// An error where there was no guest.
    pub(crate) result: Result<Guest>,
}

impl Outcome {
    fn is_well(&self) -> bool {
        let guest = self.result.as_ref();
        guest.is_ok_and(|guest| guest.faults.is_empty())
    }

    /// Whether the whole matrix fails with it.
    fn is_fatal(&self) -> bool {
        self.suite.is_required() && !self.is_well()
    }
}

impl fmt::Display for Outcome {
    /// A line, and one more for every fault.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = match (self.is_well(), self.is_fatal()) {
            (true, _) => "ok",
            (false, true) => "FAILED",
            (false, false) => "failed (not required)",
        };
        let name = self.suite.name;
        let Guest {
            release,
            summary,
            faults,
            log,
            seconds,
        } = match &self.result {
            Ok(guest) => guest,
            Err(error) => return write!(f, "{name}: {verdict}: {error:#}"),
        };
        write!(f, "{name} {release}: {verdict}; {summary}; {seconds} s")?;
        for fault in faults {
            write!(f, "\n    {fault}")?;
        }
        if !faults.is_empty() {
            write!(f, "\n    log: {}", log.display())?;
        }
        Ok(())
    }
}

/// Prints all results once more, and their sum.
///
/// # Errors
/// If nobody reads them.
pub(crate) fn conclude(outcomes: &[Outcome]) -> Result<ExitCode> {
    let mut out = stdout().lock();
    writeln!(out)?;
    for outcome in outcomes {
        writeln!(out, "{outcome}")?;
    }
    let well = outcomes.iter().filter(|outcome| outcome.is_well()).count();
    let fatal = outcomes.iter().filter(|outcome| outcome.is_fatal()).count();
    let all = outcomes.len();
    writeln!(
        out,
        "{well} of {all} kernels passed, {fatal} that must pass failed"
    )?;
    Ok(if fatal == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;
    use crate::kernels::matrix::SUITES;

    fn outcome(suite: Suite, faults: &[&str]) -> Outcome {
        let guest = Guest {
            release: "5.10.0-9".to_owned(),
            summary: "all tests".to_owned(),
            faults: faults.iter().map(ToString::to_string).collect(),
            log: "guest.log".into(),
            seconds: 9,
        };
        Outcome {
            suite,
            result: Ok(guest),
        }
    }

    #[test]
    fn the_newest_kernel_may_fail_and_the_others_must_not() {
        let [oldest, .., newest] = SUITES;
        assert!(!outcome(oldest, &[]).is_fatal());
        assert!(outcome(oldest, &["BUG: a bug"]).is_fatal());
        assert!(!outcome(newest, &["BUG: a bug"]).is_fatal());
        assert!(!outcome(newest, &["BUG: a bug"]).is_well());
        let result = Err(anyhow!("no such suite"));
        let suite = oldest;
        assert!(Outcome { suite, result }.is_fatal());
    }

    #[test]
    fn a_line_says_what_is_wrong_and_where_to_read() {
        let [oldest, ..] = SUITES;
        let well = outcome(oldest, &[]).to_string();
        assert_eq!(well, "bullseye-security 5.10.0-9: ok; all tests; 9 s");
        let failed = outcome(oldest, &["BUG: a bug"]).to_string();
        assert!(failed.contains("FAILED"), "{failed}");
        assert!(
            failed.ends_with("\n    BUG: a bug\n    log: guest.log"),
            "{failed}"
        );
    }
}
