//! Verification: is what the manifests promise really there (`formats.md` §8.3, `s3-backend.md`
//! §10, `gc.md` §6.3)?
//!
//! Every chunk is looked at once per run, whichever snapshot names it first. Only bytes that were
//! read whole and contradict themselves prove damage; trouble on the way to them proves nothing,
//! and no verdict is written about a snapshot that met it.
//!
//! | module | job |
//! |---|---|
//! | `run` | which snapshots, in which order; the log |
//! | `snapshot` | one snapshot: its files, its verdict |
//! | `index` | the chunks of one index, many at a time |
//! | `chunk` | one chunk: sound, damaged, missing, or not to be had |
//! | `local` | damage on a filesystem datastore: set aside as `.N.bad` |
//! | `object` | damage in a bucket: heal from the cache, else set aside |
//! | `listing` | presence and size of all chunk objects, for quick runs |
//! | `mirror` | the bucket's copies of the metadata files |

mod chunk;
mod index;
mod listing;
mod local;
mod mirror;
mod object;
mod run;
mod snapshot;
#[cfg(test)]
mod tests;

use api_types::names::{BackupGroup, BackupNamespace};
use serde::Serialize;

use crate::error::{Error, Result};

/// How closely to look.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum VerifyMode {
    /// Read every chunk. On S3 this downloads everything that the snapshots hold.
    #[default]
    Full,
    /// Presence and plausible size only; on S3 from one listing. Finds what is missing or
    /// truncated, and vouches for nothing.
    Quick,
}

/// What to verify, and how.
#[derive(Clone, Copy, Debug)]
pub struct VerifyOptions {
    /// How closely to look.
    pub mode: VerifyMode,
    /// Skip snapshots that have been verified, whatever the result.
    pub ignore_verified: bool,
    /// But not those whose verification is more than so many days old.
    pub outdated_after: Option<i64>,
    /// Chunks read at once; the datastore's tuning says if absent.
    pub read_threads: Option<u32>,
    /// Chunks checked at once; the datastore's tuning says if absent.
    pub verify_threads: Option<u32>,
}

impl Default for VerifyOptions {
    /// Upstream's defaults.
    fn default() -> Self {
        Self {
            mode: VerifyMode::Full,
            ignore_verified: true,
            outdated_after: None,
            read_threads: None,
            verify_threads: None,
        }
    }
}

/// Which part of a datastore to go through.
pub struct VerifyScope<'a> {
    /// Where to begin.
    pub ns: BackupNamespace,
    /// Levels below it; absent: all.
    pub max_depth: Option<usize>,
    /// Which groups the asking user may see.
    pub may_verify: &'a (dyn Fn(&BackupNamespace, &BackupGroup) -> bool + Send + Sync),
}

/// What a run found.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct VerifyReport {
    /// Snapshots looked at and found sound.
    pub sound: u64,
    /// Snapshots not looked at: verified before, or in use.
    pub skipped: u64,
    /// Snapshots and groups that failed.
    pub failed: Vec<String>,
    /// Objects put right again from the local disk.
    pub healed: u64,
    /// Damaged chunks.
    pub corrupt_chunks: u64,
    /// Missing chunks.
    pub missing_chunks: u64,
}

impl VerifyReport {
    /// The end of the task.
    ///
    /// # Errors
    /// If anything failed.
    pub fn into_task_result(self) -> Result<Self> {
        if self.failed.is_empty() {
            return Ok(self);
        }
        Err(Error::Refused(
            "verification failed - please check the log for details".into(),
        ))
    }
}
