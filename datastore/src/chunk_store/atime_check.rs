//! Whether the file system keeps explicit access times (datastore-layout.md §9.2).
//!
//! Garbage collection on access times would delete live chunks on a file system that ignores
//! them, so it is tried out first.

use std::path::{Path, PathBuf};
use std::time::Duration;

use api_types::datastore::SyncLevel;
use api_types::digest::Digest;

use super::{ChunkStore, LocalChunk, remove, stat_file, touch};
use crate::atomic_file::Durability;
use crate::env::Env;
use crate::file_time::FileTime;
use crate::local_error::{LocalError, LocalResult};

/// The file on which the check is made.
#[derive(Clone, Copy, Debug)]
pub enum AtimeProbe<'a> {
    /// A real chunk, inserted like any other: its digest and encoded bytes (the chunk of 4 MiB
    /// zero bytes). For filesystem datastores.
    Chunk {
        /// Its digest.
        digest: &'a Digest,
        /// Its encoded form.
        raw: &'a [u8],
    },
    /// A scratch file beside the chunks, removed afterwards. For S3 datastores, where a file
    /// named like a chunk would claim that the object exists.
    ScratchFile,
}

/// Name of the scratch file; the sweep ignores it.
const SCRATCH_NAME: &str = ".atime-check";

impl ChunkStore {
    /// Fails unless setting a file's access time one second later moves it.
    pub async fn check_atime_updates(&self, env: &Env, probe: AtimeProbe<'_>) -> LocalResult<()> {
        for _attempt in 0..2 {
            let path = self.prepare_probe(env, probe)?;
            env.sleep(Duration::from_secs(1)).await;
            let before = stat_probe(&path)?;
            let touched = touch(&path, FileTime::now(env))?;
            let after = stat_probe(&path)?;
            if let AtimeProbe::ScratchFile = probe {
                remove(&path)?;
            }
            if touched && before.inode == after.inode {
                return judge(&path, before, after);
            }
            // Somebody replaced the chunk meanwhile: the times belong to two files.
        }
        let reason = "the chunk used for the atime safety check was replaced twice meanwhile";
        Err(LocalError::invalid(&self.chunks, reason))
    }

    fn prepare_probe(&self, env: &Env, probe: AtimeProbe<'_>) -> LocalResult<PathBuf> {
        let now = FileTime::now(env);
        match probe {
            AtimeProbe::Chunk { digest, raw } => {
                self.insert_chunk(digest, raw, SyncLevel::None, now)?;
                Ok(self.chunk_path(digest))
            }
            AtimeProbe::ScratchFile => {
                let path = self.chunks.join(SCRATCH_NAME);
                self.put_file(&path, b"atime safety check\n", Some(now), Durability::Lazy)?;
                Ok(path)
            }
        }
    }
}

fn stat_probe(path: &Path) -> LocalResult<LocalChunk> {
    stat_file(path)?.ok_or_else(|| {
        LocalError::invalid(path, "it vanished during the atime safety check; try again")
    })
}

fn judge(path: &Path, before: LocalChunk, after: LocalChunk) -> LocalResult<()> {
    if after.atime > before.atime {
        return Ok(());
    }
    let reason = "access times cannot be set on this file system, so that a garbage collection \
                  could not tell used chunks from garbage; mount it without atime restrictions";
    Err(LocalError::invalid(path, reason))
}
