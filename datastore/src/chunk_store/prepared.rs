//! Payloads written beside their place, to be renamed into it under the digest's lock.

use std::path::{Path, PathBuf};

use api_types::digest::Digest;

use super::{ChunkStore, durability};
use crate::atomic_file::{self, TempFile};
use crate::file_time::FileTime;
use crate::local_error::{LocalError, LocalResult};

/// A payload on disk that is not a chunk file yet; dropped uncommitted, it is removed.
#[derive(Debug)]
pub struct PreparedPayload {
    temp: TempFile,
    path: PathBuf,
}

impl ChunkStore {
    /// Writes a payload beside its place; with `fsync` it is on disk afterwards.
    ///
    /// The slow part of [`write_payload`](Self::write_payload), to be done without the digest's
    /// lock; [`commit_payload`](Self::commit_payload) is the part under it.
    pub fn prepare_payload(
        &self,
        digest: &Digest,
        data: &[u8],
        time: FileTime,
        fsync: bool,
    ) -> LocalResult<PreparedPayload> {
        let path = self.chunk_path(digest);
        if data.is_empty() {
            let reason = "it is empty, like a marker";
            return Err(LocalError::refused("write payload", path, reason));
        }
        let mut options = self.file_options(durability(fsync));
        options.atime = Some(time);
        let write =
            || atomic_file::write_beside(&path, &options, |file| file.write_past_cache(data));
        let temp = match write() {
            Err(error) if error.is_not_found() => {
                self.create_prefix_dir(&path)?;
                write()?
            }
            result => result?,
        };
        Ok(PreparedPayload { temp, path })
    }

    /// Renames a prepared payload into its place: the chunk is present afterwards.
    pub fn commit_payload(&self, prepared: PreparedPayload) -> LocalResult<()> {
        let PreparedPayload { temp, path } = prepared;
        temp.persist(&path)
    }

    /// Makes the names in the directory of a digest durable.
    pub fn sync_chunk_dir(&self, digest: &Digest) -> LocalResult<()> {
        let path = self.chunk_path(digest);
        atomic_file::sync_dir(path.parent().unwrap_or(Path::new("/")))
    }

    /// Digests of all chunk files and markers, in order.
    pub fn iterate_chunks(&self) -> impl Iterator<Item = LocalResult<Digest>> + '_ {
        self.iterate(0..=u16::MAX)
            .flat_map(|listing| match listing {
                Ok(listing) => listing
                    .entries
                    .into_iter()
                    .filter(|entry| entry.kind == super::EntryKind::Chunk)
                    .filter_map(|entry| entry.digest.map(Ok))
                    .collect::<Vec<_>>(),
                Err(error) => vec![Err(error)],
            })
    }
}
