//! The cleanup journal: metadata paths whose object may not match the local tree
//! (`s3-backend.md` §7, §17.1).
//!
//! A path gets here when a write or delete of it had no definite answer, or when the leftovers of
//! a failed backup could not be removed. Reconciling a path makes the bucket equal to the local
//! tree: local file there = put it if the object differs, local file gone = delete the object. That
//! is done at once, and again until a quarantine has passed since this process heard of the path,
//! because a late request may undo it. A text file with a path per line survives restarts.
//!
//! A removal writes its paths down before it begins ([`CleanupJournal::intend`]): if the process
//! ends between the bucket and the disk, the next one makes them equal again.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use api_types::names::ArchiveName;
use bytes::Bytes;
use s3_client::{PutMode, S3Client};
use tokio::time::Instant;

use crate::atomic_file;
use crate::env::Env;
use crate::error::{Error, Result};

use super::S3Backend;
use super::keys::NAMESPACE_MARKER;

/// Paths to reconcile, each with the end of its quarantine (unknown until first reconciled).
#[derive(Clone, Debug)]
pub struct CleanupJournal {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    /// Held over a change and the writing of it, so that changes reach the file in their order.
    writing: Mutex<()>,
    /// Never held over a write: it is asked from asynchronous code.
    entries: Mutex<BTreeMap<String, Option<Instant>>>,
    /// Paths that are being removed: none of our business unless that fails.
    intended: Mutex<BTreeSet<String>>,
    /// Of these, those that are to be looked at also if it succeeds.
    unsettled: Mutex<BTreeSet<String>>,
}

/// Paths being removed from the bucket and from the disk. Dropped before that
/// [is done](Self::done), they are reconciled.
#[derive(Debug)]
#[must_use = "dropped, it counts as a removal that failed"]
pub struct Intent {
    journal: CleanupJournal,
    paths: Vec<String>,
}

impl Intent {
    /// The bucket and the disk agree on all of the paths.
    ///
    /// # Errors
    /// If the file cannot be written; the next process looks at the paths once more then.
    pub async fn done(mut self, env: &Env) -> Result<()> {
        let paths = std::mem::take(&mut self.paths);
        let inner = Arc::clone(&self.journal.inner);
        env.blocking(move || {
            inner.change(|entries, intended| {
                let mut unsettled = inner.unsettled();
                for path in paths {
                    intended.remove(&path);
                    if unsettled.remove(&path) {
                        entries.insert(path, None);
                    }
                }
            })
        })
        .await
    }
}

impl Drop for Intent {
    fn drop(&mut self) {
        if self.paths.is_empty() {
            return;
        }
        let mut entries = self.journal.entries();
        let mut intended = self.journal.inner.intended();
        let mut unsettled = self.journal.inner.unsettled();
        for path in self.paths.drain(..) {
            intended.remove(&path);
            unsettled.remove(&path);
            entries.insert(path, None);
        }
    }
}

