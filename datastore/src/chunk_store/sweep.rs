//! Touch and sweep of one chunk directory in a garbage collection on a filesystem datastore
//! (datastore-layout.md §9.3, §9.4; ADR 0013).
//!
//! Upstream touches every chunk that an index names, then looks at the access time of every file.
//! Here the caller brings the complete list of what is named in a directory, so one visit does
//! both: what is named is touched first, then the rest is judged by its access time. The directory
//! is held open; its files are reached by name, not by path.

use std::path::{Path, PathBuf};

use api_types::digest::Digest;
use nix::sys::stat::{FileStat, SFlag};

use super::{ChunkEntry, ChunkStore, EntryKind};
use crate::disk::DiskDir;
use crate::env::Env;
use crate::file_time::FileTime;
use crate::local_error::{AtPath, LocalError, LocalResult, found};
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
    /// Touch what is named, remove garbage.
    Remove,
    /// Count what would be removed, change nothing.
    DryRun,
}

/// How to sweep.
#[derive(Clone, Debug)]
pub struct SweepRules {
    /// The bounds of access times.
    pub times: SweepTimes,
    /// Whether to act.
    pub mode: SweepMode,
    /// The clock for touches.
    pub env: Env,
}

/// What the holder of the digests' states says about a chunk that no index names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SweepPermission {
    /// It may go if it is old enough.
    Remove,
    /// It must stay, however old: counted as pending.
    Keep,
}

/// The caller's lock around the look at an entry and its touch or removal.
///
/// Inserts and touches of the same digest must be excluded while `entry` runs, so that no chunk
/// goes between a writer's check that it exists and its touch.
pub trait SweepGate {
    /// Takes the lock of a named digest, calls `touch` exactly once, and notes whether the chunk
    /// is there, as it says, before releasing it.
    fn with_named(
        &self,
        digest: &Digest,
        touch: &mut dyn FnMut() -> LocalResult<bool>,
    ) -> LocalResult<bool>;

    /// Takes the lock of a digest that no index names, calls `entry` exactly once with the
    /// permission, releases it.
    fn with_lock(
        &self,
        digest: &Digest,
        entry: &mut dyn FnMut(SweepPermission) -> LocalResult<()>,
    ) -> LocalResult<()>;
}

/// What a sweep has seen and done; the names are those of upstream's status.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SweepTally {
    /// Files that belong to a chunk.
    pub seen: u64,
    /// Chunks that stay in use.
    pub disk_chunks: u64,
    /// Bytes of what stays in use.
    pub disk_bytes: u64,
    /// Chunks removed.
    pub removed_chunks: u64,
    /// Bytes of what was removed.
    pub removed_bytes: u64,
    /// Chunks that are too young to be removed.
    pub pending_chunks: u64,
    /// Bytes of what is too young to be removed.
    pub pending_bytes: u64,
    /// Corrupt copies removed.
    pub removed_bad: u64,
    /// Corrupt copies that stay.
    pub still_bad: u64,
    /// Chunks that no index names.
    pub unmarked: u64,
    /// Named chunks that do not exist.
    pub missing: Vec<Digest>,
}

impl SweepTally {
    /// Adds what another part of the sweep has seen.
    pub fn add(&mut self, other: Self) {
        self.seen += other.seen;
        self.disk_chunks += other.disk_chunks;
        self.disk_bytes += other.disk_bytes;
        self.removed_chunks += other.removed_chunks;
        self.removed_bytes += other.removed_bytes;
        self.pending_chunks += other.pending_chunks;
        self.pending_bytes += other.pending_bytes;
        self.removed_bad += other.removed_bad;
        self.still_bad += other.still_bad;
        self.unmarked += other.unmarked;
        self.missing.extend(other.missing);
    }

    fn keep(&mut self, size: u64) {
        self.disk_chunks += 1;
        self.disk_bytes += size;
    }
}

/// What becomes of an entry that no index names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Remove,
    Pending,
    OnDisk,
}

