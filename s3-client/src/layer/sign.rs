//! Signs each attempt afresh and learns the server's clock from the answers.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures_util::future::BoxFuture;

use crate::clock::Clock;
use crate::sigv4::{Canonical, Signer, signed_header};
use crate::timestamp::format_amz_date;
use crate::transport::{Attempt, Response, Transport, TransportError};
use crate::xml::parse_error;

pub(crate) struct Signing<T> {
    inner: T,
    signer: Signer,
    clock: Arc<Clock>,
}

impl<T> Signing<T> {
    pub(crate) fn new(inner: T, signer: Signer, clock: Arc<Clock>) -> Self {
        Self {
            inner,
            signer,
            clock,
        }
    }

    fn sign(&self, attempt: &mut Attempt) {
        let time = attempt
            .context
            .signed_at
            .unwrap_or_else(|| self.clock.signing_time());
        let request = attempt.request.clone();
        let date = format_amz_date(time);
        let method = request.method.as_str();
        let mut headers: Vec<(&str, &str)> = request
            .headers
            .iter()
            .filter(|(name, _)| signed_header(method, name))
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        headers.push(("x-amz-content-sha256", &request.payload_hash));
        headers.push(("x-amz-date", &date));
        let canonical = Canonical {
            method,
            path: &request.path,
            query: &request.query.canonical(),
            headers: &headers,
            payload_hash: &request.payload_hash,
        };
        let authorization = self.signer.sign(&canonical, time).authorization;
        attempt.signature = vec![
            ("x-amz-content-sha256", request.payload_hash.clone()),
            ("x-amz-date", date),
            ("authorization", authorization),
        ];
    }
}

/// The server's time in a refusal for ours, for servers that send no `Date`.
fn refused_at(response: &Response) -> Option<i64> {
    if response.status != 403 {
        return None;
    }
    let millis = parse_error(&response.body).ok()?.server_time?;
    Some(millis.div_euclid(1000))
}

impl<T: Transport> Transport for Signing<T> {
    fn send(&self, mut attempt: Attempt) -> BoxFuture<'_, Result<Response, TransportError>> {
        Box::pin(async move {
            self.sign(&mut attempt);
            attempt.sent.store(true, Ordering::Relaxed);
            let response = self.inner.send(attempt).await?;
            if let Some(date) = response.server_date().or_else(|| refused_at(&response)) {
                self.clock.observe(date, response.received_at);
            }
            Ok(response)
        })
    }
}
