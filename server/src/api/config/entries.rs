//! What creating, changing and removing entries of configuration files have in common.

use hyper::StatusCode;
use serde::Serialize;

use crate::api::target::refused;
use crate::config::properties::{Given, Properties};
use crate::config::{ConfigError, ConfigFile, Entity};
use crate::daemon::Server;
use crate::rest::answer::Answer;
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
    changed_by(call, entry, given(call, other))
}

/// `entry` with what is given, and without what the call deletes.
fn changed_by<T: Entity>(call: &Call, entry: &T, given: Given) -> Result<T, RestError> {
    let delete: Vec<String> = call
        .params
        .get("delete")
        .and_then(|list| serde_json::from_value(list.clone()).ok())
        .unwrap_or_default();
    let properties = given.replace_in(entry.to_section(), &delete);
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

/// Entries as the API has them: their file, and who may see and change them.
pub trait ApiEntity: Entity + Serialize + Send + Sync + 'static {
    /// The parameter with an entry's name.
    const ID: &'static str;
    /// What such an entry is called.
    const WHAT: &'static str;

    /// Their file.
    fn file(server: &Server) -> &ConfigFile<Self>;

    /// Whether the caller finds it in the list.
    fn is_listed(&self, call: &Call) -> bool;

    /// Refuses a caller who may not look at it.
    fn check_see(&self, call: &Call) -> Result<(), RestError>;

    /// Refuses a caller who may not change it.
    fn check_change(&self, call: &Call) -> Result<(), RestError>;

    /// Refuses what names something that is not there. Whoever may change it may be told.
    fn check_names(&self, _server: &Server) -> Result<(), RestError> {
        Ok(())
    }

    /// The parameters of a call as properties.
    fn given(call: &Call) -> Given {
        given(call, &[Self::ID])
    }
}

fn said<T: ApiEntity>(error: ConfigError) -> RestError {
    failed(error, T::ID, T::WHAT)
}

fn id_of<T: ApiEntity>(call: &Call) -> &str {
    call.params.text(T::ID).unwrap_or_default()
}

/// The entries that the caller may see.
pub async fn list<T: ApiEntity>(call: Call) -> Result<Answer, RestError> {
    listed::<T>(&call, |_| true)
}

/// The same, of those that `wanted` chooses.
pub fn listed<T: ApiEntity>(call: &Call, wanted: impl Fn(&T) -> bool) -> Result<Answer, RestError> {
    let content = T::file(&call.server).load().map_err(refused)?;
    let entries = content.entries.iter();
    let seen: Vec<&T> = entries
        .filter(|entry| wanted(entry) && entry.is_listed(call))
        .collect();
    Answer::of(seen)?.with("digest", &content.digest)
}

/// One entry.
pub async fn show<T: ApiEntity>(call: Call) -> Result<Answer, RestError> {
    let content = T::file(&call.server).load().map_err(refused)?;
    let entry = content.get(id_of::<T>(&call)).map_err(said::<T>)?;
    entry.check_see(&call)?;
    Answer::of(entry)?.with("digest", &content.digest)
}

/// A new entry.
pub async fn create<T: ApiEntity>(call: Call) -> Result<Answer, RestError> {
    let properties = T::given(&call).into_properties();
    let section_type = T::TYPES.first().copied().unwrap_or_default();
    let new: T = entry(section_type, id_of::<T>(&call), &properties)?;
    new.check_change(&call)?;
    new.check_names(&call.server)?;
    T::file(&call.server)
        .update(None, |content| content.insert(new))
        .await
        .map_err(said::<T>)?;
    Ok(Answer::null())
}

/// An entry with other properties.
pub async fn update<T: ApiEntity>(call: Call) -> Result<Answer, RestError> {
    T::file(&call.server)
        .update(digest(&call), |content| {
            let entry = content.get_mut(id_of::<T>(&call))?;
            entry.check_change(&call)?;
            let new = changed_by(&call, entry, T::given(&call))?;
            new.check_change(&call)?;
            new.check_names(&call.server)?;
            *entry = new;
            anyhow::Ok(())
        })
        .await?;
    Ok(Answer::null())
}

/// An entry less.
pub async fn remove<T: ApiEntity>(call: Call) -> Result<Answer, RestError> {
    T::file(&call.server)
        .update(digest(&call), |content| {
            let entry = content
                .remove(id_of::<T>(&call))
                .map_err(|error| anyhow::Error::new(said::<T>(error)))?;
            Ok(entry.check_change(&call)?)
        })
        .await
        .map_err(|error: anyhow::Error| RestError::from(error))?;
    Ok(Answer::null())
}
