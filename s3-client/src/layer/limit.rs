//! Waits for a slot of the operation's class, for the endpoint's PUT rate, and for a connection
//! where their number is limited.

use std::sync::Arc;

use api_types::s3::{ProviderQuirk, S3EndpointConfig};
use futures_util::future::BoxFuture;
use hyper::Method;
use tokio::sync::Semaphore;

use crate::classify::asks_to_slow_down;
use crate::gate::Gate;
use crate::limits::EndpointLimits;
use crate::operation::OpClass;
use crate::transport::{Attempt, Response, Transport, TransportError};

/// How many requests of a class may run at once.
pub(crate) fn concurrency(endpoint: &S3EndpointConfig, class: OpClass) -> usize {
    let (configured, default) = match class {
        OpClass::Upload => (endpoint.upload_concurrency, 16),
        OpClass::Download => (None, 32),
        OpClass::List => (endpoint.list_concurrency, 16),
        OpClass::Delete => {
            let one_by_one = endpoint.has_quirk(ProviderQuirk::DeleteObjectsViaDeleteObject);
            (endpoint.delete_concurrency, if one_by_one { 16 } else { 8 })
        }
        OpClass::Head => (None, 64),
    };
    configured
        .and_then(|count| usize::try_from(count).ok())
        .unwrap_or(default)
}

pub(crate) struct Limiting<T> {
    inner: T,
    gates: [Gate; OpClass::ALL.len()],
    /// Over all classes, where the endpoint limits its connections.
    connections: Option<Semaphore>,
    limits: Arc<EndpointLimits>,
}

impl<T> Limiting<T> {
    pub(crate) fn new(inner: T, endpoint: &S3EndpointConfig, limits: Arc<EndpointLimits>) -> Self {
        let gates = OpClass::ALL.map(|class| Gate::new(concurrency(endpoint, class)));
        let connections = endpoint
            .max_connections
            .map(|count| Semaphore::new(usize::try_from(count).unwrap_or(1).max(1)));
        Self {
            inner,
            gates,
            connections,
            limits,
        }
    }
}

impl<T: Transport> Transport for Limiting<T> {
    fn send(&self, attempt: Attempt) -> BoxFuture<'_, Result<Response, TransportError>> {
        Box::pin(async move {
            let gate = &self.gates[attempt.request.operation.class().index()];
            // The slot is held until the whole body has been read.
            let permit = gate.acquire(attempt.context.priority).await;
            // Behind the slot: a token is taken when it can be used, in the order of the requests, and
            // one that gives up in the queue takes none. Before the connection, which others need.
            if attempt.request.method == Method::PUT {
                self.limits.puts.acquire(1).await;
            }
            // Waited for here and not by the transport: what is signed and counted as sent must not
            // wait any more.
            let _connection = match &self.connections {
                Some(connections) => connections.acquire().await.ok(),
                None => None,
            };
            let result = self.inner.send(attempt).await;
            match &result {
                Ok(response) if asks_to_slow_down(response) => permit.throttled(),
                Ok(response) if response.status < 500 => permit.succeeded(),
                _ => {}
            }
            result
        })
    }
}
