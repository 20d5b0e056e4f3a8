//! Whether the file system keeps explicit access times (datastore-layout.md §9.2).
//!
//! Garbage collection on access times would delete live chunks on a file system that ignores
//! them, so it is tried out first.

use std::path::{Path, PathBuf};
use std::time::Duration;

use api_types::datastore::SyncLevel;

use super::{ChunkStore, LocalChunk, remove, stat_file, touch};
use crate::atomic_file::Durability;
use crate::env::Env;
use crate::file_time::FileTime;
use crate::format::zero_chunk::{ZERO_CHUNK_DIGEST, zero_chunk};
use crate::local_error::{LocalError, LocalResult};

/// The file on which the check is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtimeProbe {
    /// The chunk of 4 MiB zero bytes, inserted like any other. For filesystem datastores.
    ZeroChunk,
    /// A scratch file beside the chunks, removed afterwards. For S3 datastores, where a file
    /// named like a chunk would claim that the object exists.
    ScratchFile,
}

/// Name of the scratch file; the sweep ignores it.
const SCRATCH_NAME: &str = ".atime-check";

/// A file before and after its touch.
struct Trial {
    touched: bool,
    before: LocalChunk,
    after: LocalChunk,
}

impl ChunkStore {
    /// Fails unless setting a file's access time one second later moves it.
    pub async fn check_atime_updates(&self, env: &Env, probe: AtimeProbe) -> LocalResult<()> {
        for _attempt in 0..2 {
            let (store, clock) = (self.clone(), env.clone());
            let path = env
                .blocking(move || store.prepare_probe(&clock, probe))
                .await?;
            env.sleep(Duration::from_secs(1)).await;
            let (tried, time) = (path.clone(), FileTime::now(env));
            let trial = env.blocking(move || try_touch(&tried, time, probe)).await?;
            if trial.touched && trial.before.inode == trial.after.inode {
                return judge(&path, trial.before, trial.after);
            }
            // Somebody replaced the chunk meanwhile: the times belong to two files.
        }
        let reason = "the chunk used for the atime safety check was replaced twice meanwhile";
        Err(LocalError::invalid(&self.chunks, reason))
    }

    fn prepare_probe(&self, env: &Env, probe: AtimeProbe) -> LocalResult<PathBuf> {
        let now = FileTime::now(env);
        match probe {
            AtimeProbe::ZeroChunk => {
                let blob = zero_chunk()
                    .map_err(|error| LocalError::invalid(&self.chunks, error.to_string()))?;
                self.insert_chunk(&ZERO_CHUNK_DIGEST, blob.raw(), SyncLevel::None, now)?;
                Ok(self.chunk_path(&ZERO_CHUNK_DIGEST))
            }
            AtimeProbe::ScratchFile => {
                let path = self.chunks.join(SCRATCH_NAME);
                self.put_file(&path, b"atime safety check\n", Some(now), Durability::Lazy)?;
                Ok(path)
            }
        }
    }
}

fn try_touch(path: &Path, time: FileTime, probe: AtimeProbe) -> LocalResult<Trial> {
    let before = stat_probe(path)?;
    let touched = touch(path, time)?;
    let after = stat_probe(path)?;
    if probe == AtimeProbe::ScratchFile {
        remove(path)?;
    }
    Ok(Trial {
        touched,
        before,
        after,
    })
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