/// The table of datastore-layout.md §9.4; `atime` in whole seconds.
fn judge(atime: i64, times: SweepTimes, permission: SweepPermission) -> Verdict {
    match permission {
        SweepPermission::Remove if atime < times.min_atime => Verdict::Remove,
        _ if atime < times.oldest_writer.max(times.min_atime) => Verdict::Pending,
        _ => Verdict::OnDisk,
    }
}

impl ChunkStore {
    /// Touches the chunks of one directory that are `named` (ascending, all of this prefix), then
    /// removes what is not and was last used before `rules.times.min_atime`.
    ///
    /// A failed removal ends the sweep. Stops at the next entry when the task is aborted.
    pub fn sweep_prefix(
        &self,
        prefix: u16,
        named: &[Digest],
        rules: &SweepRules,
        gate: &dyn SweepGate,
        task: &dyn TaskContext,
    ) -> LocalResult<SweepTally> {
        let path = self.prefix_dir(prefix);
        let mut sweep = PrefixSweep {
            store: self,
            prefix,
            dir: found(DiskDir::open(&path)).at("open chunk directory", &path)?,
            rules,
            gate,
            task,
            tally: SweepTally::default(),
        };
        let entries = match &sweep.dir {
            Some(dir) => Self::classify(prefix, dir.names().at("read chunk directory", &path)?),
            None => Vec::new(),
        };
        sweep.touch_named(named, &entries)?;
        sweep.judge_rest(named, &entries)?;
        Ok(sweep.tally)
    }
}

/// The visit of one directory.
struct PrefixSweep<'a> {
    store: &'a ChunkStore,
    prefix: u16,
    /// None if there is no such directory.
    dir: Option<DiskDir>,
    rules: &'a SweepRules,
    gate: &'a dyn SweepGate,
    task: &'a dyn TaskContext,
    tally: SweepTally,
}

