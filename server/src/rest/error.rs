//! What a failed call answers.

use std::fmt;

use hyper::StatusCode;

use crate::access::attempts::Busy;
use crate::config::ConfigError;

/// Why a call failed: a status and upstream's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestError {
    /// The HTTP status.
    pub status: StatusCode,
    /// Plain text, the body of the answer.
    pub message: String,
    /// What is wrong with which parameter.
    pub parameters: Vec<(String, String)>,
}

impl RestError {
    /// With this status and text.
    pub fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
            parameters: Vec::new(),
        }
    }

    /// Status 400, upstream's default for whatever goes wrong.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// Status 404 for a path and method that nothing answers.
    #[must_use]
    pub fn no_such_path(path: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, format!("Path '{path}' not found."))
    }

    /// Parameters that were refused, each with the reason.
    #[must_use]
    pub fn parameters(problems: Vec<(String, String)>) -> Self {
        let message = match problems.as_slice() {
            [(name, reason)] => format!("parameter verification failed - '{name}': {reason}"),
            several => several.iter().fold(
                "parameter verification failed:\n".to_owned(),
                |text, (name, reason)| text + &format!("- '{name}': {reason}\n"),
            ),
        };
        Self {
            status: StatusCode::BAD_REQUEST,
            message,
            parameters: problems,
        }
    }

    /// One refused parameter.
    pub fn parameter(name: &str, reason: impl Into<String>) -> Self {
        Self::parameters(vec![(name.to_owned(), reason.into())])
    }
}

impl fmt::Display for RestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for RestError {}

impl From<anyhow::Error> for RestError {
    /// The error itself if it is one; otherwise 400 with the whole chain of causes.
    fn from(error: anyhow::Error) -> Self {
        match error.downcast::<Self>() {
            Ok(error) => error,
            Err(error) => Self::bad_request(format!("{error:#}")),
        }
    }
}

impl From<Busy> for RestError {
    fn from(busy: Busy) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, busy.to_string())
    }
}

impl From<ConfigError> for RestError {
    /// Status 404 for the removal of what is not there, 400 for everything else.
    fn from(error: ConfigError) -> Self {
        let status = match &error {
            ConfigError::NothingToRemove(_) => StatusCode::NOT_FOUND,
            _ => StatusCode::BAD_REQUEST,
        };
        Self::new(status, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upstreams_words_for_one_and_for_several() {
        let problem = |name: &str| (name.to_owned(), "is bad".to_owned());
        assert_eq!(
            RestError::parameters(vec![problem("a")]).message,
            "parameter verification failed - 'a': is bad"
        );
        assert_eq!(
            RestError::parameters(vec![problem("a"), problem("b")]).message,
            "parameter verification failed:\n- 'a': is bad\n- 'b': is bad\n"
        );
    }

    #[test]
    fn its_own_status_survives_context() {
        let error = anyhow::Error::new(RestError::no_such_path("/x")).context("while testing");
        assert_eq!(RestError::from(error).status, StatusCode::NOT_FOUND);
        let other = anyhow::anyhow!("cause").context("attempt");
        assert_eq!(
            RestError::from(other),
            RestError::bad_request("attempt: cause")
        );
    }
}
