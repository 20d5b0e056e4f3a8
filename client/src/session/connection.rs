//! Requests of a session: HTTP/2 on a connection that was upgraded.

use anyhow::{Context as _, Result, anyhow, ensure};
use bytes::Bytes;
use datastore::env::Env;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use hyper::header::CONTENT_TYPE;
use hyper::{Method, Request, Response};
use serde_json::Value;

use super::spool::{Spool, Spooled};
use crate::remote::Refused;

/// Longest answer that is no file: an error's text, a number.
const MAX_ANSWER: usize = 64 << 10;
const CUT_OFF: &str = "the server's answer was cut off";

/// The connection. It ends with the last clone of it.
#[derive(Clone, Debug)]
pub struct Connection {
    requests: SendRequest<Full<Bytes>>,
}

/// What a request carries.
#[derive(Clone, Debug)]
pub enum Body {
    /// Nothing: all parameters are in its query.
    None,
    /// Parameters.
    Json(Value),
    /// An upload.
    Raw(Bytes),
}

impl Connection {
    /// Over an upgraded connection.
    #[must_use]
    pub fn new(requests: SendRequest<Full<Bytes>>) -> Self {
        Self { requests }
    }

    /// Whether another request can be made.
    pub(super) fn is_open(&self) -> bool {
        !self.requests.is_closed()
    }

    /// Makes a request whose answer is data. `target` is the endpoint with its query, whose values
    /// are digests, numbers and names, of which none needs an escape.
    pub async fn call(&self, method: Method, target: &str, body: Body) -> Result<Value> {
        let response = self.send(method, target, body).await?;
        let bytes = read(response, MAX_ANSWER).await?;
        if bytes.is_empty() {
            return Ok(Value::Null);
        }
        let mut value: Value = serde_json::from_slice(&bytes)
            .with_context(|| format!("the server's answer to '{target}' is not JSON"))?;
        let data = value.get_mut("data").map(Value::take);
        data.with_context(|| format!("the server's answer to '{target}' has no data"))
    }

    /// Downloads a file of at most `limit` bytes.
    pub async fn download(&self, target: &str, limit: u64) -> Result<Bytes> {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let response = self.send(Method::GET, target, Body::None).await?;
        read(response, limit).await
    }

    /// Downloads a file of at most `limit` bytes that may be too large for memory; gives its length,
    /// too.
    pub(super) async fn spool(
        &self,
        target: &str,
        limit: u64,
        env: &Env,
    ) -> Result<(Spooled, u64)> {
        let response = self.send(Method::GET, target, Body::None).await?;
        let mut body = response.into_body();
        let (mut spool, mut length) = (Spool::new(env), 0);
        while let Some(frame) = body.frame().await {
            let frame = frame.context(CUT_OFF)?;
            if let Some(data) = frame.data_ref() {
                length += data.len() as u64;
                ensure!(length <= limit, "it has more than {limit} bytes");
                spool.push(data).await?;
            }
        }
        Ok((spool.finish().await?, length))
    }

    async fn send(&self, method: Method, target: &str, body: Body) -> Result<Response<Incoming>> {
        let (kind, bytes) = match body {
            Body::None => ("application/x-www-form-urlencoded", Bytes::new()),
            Body::Json(value) => ("application/json", value.to_string().into()),
            Body::Raw(bytes) => ("application/octet-stream", bytes),
        };
        let request = Request::builder()
            .method(method)
            .uri(format!("https://localhost:8007/{target}"))
            .header(CONTENT_TYPE, kind)
            .body(Full::new(bytes))?;
        let mut requests = self.requests.clone();
        let lost = "the connection to the server was lost";
        requests.ready().await.context(lost)?;
        let response = requests.send_request(request).await.context(lost)?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let text = read(response, MAX_ANSWER).await?;
        Err(Refused::new(status, &text).into())
    }
}

/// Reads a whole body.
async fn read(response: Response<Incoming>, limit: usize) -> Result<Bytes> {
    let body = Limited::new(response.into_body(), limit).collect().await;
    let body = body.map_err(|error| match error.downcast::<hyper::Error>() {
        Ok(lost) => anyhow::Error::new(*lost).context(CUT_OFF),
        Err(error) => anyhow!("{CUT_OFF}: {error}"),
    })?;
    Ok(body.to_bytes())
}
