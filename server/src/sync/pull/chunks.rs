//! The chunks of an index: those that are missing here are fetched, many at once.

use std::collections::HashSet;

use anyhow::{Context as _, Result, ensure};
use api_types::digest::Digest;
use api_types::status::CryptMode;
use bytes::Bytes;
use datastore::format::index::{AnyIndexReader, IndexFile as _};
use datastore::format::{DataBlob, FileInfo};
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use s3_client::env::Env;
use tokio::sync::Semaphore;

use super::source::Reader;
use super::target::Target;
use crate::sync::summary::Totals;

/// Chunks asked for at once, by all groups of a pull together.
pub(super) const PARALLEL: usize = 20;

/// What fetching chunks takes.
pub(super) struct Fetch<'a> {
    pub(super) env: &'a Env,
    pub(super) reader: &'a Reader,
    pub(super) target: &'a Target,
    /// Turns at fetching.
    pub(super) turns: &'a Semaphore,
    pub(super) totals: &'a Totals,
}

/// A chunk of an index, once.
type Wanted = (Digest, u32);

impl Fetch<'_> {
    /// Fetches what is missing of an index; gives the bytes that came.
    pub(super) async fn index(&self, file: &FileInfo, raw: &Bytes) -> Result<u64> {
        let wanted = read_index(self.env, file, raw.clone()).await?;
        let encrypted = file.crypt_mode == CryptMode::Encrypt;
        stream::iter(wanted)
            .map(|wanted| self.chunk(wanted, encrypted))
            .buffer_unordered(PARALLEL)
            .try_fold(0, |sum, bytes| async move { Ok(sum + bytes) })
            .await
    }

    async fn chunk(&self, (digest, size): Wanted, encrypted: bool) -> Result<u64> {
        if self.target.touch_known(digest, size).await? {
            return Ok(0);
        }
        let _turn = self.turns.acquire().await?;
        let fetch = async {
            let blob = self.reader.chunk(&digest).await?;
            let bytes = blob.raw_size();
            let blob = self.env.blocking(move || check(blob, encrypted)).await?;
            self.target.insert_chunk(digest, size, blob).await?;
            self.totals.transferred(1, bytes);
            Ok(bytes)
        };
        let fetched: Result<u64> = fetch.await;
        fetched.with_context(|| format!("failed to fetch chunk {digest}"))
    }
}

/// What nobody looks at again: a chunk whose CRC is wrong would be stored with a right one.
fn check(blob: DataBlob, encrypted: bool) -> Result<DataBlob> {
    blob.verify_crc()?;
    let is = |encrypted: bool| {
        if encrypted {
            "encrypted"
        } else {
            "not encrypted"
        }
    };
    ensure!(
        blob.is_encrypted() == encrypted,
        "it is {}, its archive is {}",
        is(blob.is_encrypted()),
        is(encrypted)
    );
    Ok(blob)
}

/// The chunks of an index, if it is the one that the manifest lists.
async fn read_index(env: &Env, file: &FileInfo, raw: Bytes) -> Result<Vec<Wanted>> {
    let file = file.clone();
    env.blocking(move || {
        let name = file.filename.as_str();
        let kind = file
            .filename
            .archive_type()
            .context("it has no known type")?;
        let index = AnyIndexReader::from_bytes(raw, name, kind)?;
        let (mut seen, mut wanted) = (HashSet::new(), Vec::new());
        let mut entries = index.entries();
        while let Some(entry) = entries.next_entry()? {
            if seen.insert(entry.digest) {
                wanted.push((entry.digest, u32::try_from(entry.size())?));
            }
        }
        let summary = entries.finish()?;
        ensure!(
            summary.csum == *file.csum.as_bytes() && summary.size == file.size,
            "{name} is not the index that the manifest lists"
        );
        Ok(wanted)
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damaged_and_unencrypted_chunks_are_refused() {
        let blob = DataBlob::encode_with_iv(b"content", None, true).unwrap();
        assert!(check(blob.clone(), false).is_ok());
        let error = check(blob.clone(), true).unwrap_err();
        assert!(error.to_string().contains("not encrypted"), "{error}");
        let mut raw = blob.into_raw().to_vec();
        let last = raw.len() - 1;
        raw[last] ^= 1;
        let damaged = DataBlob::from_bytes(raw.into()).unwrap();
        let error = check(damaged, false).unwrap_err();
        assert!(error.to_string().contains("crc"), "{error}");
    }
}
