//! The cleanup journal: metadata paths whose object may not match the local tree
//! (`s3-backend.md` §7, §17.1).
//!
//! A path gets here when a write or delete of it had no definite answer, or when the leftovers of
//! a failed backup could not be removed. Reconciling a path makes the bucket equal to the local
//! tree: local file there = put it if the object differs, local file gone = delete the object. That
//! is done at once, and again until a quarantine has passed since this process heard of the path,
//! because a late request may undo it. A text file with a path per line survives restarts.
//!
//! Whatever changes a path in both places, be it a removal or the notes of a group, writes it down
//! before it begins ([`CleanupJournal::intend`]): if the process ends between the bucket and the disk,
//! the next one makes them equal again. What nobody was told of is undone by that.
//!
//! The daemon is not alone: `coffer-manager` prunes, collects and verifies in a process of its own.
//! So each process has a file of its own, and only what a dead one has left is adopted (ADR 0024).

mod files;
mod locks;
mod reconcile;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use crate::env::Env;
use crate::error::Result;

use files::{Files, LockedFile, is_safe};
use reconcile::{Round, is_manifest};

pub use locks::PathLocks;
pub use reconcile::ReconcileReport;

/// Paths to reconcile, each with the end of its quarantine (unknown until first reconciled).
#[derive(Clone, Debug)]
pub struct CleanupJournal {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    files: Files,
    /// Made when there is something to write. Held over a change and the writing of it, so that
    /// changes reach the file in their order.
    own: Mutex<Option<LockedFile>>,
    /// Never held over a write: it is asked from asynchronous code.
    entries: Mutex<BTreeMap<String, Option<Instant>>>,
    /// Paths that are being changed, and by how many: none of our business unless that fails.
    intended: Mutex<Intended>,
    /// Of these, those that are to be looked at also if it succeeds.
    unsettled: Mutex<BTreeSet<String>>,
}

type Intended = BTreeMap<String, usize>;

/// One of those who change a path is done with it; whether it was the last.
fn end_intent(intended: &mut Intended, path: &str) -> bool {
    match intended.get_mut(path) {
        Some(others) if *others > 1 => {
            *others -= 1;
            false
        }
        _ => {
            intended.remove(path);
            true
        }
    }
}

/// Paths being changed in the bucket and on the disk. Dropped before that [is done](Self::done), they
/// are reconciled.
#[derive(Debug)]
#[must_use = "dropped, it counts as a change that failed"]
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
                    if end_intent(intended, &path) && unsettled.remove(&path) {
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
            if end_intent(&mut intended, &path) {
                unsettled.remove(&path);
            }
            entries.insert(path, None);
        }
    }
}

impl Inner {
    fn change(
        &self,
        change: impl FnOnce(&mut BTreeMap<String, Option<Instant>>, &mut Intended),
    ) -> Result<()> {
        self.change_and_write(&mut self.own(), change)
    }

    fn change_and_write(
        &self,
        own: &mut Option<LockedFile>,
        change: impl FnOnce(&mut BTreeMap<String, Option<Instant>>, &mut Intended),
    ) -> Result<()> {
        let text: String = {
            let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
            let mut intended = self.intended();
            change(&mut entries, &mut intended);
            let paths: BTreeSet<&String> = entries.keys().chain(intended.keys()).collect();
            paths.iter().map(|path| format!("{path}\n")).collect()
        };
        match own {
            Some(own) => own.write(&text),
            None if text.is_empty() => Ok(()),
            None => own.insert(self.files.create()?).write(&text),
        }
    }

    /// Takes over what processes have left that have ended. In our file before it is gone from
    /// theirs ◆.
    fn adopt(&self) -> Result<()> {
        let mut own = self.own();
        let left = self.files.left(own.as_ref())?;
        if left.is_empty() {
            return Ok(());
        }
        let mut paths = Vec::new();
        for file in &left {
            paths.extend(file.read()?);
        }
        self.change_and_write(&mut own, |entries, intended| {
            let mut unsettled = self.unsettled();
            for path in paths {
                // What we are changing at the moment, a request of theirs may still change ◆.
                if intended.contains_key(&path) {
                    unsettled.insert(path);
                } else {
                    entries.entry(path).or_insert(None);
                }
            }
        })?;
        left.into_iter().try_for_each(LockedFile::remove)
    }

