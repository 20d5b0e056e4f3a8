//! The bucket's own list of indexes (`gc.md` §6.2 P1b): whatever is visible there is marked too ◆.
//!
//! Local metadata can be older than the bucket (power loss, a restored disk, a crash between a
//! manifest's PUT and its local rename), and then the marks of the local walk are not enough (H12).
//! An index object that the walk has not read in the same version is read from the bucket. The one
//! exception: an index without a manifest beside it, older than the grace period and with its
//! snapshot lock free, is the leftover of a dead session; it is handed to the cleanup journal, or
//! its chunks would stay for ever. So is a blob, which would come back with each refresh.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use api_types::names::{ArchiveName, SnapshotPath};
use futures_util::stream::{self, StreamExt, TryStreamExt};
use s3_client::{ETag, ListError, ListOptions, ListPrefix, ListedObject, S3Client};

use crate::backend::s3::S3Backend;
use crate::backend::s3::bounded::get_listed;
use crate::error::{Error, Result};
use crate::store::DataStore;
use crate::task::{TaskContext, check_abort};

use super::candidate::object_age;
use super::mark::{FileState, Marker};

/// Index objects fetched at once.
const PARALLEL_GETS: usize = 8;

/// What the mirror check found.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct MirrorReport {
    /// Metadata objects listed.
    pub objects: u64,
    /// Indexes that only the bucket had, or had in another version; marked.
    pub marked_from_bucket: Vec<String>,
    /// Leftovers of dead sessions, handed to the cleanup journal.
    pub orphans: Vec<String>,
    /// Finished snapshots in the bucket.
    pub snapshots: u64,
}

struct RemoteFile {
    relative: String,
    is_index: bool,
    object: ListedObject,
    list_date: Option<i64>,
}

impl RemoteFile {
    /// The snapshot it is in, by its path below the datastore.
    fn snapshot(&self) -> &str {
        self.relative.rsplit_once('/').map_or("", |(dir, _)| dir)
    }
}

impl DataStore {
    /// Lists the metadata objects and marks what the local walk has not read.
    pub(super) async fn mirror_check(
        self: &Arc<Self>,
        backend: &Arc<S3Backend>,
        client: &S3Client,
        marker: &mut Marker,
        grace_millis: i64,
        task: &dyn TaskContext,
    ) -> Result<MirrorReport> {
        let mut report = MirrorReport::default();
        let (files, finished) = list_files(backend, client, task, &mut report).await?;
        report.snapshots = u64::try_from(finished.len()).unwrap_or(u64::MAX);
        let mut unread = Vec::new();
        let mut md5s = Md5s {
            before: self.index_md5s.take(),
            asked: Known::new(),
        };
        for file in files {
            if file.is_index && self.is_read(marker, &file, &mut md5s).await {
                continue;
            }
            let orphan = !finished.contains(file.snapshot())
                && age(&file).is_some_and(|age| age >= grace_millis)
                && self.is_abandoned(file.snapshot());
            if orphan {
                report.orphans.push(file.relative);
            } else if file.is_index {
                unread.push(file);
            }
        }
        self.index_md5s.keep(md5s.asked);
        let mut fetched = stream::iter(unread)
            .map(|index| async move {
                let object = get_listed(client, &index.object.key, index.object.size).await?;
                Ok::<_, Error>((index, object))
            })
            .buffer_unordered(PARALLEL_GETS);
        let mut apart = 0_u64;
        while let Some((index, object)) = fetched.try_next().await? {
            check_abort(task)?;
            // Gone meanwhile: a removal that began after our listing.
            let Some(object) = object else { continue };
            marker.mark_bytes(Path::new(&index.relative), object.body)?;
            apart += u64::from(self.is_apart(&index).await);
            report.marked_from_bucket.push(index.relative);
        }
        drop(fetched);
        if apart > 0 {
            task.warn(&format!(
                "{apart} index files are in the bucket but not, or differently, in the local tree; \
                 their chunks are kept. Run 's3-refresh' to repair the local tree"
            ));
        }
        Ok(report)
    }

    /// Whether the walk has read this very version of the index.
    ///
    /// The MD5 is that of the file *as the walk read it* ◆: a re-sync may have replaced the file
    /// since, by the version that is in the bucket, whose chunks nobody has marked.
    async fn is_read(&self, marker: &Marker, index: &RemoteFile, md5s: &mut Md5s) -> bool {
        let Some(read) = marker.state_read(Path::new(&index.relative)) else {
            return false;
        };
        if read.size != index.object.size {
            return false;
        }
        let Some(expected) = index.object.etag.as_ref().and_then(ETag::md5) else {
            return true;
        };
        let path = self.base.join(&index.relative);
        let known = md5s.before.remove(&path);
        let md5 = match known.filter(|(then, _)| *then == read) {
            Some((_, md5)) => md5,
            None => {
                let local = path.clone();
                let found = self.env.blocking(move || md5_of_file(&local, read)).await;
                // Gone, replaced or unreadable meanwhile: the bucket's version is marked as well.
                let Some(md5) = found else { return false };
                md5
            }
        };
        md5s.asked.insert(path, (read, md5));
        md5 == expected
    }

