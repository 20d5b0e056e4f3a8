//! HTTP/1.1 over the network: one attempt with its timeouts.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::future::BoxFuture;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;

use super::connect::{ConnectOptions, Connector};
use super::metered::{Meter, Metered};
use super::pool::{Connection, Pool};
use super::{Attempt, Request, Response, Transport, TransportError, TransportErrorKind};
use crate::env::Env;
use crate::error::Phase;
use crate::limits::EndpointLimits;

/// Time limits of one attempt. There is none on its total: progress is what counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// Per address, and again for proxy and TLS.
    pub connect: Duration,
    /// From the last byte sent to the response headers; uploads get more by their size.
    pub headers: Duration,
    /// Without any progress while sending or receiving.
    pub stall: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            headers: Duration::from_secs(60),
            stall: Duration::from_secs(60),
        }
    }
}

/// Bytes per second that a server is expected to digest of an upload.
const DIGEST_RATE: u64 = 32 * 1024;
/// Of a failure's body, this much is read.
const ERROR_BODY_LIMIT: usize = 64 * 1024;
/// Most memory reserved because of a length the server claims: enough for any chunk, so that none is
/// copied while its buffer grows.
const MAX_RESERVE: usize = 16 * 1024 * 1024 + 4096;

/// The transport to real servers.
pub struct HttpTransport {
    env: Env,
    connector: Connector,
    pool: Arc<Pool>,
    timeouts: Timeouts,
    limits: Arc<EndpointLimits>,
}

impl HttpTransport {
    /// A transport with an empty pool.
    ///
    /// # Errors
    /// When TLS cannot be set up (a bad `ca-cert`), in words.
    pub fn new(
        env: &Env,
        options: ConnectOptions,
        timeouts: Timeouts,
        limits: Arc<EndpointLimits>,
    ) -> Result<Self, String> {
        Ok(Self {
            env: env.clone(),
            connector: Connector::new(env.clone(), options, timeouts.connect)?,
            pool: Pool::new(env.clone()),
            timeouts,
            limits,
        })
    }

    async fn connection(&self, attempt: &Attempt) -> Result<Connection, TransportError> {
        let target = &attempt.request.authority;
        if let Some(connection) = self.pool.take(target, attempt.context.prefer_fresh).await {
            return Ok(connection);
        }
        let stream = self.connector.connect(target).await?;
        let meter = Meter::new(self.env.clone());
        let stream = Metered::new(stream, meter.clone(), self.limits.clone());
        let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
        let (sender, driver) = handshake
            .map_err(|error| TransportError::connect(&target.header, true, error.to_string()))?;
        tokio::spawn(async move {
            // An error shows at the request that is under way.
            if let Err(error) = driver.await {
                tracing::trace!(%error, "s3 connection ended");
            }
        });
        Ok(Connection {
            sender,
            meter,
            opened: self.env.now(),
            reused: false,
        })
    }

    async fn exchange(&self, attempt: Attempt) -> Result<Response, TransportError> {
        let request = build(&attempt)?;
        let mut connection = self.connection(&attempt).await?;
        let meter = connection.meter.clone();
        meter.begin();
        let response = tokio::select! {
            biased;
            sent = connection.sender.try_send_request(request) => sent.map_err(|error| {
                let untouched = error.message().is_some() || meter.written() == 0;
                TransportError {
                    may_have_arrived: !untouched,
                    stale_connection: connection.reused && meter.read() == 0,
                    ..TransportError::broken(describe(error.error()))
                }
            })?,
            phase = self.watch_request(&meter, &attempt.request) => {
                return Err(TransportError::timeout(phase));
            }
        };
        let received_at = Some(self.env.unix_millis());
        let (parts, body) = response.into_parts();
        let status = parts.status.as_u16();
        let success = parts.status.is_success();
        let limit = if success {
            attempt.request.body_limit
        } else {
            ERROR_BODY_LIMIT
        };
        let claimed = claimed_length(&body);
        if success && claimed > limit {
            return Err(TransportError::too_large(limit));
        }
        let announced = u64::try_from(claimed).unwrap_or(u64::MAX);
        attempt.announced.store(announced, Ordering::Relaxed);
        let collected = tokio::select! {
            biased;
            collected = collect(body, limit) => collected?,
            () = self.watch_stall(&meter) => return Err(TransportError::timeout(Phase::Stall)),
        };
        if collected.complete {
            self.pool.put(&attempt.request.authority, connection);
        } else if success {
            return Err(TransportError::too_large(limit));
        }
        Ok(Response {
            status,
            headers: parts.headers,
            body: collected.bytes,
            received_at,
        })
    }

