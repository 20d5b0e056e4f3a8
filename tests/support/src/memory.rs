//! A client that talks to the scripted server without any connection.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use s3_client::env::Env;
use s3_client::transport::{Attempt, Response, Transport, TransportError};
use s3_client::{Phase, S3Client};
use s3_mock::MockS3;

use crate::endpoint::mock_endpoint;

/// How long the client waits for an answer, as over a network.
const PATIENCE: Duration = Duration::from_secs(60);

/// Hands each attempt to the server directly. With paused time and a seeded [`Env`] everything
/// is deterministic: the clock moves only when nothing else can happen.
#[derive(Clone, Debug)]
pub struct MemoryTransport {
    server: MockS3,
    env: Env,
}

impl MemoryTransport {
    /// A transport to this server.
    #[must_use]
    pub fn new(server: &MockS3, env: Env) -> Self {
        Self {
            server: server.clone(),
            env,
        }
    }

    async fn exchange(&self, attempt: Attempt) -> Result<Response, TransportError> {
        let request =
            http_request(&attempt).map_err(|error| TransportError::broken(error.to_string()))?;
        let answer = tokio::select! {
            biased;
            answer = self.server.exchange(request) => answer,
            () = self.env.sleep(PATIENCE) => return Err(TransportError::timeout(Phase::Headers)),
        };
        let (parts, body) = answer
            .map_err(|dropped| TransportError::broken(dropped.to_string()))?
            .into_parts();
        if body.len() > attempt.request.body_limit {
            return Err(TransportError::too_large(attempt.request.body_limit));
        }
        Ok(Response {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body,
            received_at: Some(self.env.unix_millis()),
        })
    }
}

impl Transport for MemoryTransport {
    fn send(&self, attempt: Attempt) -> BoxFuture<'_, Result<Response, TransportError>> {
        Box::pin(self.exchange(attempt))
    }
}

/// An attempt as a request of the scripted server.
///
/// # Errors
/// If it is no valid HTTP.
pub fn http_request(attempt: &Attempt) -> Result<hyper::Request<Bytes>, hyper::http::Error> {
    let request = &attempt.request;
    let mut built = hyper::Request::builder()
        .method(request.method.clone())
        .uri(request.target());
    for (name, value) in attempt.headers() {
        built = built.header(name, value);
    }
    built.body(request.body.clone())
}

/// A client of the scripted server through a [`MemoryTransport`]; makes the bucket if need be.
///
/// With a seeded [`Env`], give the server the same start time.
pub fn memory_client(server: &MockS3, bucket: &str, env: Env) -> anyhow::Result<S3Client> {
    let options = mock_endpoint(server, bucket)?.options()?;
    let transport = Arc::new(MemoryTransport::new(server, env.clone()));
    Ok(S3Client::with_transport(options, env, transport)?)
}
