//! Creating a datastore: directory, claim of the bucket prefix, configuration entry.
//!
//! Either all of it comes about, or what this creation made is taken away again, so that nothing
//! stands in the way of the next attempt. A creation that dies leaves the file
//! `.x-coffer/creating` in the directory, by which the next one knows that the chunk directory
//! beside it holds nothing of anybody's.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use api_types::datastore::DatastoreConfig;
use datastore::backend::s3::keys::StoreKeys;
use datastore::backend::s3::ownership::Ownership;
use datastore::chunk_store::PrefixDirs;
use datastore::store::create::CreateOptions;
use datastore::store::{BackendOptions, DataStore, StoreOptions};
use datastore::task::TaskContext;
use nix::sys::statfs::{TMPFS_MAGIC, statfs};

use super::Datastores;
use crate::config::ConfigLock;
use crate::paths::create_dir;

/// What we keep beside the data.
const STATE: &str = ".x-coffer";
/// Below the datastore's directory while it is being created.
const UNFINISHED: &str = ".x-coffer/creating";
/// A clock that is further off endangers signatures and the ages of objects.
const MAX_CLOCK_OFFSET_MILLIS: u64 = 60_000;

/// What to create.
#[derive(Clone, Debug)]
pub struct CreateRequest {
    /// The entry of the configuration.
    pub config: DatastoreConfig,
    /// Take the data that is already there into use.
    pub reuse: bool,
    /// Take the bucket prefix over from another installation.
    pub overwrite_in_use: bool,
}

impl Datastores {
    /// The checks that need no work, for an answer before a task is started.
    pub fn check_new(&self, config: &DatastoreConfig) -> Result<()> {
        let existing = self.config.datastores().load()?;
        self.config.check_new_datastore(&existing, config)?;
        Ok(())
    }

    /// Creates a datastore.
    pub async fn create(&self, task: &dyn TaskContext, request: &CreateRequest) -> Result<()> {
        // One creation at a time: the configuration cannot stay locked for as long as one takes.
        let lock = self.paths.run.join(".create-datastore.lck");
        let _lock = ConfigLock::acquire(lock, &self.env).await?;
        self.check_new(&request.config)?;
        let options = self.options(&request.config)?;
        let attempt = Attempt::begin(self, options.clone(), request.reuse).await?;
        let created = self.create_all(task, request, options).await;
        if created.is_err() {
            attempt.undo(task).await;
        }
        created
    }

    async fn create_all(
        &self,
        task: &dyn TaskContext,
        request: &CreateRequest,
        options: StoreOptions,
    ) -> Result<()> {
        let CreateRequest {
            config,
            reuse,
            overwrite_in_use,
        } = request;
        let create = CreateOptions {
            reuse: *reuse,
            overwrite_in_use: *overwrite_in_use,
            // A cache is nobody's but ours, and gets its directories when they are needed.
            prefix_dirs: if config.backend().is_s3() {
                PrefixDirs::OnDemand
            } else {
                PrefixDirs::All
            },
        };
        let base = options.path.clone();
        let backend = options.backend.clone();
        let store = DataStore::create(options, create, task)
            .await
            .with_context(|| format!("unable to create datastore '{}'", config.name))?;
        if let BackendOptions::S3 { client, .. } = &backend {
            warn_about_clock(client.clock_offset(), task);
            warn_about_memory(&base, task);
        }
        drop(store);
        // Before the entry: from then on the chunk directory is somebody's.
        remove_file(&base.join(UNFINISHED)).context("unable to finish the creation")?;
        self.config.add_datastore(config.clone()).await?;
        self.made.notify_one();
        task.log(&format!("datastore '{}' created", config.name));
        Ok(())
    }
}

/// What was there before, so that only what was made since is taken away.
struct Attempt {
    options: StoreOptions,
    before: Before,
    /// Nobody had claimed the prefix.
    unclaimed: bool,
}

impl Attempt {
    async fn begin(datastores: &Datastores, options: StoreOptions, reuse: bool) -> Result<Self> {
        let unclaimed = match &options.backend {
            BackendOptions::Filesystem => false,
            BackendOptions::S3 { client, .. } => {
                let marker = ownership(&options)?.read(client).await;
                marker
                    .context("unable to read the in-use marker of the bucket prefix")?
                    .is_none()
            }
        };
        let base = options.path.clone();
        let before = datastores
            .env
            .blocking(move || prepare(&base, reuse))
            .await
            .with_context(|| format!("unable to prepare {}", options.path.display()))?;
        Ok(Self {
            options,
            before,
            unclaimed,
        })
    }

    /// Takes away what the failed creation made. What resists is a warning: the error to report is
    /// the one that came first.
    async fn undo(self, task: &dyn TaskContext) {
        if self.unclaimed
            && let Err(error) = self.release().await
        {
            task.warn(&format!(
                "unable to give the bucket prefix up again: {error:#}"
            ));
        }
        if !self.before.fresh {
            return;
        }
        let (base, before) = (self.options.path.clone(), self.before);
        let undone = self.options.env.blocking(move || {
            for name in TREES {
                remove_tree(&base.join(name))?;
            }
            if !before.lock {
                remove_file(&base.join(".lock"))?;
            }
            if before.state {
                remove_file(&base.join(UNFINISHED))?;
            } else {
                remove_tree(&base.join(STATE))?;
            }
            if !before.base {
                remove_empty_dir(&base)?;
            }
            io::Result::Ok(())
        });
        if let Err(error) = undone.await {
            let base = self.options.path.display();
            task.warn(&format!("unable to clean up {base}: {error}"));
        }
    }

