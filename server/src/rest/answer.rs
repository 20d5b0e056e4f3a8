//! What a handler answers.

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Empty, Full};
use serde::Serialize;
use serde_json::{Map, Value};

use super::error::RestError;
use crate::api::stream::Large;

/// The body of an answer.
pub type AnswerBody = UnsyncBoxBody<Bytes, anyhow::Error>;

/// What a handler answers.
#[derive(Debug)]
pub enum Answer {
    /// `{"data": …}`.
    Data(Value),
    /// The same with attributes beside the data: `total`, `digest`, `changes`.
    Rich {
        /// The data.
        data: Value,
        /// What stands beside it.
        attributes: Map<String, Value>,
    },
    /// Data that is JSON already, since as a [`Value`] it would take far more memory.
    Json {
        /// The text.
        data: Vec<u8>,
        /// Held until it is sent, if it is large.
        large: Option<Large>,
    },
    /// A whole answer: downloads, 101 Switching Protocols.
    Response(hyper::Response<AnswerBody>),
}

impl Answer {
    /// `{"data": <data>}`.
    pub fn of<T: Serialize>(data: T) -> Result<Self, RestError> {
        Ok(Self::Data(to_value(data)?))
    }

    /// `{"data": null}`: done.
    #[must_use]
    pub const fn null() -> Self {
        Self::Data(Value::Null)
    }

    /// With this attribute beside the data. An answer that is written already stays as it is.
    pub fn with<T: Serialize>(self, name: &str, value: T) -> Result<Self, RestError> {
        let value = to_value(value)?;
        Ok(match self {
            Self::Data(data) => Self::Rich {
                data,
                attributes: Map::from_iter([(name.to_owned(), value)]),
            },
            Self::Rich {
                data,
                mut attributes,
            } => {
                attributes.insert(name.to_owned(), value);
                Self::Rich { data, attributes }
            }
            written => written,
        })
    }
}

fn to_value<T: Serialize>(data: T) -> Result<Value, RestError> {
    serde_json::to_value(data)
        .map_err(|error| RestError::bad_request(format!("failed to write the answer: {error}")))
}

/// A body of these bytes.
pub fn full(bytes: impl Into<Bytes>) -> AnswerBody {
    Full::new(bytes.into())
        .map_err(|never| match never {})
        .boxed_unsync()
}

/// No body.
#[must_use]
pub fn empty() -> AnswerBody {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}
