//! What creating, changing and removing entries of configuration files have in common.

use hyper::StatusCode;

use crate::config::properties::{Given, Properties};
use crate::config::{ConfigError, Entity};
use crate::rest::call::Call;
use crate::rest::error::RestError;

/// The parameters of a call as properties, but for those named in `other`.
#[must_use]
pub fn given(call: &Call, other: &[&str]) -> Given {
    call.params
        .iter()
        .filter(|(name, _)| !other.contains(name) && !matches!(*name, "digest" | "delete"))
        .fold(Given::default(), |given, (name, value)| {
            given.set_json(name, value)
        })
}

/// The entry that these properties make.
pub fn entry<T: Entity>(
    section_type: &str,
    id: &str,
    properties: &Properties,
) -> Result<T, RestError> {
    T::from_section(section_type, id, properties).map_err(RestError::bad_request)
}

/// `entry` with what the call sets, and without what it deletes.
pub fn changed<T: Entity>(call: &Call, entry: &T, other: &[&str]) -> Result<T, RestError> {
    let delete: Vec<String> = call
        .params
        .get("delete")
        .and_then(|list| serde_json::from_value(list.clone()).ok())
        .unwrap_or_default();
    let properties = given(call, other).replace_in(entry.to_section(), &delete);
    self::entry(entry.section_type(), entry.id(), &properties)
}

/// The digest that the caller expects the file to have.
#[must_use]
pub fn digest(call: &Call) -> Option<&str> {
    call.params.text("digest")
}

/// An error of a configuration file as an answer; `parameter` is the one with the entry's name,
/// `what` what such an entry is called.
pub fn failed(error: ConfigError, parameter: &str, what: &str) -> RestError {
    match error {
        ConfigError::Exists { id, .. } => {
            RestError::parameter(parameter, format!("{what} '{id}' already exists."))
        }
        error @ ConfigError::NothingToRemove(_) => {
            RestError::new(StatusCode::NOT_FOUND, error.to_string())
        }
        error => RestError::bad_request(error.to_string()),
    }
}
