//! What a request does to a session: its endpoint, its parameters, its handler.
//!
//! Nothing here knows of connections, so that a test or a fuzz target can drive a session with
//! requests of its own making.

use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use datastore::task::TaskContext;
use http_body_util::{BodyExt as _, Empty, LengthLimitError, Limited};
use hyper::Method;
use s3_client::env::Env;
use serde_json::json;

use crate::rest::answer::Answer;
use crate::rest::call::Body;
use crate::rest::endpoint::Param;
use crate::rest::error::RestError;
use crate::rest::params::{Params, Source};
use crate::rest::path;

/// Longest JSON or form body that parameters are read from.
const MAX_PARAMETERS: usize = 512 * 1024;

/// A session that requests are made to.
pub trait Session: Sized + Send + Sync + 'static {
    /// What can be asked of it.
    fn endpoints() -> &'static [Endpoint<Self>];
    /// The task that it is, for its log.
    fn task(&self) -> &dyn TaskContext;
    /// Its clock.
    fn env(&self) -> &Env;
    /// Whether the client asked for a log of every request.
    fn is_verbose(&self) -> bool;
}

/// A handler at work.
pub type Handled = Pin<Box<dyn Future<Output = Result<Answer, RestError>> + Send>>;

/// What becomes of the body of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyUse {
    /// Parameters may be in it: as JSON, or as a form beside those of the query.
    Parameters,
    /// Uploads and downloads: parameters are in the query alone, the handler reads the body, if
    /// there is any, whatever type it claims to be.
    Stream,
}

/// A path of a session, and all there is to know about it.
pub struct Endpoint<S> {
    /// GET, PUT or POST.
    pub method: Method,
    /// One word.
    pub path: &'static str,
    /// Its parameters.
    pub params: &'static [Param],
    /// What becomes of the body.
    pub body: BodyUse,
    /// What it does.
    pub handler: fn(Call<S>) -> Handled,
}

/// A request on its way to its handler.
pub struct Call<S> {
    /// To which session.
    pub session: Arc<S>,
    /// With what, checked.
    pub params: Params,
    /// Not looked at yet, if the endpoint wants it so, else empty.
    pub body: Body,
}

/// A request as it came.
#[derive(Debug)]
pub struct Request {
    /// Its method.
    pub method: Method,
    /// Its path, not decoded.
    pub path: String,
    /// Its query, not decoded.
    pub query: String,
    /// The type that its body claims to be.
    pub content_type: Option<String>,
    /// Its body.
    pub body: Body,
}

/// Does what the request asks for.
pub async fn dispatch<S: Session>(session: &Arc<S>, request: Request) -> Result<Answer, RestError> {
    let components = path::components(&request.path)?;
    let endpoint = match components.as_slice() {
        [] if request.method == Method::GET => return Ok(directory::<S>()),
        [word] => S::endpoints()
            .iter()
            .find(|endpoint| endpoint.path == word && endpoint.method == request.method),
        _ => None,
    };
    let Some(endpoint) = endpoint else {
        return Err(RestError::no_such_path(&request.path));
    };
    let (params, body) = match endpoint.body {
        BodyUse::Stream => {
            let given = Source::from_texts(&request.query, "")?;
            (Params::check(endpoint.params, &[], given)?, request.body)
        }
        BodyUse::Parameters => {
            let kind = content_type(request.content_type.as_deref());
            let content = collect(request.body).await?;
            let given = match kind {
                Kind::Json => Source::Json(&content),
                Kind::Form => Source::from_texts(&request.query, text(&content)?)?,
                Kind::Other => Source::from_texts(&request.query, "")?,
            };
            let params = Params::check(endpoint.params, &[], given)?;
            (params, no_body())
        }
    };
    let call = Call {
        session: Arc::clone(session),
        params,
        body,
    };
    (endpoint.handler)(call).await
}

fn no_body() -> Body {
    Empty::new().map_err(|never| match never {}).boxed()
}

enum Kind {
    Json,
    Form,
    Other,
}

/// Whatever stands behind a semicolon does not matter.
fn content_type(header: Option<&str>) -> Kind {
    let essence = header.unwrap_or_default().split(';').next();
    match essence.unwrap_or_default().trim() {
        kind if kind.eq_ignore_ascii_case("application/json") => Kind::Json,
        kind if kind.eq_ignore_ascii_case("application/x-www-form-urlencoded") => Kind::Form,
        _ => Kind::Other,
    }
}

async fn collect(body: Body) -> Result<Bytes, RestError> {
    match Limited::new(body, MAX_PARAMETERS).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(RestError::bad_request(format!(
            "the parameters are longer than {MAX_PARAMETERS} bytes"
        ))),
        Err(error) => Err(RestError::bad_request(format!(
            "failed to read the parameters: {error}"
        ))),
    }
}

fn text(bytes: &[u8]) -> Result<&str, RestError> {
    std::str::from_utf8(bytes).map_err(|_| RestError::bad_request("parameters are not valid UTF-8"))
}

/// What there is, for people who look around.
fn directory<S: Session>() -> Answer {
    let mut words: Vec<_> = S::endpoints()
        .iter()
        .map(|endpoint| endpoint.path)
        .collect();
    words.sort_unstable();
    words.dedup();
    let entries: Vec<_> = words.iter().map(|word| json!({ "subdir": word })).collect();
    Answer::Data(entries.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_essence_of_a_type_counts() {
        for json in ["application/json", "Application/JSON; charset=UTF-8"] {
            assert!(matches!(content_type(Some(json)), Kind::Json), "{json}");
        }
        assert!(matches!(
            content_type(Some("application/x-www-form-urlencoded")),
            Kind::Form
        ));
        assert!(matches!(content_type(None), Kind::Other));
    }
}
