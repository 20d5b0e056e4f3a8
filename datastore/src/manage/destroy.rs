//! Destruction of a datastore with all its data (`s3-backend.md` R-D7, `datastore-layout.md` §8).
//!
//! ```text
//! bucket   manifests → other metadata → chunks → our extras → in-use marker
//! disk     ns, ct, vm, host → .gc-status, trash → .chunks → our state
//! ```
//!
//! The manifests go first, so that an interrupted destruction leaves nothing that looks like a
//! backup; the marker goes last, so that nobody moves in before. Every step may be repeated: the
//! next attempt continues. Each batch of deletes is fenced like a collection's.

use std::path::Path;
use std::sync::Arc;

use futures_util::stream::{FuturesUnordered, StreamExt};
use s3_client::{DirPrefix, ListOptions, ObjectKey, Operation, S3Client, TaskKind};

use crate::backend::s3::S3Backend;
use crate::backend::s3::keys::EXTRA_DIR;
use crate::disk;
use crate::error::{Error, Result};
use crate::gc::status_file::STATUS_FILE;
use crate::snapshot::TRASH_DIR_NAME;
use crate::store::DataStore;
use crate::store::lease::Maintenance;
use crate::store::state_dir::StateDir;
use crate::task::{Progress, TaskContext, check_abort};

/// Delete requests in flight.
const PARALLEL_DELETES: usize = 8;
/// Keys that resisted and are named in the error.
const MAX_NAMED: usize = 5;

/// What goes before the chunks.
const LOCAL_FILES: [&str; 6] = ["ns", "ct", "vm", "host", TRASH_DIR_NAME, STATUS_FILE];

/// Makes a datastore whose local directory is incomplete ready to be opened for its destruction;
/// returns whether there is anything left to destroy.
///
/// # Errors
/// If a local file operation fails.
pub fn prepare_destruction(base: &Path, s3: bool) -> Result<bool> {
    if base.join(".chunks").is_dir() {
        return Ok(true);
    }
    let state = StateDir::of(base);
    let left = |name: &&str| base.join(name).exists();
    if !s3 && !state.path().exists() && !LOCAL_FILES.iter().any(left) {
        return Ok(false);
    }
    // The bucket may still be full, and only an open datastore can empty it.
    let chunks = base.join(".chunks");
    disk::create_dir_all(&chunks, 0o750).map_err(Error::io("unable to create", &chunks))?;
    Ok(true)
}

impl DataStore {
    /// Deletes everything that belongs to the datastore, but the lock file and the directory
    /// itself. The caller has made sure that nobody uses it or will begin to.
    ///
    /// # Errors
    /// If the store is in use or belongs to another instance, or something resists; the next
    /// attempt continues.
    pub async fn destroy(self: &Arc<Self>, task: &dyn TaskContext) -> Result<()> {
        let _tending = self.pause_tending(task.cancel()).await?;
        let _lease = self
            .maintenance_lease(Maintenance::Exchange, task.cancel())
            .await?;
        if let Some(backend) = self.backend.s3() {
            self.destroy_bucket(backend, task).await?;
        }
        check_abort(task)?;
        task.log("removing local files");
        let (base, state) = (self.base.clone(), self.state.path().to_owned());
        self.env
            .blocking(move || {
                for name in LOCAL_FILES {
                    if name == STATUS_FILE {
                        remove_file(&base.join(name))?;
                    } else {
                        remove_tree(&base.join(name))?;
                    }
                }
                remove_tree(&base.join(".chunks"))?;
                remove_tree(&state)
            })
            .await
    }

    async fn destroy_bucket(&self, backend: &Arc<S3Backend>, task: &dyn TaskContext) -> Result<()> {
        let client = backend
            .client
            .with_task(TaskKind::Prune)
            .with_cancel(task.cancel().clone());
        if backend.ownership.read(&client).await?.is_none() {
            // An earlier attempt came as far as the marker, or somebody removed it.
            backend.ownership.claim(&client, false).await?;
        }
        backend
            .ownership
            .look_now(&client, "destroy the data")
            .await?;
        let late = match backend.adopt_journal() {
            Ok(adopted) => adopted > 0,
            // A journal that is gone or damaged may have held anything.
            Err(Error::NeedsRefresh { .. }) => true,
            Err(error) => return Err(error),
        };
        let before = repeated_deletes(&client);
        let keys = &backend.keys;
        let steps = [
            ("manifests", keys.content()?, Some("/index.json.blob")),
            ("metadata", keys.content()?, None),
            ("chunks", keys.chunks()?, None),
            ("other objects", keys.root().child(EXTRA_DIR)?, None),
        ];
        for (what, dir, suffix) in steps {
            let step = Step {
                backend,
                client: &client,
                task,
                what,
            };
            step.run(&dir, suffix).await?;
        }
        if late || repeated_deletes(&client) > before {
            self.wait_out_deletes(backend, task).await?;
        }
        backend.ownership.release(&client).await?;
        task.log("bucket prefix deleted and given up");
        Ok(())
    }