impl Inner {
    fn change(
        &self,
        change: impl FnOnce(&mut BTreeMap<String, Option<Instant>>, &mut BTreeSet<String>),
    ) -> Result<()> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let text: String = {
            let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
            let mut intended = self.intended();
            change(&mut entries, &mut intended);
            let paths: BTreeSet<&String> = entries.keys().chain(intended.iter()).collect();
            paths.iter().map(|path| format!("{path}\n")).collect()
        };
        Ok(atomic_file::replace_durable(
            &self.path,
            text.as_bytes(),
            0o600,
        )?)
    }

    /// Always taken after `entries`.
    fn intended(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.intended.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Always taken after `intended`.
    fn unsettled(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.unsettled
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a round of reconciling did.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct ReconcileReport {
    /// Objects deleted since their local file is gone.
    pub deleted: usize,
    /// Objects put again since they differed from the local file.
    pub repaired: usize,
    /// Paths that could not be reconciled.
    pub failed: usize,
    /// Paths still in the journal.
    pub open: usize,
}

impl CleanupJournal {
    /// Reads the journal at `path`; a missing file is an empty journal.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn load(path: PathBuf) -> Result<Self> {
        let entries = read(&path)?.into_iter().map(|path| (path, None));
        let entries = Mutex::new(entries.collect());
        Ok(Self {
            inner: Arc::new(Inner {
                path,
                writing: Mutex::default(),
                entries,
                intended: Mutex::default(),
                unsettled: Mutex::default(),
            }),
        })
    }

    /// Adds what another process has left in the journal.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn reload(&self) -> Result<()> {
        let others = read(&self.inner.path)?;
        let mut entries = self.entries();
        let intended = self.inner.intended();
        for path in others {
            if !intended.contains(&path) {
                entries.entry(path).or_insert(None);
            }
        }
        Ok(())
    }

    /// Adds paths relative to the datastore, durably.
    ///
    /// # Errors
    /// If the file cannot be written; the paths are remembered in memory all the same.
    pub async fn add(&self, env: &Env, paths: Vec<String>) -> Result<()> {
        self.change(env, move |entries| {
            for path in paths {
                if is_safe(&path) {
                    entries.insert(path, None);
                }
            }
        })
        .await
    }

    /// Adds, durably, paths whose last request succeeded and of which an earlier attempt may still
    /// be applied. While a path is being removed or moved the local file is not what the object is
    /// to be like: it is added when its [`Intent`] ends, and on disk already.
    ///
    /// # Errors
    /// As for [`add`](Self::add).
    pub async fn add_unsettled(&self, env: &Env, paths: Vec<String>) -> Result<()> {
        let inner = Arc::clone(&self.inner);
        env.blocking(move || {
            inner.change(|entries, intended| {
                let mut unsettled = inner.unsettled();
                for path in paths {
                    if intended.contains(&path) {
                        unsettled.insert(path);
                    } else if is_safe(&path) {
                        entries.insert(path, None);
                    }
                }
            })
        })
        .await
    }

    /// Records, durably, that these paths are about to be removed from the bucket and from the
    /// disk ◆.
    ///
    /// # Errors
    /// If the file cannot be written; nothing may be removed then.
    pub async fn intend(&self, env: &Env, mut paths: Vec<String>) -> Result<Intent> {
        paths.retain(|path| is_safe(path));
        let inner = Arc::clone(&self.inner);
        let intent = Intent {
            journal: self.clone(),
            paths: paths.clone(),
        };
        env.blocking(move || inner.change(|_, intended| intended.extend(paths)))
            .await?;
        Ok(intent)
    }

    /// Starts over with those of `paths` that are in the journal: their local files have changed
    /// since a round that may be under way looked at them.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub async fn renew(&self, env: &Env, mut paths: Vec<String>) -> Result<()> {
        {
            let entries = self.entries();
            paths.retain(|path| entries.contains_key(path));
        }
        if paths.is_empty() {
            return Ok(());
        }
        self.add(env, paths).await
    }

    /// Number of paths.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries().len()
    }

    /// Whether nothing is to be reconciled.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether anything below a directory is to be reconciled.
    #[must_use]
    pub fn has_below(&self, directory: &str) -> bool {
        let prefix = format!("{directory}/");
        let entries = self.entries();
        let mut from = entries.range(prefix.clone()..);
        from.next()
            .is_some_and(|(path, _)| path.starts_with(&prefix))
    }

    /// Whether a path is to be looked at now.
    #[must_use]
    pub fn is_due(&self, now: Instant) -> bool {
        self.entries()
            .values()
            .any(|until| until.is_none_or(|until| until <= now))
    }

    /// All entries, manifests first: a snapshot is unfinished before anything else of it goes.
    fn snapshot(&self) -> Vec<(String, Option<Instant>)> {
        let entries = self.entries();
        let all = entries.iter().map(|(path, until)| (path.clone(), *until));
        let (mut manifests, others) = all.partition::<Vec<_>, _>(|(path, _)| is_manifest(path));
        manifests.extend(others);
        manifests
    }

    async fn change(
        &self,
        env: &Env,
        change: impl FnOnce(&mut BTreeMap<String, Option<Instant>>) + Send + 'static,
    ) -> Result<()> {
        let inner = Arc::clone(&self.inner);
        env.blocking(move || inner.change(|entries, _| change(entries)))
            .await
    }

    fn entries(&self) -> MutexGuard<'_, BTreeMap<String, Option<Instant>>> {
        self.inner
            .entries
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

fn read(path: &Path) -> Result<Vec<String>> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => {
            return Err(Error::io("unable to read the cleanup journal", path)(error));
        }
    };
    let paths = text.lines().filter(|line| is_safe(line));
    Ok(paths.map(str::to_owned).collect())
}

/// A relative path without empty, `.` or `..` components: the file may have been edited by hand.
fn is_safe(path: &str) -> bool {
    !path.is_empty()
        // A carriage return at the end of a line would not be read back.
        && !path.contains(['\0', '\n', '\r'])
        && path
            .split('/')
            .all(|part| !part.is_empty() && part != "." && part != "..")
}

enum Repair {
    Delete,
    Put(Bytes),
}

impl S3Backend {
    /// Makes the object of every path in the cleanup journal equal to the local file.
    ///
    /// Only while the prefix is ours: another owner's tree is not to be made equal to ours ◆.
    ///
    /// # Errors
    /// If the prefix is not ours or the journal cannot be written; paths that fail stay in it.
    pub async fn reconcile_metadata(&self, client: &S3Client) -> Result<ReconcileReport> {
        let mut report = ReconcileReport::default();
        let entries = self.cleanup.snapshot();
        if entries.is_empty() {
            return Ok(report);
        }
        let mut done = Vec::new();
        let mut waiting = Vec::new();
        // Snapshots whose manifest could not be brought in order: the rest of them waits.
        let mut unsettled = BTreeSet::new();
        for (path, until) in entries {
            if unsettled.contains(directory_of(&path)) {
                report.failed += 1;
                continue;
            }
            let fence = self.ownership.check(client, "repair metadata").await?;
            let fenced = client.signed_at(fence.signed_at);
            match self.reconcile_path(&fenced, &path, &mut report).await {
                Ok(()) => match until {
                    Some(until) if until <= self.env.now() => done.push((path, until)),
                    Some(_) => {}
                    None => waiting.push(path),
                },
                Err(error) => {
                    tracing::warn!(%path, %error, "unable to reconcile a metadata object");
                    report.failed += 1;
                    if is_manifest(&path) {
                        unsettled.insert(directory_of(&path).to_owned());
                    }
                }
            }
        }
        let until = self.env.now() + self.quarantine;
        self.cleanup
            .change(&self.env, move |entries| {
                for (path, until) in done {
                    // Added again meanwhile: it has to be looked at once more.
                    if entries.get(&path) == Some(&Some(until)) {
                        entries.remove(&path);
                    }
                }
                for path in waiting {
                    entries.insert(path, Some(until));
                }
            })
            .await?;
        report.open = self.cleanup.len();
        Ok(report)
    }

