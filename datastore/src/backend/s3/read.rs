//! Reading a chunk: cached payload, or one GET for all who ask at once (`s3-backend.md` §6).
//!
//! What comes from the bucket is checked (header, CRC, and the digest of plain chunks) before it is
//! served or cached. A cache fill replaces an existing marker, under the shard lock, and never
//! creates a file ◆: the GET may be older than a whole delete that ran meanwhile.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use api_types::digest::Digest;
use s3_client::S3Client;
use tokio::sync::OnceCell;

use crate::error::{Error, Result};
use crate::file_time::FileTime;
use crate::format::blob::DataBlob;

use super::S3Backend;
use super::bounded::{Bounded, OVERSIZED};
use super::insert::Payload;

/// The answer to a GET, once it is there.
type Answer = OnceCell<Option<DataBlob>>;

/// GETs under way, by digest: later readers wait for the first one's answer.
#[derive(Debug, Default)]
pub struct ReadsInFlight {
    answers: Mutex<HashMap<Digest, Weak<Answer>>>,
}

/// A reader's part in a GET.
#[derive(Debug)]
struct Reading<'a> {
    reads: &'a ReadsInFlight,
    digest: Digest,
    answer: Arc<Answer>,
}

impl ReadsInFlight {
    /// Joins the GET of a digest that is under way, or begins one.
    fn join(&self, digest: Digest) -> Reading<'_> {
        let mut answers = self.lock();
        let shared = answers.entry(digest).or_default();
        let answer = shared.upgrade().unwrap_or_default();
        *shared = Arc::downgrade(&answer);
        Reading {
            reads: self,
            digest,
            answer,
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Digest, Weak<Answer>>> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Reading<'_> {
    /// Whoever comes after an answer asks again. Without one, the GET is given up with its last
    /// reader, however that ends.
    fn drop(&mut self) {
        let mut answers = self.reads.lock();
        let is_over = self.answer.initialized() || Arc::strong_count(&self.answer) == 1;
        // Another one may have begun under the same digest.
        let is_ours = |shared: &Weak<Answer>| shared.as_ptr() == Arc::as_ptr(&self.answer);
        if is_over && answers.get(&self.digest).is_some_and(is_ours) {
            answers.remove(&self.digest);
        }
        // Under the lock, so that of two who leave at once one is the last.
        self.answer = Arc::default();
    }
}

impl S3Backend {
    /// Reads a chunk, from the cache if it is there.
    ///
    /// `fill` says whether a fetched payload may be cached; the caller holds the process lock then,
    /// since a process without it must not write chunk files ◆.
    ///
    /// # Errors
    /// [`Error::MissingChunk`] if the object is proven absent (presence of an ordinary digest
    /// without payload is dropped then, so that the next backup uploads it),
    /// [`Error::CorruptChunk`] if the object is damaged, else what the bucket answered.
    pub async fn read(
        self: &Arc<Self>,
        client: &S3Client,
        digest: Digest,
        fill: Payload,
    ) -> Result<DataBlob> {
        if let Some(blob) = self.read_cached(digest).await {
            self.cache.touch(&digest);
            return Ok(blob);
        }
        let reading = self.reads.join(digest);
        let fetch = || self.fetch(client, digest);
        let fetched = reading.answer.get_or_try_init(fetch).await.cloned();
        drop(reading);
        let Some(blob) = fetched? else {
            self.drop_absent(digest, fill).await?;
            return Err(Error::MissingChunk { digest });
        };
        if fill == Payload::Cache
            && let Err(error) = self.fill_cache(digest, &blob).await
        {
            tracing::warn!(%digest, %error, "chunk not cached");
        }
        Ok(blob)
    }

    /// GETs and checks a chunk object, past the cache; `None` = proven absent.
    ///
    /// # Errors
    /// [`Error::CorruptChunk`] if the object is damaged, else what the bucket answered.
    pub async fn fetch(&self, client: &S3Client, digest: Digest) -> Result<Option<DataBlob>> {
        let key = self.keys.chunk(&digest)?;
        let body = match self.get_chunk(client, &digest).await? {
            Bounded::Found(body) => body,
            Bounded::Absent => return Ok(None),
            Bounded::Oversized => {
                let reason = format!("object {key}: {OVERSIZED}");
                return Err(Error::CorruptChunk { digest, reason });
            }
        };
        let check = move || {
            let corrupt = |error: crate::format::FormatError| Error::CorruptChunk {
                digest,
                reason: format!("object {key}: {error}"),
            };
            let blob = DataBlob::from_bytes(body).map_err(corrupt)?;
            blob.verify_unencrypted(&digest, None).map_err(corrupt)?;
            Ok(Some(blob))
        };
        self.checks.run(&self.env, check).await
    }

    /// The cached payload, if it is there and sound; a damaged or unreadable one is ignored, and
    /// replaced by the next cache fill.
    async fn read_cached(self: &Arc<Self>, digest: Digest) -> Option<DataBlob> {
        let this = Arc::clone(self);
        self.blocking(move || {
            let raw = match this.local.read_chunk(&digest) {
                Ok(raw) => raw?,
                Err(error) => {
                    tracing::warn!(%digest, %error, "ignoring an unreadable cached chunk");
                    return None;
                }
            };
            let blob = DataBlob::from_bytes(raw).and_then(|blob| {
                blob.verify_crc()?;
                Ok(blob)
            });
            blob.inspect_err(|error| {
                tracing::warn!(%digest, %error, "ignoring a damaged cached chunk");
            })
            .ok()
        })
        .await
    }

