//! One attempt of a request: what goes out, what comes back, and who carries it.
//!
//! [`Transport`] is the narrow waist of the crate. The layers of the client wrap one
//! transport in another (sign, count, limit); [`HttpTransport`] is the one that talks to a
//! network; tests and simulations put a server in memory in its place.

mod connect;
mod http;
mod metered;
mod no_proxy;
mod pool;
mod proxy;
mod tls;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use hyper::{HeaderMap, Method};
use tokio_util::sync::CancellationToken;

pub use connect::ConnectOptions;
pub use http::{HttpTransport, Timeouts};
pub use no_proxy::NoProxy;
pub use proxy::{HttpProxy, TunnelError, open_tunnel};
pub use tls::{TlsOptions, Verdict, judge_certificate};

use crate::counters::Counters;
use crate::encode::Query;
use crate::endpoint::Authority;
use crate::error::{Phase, Subject};
use crate::operation::{Operation, Priority, TaskKind};

/// Carries out one attempt of a request.
pub trait Transport: Send + Sync + 'static {
    /// Sends the attempt and reads the whole answer. Dropping the future aborts it.
    fn send(&self, attempt: Attempt) -> BoxFuture<'_, Result<Response, TransportError>>;
}

impl Transport for Arc<dyn Transport> {
    fn send(&self, attempt: Attempt) -> BoxFuture<'_, Result<Response, TransportError>> {
        (**self).send(attempt)
    }
}

/// A request, the same for all its attempts.
#[derive(Debug)]
pub struct Request {
    /// What it is.
    pub operation: Operation,
    /// HTTP method.
    pub method: Method,
    /// Where it goes.
    pub authority: Authority,
    /// Encoded path.
    pub path: String,
    /// Query parameters.
    pub query: Query,
    /// Headers beside those of the signature; names in lower case. Includes `host`.
    pub headers: Vec<(&'static str, String)>,
    /// Body.
    pub body: Bytes,
    /// Hex SHA-256 of the body, or the marker of an unsigned one.
    pub payload_hash: String,
    /// For error messages.
    pub subject: Subject,
    /// The longest body of a successful answer to accept.
    pub body_limit: usize,
}

impl Request {
    /// Path and query as they are sent.
    #[must_use]
    pub fn target(&self) -> String {
        let query = self.query.wire();
        if query.is_empty() {
            self.path.clone()
        } else {
            format!("{}?{query}", self.path)
        }
    }
}

/// On whose behalf a request is made.
#[derive(Clone, Debug, Default)]
pub struct CallContext {
    /// Counted by it.
    pub task: TaskKind,
    /// Queued by it.
    pub priority: Priority,
    /// Aborts the request.
    pub cancel: CancellationToken,
    /// Signing time to use instead of the clock, seconds since the epoch.
    pub signed_at: Option<i64>,
    /// Further counters beside those of the client.
    pub counters: Option<Arc<Counters>>,
    /// Avoid connections that may be stale: a lost answer would be costly.
    pub prefer_fresh: bool,
}

/// One attempt. Cheap to clone.
#[derive(Clone)]
pub struct Attempt {
    /// The request.
    pub request: Arc<Request>,
    /// On whose behalf.
    pub context: Arc<CallContext>,
    /// 1 for the first attempt.
    pub number: u32,
    /// Headers of the signature, added by the signing layer.
    pub signature: Vec<(&'static str, String)>,
    /// Bytes that the answer is going to have, as soon as it says so: a slow but living download
    /// gets the time that it needs.
    pub announced: Arc<AtomicU64>,
    /// Set when the attempt leaves the queue for the network: abandoned after that, it may have
    /// arrived.
    pub sent: Arc<AtomicBool>,
}

impl Attempt {
    /// All headers to send.
    pub fn headers(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let own = self.request.headers.iter().chain(&self.signature);
        own.map(|(name, value)| (*name, value.as_str()))
    }
}

impl fmt::Debug for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Never the signature.
        f.debug_struct("Attempt")
            .field("operation", &self.request.operation)
            .field("subject", &self.request.subject)
            .field("number", &self.number)
            .finish_non_exhaustive()
    }
}

/// A complete answer.
#[derive(Clone, Debug, Default)]
pub struct Response {
    /// HTTP status.
    pub status: u16,
    /// Headers.
    pub headers: HeaderMap,
    /// Body; of a failure at most the first 64 KiB.
    pub body: Bytes,
    /// Our clock when the headers arrived, milliseconds since the epoch; `None` = just now.
    pub received_at: Option<i64>,
}

impl Response {
    /// A header as text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Whether the status is 2xx.
    #[must_use]
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The `Date` header, seconds since the epoch.
    #[must_use]
    pub fn server_date(&self) -> Option<i64> {
        self.header("date")
            .and_then(crate::timestamp::parse_http_date)
    }
}

/// Why no complete answer came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TransportErrorKind {
    /// No connection.
    Connect {
        /// Host and port.
        target: String,
        /// Whether trying again can help.
        retryable: bool,
    },
    /// It took too long.
    Timeout(Phase),
    /// The connection broke.
    Broken,
    /// The answer cannot be taken: longer than so many bytes.
    TooLarge(usize),
    /// The request cannot be sent as it is.
    Invalid,
}

/// An attempt without a complete answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransportError {
    /// What happened.
    pub kind: TransportErrorKind,
    /// In words.
    pub message: String,
    /// Whether any byte of the request may have left this machine.
    pub may_have_arrived: bool,
    /// A pooled connection that the server had closed in the meantime: worth an immediate retry.
    pub stale_connection: bool,
}

impl TransportError {
    pub(crate) fn before_sending(kind: TransportErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            may_have_arrived: false,
            stale_connection: false,
        }
    }

    pub(crate) fn connect(target: &str, retryable: bool, message: impl Into<String>) -> Self {
        let kind = TransportErrorKind::Connect {
            target: target.to_owned(),
            retryable,
        };
        Self::before_sending(kind, message)
    }

    /// The connection broke after the request may have left; for transports in memory too.
    #[must_use]
    pub fn broken(message: impl Into<String>) -> Self {
        Self {
            kind: TransportErrorKind::Broken,
            message: message.into(),
            may_have_arrived: true,
            stale_connection: false,
        }
    }

    /// The answer is longer than what was asked for allows; for transports in memory too.
    #[must_use]
    pub fn too_large(limit: usize) -> Self {
        Self {
            kind: TransportErrorKind::TooLarge(limit),
            ..Self::broken(format!("the answer is larger than {limit} bytes"))
        }
    }

    /// No answer in time although the request may have left.
    #[must_use]
    pub fn timeout(phase: Phase) -> Self {
        Self {
            kind: TransportErrorKind::Timeout(phase),
            message: format!("timed out {phase}"),
            may_have_arrived: phase != Phase::Connect,
            stale_connection: false,
        }
    }
}
