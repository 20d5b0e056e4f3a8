//! From a request to its answer: path, endpoint, credentials, access, parameters, handler.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use api_types::auth::Authid;
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::body::Body as HttpBody;
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE};
use hyper::{HeaderMap, Method, Request, Response, StatusCode};

use super::answer::{Answer, AnswerBody, empty};
use super::body::{self, Limits};
use super::call::{Body, Call};
use super::error::RestError;
use super::format::Format;
use super::openapi;
use super::params::{Params, Source};
use super::path::components;
use super::table::{Access, BodyUse, Endpoint, Found, Table, parameter};
use crate::access::attempts::Turn;
use crate::access::control::AuthError;
use crate::daemon::Server;
use crate::monitor::http as monitor;
use crate::quota::Share;

/// Where the description of the interface is.
const OPENAPI_PATH: &str = "/api2/openapi.json";
/// Longest path and query.
const MAX_URI: usize = 3072;
/// What parameters are read from.
const BODY: Limits = limits(512 * 1024, Duration::from_secs(30));
/// The same of requests that need no credentials.
const WORLD_BODY: Limits = limits(64 * 1024, Duration::from_secs(10));

const fn limits(bytes: usize, time: Duration) -> Limits {
    Limits {
        bytes,
        time,
        pause: time,
    }
}

/// When a login or a request without good credentials is answered, so that guessing takes long.
const UNAUTHORIZED_AFTER: Duration = Duration::from_secs(3);
/// When a request is answered that its sender may not make.
const FORBIDDEN_AFTER: Duration = Duration::from_millis(500);

/// An answer, and who it is for, if that is known.
pub struct Answered {
    /// The answer.
    pub response: Response<AnswerBody>,
    /// Who asked.
    pub auth_id: Option<Authid>,
}

/// Why a request does not come to its handler.
enum Refusal {
    /// No good credentials.
    Unauthorized(AuthError),
    /// Anything else.
    Error(RestError),
}

impl From<RestError> for Refusal {
    fn from(error: RestError) -> Self {
        Self::Error(error)
    }
}

/// Answers a request.
pub async fn respond<B>(
    server: &Arc<Server>,
    request: Request<B>,
    peer: Option<SocketAddr>,
) -> Answered
where
    B: HttpBody<Data = Bytes> + Send + Sync + 'static,
    B::Error: Into<anyhow::Error>,
{
    let begun = server.env.now();
    let length = request
        .uri()
        .path_and_query()
        .map_or(0, |whole| whole.as_str().len());
    if length > MAX_URI {
        let mut response = Response::new(empty());
        *response.status_mut() = StatusCode::URI_TOO_LONG;
        return Answered {
            response,
            auth_id: None,
        };
    }
    if request.method() == Method::GET && request.uri().path() == OPENAPI_PATH {
        return Answered {
            response: Format::document(openapi::text()),
            auth_id: None,
        };
    }
    let is_head = request.method() == Method::HEAD;
    let mut asker = Asker {
        peer,
        turn: Arc::new(Turn::new(
            &server.attempts,
            peer.map(|peer| peer.ip()),
            server.env.clone(),
        )),
        auth_id: None,
        body: None,
        refused: None,
    };
    let monitored = {
        let (method, path) = (request.method(), request.uri().path());
        monitor::respond(server, method, path, request.headers(), peer, &asker.turn).await
    };
    let mut response = match monitored {
        Some(response) => response,
        None => answer(server, request, &mut asker).await,
    };
    let mut status = asker.refused.unwrap_or(response.status());
    if status == StatusCode::UNAUTHORIZED
        && let Err(busy) = asker.turn.take().await
    {
        // Nothing is said about the credentials, so nothing is held back.
        status = StatusCode::TOO_MANY_REQUESTS;
        response = Format::Json.error(&busy.into());
    }
    let wait = match status {
        StatusCode::UNAUTHORIZED => UNAUTHORIZED_AFTER,
        StatusCode::FORBIDDEN => FORBIDDEN_AFTER,
        _ => Duration::ZERO,
    };
    // Who waited for a turn does not have it back the sooner: that is what limits guesses.
    let begun = asker.turn.taken_at().await.unwrap_or(begun);
    let passed = server.env.now().saturating_duration_since(begun);
    if let Some(rest) = wait.checked_sub(passed).filter(|rest| !rest.is_zero()) {
        server.env.sleep(rest).await;
    }
    let response = if is_head { head(response) } else { response };
    Answered {
        response,
        auth_id: asker.auth_id,
    }
}