    async fn reconcile_path(
        &self,
        client: &S3Client,
        relative: &str,
        report: &mut ReconcileReport,
    ) -> Result<()> {
        let local = self.local.base().join(relative);
        let key = self.keys.content_file(relative)?;
        let head = client.head_object(&key).await?;
        match self.env.blocking(move || wanted(&local)).await? {
            Repair::Delete => {
                if head.is_some() {
                    client.delete_object(&key).await?;
                    report.deleted += 1;
                }
            }
            Repair::Put(body) => {
                let size = u64::try_from(body.len()).unwrap_or(u64::MAX);
                let md5 = openssl::hash::hash(openssl::hash::MessageDigest::md5(), &body);
                let same = head.is_some_and(|head| {
                    let content = head.etag.as_ref().and_then(s3_client::ETag::md5);
                    head.size == size
                        && content.is_none_or(|c| md5.as_ref().is_ok_and(|m| m[..] == c[..]))
                });
                if !same {
                    client.put_object(&key, body, PutMode::Replace).await?;
                    report.repaired += 1;
                }
            }
        }
        Ok(())
    }
}

fn is_manifest(path: &str) -> bool {
    let name = path.rsplit_once('/').map_or(path, |(_, name)| name);
    name == ArchiveName::MANIFEST
}

fn directory_of(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(directory, _)| directory)
}

fn wanted(local: &Path) -> Result<Repair> {
    // A namespace's marker exists in the bucket only: it stands for the directory.
    if local
        .file_name()
        .is_some_and(|name| name == NAMESPACE_MARKER)
    {
        let exists = local.parent().is_some_and(Path::is_dir);
        return Ok(if exists {
            Repair::Put(Bytes::new())
        } else {
            Repair::Delete
        });
    }
    match std::fs::read(local) {
        Ok(bytes) => Ok(Repair::Put(Bytes::from(bytes))),
        Err(error)
            if matches!(
                error.kind(),
                std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory
            ) =>
        {
            Ok(Repair::Delete)
        }
        Err(error) => Err(Error::io("unable to read", local)(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A removal that is under way is left alone; one that failed, or whose process has ended, is
    /// repaired; one that is done is forgotten.
    #[tokio::test]
    async fn an_intended_removal_is_repaired_unless_it_is_done() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cleanup-journal");
        let env = Env::system();
        let load = || CleanupJournal::load(path.clone()).unwrap();
        let journal = load();
        let paths = |name: &str| vec![format!("host/{name}/index.json.blob")];

        let done = journal.intend(&env, paths("done")).await.unwrap();
        let failed = journal.intend(&env, paths("failed")).await.unwrap();
        assert!(journal.is_empty(), "nothing to repair while it goes on");
        assert_eq!(load().len(), 2, "the next process would repair both");
        done.done(&env).await.unwrap();
        assert_eq!(load().len(), 1);
        drop(failed);
        assert_eq!(journal.len(), 1);
        assert!(journal.is_due(env.now()));
        journal.add(&env, paths("other")).await.unwrap();
        assert_eq!(load().len(), 2);
    }

    /// What another process has written since is not lost by what this one writes next.
    #[tokio::test]
    async fn what_another_process_left_is_adopted() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cleanup-journal");
        let env = Env::system();
        let ours = CleanupJournal::load(path.clone()).unwrap();
        let others = CleanupJournal::load(path.clone()).unwrap();
        let name = |name: &str| vec![format!("host/{name}/index.json.blob")];
        others.add(&env, name("others")).await.unwrap();
        ours.reload().unwrap();
        ours.add(&env, name("ours")).await.unwrap();
        assert_eq!(ours.len(), 2);
        assert_eq!(CleanupJournal::load(path).unwrap().len(), 2);
    }

    #[test]
    fn only_relative_paths_are_kept() {
        assert!(is_safe("vm/100/2025-07-14T14:20:02Z/index.json.blob"));
        for bad in ["", "/etc/passwd", "a/../b", "a//b", "./a", "a/.", "a\r"] {
            assert!(!is_safe(bad), "{bad}");
        }
    }
}
