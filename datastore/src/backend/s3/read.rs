//! Reading a chunk: cached payload, or one GET for all who ask at once (`s3-backend.md` §6).
//!
//! What comes from the bucket is checked (header, CRC, and the digest of plain chunks) before it is
//! served or cached. A cache fill replaces an existing marker, under the shard lock, and never
//! creates a file ◆: the GET may be older than a whole delete that ran meanwhile.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use api_types::digest::Digest;
use s3_client::S3Client;
use tokio::sync::OnceCell;

use crate::error::{Error, Result};
use crate::file_time::FileTime;
use crate::format::blob::DataBlob;

use super::S3Backend;
use super::bounded::{Bounded, OVERSIZED};
use super::insert::Payload;

/// GETs under way, by digest: later readers wait for the first one's answer.
#[derive(Debug, Default)]
pub struct ReadsInFlight {
    cells: Mutex<HashMap<Digest, Arc<OnceCell<Option<DataBlob>>>>>,
}

impl ReadsInFlight {
    fn cell(&self, digest: Digest) -> Arc<OnceCell<Option<DataBlob>>> {
        Arc::clone(self.lock().entry(digest).or_default())
    }

    /// Forgets a finished read, unless another one has begun under the same digest.
    fn finish(&self, digest: &Digest, cell: &Arc<OnceCell<Option<DataBlob>>>) {
        let mut cells = self.lock();
        if cells
            .get(digest)
            .is_some_and(|current| Arc::ptr_eq(current, cell))
        {
            cells.remove(digest);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Digest, Arc<OnceCell<Option<DataBlob>>>>> {
        self.cells.lock().unwrap_or_else(PoisonError::into_inner)
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
        let cell = self.reads.cell(digest);
        let fetched = cell.get_or_try_init(|| self.fetch(client, digest)).await;
        self.reads.finish(&digest, &cell);
        let Some(blob) = fetched?.clone() else {
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
