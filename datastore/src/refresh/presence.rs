//! The second half of a refresh: presence of chunks, from a sharded listing (R-R4).

use std::sync::Arc;

use api_types::digest::Digest;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use s3_client::{ListOptions, S3Client};
use serde::Serialize;
use tokio::sync::Semaphore;

use crate::backend::s3::S3Backend;
use crate::backend::s3::confirm::Look;
use crate::backend::s3::delete::CandidateEntry;
use crate::chunk_store::EntryKind;
use crate::error::{Error, Result};
use crate::file_time::FileTime;
use crate::gc::chunk_key::ChunkKey;
use crate::gc::shards::{ShardCount, ShardPrefix};
use crate::store::DataStore;
use crate::store::lease::MaintenanceLease;
use crate::task::{Progress, TaskContext, check_abort};

/// Shards listed at once.
const PARALLEL_LISTINGS: usize = 16;

/// A listing may be older than the last delete (G10), so that a marker is made only after a look at
/// the object; unless all local state is being built anew and a shard lacks more markers than this:
/// a request for each chunk of a large store would take hours then.
const MAX_LOOKS: usize = 40;
/// Looks in flight.
const PARALLEL_LOOKS: usize = 32;

/// What the second half did.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct PresenceReport {
    /// Chunk objects in the bucket.
    pub objects: u64,
    /// Markers created.
    pub created: u64,
    /// Markers removed since their object does not exist.
    pub removed: u64,
    /// Objects put back from a cached payload.
    pub healed: u64,
}

impl PresenceReport {
    /// Writes the report to the task log.
    pub fn log(&self, task: &dyn TaskContext) {
        task.log(&format!(
            "{} chunk objects: {} markers created, {} removed, {} chunks uploaded again from the cache",
            self.objects, self.created, self.removed, self.healed
        ));
    }

    fn add(&mut self, other: Self) {
        self.objects += other.objects;
        self.created += other.created;
        self.removed += other.removed;
        self.healed += other.healed;
    }
}

impl DataStore {
    pub(super) async fn rebuild_presence(
        self: &Arc<Self>,
        client: &S3Client,
        task: &dyn TaskContext,
        lease: &Arc<MaintenanceLease>,
    ) -> Result<PresenceReport> {
        let Some(backend) = self.backend.s3() else {
            return Ok(PresenceReport::default());
        };
        if !backend.journal_is_empty() {
            return Err(Error::Refused(
                "unable to rebuild presence: deletes are unresolved".into(),
            ));
        }
        // A shard's listing is kept in memory: not too few of them, whatever the store's size.
        let prefixes = ShardCount::N256.prefixes();
        let rebuild = Rebuild {
            store: self,
            backend,
            client,
            task,
            lease,
            trust_listing: self.state.read_rebuild_needed()?.is_some(),
            looks: Semaphore::new(PARALLEL_LOOKS),
        };
        let mut shards = stream::iter(prefixes)
            .map(|prefix| rebuild.shard(prefix))
            .buffer_unordered(PARALLEL_LISTINGS);
        let mut report = PresenceReport::default();
        let mut unbacked = Vec::new();
        while let Some((part, payloads)) = shards.try_next().await? {
            report.add(part);
            unbacked.extend(payloads);
            task.progress(Progress::new(
                "rebuild presence",
                report.objects,
                None,
                "chunks",
            ));
        }
        drop(shards);
        rebuild.settle_unbacked(unbacked, &mut report).await?;
        Ok(report)
    }
}

/// What the shards share.
struct Rebuild<'a> {
    store: &'a Arc<DataStore>,
    backend: &'a Arc<S3Backend>,
    client: &'a S3Client,
    task: &'a dyn TaskContext,
    lease: &'a Arc<MaintenanceLease>,
    /// All local state is being built anew: whoever had the prefix before has been waited for, or
    /// has given it up.
    trust_listing: bool,
    looks: Semaphore,
}

