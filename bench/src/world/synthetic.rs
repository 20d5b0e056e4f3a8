//! A server whose chunks exist only by rule: it lists as many as asked for and keeps none.
//!
//! It speaks just enough S3 for a collection: chunk keys are made up page by page from a
//! [`Corpus`], deletes are counted, other objects are kept. What it is for is the memory of its
//! client, in another process.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result};
use api_types::digest::Digest;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use super::corpus::Corpus;

/// The one bucket.
pub const BUCKET: &str = "synthetic";
/// A PUT of this key makes the chunks visible: a datastore is created on an empty prefix.
pub const APPEAR: &str = "appear";

const PAGE: u64 = 1000;

/// A running server; stops when dropped.
#[derive(Debug)]
pub struct SyntheticServer {
    state: Arc<State>,
    port: u16,
    task: tokio::task::JoinHandle<()>,
}

#[derive(Debug)]
struct State {
    corpus: Corpus,
    /// `/<store>/.chunks/`
    chunks: String,
    visible: AtomicBool,
    deleted: AtomicU64,
    objects: Mutex<BTreeMap<String, Bytes>>,
}

impl Drop for SyntheticServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl SyntheticServer {
    /// Serves the chunks of this corpus to the datastore of that name.
    pub async fn start(corpus: Corpus, store: &str) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))
            .await
            .context("cannot listen on 127.0.0.1")?;
        let port = listener.local_addr()?.port();
        let state = Arc::new(State {
            corpus,
            chunks: format!("{store}/.chunks/"),
            visible: AtomicBool::new(false),
            deleted: AtomicU64::new(0),
            objects: Mutex::default(),
        });
        let shared = Arc::clone(&state);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let state = Arc::clone(&shared);
                tokio::spawn(async move {
                    let service = service_fn(move |request| answer(Arc::clone(&state), request));
                    // A client that leaves is no concern of ours.
                    let _ = http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        Ok(Self { state, port, task })
    }

    /// Where it listens, on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Keys that were to be deleted.
    #[must_use]
    pub fn deleted(&self) -> u64 {
        self.state.deleted.load(Ordering::SeqCst)
    }
}

async fn answer(
    state: Arc<State>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map(|body| body.to_bytes());
    let (status, bytes) = match body {
        Ok(body) => state.answer(&parts.method, parts.uri.path(), parts.uri.query(), &body),
        Err(_) => (400, Bytes::new()),
    };
    let mut response = Response::new(Full::new(bytes));
    *response.status_mut() = hyper::StatusCode::from_u16(status).unwrap_or_default();
    Ok(response)
}

impl State {
    fn answer(
        &self,
        method: &Method,
        path: &str,
        query: Option<&str>,
        body: &[u8],
    ) -> (u16, Bytes) {
        let path = path.trim_start_matches('/');
        let key = path.strip_prefix(BUCKET).unwrap_or(path);
        let key = key.trim_start_matches('/');
        match (method.as_str(), key) {
            ("HEAD", "") => (200, Bytes::new()),
            ("GET", "") => (200, self.list(query.unwrap_or_default()).into()),
            ("POST", _) => {
                let keys = body.windows(5).filter(|w| w == b"<Key>").count();
                self.deleted
                    .fetch_add(u64::try_from(keys).unwrap_or(0), Ordering::SeqCst);
                (200, Bytes::from_static(b"<DeleteResult></DeleteResult>"))
            }
            ("PUT", APPEAR) => {
                self.visible.store(true, Ordering::SeqCst);
                (200, Bytes::new())
            }
            ("PUT", _) => {
                self.objects()
                    .insert(key.to_owned(), Bytes::copy_from_slice(body));
                (200, Bytes::new())
            }
            ("HEAD", _) if key.starts_with(&self.chunks) => (200, Bytes::new()),
            ("GET" | "HEAD", _) => match self.objects().get(key) {
                Some(body) => (200, body.clone()),
                None => (404, error("NoSuchKey")),
            },
            ("DELETE", _) => {
                self.objects().remove(key);
                (204, Bytes::new())
            }
            _ => (501, error("NotImplemented")),
        }
    }

    fn objects(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Bytes>> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A page of keys; the token is the rank to go on with.
    fn list(&self, query: &str) -> String {
        let parameter = |name: &str| {
            let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            let mut found = pairs.filter(|(key, _)| *key == name);
            found.next().map(|(_, value)| value.replace("%2F", "/"))
        };
        let prefix = parameter("prefix").unwrap_or_default();
        let mut xml = String::with_capacity(360 * 1000);
        xml.push_str("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<ListBucketResult>");
        let shard = prefix.strip_prefix(&self.chunks);
        let shard = shard.filter(|_| self.visible.load(Ordering::SeqCst));
        let more = match shard {
            Some(shard) => {
                let first = parameter("continuation-token").and_then(|token| token.parse().ok());
                let first = first.unwrap_or_else(|| self.corpus.rank_of(&first_digest(shard)));
                self.list_chunks(&mut xml, shard, first)
            }
            None => None,
        };
        let _ = write!(xml, "<IsTruncated>{}</IsTruncated>", more.is_some());
        if let Some(rank) = more {
            let _ = write!(xml, "<NextContinuationToken>{rank}</NextContinuationToken>");
        }
        xml.push_str("</ListBucketResult>");
        xml
    }

    /// The chunks of a shard from that rank on; where the next page begins, if there is one.
    fn list_chunks(&self, xml: &mut String, shard: &str, first: u64) -> Option<u64> {
        // Names in a shard of up to three digits begin with their directory.
        let inside = |hex: &str| hex.starts_with(shard.trim_end_matches('/'));
        for rank in first..self.corpus.count() {
            let hex = self.corpus.digest(rank).to_hex();
            if !inside(&hex) {
                return None;
            }
            if rank - first == PAGE {
                return Some(rank);
            }
            let (chunks, directory) = (&self.chunks, &hex[..4]);
            let _ = write!(
                xml,
                "<Contents><Key>{chunks}{directory}/{hex}</Key>\
                 <LastModified>2025-01-01T00:00:00.000Z</LastModified>\
                 <ETag>&quot;0123456789abcdef0123456789abcdef&quot;</ETag>\
                 <Size>1048576</Size><StorageClass>STANDARD</StorageClass></Contents>"
            );
        }
        None
    }
}

/// The lowest digest that begins with these hex digits.
fn first_digest(shard: &str) -> Digest {
    let mut hex: String = shard.chars().filter(char::is_ascii_hexdigit).collect();
    hex.truncate(64);
    let padded = format!("{hex:0<64}");
    Digest::from_hex(&padded).unwrap_or(Digest::from_bytes([0; 32]))
}

fn error(code: &str) -> Bytes {
    format!("<Error><Code>{code}</Code><Message>{code}</Message></Error>").into()
}
