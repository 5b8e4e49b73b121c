//! The kernels that xlb is tested on: Debian's own, by suite.

use anyhow::{Result, bail};

/// A suite of Debian's archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Suite {
    /// Its name.
    pub(crate) name: &'static str,
    /// Folder of the mirror that has it.
    pub(crate) archive: &'static str,
    /// Version that its kernel must be of; where there is none any will do, and it may fail.
    pub(crate) kernel: Option<&'static str>,
}

/// From the oldest kernel to the newest.
pub(crate) const SUITES: [Suite; 4] = [
    Suite {
        name: "bullseye-security",
        archive: "debian-security",
        kernel: Some("5.10"),
    },
    Suite {
        name: "bookworm",
        archive: "debian",
        kernel: Some("6.1"),
    },
    Suite {
        name: "trixie",
        archive: "debian",
        kernel: Some("6.12"),
    },
    Suite {
        name: "sid",
        archive: "debian",
        kernel: None,
    },
];

impl Suite {
    /// Whether the matrix fails where this suite does.
    pub(crate) const fn is_required(self) -> bool {
        self.kernel.is_some()
    }

    /// Whether a kernel with this release, such as `5.10.0-35-cloud-amd64`, is the one expected.
    pub(crate) fn expects(self, release: &str) -> bool {
        self.kernel.is_none_or(|version| {
            let rest = release.strip_prefix(version);
            rest.is_some_and(|rest| rest.starts_with('.'))
        })
    }

    fn is_called(self, word: &str) -> bool {
        self.name == word || self.kernel == Some(word)
    }
}

/// The suites with these names, or with kernels of these versions; all of them without a word.
///
/// # Errors
/// With the names that there are, if a word is none.
pub(crate) fn select(words: &[String]) -> Result<Vec<Suite>> {
    for word in words {
        if !SUITES.iter().any(|suite| suite.is_called(word)) {
            let names = SUITES.map(|suite| suite.name).join(", ");
            bail!("{word} is no suite of the kernel matrix: expected one of {names}");
        }
    }
    let wanted = |suite: &Suite| words.is_empty() || words.iter().any(|word| suite.is_called(word));
    Ok(SUITES.into_iter().filter(wanted).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(words: &[&str]) -> Vec<&'static str> {
        let words: Vec<_> = words.iter().map(ToString::to_string).collect();
        let selected = select(&words).unwrap();
        selected.into_iter().map(|suite| suite.name).collect()
    }

    #[test]
    fn suites_are_chosen_by_name_or_version() {
        assert_eq!(names(&[]).len(), SUITES.len());
        assert_eq!(names(&["sid", "6.1"]), ["bookworm", "sid"]);
        let error = select(&["buster".to_owned()]).unwrap_err().to_string();
        assert!(
            error.contains("buster") && error.contains("trixie"),
            "{error}"
        );
    }

    #[test]
    fn a_kernel_of_another_version_is_not_taken() {
        let [oldest, bookworm, .., newest] = SUITES;
        assert!(oldest.expects("5.10.0-35-cloud-amd64"));
        assert!(!oldest.expects("6.1.0-35-cloud-amd64"));
        assert!(!bookworm.expects("6.12.1-cloud-amd64"));
        assert!(newest.expects("7.2.1-cloud-amd64"));
    }
}
