//! Chunks from the server: asked for again where that may help, decrypted and checked.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context as _, Result, ensure};
use api_types::digest::Digest;
use bytes::Bytes;
use datastore::env::Env;
use datastore::format::{CryptConfig, DataBlob, MAX_CHUNK_ENCODED, MAX_CHUNK_PLAIN};

use super::connection::Connection;
use super::crypt::chunk_digest;
use super::fault::{Fault, GivenUp};
use super::limiter::Limiter;
use super::workers::Workers;

/// As many chunks refused in a row are not some that are missing.
const MOST_REFUSED: u32 = 16;

/// Which chunk is wanted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    pub(super) digest: Digest,
    pub(super) size: u64,
    pub(super) encrypted: bool,
}

/// Gets chunks.
#[derive(Debug)]
pub(super) struct Fetcher {
    pub(super) connection: Connection,
    pub(super) key: Option<Arc<CryptConfig>>,
    pub(super) workers: Workers,
    pub(super) limiter: Option<Limiter>,
    pub(super) env: Env,
    /// Chunks that the server has refused since it gave one.
    pub(super) refused: AtomicU32,
}

impl Fetcher {
    /// The plain data of a chunk.
    pub(super) async fn chunk(&self, wanted: Wanted) -> Result<Bytes> {
        let digest = wanted.digest;
        let read = async {
            let raw = self.stored(&format!("chunk?digest={digest}")).await?;
            let key = self.key.clone();
            let decode = move || decode(&raw, &wanted, key.as_deref());
            self.workers.run(decode).await?
        };
        let chunk: Result<_> = read.await;
        chunk.with_context(|| format!("failed to read chunk {digest}"))
    }

    /// A chunk as it is stored, if the server gives it at last.
    async fn stored(&self, target: &str) -> Result<Bytes> {
        let mut failures = 0;
        loop {
            let error = match self.download(target, MAX_CHUNK_ENCODED).await {
                Ok(raw) => {
                    self.refused.store(0, Ordering::Relaxed);
                    return Ok(raw);
                }
                Err(error) => error,
            };
            failures += 1;
            let fault = Fault::of(&error);
            match fault.pause(failures) {
                Some(pause) if self.connection.is_open() => {
                    // Those that were asked for together need not be asked for together again.
                    let half = pause / 2;
                    self.env.sleep(half + self.env.jitter(half)).await;
                }
                _ => return Err(self.given_up(fault, error)),
            }
        }
    }

    /// What it means that a chunk could not be had.
    fn given_up(&self, fault: Fault, error: anyhow::Error) -> anyhow::Error {
        if fault != Fault::Refused {
            return error;
        }
        match self.refused.fetch_add(1, Ordering::Relaxed) + 1 {
            refused @ MOST_REFUSED.. => error.context(GivenUp(refused)),
            _ => error,
        }
    }

    /// Downloads something of length.
    pub(super) async fn download(&self, target: &str, limit: u64) -> Result<Bytes> {
        let download = self.connection.download(target, limit);
        match &self.limiter {
            Some(limiter) => limiter.during(download, |raw| raw.len() as u64).await,
            None => download.await,
        }
    }
}