impl PrefixSweep<'_> {
    fn touch_named(&mut self, named: &[Digest], entries: &[ChunkEntry]) -> LocalResult<()> {
        let mut chunks = entries
            .iter()
            .filter(|entry| entry.kind == EntryKind::Chunk)
            .filter_map(|entry| Some((entry.digest?, entry)))
            .peekable();
        for digest in named {
            check_abort(self.task)?;
            while chunks.next_if(|(listed, _)| listed < digest).is_some() {}
            let listed = chunks.next_if(|(listed, _)| listed == digest);
            let mut size = None;
            self.gate.with_named(digest, &mut || {
                size = match listed {
                    Some((_, entry)) => self.touch_listed(entry)?,
                    None => None,
                };
                if size.is_none() {
                    // It may have come after the directory was read, or been moved aside since.
                    size = self.touch_by_path(digest)?;
                }
                Ok(size.is_some())
            })?;
            match size {
                Some(size) => self.tally.keep(size),
                None => self.note_missing(digest)?,
            }
        }
        Ok(())
    }

    /// Its length, if it is still there.
    fn touch_listed(&self, entry: &ChunkEntry) -> LocalResult<Option<u64>> {
        let Some(dir) = &self.dir else {
            return Ok(None);
        };
        let name = Path::new(&entry.name);
        let Some(stat) = self.stat(name)? else {
            return Ok(None);
        };
        if !is_file(&stat) {
            let path = self.path(name);
            return Err(LocalError::invalid(path, "a chunk must be a regular file"));
        }
        if self.rules.mode == SweepMode::Remove {
            let now = FileTime::now(&self.rules.env);
            let touched = found(dir.set_access_time(name, now));
            let touched = touched.map_err(|error| self.failed("touch chunk", name, error))?;
            if touched.is_none() {
                return Ok(None);
            }
        }
        Ok(Some(size_of(&stat)))
    }

    /// Its length, if there is one.
    fn touch_by_path(&self, digest: &Digest) -> LocalResult<Option<u64>> {
        let chunk = match self.rules.mode {
            SweepMode::DryRun => self.store.stat_chunk(digest)?,
            SweepMode::Remove => {
                let now = FileTime::now(&self.rules.env);
                self.store.cond_touch_chunk(digest, now)?
            }
        };
        Ok(chunk.map(|chunk| chunk.size))
    }

    fn note_missing(&mut self, digest: &Digest) -> LocalResult<()> {
        if self.rules.mode == SweepMode::Remove {
            // Evidence of what it was stays while an index needs it.
            let now = FileTime::now(&self.rules.env);
            self.store.touch_bad(digest, now)?;
        }
        self.tally.missing.push(*digest);
        Ok(())
    }

    fn judge_rest(&mut self, named: &[Digest], entries: &[ChunkEntry]) -> LocalResult<()> {
        for entry in entries {
            check_abort(self.task)?;
            let Some(digest) = &entry.digest else {
                if self.rules.mode == SweepMode::Remove {
                    let times = self.rules.times;
                    let oldest = times.oldest_writer.min(times.min_atime);
                    self.store.remove_abandoned(self.prefix, entry, oldest)?;
                }
                continue;
            };
            self.tally.seen += 1;
            if entry.kind == EntryKind::Chunk {
                if named.binary_search(digest).is_ok() {
                    continue;
                }
                self.tally.unmarked += 1;
            }
            let (gate, mut tally) = (self.gate, std::mem::take(&mut self.tally));
            let judged = gate.with_lock(digest, &mut |permission| {
                self.judge_entry(digest, entry, permission, &mut tally)
            });
            self.tally = tally;
            judged?;
        }
        Ok(())
    }

    fn judge_entry(
        &self,
        digest: &Digest,
        entry: &ChunkEntry,
        permission: SweepPermission,
        tally: &mut SweepTally,
    ) -> LocalResult<()> {
        let name = Path::new(&entry.name);
        let Some(stat) = self.stat(name)? else {
            return Ok(());
        };
        if !is_file(&stat) {
            return Ok(());
        }
        let (size, bad) = (size_of(&stat), matches!(entry.kind, EntryKind::Bad(_)));
        let permission = match entry.kind {
            EntryKind::Chunk => permission,
            EntryKind::Using => return self.remove(name),
            EntryKind::Bad(_) | EntryKind::Temporary | EntryKind::Other => SweepPermission::Remove,
        };
        let atime = FileTime::accessed_at(&stat).secs();
        let verdict = match tally.missing.binary_search(digest) {
            // Evidence of what it was; a run that is no dry run has touched it.
            Ok(_) if bad => Verdict::OnDisk,
            _ => judge(atime, self.rules.times, permission),
        };
        match verdict {
            Verdict::Remove => {
                self.remove(name)?;
                tally.removed_bytes += size;
                tally.removed_bad += u64::from(bad);
                tally.removed_chunks += u64::from(!bad);
            }
            Verdict::Pending => {
                tally.pending_bytes += size;
                tally.still_bad += u64::from(bad);
                tally.pending_chunks += u64::from(!bad);
            }
            Verdict::OnDisk => {
                tally.disk_bytes += size;
                tally.disk_chunks += u64::from(!bad);
            }
        }
        Ok(())
    }

    fn stat(&self, name: &Path) -> LocalResult<Option<FileStat>> {
        let stat = self.dir.as_ref().map(|dir| found(dir.stat(name)));
        match stat {
            Some(result) => result.map_err(|error| self.failed("stat chunk", name, error)),
            None => Ok(None),
        }
    }

    fn remove(&self, name: &Path) -> LocalResult<()> {
        match (&self.dir, self.rules.mode) {
            (Some(dir), SweepMode::Remove) => dir
                .remove_file(name)
                .map_err(|error| self.failed("remove unused chunk", name, error)),
            _ => Ok(()),
        }
    }

    fn failed(&self, operation: &'static str, name: &Path, source: std::io::Error) -> LocalError {
        LocalError::Io {
            operation,
            path: self.path(name),
            source,
        }
    }

    fn path(&self, name: &Path) -> PathBuf {
        let dir = self.dir.as_ref().map_or(Path::new(""), DiskDir::path);
        dir.join(name)
    }
}

fn is_file(stat: &FileStat) -> bool {
    SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT == SFlag::S_IFREG
}

fn size_of(stat: &FileStat) -> u64 {
    u64::try_from(stat.st_size).unwrap_or(0)
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
    }
}