/// Whoever asks.
struct Asker {
    peer: Option<SocketAddr>,
    turn: Arc<Turn>,
    /// Once that is known.
    auth_id: Option<Authid>,
    /// What its body takes of what all have together that need no credentials.
    body: Option<Share>,
    /// The status of the error, which is not that of the answer in each format.
    refused: Option<StatusCode>,
}

/// The answer to HEAD, which by HTTP/2 must not have a body that is sent.
fn head(response: Response<AnswerBody>) -> Response<AnswerBody> {
    let (mut head, body) = response.into_parts();
    if let Some(length) = body.size_hint().exact() {
        head.headers.insert(CONTENT_LENGTH, length.into());
    }
    Response::from_parts(head, empty())
}

/// Answers a request for an endpoint.
async fn answer<B>(
    server: &Arc<Server>,
    request: Request<B>,
    asker: &mut Asker,
) -> Response<AnswerBody>
where
    B: HttpBody<Data = Bytes> + Send + Sync + 'static,
    B::Error: Into<anyhow::Error>,
{
    let (format, result) = match locate(request.uri().path()) {
        Err(error) => (Format::Json, Err(error.into())),
        Ok((format, path)) => {
            let result = call(server, request, &path, asker).await;
            (format, result)
        }
    };
    match result {
        Ok(answer) => format.answer(answer),
        Err(Refusal::Unauthorized(AuthError::Busy(busy))) => format.error(&busy.into()),
        Err(Refusal::Unauthorized(error)) => {
            log_failure(asker.peer, None, &error);
            Format::unauthorized()
        }
        Err(Refusal::Error(error)) => {
            asker.refused = Some(error.status);
            format.error(&error)
        }
    }
}

/// The format and the components of the path below it.
fn locate(path: &str) -> Result<(Format, Vec<String>), RestError> {
    let mut components = components(path)?;
    let is_api = components.first().is_some_and(|first| first == "api2");
    let Some(format) = components.get(1).filter(|_| is_api) else {
        return Err(no_such_path(&components));
    };
    let format =
        Format::of(format).ok_or_else(|| RestError::bad_request("Unsupported output format."))?;
    components.drain(..2);
    Ok((format, components))
}

fn no_such_path(components: &[String]) -> RestError {
    RestError::no_such_path(&format!("/{}", components.join("/")))
}

async fn call<B>(
    server: &Arc<Server>,
    request: Request<B>,
    path: &[String],
    asker: &mut Asker,
) -> Result<Answer, Refusal>
where
    B: HttpBody<Data = Bytes> + Send + Sync + 'static,
    B::Error: Into<anyhow::Error>,
{
    let found = Table::global().find(request.method(), path);
    let is_public = matches!(&found, Found::Endpoint(endpoint, _) if is_world(endpoint));
    let auth_id = if is_public {
        Call::NOBODY
            .parse()
            .map_err(|error| RestError::bad_request(format!("{error}")))?
    } else {
        let auth_id = server
            .access
            .authenticate(request.method(), request.headers(), &asker.turn)
            .await
            .map_err(Refusal::Unauthorized)?;
        asker.auth_id = Some(auth_id.clone());
        auth_id
    };
    let (endpoint, in_path) = match found {
        Found::Endpoint(endpoint, in_path) => (endpoint, in_path),
        Found::Directory(names) => return Ok(directory(&names)),
        Found::Nothing => return Err(no_such_path(path).into()),
    };
    check_access(server, endpoint, &in_path, &auth_id)?;
    let call = prepare(server, request, endpoint, &in_path, asker, auth_id).await?;
    // In a task of its own: a client that hangs up does not stop it half-way, and a panic is an
    // error like others.
    let handled = tokio::spawn((endpoint.handler)(call)).await;
    match handled {
        Ok(result) => Ok(result?),
        Err(error) => {
            tracing::error!("{} {}: {error}", endpoint.method, endpoint.path);
            Err(RestError::new(StatusCode::INTERNAL_SERVER_ERROR, "internal error").into())
        }
    }
}

