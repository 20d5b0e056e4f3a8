//! Chunks of a filesystem datastore: reading them, setting damaged ones aside
//! (`datastore-layout.md` §12).

use std::sync::Arc;

use api_types::digest::Digest;
use bytes::Bytes;

use crate::chunk_store::ChunkStore;
use crate::error::Result;
use crate::local_error::{LocalError, LocalResult};

use super::VerifyMode;
use super::chunk::{Verdict, judge};
use super::run::Run;

impl Run<'_> {
    pub(super) async fn check_local(&self, digest: Digest) -> Result<Verdict> {
        if self.options.mode == VerifyMode::Quick {
            let chunks = Arc::clone(&self.store.chunks);
            let local = self
                .store
                .env
                .blocking(move || chunks.stat_chunk(&digest))
                .await?;
            if local.is_some_and(|chunk| !chunk.is_marker()) {
                return Ok(Verdict::Plausible);
            }
        }
        let read = {
            let _permit = self.readers.acquire().await;
            let chunks = Arc::clone(&self.store.chunks);
            self.store
                .env
                .blocking(move || read(&chunks, &digest))
                .await?
        };
        let verdict = match read {
            Read::Bytes(raw) => {
                let _permit = self.workers.acquire().await;
                self.store.env.blocking(move || judge(raw, &digest)).await
            }
            Read::Unusable(reason) => Verdict::Corrupt(reason),
            Read::Nothing => Verdict::Missing,
        };
        match verdict {
            Verdict::Corrupt(_) | Verdict::Missing => self.confirm_local(digest).await,
            verdict => Ok(verdict),
        }
    }

    /// Looks again while nobody can write the chunk, and sets it aside if it is damaged: an upload
    /// may have replaced it since.
    async fn confirm_local(&self, digest: Digest) -> Result<Verdict> {
        let chunks = Arc::clone(&self.store.chunks);
        let (verdict, number) = self
            .with_slot(digest, move |slot| -> LocalResult<(Verdict, Option<u8>)> {
                let verdict = match read(&chunks, &digest)? {
                    Read::Bytes(raw) => judge(raw, &digest),
                    Read::Unusable(reason) => Verdict::Corrupt(reason),
                    Read::Nothing => Verdict::Missing,
                };
                let mut number = None;
                if matches!(verdict, Verdict::Corrupt(_)) {
                    let free = chunks.next_bad_number(&digest, &[])?;
                    chunks.rename_bad(&digest, free)?;
                    number = Some(free);
                }
                if matches!(verdict, Verdict::Corrupt(_) | Verdict::Missing) {
                    slot.set_lost(true);
                }
                Ok((verdict, number))
            })
            .await?;
        if let Some(number) = number {
            let path = self.store.chunks.bad_path(&digest, number);
            self.task
                .log(&format!("corrupt chunk renamed to {}", path.display()));
        }
        Ok(verdict)
    }
}

enum Read {
    Bytes(Bytes),
    /// Something is there that cannot be a chunk.
    Unusable(String),
    Nothing,
}

fn read(chunks: &ChunkStore, digest: &Digest) -> LocalResult<Read> {
    match chunks.read_chunk(digest) {
        Ok(Some(raw)) => Ok(Read::Bytes(raw)),
        Ok(None) if chunks.stat_chunk(digest)?.is_some() => {
            Ok(Read::Unusable(format!("chunk {digest} is empty")))
        }
        Ok(None) => Ok(Read::Nothing),
        Err(error @ LocalError::Invalid { .. }) => Ok(Read::Unusable(error.to_string())),
        Err(error) => Err(error),
    }
}
