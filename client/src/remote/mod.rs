//! The server: repository, TLS, login, REST calls, the upgrade to a session.

mod answer;
mod connect;
pub mod dirs;
mod fingerprints;
mod login;
mod proxy;
mod query;
mod repository;
mod secret;
#[cfg(test)]
mod tests;
mod tickets;
mod trust;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper::header::{CONNECTION, CONTENT_TYPE, HOST, UPGRADE, USER_AGENT};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use serde_json::Value;
use tokio::io::{AsyncWrite, AsyncWriteExt as _};

pub use answer::Refused;
pub use connect::{ConnectOptions, PasswordSource, Shape, Stream};
pub use proxy::ProxySettings;
pub use repository::Repository;
pub use secret::Secret;

use answer::{data_of, json_of};
use connect::{Connector, Sender};
use login::Login;

const REQUEST_TIMEOUT: Duration = Duration::from_secs(120);
/// Far beyond what any listing has.
const MAX_ANSWER: usize = 1 << 30;
/// Windows and frames of a session, as upstream's client has them.
const WINDOW: u32 = (1 << 31) - 2;
const MAX_FRAME: u32 = 4 << 20;
/// How long a session may be silent before the server is asked whether it is there, and how long
/// that may take: the question waits behind what is being sent.
const SILENCE: Duration = Duration::from_secs(30);
const PATIENCE: Duration = Duration::from_secs(120);
const AGENT: &str = concat!("coffer-client/", env!("CARGO_PKG_VERSION"));
const FORM: &str = "application/x-www-form-urlencoded";

/// A server that let us in, and one of its datastores. Clones share the login and the connections.
#[derive(Clone, Debug)]
pub struct Remote {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    connector: Connector,
    login: Login,
    /// Connections that wait for their next request.
    idle: Mutex<Vec<Sender>>,
}

/// A request before it has credentials.
#[derive(Clone)]
struct Call {
    method: Method,
    /// With `/api2/json` and the query.
    target: String,
    content_type: &'static str,
    body: Bytes,
    /// The protocol to change to.
    upgrade: Option<String>,
    /// It carries no credentials.
    anonymous: bool,
}

impl Remote {
    /// Connects and logs in: with the ticket of an earlier login, the password, or an API token.
    pub async fn connect(repository: &Repository, options: &ConnectOptions) -> Result<Self> {
        let inner = Arc::new(Inner {
            connector: Connector::new(repository.clone(), options.clone()),
            login: Login::new(options),
            idle: Mutex::default(),
        });
        inner.keep(inner.connector.connect().await?);
        inner.log_in().await?;
        login::renew_regularly(&inner);
        Ok(Self { inner })
    }

    /// The datastore, the server and the user.
    #[must_use]
    pub fn repository(&self) -> &Repository {
        self.inner.connector.repository()
    }

    /// What `GET path?query` gives as data; `path` is relative to `/api2/json`.
    pub async fn get(&self, path: &str, query: &[(&str, &str)]) -> Result<Value> {
        data_of(self.get_answer(path, query).await?)
    }

    /// The whole answer to `GET path?query`, which for some calls has more than the data.
    pub async fn get_answer(&self, path: &str, query: &[(&str, &str)]) -> Result<Value> {
        let call = Call::new(Method::GET, path, &query::of_pairs(query));
        json_of(&self.inner.answer(call).await?)
    }

    /// `POST path`, with JSON parameters.
    pub async fn post(&self, path: &str, parameters: &Value) -> Result<Value> {
        let call = Call {
            content_type: "application/json",
            body: parameters.to_string().into(),
            ..Call::new(Method::POST, path, "")
        };
        self.data(call).await
    }

    /// `PUT path`, with parameters in the query.
    pub async fn put(&self, path: &str, parameters: &Value) -> Result<Value> {
        let query = query::of_object(parameters)?;
        self.data(Call::new(Method::PUT, path, &query)).await
    }

    /// `DELETE path`, with parameters in the query.
    pub async fn delete(&self, path: &str, parameters: &Value) -> Result<Value> {
        let query = query::of_object(parameters)?;
        self.data(Call::new(Method::DELETE, path, &query)).await
    }

    /// `POST path?query` with a body of bytes.
    pub async fn upload(&self, path: &str, query: &[(&str, &str)], body: Bytes) -> Result<Value> {
        let call = Call {
            content_type: "application/octet-stream",
            body,
            ..Call::new(Method::POST, path, &query::of_pairs(query))
        };
        self.data(call).await
    }

    /// Writes what `GET path?query` gives to `out`, as it comes; gives its length.
    pub async fn download(
        &self,
        path: &str,
        query: &[(&str, &str)],
        out: &mut (impl AsyncWrite + Unpin),
    ) -> Result<u64> {
        let call = Call::new(Method::GET, path, &query::of_pairs(query));
        let (response, sender) = self.inner.respond(call).await?;
        let mut body = response.into_body();
        let mut len = 0;
        while let Some(frame) = self.inner.in_time(body.frame()).await? {
            let frame = frame.context("the download broke off")?;
            if let Some(data) = frame.data_ref() {
                let written = out.write_all(data).await;
                written.context("failed to write what is downloaded")?;
                len += data.len() as u64;
            }
        }
        out.flush().await?;
        self.inner.keep(sender);
        Ok(len)
    }