impl Rebuild<'_> {
    /// Payloads without an object: uploaded again if an index needs them, else dropped. After a
    /// disk was rolled back these are also chunks that a collection has deleted since: what nobody
    /// references must not come back.
    async fn settle_unbacked(
        &self,
        unbacked: Vec<Digest>,
        report: &mut PresenceReport,
    ) -> Result<()> {
        let referenced = self.store.referenced(&unbacked, self.task).await?;
        for digest in unbacked {
            check_abort(self.task)?;
            if !referenced.contains(&digest) {
                let this = Arc::clone(self.backend);
                let dropped = move || this.drop_stale_presence(&digest, |_| true);
                let dropped = self.store.blocking_held(self.lease, dropped).await?;
                report.removed += u64::from(dropped);
                continue;
            }
            let look = self.backend.heal_or_confirm_missing(self.client, digest);
            match look.await? {
                Look::Healed => report.healed += 1,
                Look::Missing => report.removed += 1,
                Look::Present | Look::Busy => {}
            }
        }
        Ok(())
    }

    async fn shard(&self, prefix: ShardPrefix) -> Result<(PresenceReport, Vec<Digest>)> {
        let listed = list_shard(self.backend, self.client, self.task, prefix).await?;
        let mut report = PresenceReport {
            objects: u64::try_from(listed.len()).unwrap_or(u64::MAX),
            ..PresenceReport::default()
        };
        let this = Arc::clone(self.backend);
        let correct = move || correct_shard(&this, prefix, &listed);
        let shard = self.store.blocking_held(self.lease, correct).await?;
        report.removed = shard.removed;
        report.created = if self.trust_listing && shard.unmarked.len() > MAX_LOOKS {
            let this = Arc::clone(self.backend);
            let create = move || create_markers(&this, &shard.unmarked);
            self.store.blocking_held(self.lease, create).await?
        } else {
            self.look(shard.unmarked).await?
        };
        Ok((report, shard.payloads))
    }

    /// Makes a marker for each object that answers.
    async fn look(&self, digests: Vec<Digest>) -> Result<u64> {
        let mut looks = stream::iter(digests)
            .map(|digest| async move {
                let _turn = self.looks.acquire().await;
                check_abort(self.task)?;
                self.backend.confirm_presence(self.client, digest).await
            })
            .buffer_unordered(PARALLEL_LOOKS);
        let mut created = 0;
        while let Some(look) = looks.try_next().await? {
            created += u64::from(look == Look::Present);
        }
        Ok(created)
    }
}

/// All good chunks of a shard; an incomplete listing is an error.
async fn list_shard(
    backend: &S3Backend,
    client: &S3Client,
    task: &dyn TaskContext,
    prefix: ShardPrefix,
) -> Result<Vec<Digest>> {
    let chunks = backend.keys.chunks()?;
    let mut listing = client.list(
        backend.keys.chunk_shard(&prefix.to_string())?,
        ListOptions::default(),
    );
    let mut digests = Vec::new();
    while let Some(page) = listing.next_page().await {
        check_abort(task)?;
        for object in page?.objects {
            let relative = object.key.relative_to(&chunks).unwrap_or_default();
            if let ChunkKey::Chunk(digest) = ChunkKey::classify(relative) {
                digests.push(digest);
            }
        }
    }
    digests.sort_unstable();
    digests.dedup();
    Ok(digests)
}

/// A shard, compared.
struct Shard {
    /// Markers removed since their object is not listed.
    removed: u64,
    /// With a payload but no object: these may be healed.
    payloads: Vec<Digest>,
    /// Listed, without a local file.
    unmarked: Vec<Digest>,
}

/// Removes the markers of what is not listed; finds what else differs.
fn correct_shard(backend: &S3Backend, prefix: ShardPrefix, listed: &[Digest]) -> Result<Shard> {
    let (mut removed, mut payloads, mut unmarked) = (0, Vec::new(), Vec::new());
    for directory in backend.local.iterate(prefix.directories()) {
        for entry in directory?.entries {
            let (EntryKind::Chunk, Some(digest)) = (entry.kind, entry.digest) else {
                continue;
            };
            if listed.binary_search(&digest).is_ok() {
                continue;
            }
            let Some(chunk) = backend.local.stat_chunk(&digest)? else {
                continue;
            };
            let is_marker = |entry: &CandidateEntry| entry.local.is_some_and(|c| c.is_marker());
            if !chunk.is_marker() {
                payloads.push(digest);
            } else if backend.drop_stale_presence(&digest, is_marker)? {
                removed += 1;
            }
        }
    }
    for digest in listed {
        if backend.local.stat_chunk(digest)?.is_none() {
            unmarked.push(*digest);
        }
    }
    Ok(Shard {
        removed,
        payloads,
        unmarked,
    })
}

fn create_markers(backend: &S3Backend, digests: &[Digest]) -> Result<u64> {
    let now = FileTime::now(&backend.env);
    let mut created = 0;
    for digest in digests {
        // Nobody else is at work, but the rule that presence follows the slot holds here too.
        let new = backend.table.with(digest, |slot| -> Result<bool> {
            if !slot.is_ordinary() {
                return Ok(false);
            }
            slot.set_lost(false);
            Ok(backend.local.create_marker(digest, now)?)
        })?;
        created += u64::from(new);
    }
    Ok(created)
}