    fn own(&self) -> MutexGuard<'_, Option<LockedFile>> {
        self.own.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Always taken after `entries`.
    fn intended(&self) -> MutexGuard<'_, Intended> {
        self.intended.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Always taken after `intended`.
    fn unsettled(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.unsettled
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl CleanupJournal {
    /// The journal of this process, with its file in the directory `dir`.
    #[must_use]
    pub fn new(dir: PathBuf, env: Env) -> Self {
        Self {
            inner: Arc::new(Inner {
                files: Files::new(dir, env),
                own: Mutex::default(),
                entries: Mutex::default(),
                intended: Mutex::default(),
                unsettled: Mutex::default(),
            }),
        }
    }

    /// Takes over what processes have left that have ended.
    ///
    /// # Errors
    /// If their files cannot be read, or ours not be written; theirs are still there then.
    pub async fn adopt(&self, env: &Env) -> Result<()> {
        let inner = Arc::clone(&self.inner);
        env.blocking(move || inner.adopt()).await
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
                    if intended.contains_key(&path) {
                        unsettled.insert(path);
                    } else if is_safe(&path) {
                        entries.insert(path, None);
                    }
                }
            })
        })
        .await
    }

    /// Records, durably, that these paths are about to be changed in the bucket and on the disk ◆.
    ///
    /// # Errors
    /// If the file cannot be written; nothing may be changed then.
    pub async fn intend(&self, env: &Env, mut paths: Vec<String>) -> Result<Intent> {
        paths.retain(|path| is_safe(path));
        let journal = self.clone();
        // Made where it is counted: should the caller have gone, it ends as one that failed.
        env.blocking(move || {
            let inner = Arc::clone(&journal.inner);
            let intent = Intent { journal, paths };
            inner.change(|_, intended| {
                for path in &intent.paths {
                    *intended.entry(path.clone()).or_default() += 1;
                }
            })?;
            Ok(intent)
        })
        .await
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

    /// Whether anything below a directory is to be reconciled, or another process is at work there or
    /// has left something.
    ///
    /// # Errors
    /// If the files of other processes cannot be read.
    pub async fn has_below(&self, env: &Env, directory: &str) -> Result<bool> {
        let prefix = format!("{directory}/");
        let is_ours = {
            let entries = self.entries();
            let mut from = entries.range(prefix.clone()..);
            from.next()
                .is_some_and(|(path, _)| path.starts_with(&prefix))
        };
        if is_ours {
            return Ok(true);
        }
        self.others_have_below(env, directory).await
    }

    /// Whether another process is at work below a directory, or has left something there.
    ///
    /// # Errors
    /// If its file cannot be read.
    pub async fn others_have_below(&self, env: &Env, directory: &str) -> Result<bool> {
        let prefix = format!("{directory}/");
        let inner = Arc::clone(&self.inner);
        env.blocking(move || {
            let paths = inner.files.paths_of_others(inner.own().as_ref())?;
            Ok(paths.iter().any(|path| path.starts_with(&prefix)))
        })
        .await
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

    async fn settle(&self, env: &Env, round: Round) -> Result<()> {
        self.change(env, move |entries| {
            for (path, until) in round.done {
                // Added again meanwhile: it has to be looked at once more.
                if entries.get(&path) == Some(&Some(until)) {
                    entries.remove(&path);
                }
            }
            for path in round.waiting {
                entries.insert(path, Some(round.until));
            }
            for path in round.failed {
                entries.insert(path, None);
            }
        })
        .await
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

#[cfg(test)]
mod tests {
    use super::*;

    struct Test {
        dir: tempfile::TempDir,
        env: Env,
    }

    impl Test {
        fn new() -> Self {
            Self {
                dir: tempfile::tempdir().unwrap(),
                env: Env::system(),
            }
        }

        /// A process.
        fn journal(&self) -> CleanupJournal {
            CleanupJournal::new(self.dir.path().join("cleanup"), self.env.clone())
        }

        /// What another process adopts now.
        async fn adopted(&self) -> usize {
            let other = self.journal();
            other.adopt(&self.env).await.unwrap();
            other.len()
        }
    }

    fn paths(name: &str) -> Vec<String> {
        vec![format!("host/{name}/index.json.blob")]
    }

    /// A removal that is under way is left alone; one that failed, or whose process has ended, is
    /// repaired; one that is done is forgotten.
    #[tokio::test]
    async fn an_intended_removal_is_repaired_unless_it_is_done() {
        let test = Test::new();
        let (env, journal) = (&test.env, test.journal());
        let done = journal.intend(env, paths("done")).await.unwrap();
        let failed = journal.intend(env, paths("failed")).await.unwrap();
        let under_way = journal.intend(env, paths("under-way")).await.unwrap();
        assert!(journal.is_empty(), "nothing to repair while it goes on");
        done.done(env).await.unwrap();
        drop(failed);
        assert_eq!(journal.len(), 1);
        assert!(journal.is_due(env.now()));
        journal.add(env, paths("other")).await.unwrap();
        assert_eq!(test.adopted().await, 0, "its process lives");
        assert_eq!(journal.len(), 2);
        // As when the process ends: its file stays, its lock does not.
        drop(journal.inner.own().take());
        assert_eq!(test.adopted().await, 3);
        drop(under_way);
    }

    /// What a dead process was changing when we begin to change it as well is looked at when we are done:
    /// its request may still be applied.
    #[tokio::test]
    async fn what_is_adopted_while_we_change_it_is_not_forgotten() {
        let test = Test::new();
        let (env, ours, theirs) = (&test.env, test.journal(), test.journal());
        let intent = theirs.intend(env, paths("gone")).await.unwrap();
        drop(theirs.inner.own().take());
        let again = ours.intend(env, paths("gone")).await.unwrap();
        ours.adopt(env).await.unwrap();
        assert!(ours.is_empty(), "it is being changed");
        again.done(env).await.unwrap();
        assert_eq!(ours.len(), 1);
        drop(intent);
    }

    /// What another process writes is not lost by what this one writes, and what it is about to
    /// remove is not ours to repair.
    #[tokio::test]
    async fn processes_do_not_write_over_each_other() {
        let test = Test::new();
        let (env, ours, theirs) = (&test.env, test.journal(), test.journal());
        theirs.add(env, paths("theirs")).await.unwrap();
        let intent = theirs.intend(env, paths("intended")).await.unwrap();
        ours.add(env, paths("ours")).await.unwrap();
        theirs.add(env, paths("later")).await.unwrap();
        ours.adopt(env).await.unwrap();
        assert_eq!(ours.len(), 1);
        for (below, expected) in [("host/intended", true), ("host/intend", false)] {
            assert_eq!(ours.has_below(env, below).await.unwrap(), expected);
        }
        intent.done(env).await.unwrap();
        drop(theirs);
        ours.adopt(env).await.unwrap();
        assert_eq!(ours.len(), 3, "{:?}", ours.snapshot());
        drop(ours);
        assert_eq!(test.adopted().await, 3);
        assert_eq!(test.adopted().await, 3, "it was left again");
    }
}
