//! A pull: what a datastore elsewhere has comes here (`jobs-and-sync.md` §7.2).
//!
//! ```text
//! namespaces   the source's, shorter names first; each is made here if it is missing
//!   groups     those that pass the filters, some at once
//!     snapshots   what is newer than ours, oldest first; our newest again
//!       files     what differs; of indexes the chunks that are missing
//!       manifest  last, byte for byte; then the client's log
//!     vanished snapshots
//!   vanished groups
//! vanished namespaces
//! ```
//!
//! What cannot be had is said in the log, and the rest goes on: a group stops at its first error, so
//! that what is there is never newer than what is missing.
//!
//! | module | what |
//! |---|---|
//! | `source` | where it is read from |
//! | `target` | where a snapshot goes |
//! | `chunks` | the chunks of an index |
//! | `snapshot` | a snapshot |
//! | `group` | a group |
//! | `vanished` | what the source has no more |

mod chunks;
mod group;
mod snapshot;
mod source;
mod target;
mod vanished;

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use anyhow::{Context as _, Result, bail, ensure};
use api_types::access::{Privilege, Privileges};
use api_types::datastore::Operation;
use api_types::names::{BackupGroup, BackupNamespace};
use datastore::task::{Aborted, TaskContext, check_abort};
use futures_util::stream::{self, StreamExt as _};
use s3_client::TaskKind;
use tokio::sync::Semaphore;

use super::options::SyncOptions;
use super::remote::connect;
use super::summary::{Totals, Word, finished, place};
use crate::api::rights::on_namespace;
use crate::datastores::OpenDatastore;
use crate::site::Site;
use crate::task::WorkerTask;
use source::{LocalSource, Source};

/// A pull under way.
struct Pull {
    site: Site,
    store: OpenDatastore,
    options: SyncOptions,
    source: Source,
    task: Arc<WorkerTask>,
    totals: Totals,
    /// Turns at fetching chunks.
    turns: Semaphore,
}

/// What a namespace came to.
#[derive(Debug, Default)]
struct Outcome {
    groups: usize,
    failed: bool,
}

/// Pulls what `options` say into `store`, until it is done or aborted. A job's log ends with a
/// summary.
///
/// # Errors
/// If the source cannot be read, or a part of it; what could be had is here then.
pub async fn pull(
    site: &Site,
    task: &Arc<WorkerTask>,
    store: OpenDatastore,
    options: SyncOptions,
    is_job: bool,
) -> Result<()> {
    let begun = site.env.now();
    let pull = Pull::begin(site, task, store, options).await?;
    let pulled = pull.run().await;
    if is_job {
        let taken = site.env.now() - begun;
        let removes = pull.options.remove_vanished;
        for line in pull.totals.lines(Word::Pulled, taken, removes) {
            task.log(&line);
        }
    }
    pulled
}

impl Pull {
    /// Opens the source: connects, if it is another server's.
    async fn begin(
        site: &Site,
        task: &Arc<WorkerTask>,
        store: OpenDatastore,
        options: SyncOptions,
    ) -> Result<Self> {
        let name = &options.remote_store;
        let source = match &options.remote {
            Some(remote) => {
                let rates = &options.rates;
                let connecting = connect(&site.config, remote, name, rates, &site.env);
                let connected = task.cancel().run_until_cancelled(connecting).await;
                Source::Remote(connected.ok_or(Aborted)??)
            }
            None => {
                ensure!(*name != options.store, "can't sync to same datastore");
                Source::Local(LocalSource {
                    access: Arc::clone(&site.access),
                    store: site.stores.open(name, Operation::Read).await?,
                    owner: options.owner.clone(),
                })
            }
        };
        Ok(Self {
            site: site.clone(),
            store,
            options,
            source,
            task: Arc::clone(task),
            totals: Totals::default(),
            turns: Semaphore::new(chunks::PARALLEL),
        })
    }