    /// Ends when the request stalls while being sent, or its answer does not begin in time.
    async fn watch_request(&self, meter: &Meter, request: &Request) -> Phase {
        let size = u64::try_from(request.body.len()).unwrap_or(u64::MAX);
        let for_headers = self
            .timeouts
            .headers
            .max(Duration::from_secs(size / DIGEST_RATE));
        loop {
            let sent = meter.written() > size;
            let (phase, patience) = if sent {
                (Phase::Headers, for_headers)
            } else {
                (Phase::Stall, self.timeouts.stall)
            };
            if self.out_of_patience(meter, patience).await {
                return phase;
            }
        }
    }

    async fn watch_stall(&self, meter: &Meter) {
        while !self.out_of_patience(meter, self.timeouts.stall).await {}
    }

    /// True if there has been no progress for so long; otherwise waits until that could be.
    async fn out_of_patience(&self, meter: &Meter, patience: Duration) -> bool {
        let end = meter.last_progress() + patience;
        let left = end.saturating_duration_since(self.env.now());
        self.env.sleep(left).await;
        left.is_zero()
    }
}

impl Transport for HttpTransport {
    fn send(&self, attempt: Attempt) -> BoxFuture<'_, Result<Response, TransportError>> {
        Box::pin(self.exchange(attempt))
    }
}

fn build(attempt: &Attempt) -> Result<hyper::Request<Full<Bytes>>, TransportError> {
    let invalid = |error: hyper::http::Error| {
        TransportError::before_sending(TransportErrorKind::Invalid, error.to_string())
    };
    // Only path and query: the rest of the URI type would look for an authority in `//…`.
    let target = hyper::http::uri::PathAndQuery::try_from(attempt.request.target())
        .map_err(|error| invalid(error.into()))?;
    let mut request = hyper::Request::builder()
        .method(attempt.request.method.clone())
        .uri(hyper::Uri::from(target))
        .header(
            "user-agent",
            concat!("coffer-s3/", env!("CARGO_PKG_VERSION")),
        );
    for (name, value) in attempt.headers() {
        request = request.header(name, value);
    }
    request
        .body(Full::new(attempt.request.body.clone()))
        .map_err(invalid)
}

struct Collected {
    bytes: Bytes,
    /// False when the limit ended it.
    complete: bool,
}

/// The length the server announced; 0 if none.
fn claimed_length(body: &Incoming) -> usize {
    usize::try_from(hyper::body::Body::size_hint(body).lower()).unwrap_or(usize::MAX)
}

async fn collect(mut body: Incoming, limit: usize) -> Result<Collected, TransportError> {
    let reserve = claimed_length(&body).min(limit).min(MAX_RESERVE);
    let mut bytes = BytesMut::with_capacity(reserve);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| TransportError::broken(describe(&error)))?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        if data.len() > limit - bytes.len() {
            bytes.extend_from_slice(&data[..limit - bytes.len()]);
            return Ok(Collected {
                bytes: bytes.freeze(),
                complete: false,
            });
        }
        bytes.extend_from_slice(&data);
    }
    Ok(Collected {
        bytes: bytes.freeze(),
        complete: true,
    })
}

/// An error with its causes: hyper's own text leaves out the interesting part.
fn describe(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
