//! The way of a process's requests to the scripted server, with virtual delays.
//!
//! A request that has left goes on whatever becomes of its process; a process that has ended sends
//! nothing any more, although its tasks may still be waiting to be dropped.
#![allow(
    clippy::disallowed_methods,
    reason = "the clock of the simulated world itself"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use s3_client::transport::{Attempt, Response, Transport, TransportError};
use s3_client::{Operation, Phase, Subject as Object};
use tokio::sync::oneshot;

use crate::bucket::{ProcId, Subject};
use crate::sim::Sim;

/// How long the client waits for an answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// The transport of one process.
#[derive(Debug)]
pub struct SimTransport {
    /// The world.
    pub sim: Arc<Sim>,
    /// The process.
    pub proc: ProcId,
    /// Whether it lives.
    pub alive: Arc<AtomicBool>,
}

impl SimTransport {
    async fn exchange(&self, attempt: Attempt) -> Result<Response, TransportError> {
        self.while_alive().await;
        let subject = subject(&attempt);
        let (ticket, mut course) = self.sim.sent(self.proc, &subject);
        // The process may have ended in this very step: with the request on its way, or not.
        if !self.alive.load(Ordering::SeqCst) && ticket % 2 == 0 {
            self.sim.unsent(ticket);
            self.while_alive().await;
        }
        course.treatment.tag = ticket;
        let request = support::http_request(&attempt)
            .map_err(|error| TransportError::broken(error.to_string()))?;
        let (answered, answer) = oneshot::channel();
        let sim = Arc::clone(&self.sim);
        tokio::spawn(async move {
            tokio::time::sleep(course.before).await;
            let reply = sim
                .mock
                .exchange_treated(request, course.treatment.clone())
                .await;
            tokio::time::sleep(course.after).await;
            // Nobody waits any more: the client has left.
            let _ = answered.send(reply);
        });
        let reply = tokio::select! {
            biased;
            reply = answer => reply,
            () = self.sim.env.sleep(PATIENCE) => return Err(TransportError::timeout(Phase::Headers)),
        };
        self.while_alive().await;
        let answer = reply.map_err(|_| TransportError::broken("the world has ended"))?;
        let (parts, body) = answer
            .map_err(|dropped| TransportError::broken(dropped.to_string()))?
            .into_parts();
        Ok(Response {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body,
            received_at: Some(self.sim.env.unix_millis()),
        })
    }

    async fn while_alive(&self) {
        if !self.alive.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
    }
}

impl Transport for SimTransport {
    fn send(&self, attempt: Attempt) -> BoxFuture<'_, Result<Response, TransportError>> {
        Box::pin(self.exchange(attempt))
    }
}

fn subject(attempt: &Attempt) -> Subject {
    let request = &attempt.request;
    let keys = match &request.subject {
        Object::Key(key) => vec![key.clone()],
        Object::Prefix(prefix) => vec![prefix.clone()],
        Object::Keys(_) if request.operation == Operation::DeleteObjects => {
            keys_of(&String::from_utf8_lossy(&request.body))
        }
        Object::Whole | Object::Keys(_) => Vec::new(),
    };
    Subject {
        operation: request.operation,
        keys,
    }
}

/// The keys in the body of a DeleteObjects request; ours need no escaping in XML.
fn keys_of(body: &str) -> Vec<String> {
    let parts = body.split("<Key>").skip(1);
    parts
        .filter_map(|part| Some(part.split_once("</Key>")?.0.to_owned()))
        .collect()
}
