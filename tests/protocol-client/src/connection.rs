//! HTTP/2 requests of a session.

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http2::{self, SendRequest};
use hyper::header::CONTENT_TYPE;
use hyper::{HeaderMap, Method, Request, StatusCode};
use hyper_util::rt::TokioExecutor;
use serde_json::Value;
use tokio::task::JoinHandle;

/// Windows and frames as large as the official client has them.
const WINDOW: u32 = (1 << 31) - 2;
const MAX_FRAME: u32 = 4 << 20;

/// An upgraded connection. Dropping it cuts the connection, as the official client does.
#[derive(Debug)]
pub struct Connection {
    requests: SendRequest<Full<Bytes>>,
    driver: JoinHandle<()>,
}

/// What the server said.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
}

/// The body of a request.
#[derive(Clone, Debug)]
pub enum Body {
    /// None, of the type that the official client claims.
    None,
    /// Parameters.
    Json(Value),
    /// An upload.
    Raw(Bytes),
    /// Anything, of any type, or of none.
    Typed(Option<&'static str>, Bytes),
}

impl Connection {
    /// Speaks HTTP/2 on a connection that was upgraded.
    pub async fn over<I>(io: I) -> Result<Self>
    where
        I: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
    {
        let (requests, connection) = http2::Builder::new(TokioExecutor::new())
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(WINDOW)
            .max_frame_size(MAX_FRAME)
            .handshake(io)
            .await
            .context("failed to open an HTTP/2 connection")?;
        let driver = tokio::spawn(async move {
            // Whoever waits for an answer hears of it.
            let _ = connection.await;
        });
        Ok(Self { requests, driver })
    }

    /// Makes a request; `target` is the path without its slash, and the query.
    pub async fn request(&self, method: Method, target: &str, body: Body) -> Result<Answer> {
        let (kind, bytes) = match body {
            Body::None => (Some("application/x-www-form-urlencoded"), Bytes::new()),
            Body::Json(value) => (Some("application/json"), value.to_string().into()),
            Body::Raw(bytes) => (Some("application/octet-stream"), bytes),
            Body::Typed(kind, bytes) => (kind, bytes),
        };
        let mut request = Request::builder()
            .method(method)
            .uri(format!("https://localhost:8007/{target}"));
        if let Some(kind) = kind {
            request = request.header(CONTENT_TYPE, kind);
        }
        self.send(request.body(Full::new(bytes))?).await
    }

    /// Makes a request as it is.
    pub async fn send(&self, request: Request<Full<Bytes>>) -> Result<Answer> {
        let response = self.requests.clone().send_request(request).await?;
        let (head, body) = response.into_parts();
        Ok(Answer {
            status: head.status,
            headers: head.headers,
            body: body.collect().await?.to_bytes(),
        })
    }

    /// GET without a body.
    pub async fn get(&self, target: &str) -> Result<Answer> {
        self.request(Method::GET, target, Body::None).await
    }

    /// POST without a body.
    pub async fn post(&self, target: &str) -> Result<Answer> {
        self.request(Method::POST, target, Body::None).await
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Answer {
    /// The body, if the request went well.
    pub fn ok(self) -> Result<Bytes> {
        if self.status.is_success() {
            return Ok(self.body);
        }
        bail!("{}: {}", self.status, self.text())
    }

    /// The body as JSON, if the request went well.
    pub fn json(self) -> Result<Value> {
        serde_json::from_slice(&self.ok()?).context("the answer is not JSON")
    }

    /// What stands under `data`, if the request went well.
    pub fn data(self) -> Result<Value> {
        let mut value = self.json()?;
        match value.get_mut("data") {
            Some(data) => Ok(data.take()),
            None => bail!("the answer has no data: {value}"),
        }
    }

    /// The body as a text: of refusals.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}