const fn is_world(endpoint: &Endpoint) -> bool {
    matches!(endpoint.access, Access::World)
}

/// What is below a path that is nothing by itself.
fn directory(names: &[&str]) -> Answer {
    let entries = names
        .iter()
        .map(|name| serde_json::json!({ "subdir": name }));
    Answer::Data(entries.collect())
}

/// Refuses whoever has none of the privileges that the endpoint asks for.
pub(crate) fn check_access(
    server: &Server,
    endpoint: &Endpoint,
    in_path: &[(&'static str, String)],
    auth_id: &Authid,
) -> Result<(), RestError> {
    let Access::Privileges { path, any } = endpoint.access else {
        return Ok(());
    };
    let filled: Vec<&str> = path
        .split('/')
        .filter(|word| !word.is_empty())
        .map(|word| match parameter(word) {
            None => word,
            Some(name) => in_path
                .iter()
                .find(|(other, _)| *other == name)
                .map_or(word, |(_, value)| value),
        })
        .collect();
    server.access.check(auth_id, &filled, any)
}

async fn prepare<B>(
    server: &Arc<Server>,
    mut request: Request<B>,
    endpoint: &Endpoint,
    in_path: &[(&'static str, String)],
    asker: &mut Asker,
    auth_id: Authid,
) -> Result<Call, RestError>
where
    B: HttpBody<Data = Bytes> + Send + Sync + 'static,
    B::Error: Into<anyhow::Error>,
{
    let upgrade = request
        .extensions_mut()
        .remove::<hyper::upgrade::OnUpgrade>();
    let (parts, body) = request.into_parts();
    let query = parts.uri.query().unwrap_or_default();
    let (params, body) = match endpoint.body {
        BodyUse::Stream => {
            let given = Source::from_texts(query, "")?;
            let params = Params::check(endpoint.params, in_path, given)?;
            let body: Body = BodyExt::boxed(body.map_err(Into::into));
            (params, body)
        }
        BodyUse::Parameters => {
            let is_json = is_json(&parts.headers)?;
            if is_world(endpoint) {
                let address = asker.peer.map(|peer| peer.ip());
                asker.body = Some(server.world_bodies.share(address));
            }
            let limits = if is_world(endpoint) { WORLD_BODY } else { BODY };
            let body = body::read(&server.env, body, limits, asker.body.as_mut()).await?;
            let given = if is_json {
                Source::Json(&body)
            } else {
                let form = std::str::from_utf8(&body)
                    .map_err(|_| RestError::bad_request("parameters are not valid UTF-8"))?;
                Source::from_texts(query, form)?
            };
            let params = Params::check(endpoint.params, in_path, given)?;
            let nothing = Empty::new().map_err(|never| match never {});
            (params, BodyExt::boxed(nothing))
        }
    };
    Ok(Call {
        server: Arc::clone(server),
        auth_id,
        params,
        peer: asker.peer.map(|peer| peer.ip().to_canonical()),
        peer_address: asker.peer,
        turn: Arc::clone(&asker.turn),
        headers: parts.headers,
        body,
        upgrade,
    })
}

/// Whether the body is JSON; if not, it is a form.
fn is_json(headers: &HeaderMap) -> Result<bool, RestError> {
    let Some(value) = headers.get(CONTENT_TYPE) else {
        return Ok(false);
    };
    let kind = value.to_str().unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    match kind.to_ascii_lowercase().as_str() {
        "application/json" => Ok(true),
        "" | "application/x-www-form-urlencoded" => Ok(false),
        _ => Err(RestError::bad_request(format!(
            "unsupported content type {:?}",
            kind.chars().take(100).collect::<String>()
        ))),
    }
}

/// A line that programs look for which lock out whoever fails too often.
pub fn log_failure(peer: Option<SocketAddr>, user: Option<&str>, error: &AuthError) {
    let peer = peer.map_or_else(|| "unknown".to_owned(), |peer| peer.to_string());
    let user = user.map(|user| format!("user={user} ")).unwrap_or_default();
    tracing::warn!(target: "auth", "authentication failure; rhost={peer} {user}msg={error}");
}

#[cfg(test)]
mod tests;