    /// Whether an index that the walk did not see is still not in the local tree. One of a session
    /// that was, or is, at work beside the walk gets there by itself: not worth a warning.
    async fn is_apart(&self, index: &RemoteFile) -> bool {
        let local = self.base.join(&index.relative);
        let expected = index.object.etag.as_ref().and_then(ETag::md5);
        let same = self.env.blocking(move || {
            let state = std::fs::metadata(&local).ok().map(|it| FileState::of(&it));
            state.is_some_and(|state| match expected {
                Some(md5) => md5_of_file(&local, state) == Some(md5),
                None => true,
            })
        });
        !same.await && self.is_free(index.snapshot())
    }

    /// Whether no process holds the snapshot's lock and it has no local directory.
    fn is_abandoned(&self, snapshot: &str) -> bool {
        !self.base.join(snapshot).exists() && self.is_free(snapshot)
    }

    /// Whether no process holds the snapshot's lock.
    fn is_free(&self, snapshot: &str) -> bool {
        let Ok(path) = snapshot.parse::<SnapshotPath>() else {
            return false;
        };
        let Ok(lock) = self.locks.snapshot_exclusive(&path.ns, &path.dir) else {
            return false;
        };
        if !self.base.join(snapshot).exists() {
            // Nothing else refers to that snapshot: leave no lock file behind.
            let _ = lock.remove();
        }
        true
    }
}

async fn list_files(
    backend: &S3Backend,
    client: &S3Client,
    task: &dyn TaskContext,
    report: &mut MirrorReport,
) -> Result<(Vec<RemoteFile>, BTreeSet<String>)> {
    let prefix = ListPrefix::from(&backend.keys.content()?);
    let mut listing = client.list(prefix, ListOptions::default());
    let mut files = Vec::new();
    let mut finished = BTreeSet::new();
    while let Some(page) = listing.next_page().await {
        check_abort(task)?;
        let page = page.map_err(|error| match error {
            ListError::Request(error) if error.is_aborted() => Error::Aborted,
            error => Error::Refused(format!(
                "the listing of the metadata is incomplete: {error}"
            )),
        })?;
        for object in page.objects {
            report.objects += 1;
            let Some(relative) = backend.keys.content_path(&object.key) else {
                continue;
            };
            if let Some(snapshot) = relative.strip_suffix(&format!("/{}", ArchiveName::MANIFEST)) {
                finished.insert(snapshot.to_owned());
                continue;
            }
            let is_index = super::walk::index_kind(Path::new(relative)).is_some();
            if is_index || relative.ends_with(".blob") {
                let relative = relative.to_owned();
                files.push(RemoteFile {
                    relative,
                    is_index,
                    object,
                    list_date: page.server_date,
                });
            }
        }
    }
    // What belongs to a finished snapshot is no leftover, and only its indexes matter.
    files.retain(|file| file.is_index || !finished.contains(file.snapshot()));
    Ok((files, finished))
}

/// Age by the server's clock, milliseconds; `None` = unknown, so young.
fn age(index: &RemoteFile) -> Option<i64> {
    let now = index.list_date.map(|seconds| seconds.saturating_mul(1000));
    object_age(now, index.object.last_modified)
}

/// The MD5 of the file, if it is still in that state before and after reading.
fn md5_of_file(path: &Path, state: FileState) -> Option<[u8; 16]> {
    let file = File::open(path).ok()?;
    let is_unchanged = || {
        let metadata = file.metadata().ok()?;
        (FileState::of(&metadata) == state).then_some(())
    };
    is_unchanged()?;
    let mut bytes = Vec::new();
    (&file).read_to_end(&mut bytes).ok()?;
    is_unchanged()?;
    let md5 = openssl::hash::hash(openssl::hash::MessageDigest::md5(), &bytes).ok()?;
    md5.as_ref().try_into().ok()
}

/// MD5s of local index files, and what each was when it was read.
type Known = BTreeMap<PathBuf, (FileState, [u8; 16])>;

/// The MD5s of one run.
struct Md5s {
    /// Of the run before, as far as this one has not asked for them.
    before: Known,
    /// What this one has asked for.
    asked: Known,
}

/// The MD5s that the last run has asked for, so that a repeated run does not read each file again.
/// What is gone, or has another name, is forgotten with the next run.
#[derive(Debug, Default)]
pub(crate) struct IndexMd5s {
    known: Mutex<Known>,
}

impl IndexMd5s {
    fn take(&self) -> Known {
        std::mem::take(&mut self.known.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn keep(&self, asked: Known) {
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = asked;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gc::GcOptions;
    use crate::gc::history::RemovalKind;
    use crate::task::RecordingTask;
    use crate::test_store::TestStore;

    /// What was removed is not remembered for ever, and what stays is not read again.
    #[tokio::test(start_paused = true)]
    async fn only_the_indexes_of_the_last_run_are_remembered() {
        let test = TestStore::s3().await;
        let mut paths = Vec::new();
        for day in 1..=3 {
            let dir = format!("vm/100/2026-01-0{day}T00:00:00Z");
            paths.push(test.backup("", &dir, &[b"one"]).await);
        }
        let collect = async || {
            let task = Arc::new(RecordingTask::new());
            let collected = test.store.garbage_collection(task, GcOptions::default());
            collected.await.unwrap();
            test.store.index_md5s.known.lock().unwrap().clone()
        };
        let first = collect().await;
        assert_eq!(first.len(), 3);
        assert_eq!(collect().await, first);
        test.store
            .forget_snapshots(None, &paths[..1], RemovalKind::Forget, &test.cancel)
            .await;
        let left = collect().await;
        let kept = test.base().join(paths[1].dir.path()).join("root.pxar.didx");
        assert_eq!(left.len(), 2);
        assert_eq!(left[&kept], first[&kept]);
    }
}
