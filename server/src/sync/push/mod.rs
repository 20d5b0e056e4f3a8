//! Push: snapshots of a local datastore to that of another server, by backup sessions
//! (`jobs-and-sync.md` §7.3).
//!
//! | module | what |
//! |---|---|
//! | [`plan`] | which snapshots and namespaces: pure |
//! | [`rights`] | what the owner of a push may do at the other end |
//! | `namespace` | the groups of a namespace, some of them at once |
//! | `group` | the snapshots of a group, one after the other |
//! | `snapshot` | a snapshot: its session, blobs, manifest |
//! | `archive` | the chunks of an index, as they are stored |
//! | `vanished` | what is removed at the target |
//!
//! A trouble with one group or namespace is logged and leaves the others alone; the task fails at
//! its end. Within a group it ends the group: a snapshot that was left out would never be pushed,
//! since only newer ones are.
//!
//! What is read here cannot go meanwhile: each snapshot is locked while it is pushed. Nothing is
//! written here. An abort drops all sessions, and the target removes what was unfinished.

mod archive;
mod group;
mod namespace;
pub mod plan;
pub mod rights;
mod snapshot;
mod vanished;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, Result, bail, ensure};
use api_types::names::BackupNamespace;
use client::session::workers::Workers;
use datastore::task::{Aborted, TaskContext};
use s3_client::TaskKind;

use super::options::SyncOptions;
use super::remote::version::Version;
use super::remote::{RemoteStore, connect};
use super::summary::{Totals, Word, place};
use crate::datastores::OpenDatastore;
use crate::site::Site;
use crate::task::WorkerTask;
use archive::Chunks;
use rights::RemoteRights;

/// Chunks that are read at once, for all groups together.
const READS: usize = 32;

/// A push under way.
struct Push {
    site: Site,
    task: Arc<WorkerTask>,
    source: OpenDatastore,
    options: SyncOptions,
    target: RemoteStore,
    rights: RemoteRights,
    /// Whether the target says what removals have removed.
    statistics: bool,
    /// Memory and cores, for all groups together.
    workers: Workers,
    chunks: Chunks,
    totals: Totals,
    failed: AtomicBool,
}

/// Pushes what `options` say, as far as their owner may, until it is done or aborted.
pub async fn push(
    site: &Site,
    task: &Arc<WorkerTask>,
    source: OpenDatastore,
    options: SyncOptions,
) -> Result<()> {
    let work = async {
        let push = Push::begin(site, task, source, options).await?;
        push.run().await
    };
    tokio::select! {
        biased;
        () = task.cancel().cancelled() => Err(Aborted.into()),
        pushed = work => pushed,
    }
}

impl Push {
    /// Connects, and refuses a target that is too old.
    async fn begin(
        site: &Site,
        task: &Arc<WorkerTask>,
        source: OpenDatastore,
        options: SyncOptions,
    ) -> Result<Self> {
        let remote = options.remote.as_deref().context("push needs a remote")?;
        let store = &options.remote_store;
        let env = &site.env;
        let target = connect(&site.config, remote, store, &options.rates, env).await?;
        let version = target.version().await?;
        ensure!(
            version >= Version::NAMESPACES,
            "remote '{remote}' is version {version}, and push needs {} or later",
            Version::NAMESPACES
        );
        let client = source.client(TaskKind::Sync, task.cancel());
        Ok(Self {
            rights: RemoteRights::new(&site.access, &options.owner, remote, store),
            statistics: version >= Version::REMOVAL_STATISTICS,
            workers: Workers::new(env),
            chunks: Chunks::new(&source, client, READS),
            totals: Totals::default(),
            failed: AtomicBool::new(false),
            site: site.clone(),
            task: Arc::clone(task),
            source,
            options,
            target,
        })
    }

    async fn run(&self) -> Result<()> {
        let options = &self.options;
        let mapping = &options.namespaces;
        self.log(&format!(
            "push {} to remote '{}', {}",
            place(self.source.name().as_str(), mapping.source()),
            options.remote.as_deref().unwrap_or_default(),
            place(options.remote_store.as_str(), mapping.target()),
        ));
        let begun = self.site.env.now();
        let mut existing = self.existing_namespaces().await?;
        let (all, readable) = self.source_namespaces().await?;
        for ns in readable {
            let pushed = self.push_namespace(&ns, &mut existing).await;
            self.note(&named(&ns), pushed);
        }
        if options.remove_vanished {
            // What the owner may not read has not vanished either.
            let mapped = all.iter().filter_map(|ns| mapping.to_target(ns).ok());
            let synced: BTreeSet<_> = mapped.collect();
            self.remove_vanished_namespaces(&existing, &synced).await;
        }
        let taken = self.site.env.now() - begun;
        for line in self
            .totals
            .lines(Word::Pushed, taken, options.remove_vanished)
        {
            self.log(&line);
        }
        if self.failed.load(Ordering::Relaxed) {
            bail!("Sync failed with some errors!");
        }
        Ok(())
    }

    /// The namespaces at the target that we may see.
    async fn existing_namespaces(&self) -> Result<BTreeSet<BackupNamespace>> {
        let listed = self.target.namespaces(None, None).await?;
        Ok(listed.into_iter().map(|item| item.ns).collect())
    }

    fn log(&self, line: &str) {
        self.task.log(line);
    }

    fn warn(&self, line: &str) {
        self.task.warn(line);
    }

    /// Logs why something failed; the task goes on, and fails at its end.
    fn note(&self, what: &str, result: Result<()>) {
        if let Err(error) = result {
            self.failed.store(true, Ordering::Relaxed);
            self.log(&format!("{what}: {error:#}"));
        }
    }
}

/// A namespace in a sentence.
fn named(ns: &BackupNamespace) -> String {
    match ns.is_root() {
        true => "root namespace".to_owned(),
        false => format!("namespace '{ns}'"),
    }
}