    async fn release(&self) -> Result<()> {
        let BackendOptions::S3 { client, .. } = &self.options.backend else {
            return Ok(());
        };
        let ownership = ownership(&self.options)?;
        match ownership.read(client).await? {
            Some(marker) if marker.is_of(&self.options.instance) => {
                Ok(ownership.release(client).await?)
            }
            _ => Ok(()),
        }
    }
}

fn ownership(options: &StoreOptions) -> Result<Ownership> {
    let key = StoreKeys::new(&options.name)?.in_use()?;
    Ok(Ownership::new(
        options.env.clone(),
        key,
        options.instance.clone(),
    ))
}

/// What a creation makes in the directory beside its mark: the chunks, and what a refresh fetches
/// from the bucket.
const TREES: [&str; 5] = [".chunks", "ns", "ct", "vm", "host"];

/// What was in the directory before a creation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Before {
    /// The directory itself.
    base: bool,
    /// Its lock file.
    lock: bool,
    /// What we keep beside the data.
    state: bool,
    /// None of the trees, or only what a creation left that died.
    fresh: bool,
}

/// Makes the directory ready.
fn prepare(base: &Path, reuse: bool) -> Result<Before> {
    let mut before = Before {
        base: base.try_exists()?,
        lock: base.join(".lock").try_exists()?,
        state: base.join(STATE).try_exists()?,
        fresh: true,
    };
    if !before.base {
        create_dir(base, 0o755)?;
        // The umask must not keep others from what upstream lets them see.
        std::fs::set_permissions(base, std::fs::Permissions::from_mode(0o755))?;
    }
    // A mark says that a creation died here, not that nobody has used the directory since: only
    // directories without a file in them go, and nothing that is to be reused.
    if !reuse && base.join(UNFINISHED).try_exists()? {
        let mut bare = true;
        for name in TREES {
            bare &= has_no_files(&base.join(name))?;
        }
        for name in TREES.into_iter().filter(|_| bare) {
            remove_tree(&base.join(name))?;
        }
    }
    for name in TREES {
        before.fresh &= !base.join(name).try_exists()?;
    }
    if before.fresh {
        let mark = base.join(UNFINISHED);
        create_dir(mark.parent().unwrap_or(base), 0o750)?;
        std::fs::write(&mark, "")?;
    }
    Ok(before)
}

/// Whether there is nothing but directories.
fn has_no_files(tree: &Path) -> io::Result<bool> {
    let entries = match std::fs::read_dir(tree) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => return Ok(false),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        if !entry.file_type()?.is_dir() || !has_no_files(&entry.path())? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn remove_tree(path: &Path) -> io::Result<()> {
    ignore_missing(std::fs::remove_dir_all(path))
}

fn remove_file(path: &Path) -> io::Result<()> {
    ignore_missing(std::fs::remove_file(path))
}

fn ignore_missing(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

/// Removes a directory if nothing is in it.
pub(super) fn remove_empty_dir(path: &Path) -> io::Result<()> {
    use io::ErrorKind::{DirectoryNotEmpty, NotFound, ResourceBusy};
    match std::fs::remove_dir(path) {
        Err(error) if matches!(error.kind(), DirectoryNotEmpty | NotFound | ResourceBusy) => Ok(()),
        result => result,
    }
}

fn warn_about_clock(offset_millis: Option<i64>, task: &dyn TaskContext) {
    let Some(offset) = offset_millis else { return };
    if offset.unsigned_abs() > MAX_CLOCK_OFFSET_MILLIS {
        task.warn(&format!(
            "the clocks of this machine and of the S3 server differ by {} s; set the clock right",
            offset.unsigned_abs() / 1000
        ));
    }
}

/// A cache in memory is gone after a restart, with the record of unresolved deletes.
fn warn_about_memory(base: &PathBuf, task: &dyn TaskContext) {
    if statfs(base).is_ok_and(|stat| stat.filesystem_type() == TMPFS_MAGIC) {
        task.warn(&format!(
            "{} is on a file system in memory: after a restart the datastore has to be refreshed \
             from the bucket",
            base.display()
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_creation_that_died_is_cleaned_up_and_others_data_is_not() {
        let dir = support::scratch().unwrap();
        let base = dir.path().join("a/store");
        let prepare = |base: &Path, reuse| {
            let before = super::prepare(base, reuse).unwrap();
            (before.base, before.fresh)
        };
        assert_eq!(prepare(&base, false), (false, true));
        std::fs::create_dir_all(base.join(".chunks/0000")).unwrap();
        std::fs::create_dir_all(base.join("vm/100")).unwrap();
        // The mark is still there: what lies beside it came from the creation.
        assert_eq!(prepare(&base, true), (true, false));
        assert!(base.join(".chunks/0000").exists());
        assert_eq!(prepare(&base, false), (true, true));
        assert!(!base.join(".chunks").exists() && !base.join("vm").exists());

        // Unless somebody has put something there.
        let chunk = base.join(".chunks/0000/aa");
        std::fs::create_dir_all(base.join(".chunks/0000")).unwrap();
        std::fs::write(&chunk, "data").unwrap();
        for reuse in [false, true] {
            assert_eq!(prepare(&base, reuse), (true, false));
            assert!(chunk.exists());
        }

        remove_file(&base.join(UNFINISHED)).unwrap();
        assert_eq!(prepare(&base, false), (true, false));
        assert!(chunk.exists());

        let other = dir.path().join("other");
        std::fs::create_dir_all(other.join("vm/100")).unwrap();
        std::fs::write(other.join(".lock"), "").unwrap();
        let before = super::prepare(&other, false).unwrap();
        assert!(before.lock && !before.state && !before.fresh);
        assert!(!other.join(UNFINISHED).exists());
    }
}