/// The plain data of a chunk, if it is what the index says.
fn decode(raw: &Bytes, wanted: &Wanted, key: Option<&CryptConfig>) -> Result<Bytes> {
    let blob = DataBlob::from_bytes(raw.clone())?;
    blob.verify_crc()?;
    let is = |encrypted| {
        if encrypted {
            "encrypted"
        } else {
            "not encrypted"
        }
    };
    ensure!(
        blob.is_encrypted() == wanted.encrypted,
        "it is {}, its archive is {}",
        is(blob.is_encrypted()),
        is(wanted.encrypted)
    );
    let key = key.filter(|_| wanted.encrypted);
    let plain = match blob.plain(key, MAX_CHUNK_PLAIN)? {
        // As it is stored: no copy.
        Cow::Borrowed(plain) => raw.slice_ref(plain),
        Cow::Owned(plain) => Bytes::from(plain),
    };
    ensure!(
        plain.len() as u64 == wanted.size,
        "it has {} bytes, not {}",
        plain.len(),
        wanted.size
    );
    ensure!(
        chunk_digest(key, &plain) == wanted.digest,
        "its content is not what its digest says"
    );
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::time::Duration;

    use http_body_util::Full;
    use hyper::body::Incoming;
    use hyper::service::service_fn;
    use hyper::{Request, Response, StatusCode};
    use hyper_util::rt::{TokioExecutor, TokioIo};

    use super::*;

    const GOOD: StatusCode = StatusCode::OK;
    const BUSY: StatusCode = StatusCode::SERVICE_UNAVAILABLE;
    const BAD: StatusCode = StatusCode::BAD_REQUEST;

    /// The chunk that the server has.
    fn wanted() -> (Wanted, Bytes) {
        let content = b"content";
        let blob = DataBlob::encode_with_iv(content, None, false).unwrap();
        let wanted = Wanted {
            digest: chunk_digest(None, content),
            size: content.len() as u64,
            encrypted: false,
        };
        (wanted, blob.into_raw())
    }

    /// Of a server that answers like this, then goes away.
    async fn fetcher(answers: &[StatusCode]) -> Fetcher {
        let (ours, theirs) = tokio::io::duplex(1 << 16);
        let answers = Arc::new(Mutex::new(answers.to_vec()));
        tokio::spawn(async move {
            let service = service_fn(move |_: Request<Incoming>| {
                let mut answers = answers.lock().unwrap();
                let status = (!answers.is_empty()).then(|| answers.remove(0));
                async move {
                    let status = status.ok_or_else(|| std::io::Error::other("no more"))?;
                    let body = if status == GOOD {
                        wanted().1
                    } else {
                        Bytes::new()
                    };
                    let mut response = Response::new(Full::new(body));
                    *response.status_mut() = status;
                    Ok::<_, std::io::Error>(response)
                }
            });
            let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            let _ = server.serve_connection(TokioIo::new(theirs), service).await;
        });
        let client = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
        let (requests, work) = client
            .handshake::<_, Full<Bytes>>(TokioIo::new(ours))
            .await
            .unwrap();
        tokio::spawn(work);
        let env = Env::seeded(1, 0);
        Fetcher {
            connection: Connection::new(requests),
            key: None,
            workers: Workers::new(&env),
            limiter: None,
            env,
            refused: AtomicU32::new(0),
        }
    }

    /// What comes of asking for chunks of such a server, one after the other.
    async fn asked(answers: &[StatusCode], times: usize) -> Vec<Result<Bytes, Fault>> {
        let fetcher = fetcher(answers).await;
        let mut got = Vec::new();
        for _ in 0..times {
            let chunk = fetcher.chunk(wanted().0).await;
            got.push(chunk.map_err(|error| Fault::of(&error)));
        }
        got
    }

    #[tokio::test(start_paused = true)]
    async fn what_passes_costs_no_chunk() {
        let content = [Ok(Bytes::from_static(b"content"))];
        let busy = vec![BUSY; 7];
        for answers in [
            &[GOOD][..],
            &[BAD, BUSY, GOOD],
            &[busy, vec![GOOD]].concat(),
        ] {
            assert_eq!(asked(answers, 1).await, content, "{answers:?}");
        }
        assert_eq!(asked(&[BUSY; 8], 1).await, [Err(Fault::Unavailable)]);
        assert_eq!(
            asked(&[BAD, BAD, BAD, GOOD], 1).await,
            [Err(Fault::Refused)]
        );
        let began = Env::seeded(1, 0).now();
        let denied = [StatusCode::FORBIDDEN, GOOD];
        assert_eq!(asked(&denied, 1).await, [Err(Fault::Denied)]);
        assert_eq!(asked(&[], 1).await, [Err(Fault::Lost)]);
        assert!(began.elapsed() < Duration::from_secs(3));
    }

    #[tokio::test(start_paused = true)]
    async fn chunks_refused_one_after_the_other_are_no_damage() {
        let most = usize::try_from(MOST_REFUSED).unwrap();
        let got = asked(&vec![BAD; 3 * most], most).await;
        let (last, before) = got.split_last().unwrap();
        assert!(before.iter().all(|it| *it == Err(Fault::Refused)));
        assert_eq!(*last, Err(Fault::Over));
        // One that is given shows that others are missing.
        let good = [vec![BAD; 3 * (most - 1)], vec![GOOD], vec![BAD; 3]].concat();
        let got = asked(&good, most + 1).await;
        assert!(got[most - 1].is_ok());
        assert_eq!(got[most], Err(Fault::Refused));
    }
}