    async fn fill_cache(self: &Arc<Self>, digest: Digest, blob: &DataBlob) -> Result<()> {
        let size = u64::try_from(blob.raw().len()).unwrap_or(u64::MAX);
        if !self.cache.admits(size) {
            return Ok(());
        }
        let this = Arc::clone(self);
        let (raw, is_plain) = (blob.raw().clone(), !blob.is_encrypted());
        let filled = self
            .blocking(move || -> Result<bool> {
                let prepared =
                    match this
                        .local
                        .prepare_payload(&digest, &raw, FileTime::now(&this.env), false)
                    {
                        Ok(prepared) => prepared,
                        Err(error) => {
                            tracing::warn!(%digest, %error, "chunk not cached");
                            return Ok(false);
                        }
                    };
                this.table.with(&digest, |slot| {
                    let present = this.local.stat_chunk(&digest)?.is_some();
                    if !slot.is_ordinary() || !present {
                        return Ok(false);
                    }
                    // The GET may be older than the replacement of a forged chunk, too.
                    let stored = this.local.stat_chunk(&digest)?;
                    if !is_plain && stored.is_some_and(|stored| stored.known_plain) {
                        return Ok(false);
                    }
                    this.local.commit_payload(prepared)?;
                    Ok(true)
                })
            })
            .await?;
        if filled {
            self.admit_to_cache(digest, size).await;
        }
        Ok(())
    }

    /// Drops the presence of an ordinary digest without payload whose object is proven absent.
    async fn drop_absent(self: &Arc<Self>, digest: Digest, fill: Payload) -> Result<()> {
        if fill == Payload::Discard {
            return Ok(());
        }
        self.with_slot(digest, |this, slot| {
            if !slot.is_ordinary() {
                return Ok(());
            }
            if this
                .local
                .stat_chunk(slot.digest())?
                .is_some_and(|chunk| chunk.size == 0)
            {
                this.drop_presence(slot.digest())?;
            }
            Ok(())
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use s3_mock::{Action, Fault, Gate, Op, Reply};

    use super::*;
    use crate::test_store::{TestStore, digest_of};

    const DATA: &[u8] = b"one";

    async fn with_marker() -> (TestStore, Arc<S3Backend>, Digest) {
        let test = TestStore::s3().await;
        let path = "vm/100/2026-01-01T00:00:00Z";
        test.backup_with("", path, &[DATA], Payload::Discard).await;
        let backend = Arc::clone(test.store.backend().s3().unwrap());
        (test, backend, digest_of(DATA))
    }

    fn hold_gets(test: &TestStore) -> Gate {
        let gate = Gate::new();
        let hold = Fault::on(Op::GetObject, Action::Pause(gate.clone()));
        test.server().script(hold.always());
        gate
    }

    fn reader(
        backend: &Arc<S3Backend>,
        digest: Digest,
    ) -> tokio::task::JoinHandle<Result<DataBlob>> {
        let backend = Arc::clone(backend);
        tokio::spawn(async move {
            let client = backend.client().clone();
            backend.read(&client, digest, Payload::Discard).await
        })
    }

    /// A restore that ends during a GET leaves nothing behind.
    #[tokio::test(start_paused = true)]
    async fn a_reader_that_is_dropped_leaves_no_trace() {
        let (test, backend, digest) = with_marker().await;
        let getting = hold_gets(&test);
        let (first, second) = (reader(&backend, digest), reader(&backend, digest));
        getting.arrived().await;
        assert_eq!(backend.reads.lock().len(), 1);
        for reader in [first, second] {
            assert_eq!(backend.reads.lock().len(), 1, "somebody still waits");
            reader.abort();
            assert!(reader.await.unwrap_err().is_cancelled());
        }
        assert_eq!(backend.reads.lock().len(), 0);
        getting.release();
        let read = reader(&backend, digest).await.unwrap().unwrap();
        assert_eq!(read.decode(None, 100).unwrap(), DATA);
        assert_eq!(backend.reads.lock().len(), 0);
    }

    /// Those who wait go on without the one whose GET it was, and others still join them.
    #[tokio::test(start_paused = true)]
    async fn the_others_go_on_without_the_first() {
        let (test, backend, digest) = with_marker().await;
        let getting = hold_gets(&test);
        let (first, second) = (reader(&backend, digest), reader(&backend, digest));
        getting.arrived().await;
        first.abort();
        assert!(first.await.unwrap_err().is_cancelled());
        getting.arrived_count(2).await;
        let third = reader(&backend, digest);
        tokio::task::yield_now().await;
        getting.release();
        for reader in [second, third] {
            assert!(reader.await.unwrap().is_ok());
        }
        assert_eq!(getting.arrivals(), 2);
        assert_eq!(backend.reads.lock().len(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_read_that_fails_leaves_no_trace() {
        let (test, backend, digest) = with_marker().await;
        let denied = Action::Reply(Reply::access_denied());
        test.server()
            .script(Fault::on(Op::GetObject, denied).times(2));
        for reader in [reader(&backend, digest), reader(&backend, digest)] {
            assert!(reader.await.unwrap().is_err());
        }
        assert_eq!(backend.reads.lock().len(), 0);
        assert!(reader(&backend, digest).await.unwrap().is_ok());
    }
}