    /// A delete that was repeated may be applied once more, until the end of its quarantine: the
    /// next owner of the prefix must not lose an object to it ◆.
    async fn wait_out_deletes(&self, backend: &S3Backend, task: &dyn TaskContext) -> Result<()> {
        task.log(&format!(
            "waiting {} s before the prefix is given up, since deletes may still be applied",
            backend.quarantine.as_secs()
        ));
        tokio::select! {
            biased;
            () = self.env.sleep(backend.quarantine) => Ok(()),
            () = task.cancel().cancelled() => Err(Error::Aborted),
        }
    }
}

/// Requests whose answer may have been lost before they were sent again.
fn repeated_deletes(client: &S3Client) -> u64 {
    let counters = client.counters_of(TaskKind::Prune);
    [Operation::DeleteObject, Operation::DeleteObjects]
        .map(|operation| {
            let counters = counters.of(operation);
            counters.retries.saturating_add(counters.broken)
        })
        .iter()
        .sum()
}

/// One kind of objects to be deleted.
struct Step<'a> {
    backend: &'a S3Backend,
    client: &'a S3Client,
    task: &'a dyn TaskContext,
    what: &'static str,
}

impl Step<'_> {
    /// Deletes what is below `dir`, and if given ends in `suffix`. Listed again until nothing is
    /// found: a listing may skip keys while others are deleted.
    async fn run(&self, dir: &DirPrefix, suffix: Option<&str>) -> Result<()> {
        let mut deleted = 0;
        loop {
            let count = self.pass(dir, suffix, deleted).await?;
            deleted += count;
            if count == 0 {
                break;
            }
        }
        self.task
            .log(&format!("{}: {deleted} objects deleted", self.what));
        Ok(())
    }

    async fn pass(&self, dir: &DirPrefix, suffix: Option<&str>, before: u64) -> Result<u64> {
        let mut listing = self.client.list(dir, ListOptions::default());
        let mut deletes = FuturesUnordered::new();
        let mut deleted = 0;
        while let Some(page) = listing.next_page().await {
            let keys: Vec<ObjectKey> = page?
                .objects
                .into_iter()
                .map(|object| object.key)
                .filter(|key| suffix.is_none_or(|suffix| key.as_str().ends_with(suffix)))
                .collect();
            if !keys.is_empty() {
                deletes.push(self.delete(keys));
            }
            while deletes.len() >= PARALLEL_DELETES
                && let Some(count) = deletes.next().await
            {
                deleted += count?;
                self.report(before + deleted);
            }
        }
        while let Some(count) = deletes.next().await {
            deleted += count?;
            self.report(before + deleted);
        }
        Ok(deleted)
    }

    fn report(&self, deleted: u64) {
        let phase = format!("deleting {}", self.what);
        self.task
            .progress(Progress::new(phase, deleted, None, "objects"));
    }

    async fn delete(&self, keys: Vec<ObjectKey>) -> Result<u64> {
        check_abort(self.task)?;
        let fence = self
            .backend
            .ownership
            .check(self.client, "destroy the data")
            .await?;
        let report = self
            .client
            .signed_at(fence.signed_at)
            .delete_objects(&keys)
            .await?;
        if report.is_complete() {
            return Ok(report.deleted);
        }
        let named: Vec<String> = report
            .failures
            .iter()
            .take(MAX_NAMED)
            .map(|failure| format!("{} ({})", failure.key, failure.code))
            .collect();
        Err(Error::Refused(format!(
            "unable to delete {} objects, for example {}; try again, the removal goes on where it \
             stopped",
            report.failures.len(),
            named.join(", ")
        )))
    }
}

fn remove_tree(path: &Path) -> Result<()> {
    ignore_missing(disk::remove_dir_all(path)).map_err(Error::io("unable to remove", path))
}

fn remove_file(path: &Path) -> Result<()> {
    ignore_missing(disk::remove_file(path)).map_err(Error::io("unable to remove", path))
}

fn ignore_missing(result: std::io::Result<()>) -> std::io::Result<()> {
    match result {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}
