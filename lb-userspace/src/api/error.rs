//! What went wrong with a request, for people, programs and shells.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::dataplane;

/// Why a request was not done. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Error {
    /// The kind, for programs.
    pub code: Code,
    /// What was found and what was expected; may have several lines.
    pub message: String,
    /// What to do, where there is something to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// Kinds of [`Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// The operation failed.
    Failed,
    /// The request makes no sense.
    Usage,
    /// The configuration has mistakes.
    ConfigInvalid,
    /// No daemon, or no permission to speak with it.
    Unreachable,
    /// No such service or backend, or more than one.
    NotFound,
    /// A guard refused; `--force` overrides.
    Refused,
    /// `--wait` ran out.
    Timeout,
}

impl Code {
    /// What the command line exits with.
    #[must_use]
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Failed => 1,
            Self::Usage => 2,
            Self::ConfigInvalid => 3,
            Self::Unreachable => 4,
            Self::NotFound => 5,
            Self::Refused => 6,
            Self::Timeout => 7,
        }
    }

    /// What the API answers with.
    #[must_use]
    pub const fn http_status(self) -> u16 {
        match self {
            Self::Failed => 500,
            Self::Usage => 400,
            Self::ConfigInvalid => 422,
            Self::Unreachable => 503,
            Self::NotFound => 404,
            Self::Refused => 409,
            Self::Timeout => 504,
        }
    }
}

impl Error {
    /// An error without a hint.
    #[must_use]
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            hint: None,
        }
    }

    /// The same with a hint.
    #[must_use]
    pub fn hint(self, hint: impl Into<String>) -> Self {
        Self {
            hint: Some(hint.into()),
            ..self
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

impl From<anyhow::Error> for Error {
    /// An error with its causes on one line; one that already is an [`Error`] stays what it is.
    fn from(error: anyhow::Error) -> Self {
        error
            .downcast()
            .unwrap_or_else(|error| Self::new(Code::Failed, line(error.chain())))
    }
}

impl From<dataplane::Error> for Error {
    fn from(error: dataplane::Error) -> Self {
        let code = match error {
            dataplane::Error::SeedChanged => Code::Refused,
            _ => Code::Failed,
        };
        Self::new(code, line(anyhow::Error::new(error).chain()))
    }
}

/// An error with its causes on one line. Where an error tells its cause in its own words, that is
/// said once.
fn line(chain: anyhow::Chain<'_>) -> String {
    let mut line = String::new();
    for error in chain {
        let words = error.to_string();
        if line.is_empty() {
            line = words;
        } else if !line.contains(&words) {
            line = format!("{line}: {words}");
        }
    }
    line
}

/// An [`Error`] as it stands in JSON: `{"error": …}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// The error.
    pub error: Error,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_keeps_its_code_through_anyhow_and_json() {
        let error = Error::new(Code::NotFound, "no service `x`").hint("services are a, b");
        let body = ErrorBody {
            error: anyhow::Error::from(error.clone()).into(),
        };
        let json = serde_json::to_value(&body).unwrap();
        assert_eq!(json["error"]["code"], "not_found");
        assert_eq!(
            serde_json::from_value::<ErrorBody>(json).unwrap().error,
            error
        );
    }

    #[test]
    fn causes_stand_on_one_line() {
        let error = anyhow::anyhow!("disk is full").context("cannot write state");
        assert_eq!(
            Error::from(error).message,
            "cannot write state: disk is full"
        );
    }

    #[test]
    fn a_cause_that_an_error_tells_itself_stands_there_once() {
        let error = anyhow::anyhow!("disk is full").context("cannot write: disk is full");
        assert_eq!(Error::from(error).message, "cannot write: disk is full");
    }
}
