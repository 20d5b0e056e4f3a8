//! Phase 2 of a garbage collection on a filesystem datastore (datastore-layout.md §9.4).

use std::ops::RangeInclusive;
use std::path::Path;

use api_types::digest::Digest;
use api_types::status::GarbageCollectionStatus;

use super::{ChunkEntry, ChunkStore, EntryKind};
use crate::disk;
use crate::file_time::FileTime;
use crate::local_error::{AtPath, LocalResult, found};
use crate::task::{TaskContext, check_abort};

/// The times that decide about a chunk, in seconds since the epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SweepTimes {
    /// Chunks last used before this are garbage.
    pub min_atime: i64,
    /// Chunks last used before this, but not before `min_atime`, are pending.
    pub oldest_writer: i64,
}

/// Whether the sweep acts or only counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SweepMode {
    /// Remove garbage.
    Remove,
    /// Count what would be removed, change nothing.
    DryRun,
}

/// What the holder of the digests' states says about an entry whose access time allows removal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SweepPermission {
    /// It may go if it is old enough.
    Remove,
    /// It must stay, however old: counted as pending.
    Keep,
    /// An index references it: it stays and counts as in use. A dry run touches nothing, so that
    /// the access times do not tell.
    Live,
}

/// The caller's lock around the look at an entry and its removal.
///
/// Inserts and touches of the same digest must be excluded while `entry` runs, so that no chunk
/// goes between a writer's check that it exists and its touch.
pub trait SweepGate {
    /// Takes the lock of `digest`, calls `entry` exactly once with the permission, releases it.
    fn with_lock(
        &mut self,
        digest: &Digest,
        kind: EntryKind,
        entry: &mut dyn FnMut(SweepPermission) -> LocalResult<()>,
    ) -> LocalResult<()>;
}

/// What becomes of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Remove,
    Pending,
    OnDisk,
}

/// The table of datastore-layout.md §9.4; `atime` in whole seconds.
fn judge(atime: i64, times: SweepTimes, permission: SweepPermission) -> Verdict {
    match permission {
        SweepPermission::Live => Verdict::OnDisk,
        SweepPermission::Remove if atime < times.min_atime => Verdict::Remove,
        _ if atime < times.oldest_writer.max(times.min_atime) => Verdict::Pending,
        _ => Verdict::OnDisk,
    }
}

impl ChunkStore {
    /// Goes over the chunk files of a range of directories, removes those last used before
    /// `times.min_atime` and adds what it saw to the counters of `status`; returns how many chunk
    /// files, bad ones included, that were.
    ///
    /// A failed removal ends the sweep. Stops at the next entry when the task is aborted.
    pub fn sweep_unused_chunks(
        &self,
        directories: RangeInclusive<u16>,
        times: SweepTimes,
        mode: SweepMode,
        gate: &mut dyn SweepGate,
        task: &dyn TaskContext,
        status: &mut GarbageCollectionStatus,
    ) -> LocalResult<u64> {
        let mut seen: u64 = 0;
        for listing in self.iterate(directories) {
            let listing = listing?;
            let directory = self.prefix_dir(listing.prefix);
            for entry in &listing.entries {
                check_abort(task)?;
                let Some(digest) = &entry.digest else {
                    if mode == SweepMode::Remove {
                        let oldest = times.oldest_writer.min(times.min_atime);
                        self.remove_abandoned(listing.prefix, entry, oldest)?;
                    }
                    continue;
                };
                seen += 1;
                let path = directory.join(&entry.name);
                gate.with_lock(digest, entry.kind, &mut |permission| {
                    sweep_entry(entry, &path, times, mode, permission, status)
                })?;
            }
        }
        Ok(seen)
    }
}

fn sweep_entry(
    entry: &ChunkEntry,
    path: &Path,
    times: SweepTimes,
    mode: SweepMode,
    permission: SweepPermission,
    status: &mut GarbageCollectionStatus,
) -> LocalResult<()> {
    let Some(metadata) = found(path.symlink_metadata()).at("stat chunk", path)? else {
        return Ok(());
    };
    if !metadata.is_file() {
        return Ok(());
    }
    if entry.kind == EntryKind::Using {
        return unlink(path, mode);
    }
    let bad = matches!(entry.kind, EntryKind::Bad(_));
    let size = metadata.len();
    match judge(FileTime::accessed(&metadata).secs(), times, permission) {
        Verdict::Remove => {
            if let Err(error) = unlink(path, mode) {
                status.still_bad += u64::from(bad);
                return Err(error);
            }
            status.removed_bytes += size;
            if bad {
                status.removed_bad += 1;
            } else {
                status.removed_chunks += 1;
            }
        }
        Verdict::Pending => {
            status.pending_bytes += size;
            if bad {
                status.still_bad += 1;
            } else {
                status.pending_chunks += 1;
            }
        }
        Verdict::OnDisk => {
            status.disk_bytes += size;
            status.disk_chunks += u64::from(!bad);
        }
    }
    Ok(())
}

fn unlink(path: &Path, mode: SweepMode) -> LocalResult<()> {
    match mode {
        SweepMode::Remove => disk::remove_file(path).at("remove unused chunk", path),
        SweepMode::DryRun => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_follow_the_table() {
        let times = SweepTimes {
            min_atime: 100,
            oldest_writer: 200,
        };
        for (atime, verdict) in [
            (99, Verdict::Remove),
            (100, Verdict::Pending),
            (199, Verdict::Pending),
            (200, Verdict::OnDisk),
        ] {
            assert_eq!(
                judge(atime, times, SweepPermission::Remove),
                verdict,
                "{atime}"
            );
        }
        assert_eq!(judge(99, times, SweepPermission::Keep), Verdict::Pending);
        assert_eq!(judge(99, times, SweepPermission::Live), Verdict::OnDisk);
    }
}