    /// Opens a session: `GET path?query` with an upgrade to `protocol`, then HTTP/2 on the same
    /// connection, which ends when the last clone of what this gives is dropped.
    pub async fn upgrade(
        &self,
        path: &str,
        query: &[(&str, &str)],
        protocol: &str,
    ) -> Result<http2::SendRequest<Full<Bytes>>> {
        let call = Call {
            upgrade: Some(protocol.to_owned()),
            ..Call::new(Method::GET, path, &query::of_pairs(query))
        };
        let (mut response, _) = self.inner.respond(call).await?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            bail!("the server does not speak {protocol} at {path}");
        }
        let upgraded = hyper::upgrade::on(&mut response).await;
        let upgraded = upgraded.context("the connection broke off when the session began")?;
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(WINDOW)
            .max_frame_size(MAX_FRAME)
            .timer(TokioTimer::new())
            .keep_alive_interval(SILENCE)
            .keep_alive_timeout(PATIENCE)
            .handshake(upgraded)
            .await
            .context("failed to begin HTTP/2 on the connection")?;
        tokio::spawn(async move {
            // Whoever waits for an answer hears of it.
            let _ = connection.await;
        });
        Ok(sender)
    }

    /// Whether the login is one that [`Remote::forget_login`] can end.
    #[must_use]
    pub fn ticket_is_kept(&self) -> bool {
        self.inner.login.is_kept()
    }

    /// Forgets the ticket of an earlier login; without asking the server, which remembers none.
    pub fn forget_login(repository: &Repository, options: &ConnectOptions) -> Result<()> {
        login::forget(repository, options)
    }

    async fn data(&self, call: Call) -> Result<Value> {
        data_of(json_of(&self.inner.answer(call).await?)?)
    }
}

impl Call {
    fn new(method: Method, path: &str, query: &str) -> Self {
        let question_mark = if query.is_empty() { "" } else { "?" };
        Self {
            method,
            target: format!("/api2/json{path}{question_mark}{query}"),
            content_type: FORM,
            body: Bytes::new(),
            upgrade: None,
            anonymous: false,
        }
    }
}

impl Inner {
    /// The body of the answer to a call that went well.
    async fn answer(&self, call: Call) -> Result<Bytes> {
        let (response, sender) = self.respond(call).await?;
        let body = http_body_util::Limited::new(response.into_body(), MAX_ANSWER);
        let body = self.in_time(body.collect()).await?;
        let body = body.map_err(|error| anyhow::anyhow!("the answer broke off: {error}"))?;
        self.keep(sender);
        Ok(body.to_bytes())
    }

    /// The answer to a call that went well; logs in again if a ticket from before is refused.
    async fn respond(&self, call: Call) -> Result<(Response<Incoming>, Sender)> {
        match self.respond_once(call.clone()).await {
            Err(error)
                if Refused::status_of(&error) == Some(StatusCode::UNAUTHORIZED)
                    && self.login.may_be_outdated() =>
            {
                self.log_in_by_password().await?;
                self.respond_once(call).await
            }
            result => result,
        }
    }

    async fn respond_once(&self, call: Call) -> Result<(Response<Incoming>, Sender)> {
        let (response, sender) = self.send(call).await?;
        let status = response.status();
        if status.is_success() || status == StatusCode::SWITCHING_PROTOCOLS {
            return Ok((response, sender));
        }
        let body = http_body_util::Limited::new(response.into_body(), 64 << 10);
        let body = self.in_time(body.collect()).await?;
        let body = body.map_or(Bytes::new(), http_body_util::Collected::to_bytes);
        self.keep(sender);
        Err(Refused::new(status, &body).into())
    }

    /// Sends a call, on a connection from before if there is one and it still works.
    async fn send(&self, call: Call) -> Result<(Response<Incoming>, Sender)> {
        while let Some(mut sender) = self.take_idle() {
            if sender.ready().await.is_err() {
                continue;
            }
            match self
                .in_time(sender.send_request(self.request(&call)?))
                .await?
            {
                Ok(response) => return Ok((response, sender)),
                // The server ended the connection before it saw the request, as it does after a
                // while without any.
                Err(error) if error.is_canceled() || (error.is_closed() && call.is_safe()) => {}
                Err(error) if error.is_incomplete_message() && call.is_safe() => {}
                Err(error) => return Err(self.broken(error)),
            }
        }
        let mut sender = self.connector.connect().await?;
        let request = self.request(&call)?;
        match self.in_time(sender.send_request(request)).await? {
            Ok(response) => Ok((response, sender)),
            Err(error) => Err(self.broken(error)),
        }
    }

    fn broken(&self, error: hyper::Error) -> anyhow::Error {
        let server = self.connector.repository().server();
        anyhow::Error::from(error).context(format!("the connection to {server} broke off"))
    }

    fn request(&self, call: &Call) -> Result<Request<Full<Bytes>>> {
        let mut request = Request::builder()
            .method(&call.method)
            .uri(&call.target)
            .header(HOST, self.connector.repository().server())
            .header(USER_AGENT, AGENT)
            .header(CONTENT_TYPE, call.content_type);
        if let Some(protocol) = &call.upgrade {
            request = request
                .header(CONNECTION, "upgrade")
                .header(UPGRADE, protocol);
        }
        if !call.anonymous {
            for (name, value) in self.login.headers()? {
                request = request.header(name, value);
            }
        }
        Ok(request.body(Full::new(call.body.clone()))?)
    }

    fn take_idle(&self) -> Option<Sender> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.pop()
    }

    /// Keeps a connection for the next request.
    fn keep(&self, sender: Sender) {
        if !sender.is_closed() {
            let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
            idle.push(sender);
        }
    }

    async fn in_time<T>(&self, work: impl Future<Output = T>) -> Result<T> {
        tokio::select! {
            result = work => Ok(result),
            () = self.connector.options().env.sleep(REQUEST_TIMEOUT) => bail!(
                "{} has not answered within {} s",
                self.connector.repository().server(),
                REQUEST_TIMEOUT.as_secs()
            ),
        }
    }
}

impl Call {
    /// Whether it may be made twice.
    fn is_safe(&self) -> bool {
        self.method == Method::GET && self.upgrade.is_none()
    }
}
