//! Addresses of both families, and `ip -batch`.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    process::Command,
};

use super::{LabError, shell};

/// An IP version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Both.
    pub const ALL: [Self; 2] = [Self::V4, Self::V6];
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        })
    }
}

/// An address of each family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pair {
    /// IPv4.
    pub v4: Ipv4Addr,
    /// IPv6.
    pub v6: Ipv6Addr,
}

impl Pair {
    /// The one of a family.
    #[must_use]
    pub const fn of(self, family: Family) -> IpAddr {
        match family {
            Family::V4 => IpAddr::V4(self.v4),
            Family::V6 => IpAddr::V6(self.v6),
        }
    }
}

/// Runs lines of `ip` in one process, in a namespace or outside all of them; what it prints, one
/// line an object.
///
/// # Errors
/// At the first line that fails, with that line.
pub(super) fn batch(namespace: Option<&str>, lines: &[String]) -> Result<String, LabError> {
    let mut ip = Command::new("ip");
    if let Some(namespace) = namespace {
        ip.args(["-netns", namespace]);
    }
    ip.args(["-oneline", "-batch", "-"]);
    shell::feed(&mut ip, &(lines.join("\n") + "\n")).map_err(|error| name_the_line(error, lines))
}

/// `ip` says `Command failed -:3`; people want to read the third line.
fn name_the_line(error: LabError, lines: &[String]) -> LabError {
    let LabError::Failed { line, message } = error else {
        return error;
    };
    let failed = message
        .rsplit_once("-:")
        .and_then(|(_, number)| number.trim().parse::<usize>().ok())
        .and_then(|number| lines.get(number.checked_sub(1)?));
    match failed {
        Some(failed) => LabError::Failed {
            line: line.replace("-oneline -batch -", failed),
            message: message.lines().next().unwrap_or_default().to_owned(),
        },
        None => LabError::Failed { line, message },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_the_line_that_failed() {
        let error = LabError::Failed {
            line: "ip -netns x -oneline -batch -".to_owned(),
            message: "Cannot find device \"y\"\nCommand failed -:2".to_owned(),
        };
        let lines = ["link set lo up", "link set y up"].map(str::to_owned);
        assert_eq!(
            name_the_line(error, &lines).to_string(),
            "`ip -netns x link set y up` failed: Cannot find device \"y\""
        );
    }
}
