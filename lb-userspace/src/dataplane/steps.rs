//! The steps of a renewal, by which tests end it as a kill would.

use super::Error;

/// Something that was just done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Maps that stay are in the next folder.
    Shared,
    /// The others are, and the program is loaded.
    Made,
    /// They say what the former ones do.
    Filled,
    /// Flows are claimed in both maps.
    Both,
    /// The flows that there were are in both.
    Copied,
    /// The next daemon goes on from here.
    Committed,
    /// The links run the program.
    Switched,
    /// It is pinned.
    Pinned,
    /// What the former maps got meanwhile is in the new ones.
    Carried,
}

#[cfg(test)]
impl Step {
    pub(super) const ALL: [Self; 9] = [
        Self::Shared,
        Self::Made,
        Self::Filled,
        Self::Both,
        Self::Copied,
        Self::Committed,
        Self::Switched,
        Self::Pinned,
        Self::Carried,
    ];
}

#[cfg(test)]
std::thread_local! {
    /// Where this thread's renewals end.
    static KILLED_AT: core::cell::Cell<Option<Step>> = const { core::cell::Cell::new(None) };
}

/// Ends renewals of this thread here.
#[cfg(test)]
pub(super) fn kill_at(step: Option<Step>) {
    KILLED_AT.set(step);
}

/// Takes note that a step is done.
#[cfg(test)]
pub(super) fn reach(step: Step) -> Result<(), Error> {
    if KILLED_AT.get() == Some(step) {
        return Err(Error::Killed);
    }
    Ok(())
}

/// Takes note that a step is done.
#[cfg(not(test))]
#[expect(clippy::unnecessary_wraps, reason = "tests end a renewal here")]
pub(super) const fn reach(_step: Step) -> Result<(), Error> {
    Ok(())
}

/// Whether an error stands for a kill, after which nobody tidies up.
pub(super) const fn is_kill(error: &Error) -> bool {
    #[cfg(test)]
    return matches!(error, Error::Killed);
    #[cfg(not(test))]
    {
        let _ = error;
        false
    }
}
