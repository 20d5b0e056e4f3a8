//! What the server said.

use anyhow::{Context as _, Result};
use bytes::Bytes;
use hyper::StatusCode;
use serde_json::Value;
use thiserror::Error;

/// How much of a refusal is shown.
const MAX_MESSAGE: usize = 2000;

/// The server refused a request. Callers that treat one status differently downcast to it.
#[derive(Clone, Debug, Error)]
#[error("{message}")]
pub struct Refused {
    /// Why, as a number.
    pub status: StatusCode,
    /// Why, in the server's words.
    pub message: String,
}

impl Refused {
    /// From an answer's status and body.
    #[must_use]
    pub fn new(status: StatusCode, body: &[u8]) -> Self {
        let text = String::from_utf8_lossy(&body[..body.len().min(MAX_MESSAGE)]);
        // What a server says goes to a terminal: no control characters.
        let message = text
            .trim_end()
            .replace(|c: char| c.is_control() && c != '\n', " ");
        let message = match message.is_empty() {
            true => format!("the server answered {status}"),
            false => message,
        };
        Self { status, message }
    }

    /// The status of the refusal that `error` stems from.
    #[must_use]
    pub fn status_of(error: &anyhow::Error) -> Option<StatusCode> {
        error.downcast_ref::<Self>().map(|refused| refused.status)
    }
}

/// The answer's JSON, whole.
pub(super) fn json_of(body: &Bytes) -> Result<Value> {
    if body.is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_slice(body).context("the server's answer is not JSON")
}

/// What stands under `data`.
pub(super) fn data_of(mut answer: Value) -> Result<Value> {
    if answer.is_null() {
        return Ok(answer);
    }
    let data = answer.get_mut("data").map(Value::take);
    data.context("the server's answer has no data")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn refusals_are_printable() {
        let refused = Refused::new(StatusCode::BAD_REQUEST, b"no \x1b[31mred\nsecond\n");
        assert_eq!(refused.to_string(), "no  [31mred\nsecond");
        let empty = Refused::new(StatusCode::BAD_REQUEST, b"");
        assert_eq!(empty.to_string(), "the server answered 400 Bad Request");
        let error = anyhow::Error::from(refused).context("on top");
        assert_eq!(Refused::status_of(&error), Some(StatusCode::BAD_REQUEST));
    }

    #[test]
    fn data_is_taken_out() {
        let data = |text: &'static str| json_of(&Bytes::from(text)).and_then(data_of);
        assert_eq!(data("").unwrap(), Value::Null);
        assert_eq!(data("{\"data\":[1]}").unwrap(), json!([1]));
        assert!(data("{}").is_err());
        assert!(data("<html>").is_err());
    }
}