    async fn run(&self) -> Result<()> {
        let mapping = &self.options.namespaces;
        let found = self.unless_aborted(self.source.namespaces(mapping)).await?;
        let found = found.context("failed to ask for the namespaces of the source")?;
        let mut failed = found.unsupported && mapping.max_depth() != Some(0);
        if found.unsupported {
            self.log("the source has no namespaces: only its root is synced");
        }
        let (mut synced, mut groups) = (Vec::new(), 0);
        for ns in &found.all {
            check_abort(&*self.task)?;
            let target = match mapping.to_target(ns) {
                Ok(target) => target,
                Err(error) => {
                    failed = true;
                    self.log(&format!("Cannot sync namespace '{ns}': {error:#}"));
                    continue;
                }
            };
            synced.push(target.clone());
            self.log("----");
            self.log(&format!(
                "Syncing {} into {}",
                place(self.options.remote_store.as_str(), ns),
                place(self.options.store.as_str(), &target)
            ));
            match self.namespace(ns, &target).await {
                Ok(outcome) => {
                    failed |= outcome.failed;
                    groups += outcome.groups;
                    self.log(&finished(ns, groups, 0));
                }
                Err(error) => {
                    check_abort(&*self.task)?;
                    failed = true;
                    self.log(&format!(
                        "Encountered errors while syncing namespace '{ns}' - {error:#}"
                    ));
                }
            }
        }
        if self.options.remove_vanished && !found.unsupported {
            failed |= !self.remove_vanished_namespaces(&synced).await?;
        }
        check_abort(&*self.task)?;
        if failed {
            bail!("sync failed with some errors.");
        }
        Ok(())
    }

    async fn namespace(&self, ns: &BackupNamespace, target: &BackupNamespace) -> Result<Outcome> {
        self.prepare_namespace(target).await?;
        let all = self.unless_aborted(self.source.groups(ns)).await??;
        let total = all.len();
        let mut groups = all.clone();
        groups.retain(|group| self.options.filters.pass(group));
        self.log(&format!(
            "Found {} groups to sync (out of {total} total)",
            groups.len()
        ));
        let done = AtomicUsize::new(0);
        let place = group::Place {
            ns,
            target,
            done: &done,
            all: groups.len(),
        };
        let count = groups.len();
        let mut pulls = stream::iter(groups)
            .map(|group| self.try_group(place, group))
            .buffer_unordered(self.options.worker_threads);
        let mut failed = false;
        while let Some(sound) = pulls.next().await {
            failed |= !sound;
        }
        drop(pulls);
        check_abort(&*self.task)?;
        if self.options.remove_vanished {
            failed |= !self.remove_vanished_groups(target, &all).await?;
        }
        Ok(Outcome {
            groups: count,
            failed,
        })
    }

    /// Pulls a group; whether that went well.
    async fn try_group(&self, place: group::Place<'_>, group: BackupGroup) -> bool {
        if self.task.cancel().is_cancelled() {
            return false;
        }
        let pulled = self.group(&place, &group).await;
        if let Err(error) = &pulled {
            self.log(&format!("[{group}]: sync group {group} failed - {error:#}"));
        }
        pulled.is_ok()
    }

    /// Makes a namespace that is missing, and sees that its owner-to-be may write there.
    async fn prepare_namespace(&self, ns: &BackupNamespace) -> Result<()> {
        if !self.store.snapshots().namespace_exists(ns)? {
            if let Some(parent) = ns.parent() {
                self.require(&parent, Privilege::DatastoreModify)?;
            }
            let cancel = self.task.cancel();
            let client = self.store.client(TaskKind::Sync, cancel);
            let created = self.store.create_namespace(client.as_ref(), ns, cancel);
            created
                .await
                .with_context(|| format!("failed to create namespace '{ns}'"))?;
            self.log(&format!("Created namespace {ns}"));
        }
        self.require(ns, Privilege::DatastoreBackup)
    }

    /// Refuses what the owner of what is pulled may not do here.
    fn require(&self, ns: &BackupNamespace, privilege: Privilege) -> Result<()> {
        let SyncOptions { owner, store, .. } = &self.options;
        ensure!(
            self.is_allowed(ns, privilege),
            "'{owner}' has not the privilege {} on {}",
            privilege.as_str(),
            place(store.as_str(), ns)
        );
        Ok(())
    }

    fn is_allowed(&self, ns: &BackupNamespace, privilege: Privilege) -> bool {
        let SyncOptions { owner, store, .. } = &self.options;
        on_namespace(&self.site.access, owner, store, ns).has_any(Privileges::of(&[privilege]))
    }

    /// Does what may be dropped in the middle, until the task is to stop.
    async fn unless_aborted<T>(&self, work: impl Future<Output = T>) -> Result<T> {
        tokio::select! {
            biased;
            () = self.task.cancel().cancelled() => Err(Aborted.into()),
            done = work => Ok(done),
        }
    }

    fn log(&self, line: &str) {
        self.task.log(line);
    }
}
