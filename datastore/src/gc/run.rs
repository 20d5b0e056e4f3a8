//! A garbage collection from its guards to its report (`gc.md` §6.2).
//!
//! | phase | where |
//! |---|---|
//! | P0 guards | [`DataStore::garbage_collection`]: one collector, ours, nothing unresolved to wait for |
//! | generation, floor | [`Run::start`]: raise, *then* look at the sessions ◆ |
//! | P1 mark | [`super::mark`], *then* list the indexes ◆; P1b [`super::mirror`] |
//! | P2 sweep, P3 delete | [`super::sweep`] in a bucket, [`super::sweep_local`] in a directory |
//! | P4 local cleanup | [`Run::finish`]: journal checkpoint, stamps, leftovers |
//! | P5 report | [`super::outcome`]: missing chunks, status file, history, task log |

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::future::join;
use s3_client::{CounterSnapshot, Priority, S3Client, TaskKind};

use crate::backend::s3::S3Backend;
use crate::digests::Generation;
use crate::disk;
use crate::env::Env;
use crate::error::{Error, Result};
use crate::store::DataStore;
use crate::store::lease::SweeperLease;
use crate::task::TaskContext;

use super::error::{GcError, GcResult};
use super::first_seen::FirstSeen;
use super::history::{History, RemovalTotals};
use super::leftovers;
use super::mark::{EpochGuard, MarkHost, MarkOptions, Marked, Marker, PinnedIndex};
use super::mirror::MirrorReport;
use super::options::GcOptions;
use super::progress::ProgressMeter;
use super::report::GcReport;
use super::shards::ShardCount;
use super::sweep::{Sweep, SweepRules};
use super::tripwire::{self, BeforeSweep, DeleteGate};

/// Most bytes of digest lists kept between runs.
const MARK_CACHE: u64 = 4 << 30;

/// Shards listed at once and delete requests in flight, unless the tuning options say otherwise.
const LIST_CONCURRENCY: usize = 16;
const DELETE_CONCURRENCY: usize = 8;

/// No file is being written for as long.
const DAY_SECS: i64 = 24 * 3600;

/// Most threads that read indexes: beside running backups, and on a disk that may be slow.
const MAX_MARK_THREADS: usize = 4;

/// One where the order of steps must be the same each time.
fn mark_threads(env: &Env) -> usize {
    if env.is_seeded() {
        return 1;
    }
    std::thread::available_parallelism().map_or(1, |count| count.get().min(MAX_MARK_THREADS))
}

fn concurrency(configured: Option<u32>, default: usize) -> usize {
    configured
        .and_then(|count| usize::try_from(count).ok())
        .unwrap_or(default)
}

impl DataStore {
    /// Collects garbage.
    ///
    /// Concurrent with backups, restores and prune of this process; refused while another process
    /// uses the store. Every wait observes the task's cancellation; an aborted run leaves a store
    /// that the next one continues from.
    ///
    /// # Errors
    /// If the run could not be made or not completed; whatever was deleted until then was garbage.
    pub async fn garbage_collection(
        self: &Arc<Self>,
        task: Arc<dyn TaskContext>,
        options: GcOptions,
    ) -> Result<GcReport> {
        let _running = OneCollector::enter(&self.gc_running)?;
        let _tending = self.pause_tending(task.cancel()).await?;
        let lease = Arc::new(self.sweeper_lease(task.cancel()).await?);
        task.log(&format!(
            "starting garbage collection on store {}",
            self.name
        ));
        // Before the mark lists anything: what finishes from now on may not be in it.
        let _finishes = self.sessions.begin_collection();
        let run = Run::start(self, lease, task, options).await?;
        let result = run.collect().await;
        let finished = run.finish().await;
        let report = result?;
        finished?;
        if report.errors.is_empty() {
            Ok(report)
        } else {
            Err(Error::Refused(format!(
                "garbage collection is incomplete: {}",
                report.errors.join("; ")
            )))
        }
    }
}

/// The in-process flag: one collection at a time.
struct OneCollector<'a>(&'a AtomicBool);

impl<'a> OneCollector<'a> {
    fn enter(flag: &'a AtomicBool) -> Result<Self> {
        if flag.swap(true, Ordering::SeqCst) {
            return Err(Error::Locked {
                what: "garbage collection".into(),
                reason: "garbage collection already running".into(),
            });
        }
        Ok(Self(flag))
    }
}

impl Drop for OneCollector<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

/// The constants of a run.
pub(super) struct Run {
    pub store: Arc<DataStore>,
    /// Shared by work that may outlive the run, if its future is dropped.
    pub lease: Arc<SweeperLease>,
    pub task: Arc<dyn TaskContext>,
    pub options: GcOptions,
    pub client: Option<S3Client>,
    pub generation: Generation,
    pub floor: Generation,
    pub start_time: i64,
    /// When the oldest running writer started, or `start_time`.
    pub oldest_writer: i64,
    pub grace_secs: i64,
    pub history: History,
    pub removals: RemovalTotals,
    pub counters_at_start: CounterSnapshot,
    clock_offset: Option<i64>,
    /// Chunks that had been lost before the mark began.
    pub losses_at_start: u64,
}

impl Run {
    async fn start(
        store: &Arc<DataStore>,
        lease: Arc<SweeperLease>,
        task: Arc<dyn TaskContext>,
        options: GcOptions,
    ) -> Result<Self> {
        let client = store
            .client(TaskKind::Gc, task.cancel())
            .map(|client| client.with_priority(Priority::Background));
        let tuning = store.tuning();
        let counters_at_start = client
            .as_ref()
            .map(|c| c.counters_of(TaskKind::Gc))
            .unwrap_or_default();
        if let (Some(_), Some(client)) = (store.backend.s3(), &client) {
            client.head_bucket().await?;
        }
        // A dry run changes nothing, these neither.
        if let (Some(backend), Some(client), false) = (store.backend.s3(), &client, options.dry_run)
        {
            let resolved = backend.resolve_quarantine(client).await?;
            if resolved.restored > 0 {
                let count = resolved.restored;
                task.warn(&format!(
                    "{count} chunks were uploaded again that a late delete took"
                ));
            }
            if resolved.waiting > 0 {
                let count = resolved.waiting;
                task.log(&format!(
                    "{count} deletes of an earlier run may still be applied"
                ));
            }
            store.reconcile_metadata(backend, client).await?;
        }
        let losses_at_start = match store.backend.s3() {
            Some(backend) => backend.losses.count().await,
            None => 0,
        };
        let start_time = store.env.unix_secs();
        let grace_secs = options.grace.map_or_else(
            || tuning.gc_cutoff_secs(),
            |grace| i64::try_from(grace.as_secs()).unwrap_or(i64::MAX),
        );
        // Raised and durable before the look at the sessions, that before the indexes are listed ◆.
        let generation = store.table.generation().saturating_add(1);
        let state = store.state.clone();
        store
            .env
            .blocking(move || state.write_generation(generation))
            .await?;
        store.table.raise_generation(generation);
        let floor = store.sessions.floor(generation);
        let oldest_writer = store
            .sessions
            .oldest_start()
            .unwrap_or(start_time)
            .min(start_time);
        let history = History::read(&store.state.gc_history());
        let since = history.facts().map_or(0, |facts| facts.generation);
        let removals = store.removals.totals_since(since)?;
        let clock_offset = client.as_ref().and_then(S3Client::clock_offset);
        Ok(Self {
            store: Arc::clone(store),
            lease,
            task,
            options,
            client,
            generation,
            floor,
            start_time,
            oldest_writer,
            grace_secs,
            history,
            removals,
            counters_at_start,
            clock_offset,
            losses_at_start,
        })
    }

    async fn collect(&self) -> Result<GcReport> {
        self.check_local_presence().await?;
        self.log_cutoff();
        self.task.log("Start GC phase1 (mark used chunks)");
        // Nothing depends on the check before the sweep, and it sleeps most of the time.
        let (marked, checked) = join(self.mark(), self.check_access_times()).await;
        checked?;
        let (marked, mirror) = marked?;
        self.check_tripwires(&marked, mirror.as_ref())?;
        self.task.log("Start GC phase2 (sweep unused chunks)");
        let mut report = GcReport {
            dry_run: self.options.dry_run,
            ..GcReport::default()
        };
        if let (Some(backend), Some(client)) = (self.store.backend.s3(), &self.client) {
            self.sweep_bucket(backend, client, &marked, &mut report)
                .await?;
            debug_assert!(report.adds_up(), "the accounting is off: {report:?}");
            let upid = self.task.upid();
            report.fill_status(upid, &marked.counts, marked.set.len());
        } else {
            self.sweep_directory(&marked, &mut report).await?;
        }
        self.conclude(&marked, mirror, &mut report).await?;
        Ok(report)
    }

    async fn check_access_times(&self) -> Result<()> {
        if self.options.dry_run {
            return Ok(());
        }
        let tuning = self.store.tuning();
        self.store.check_access_times(&tuning, &*self.task).await
    }

    fn log_cutoff(&self) {
        let cutoff = super::progress::time_span(u64::try_from(self.grace_secs).unwrap_or(0));
        let min = self.min_atime();
        let min = api_types::names::BackupTime::from_secs(min)
            .map_or_else(|_| min.to_string(), |time| time.to_string());
        self.task.log(&format!(
            "Using access time cutoff {cutoff}, minimum access time is {min}"
        ));
    }

    /// Upstream's bound for access times (`datastore-layout.md` §9.1).
    pub fn min_atime(&self) -> i64 {
        let min = self.start_time.saturating_sub(self.grace_secs);
        if self.oldest_writer < min {
            self.oldest_writer.saturating_sub(300)
        } else {
            min
        }
    }

    /// P1 and P1b.
    async fn mark(&self) -> Result<(Marked, Option<MirrorReport>)> {
        let store = &self.store;
        let pins = store.sessions.begin_mark();
        let options = MarkOptions {
            base: store.base.clone(),
            spill_dir: store.state.spill(),
            memory_limit: self.options.mark_memory,
            cache_dir: store.state.mark_cache(),
            full: self.options.full,
            cache_limit: MARK_CACHE,
            threads: mark_threads(&store.env),
            skip_unreadable: self.options.skip_unreadable.clone(),
        };
        let host = Arc::new(StoreHost {
            store: Arc::clone(store),
        });
        let mut marker = Marker::new(options, host, Arc::clone(&self.task));
        if let Some(observer) = &self.options.observer {
            marker = marker.with_observer(Arc::clone(observer));
        }
        let mut marker = marker.run(&store.env, &store.moves).await?;
        let mut mirror = None;
        if let (Some(backend), Some(client)) = (store.backend.s3(), &self.client) {
            let grace = self.grace_secs.saturating_mul(1000);
            let check = store.mirror_check(backend, client, &mut marker, grace, &*self.task);
            mirror = Some(check.await?);
        }
        let marked = store.env.background(move || marker.finish()).await?;
        drop(pins);
        Ok((marked, mirror))
    }

    fn check_tripwires(&self, marked: &Marked, mirror: Option<&MirrorReport>) -> Result<()> {
        let mut trips = tripwire::before_sweep(&BeforeSweep {
            history: &self.history,
            removals: self.removals,
            index_files: marked.counts.index_files,
            metadata_complete: true, // or the lease would have been refused
            mirror_error: None,
            local_snapshots: self.local_snapshots(marked),
            bucket_snapshots: mirror.map_or(0, |mirror| mirror.snapshots),
            foreign_owner: None,
            clock_offset: self.clock_offset,
        });
        let offset = self.client.as_ref().and_then(S3Client::clock_offset);
        trips.extend(tripwire::clock_change(self.clock_offset, offset));
        let (stop, forced) = tripwire::sort_out(trips, self.options.force);
        for trip in forced {
            self.task
                .warn(&format!("{trip}; going on since it was asked for"));
        }
        if stop.is_empty() || self.options.dry_run {
            for trip in stop {
                self.task.warn(&trip.to_string());
            }
            return Ok(());
        }
        let reasons: Vec<String> = stop.iter().map(ToString::to_string).collect();
        Err(Error::Refused(format!(
            "{}; nothing was deleted. If it is right, run the garbage collection once with --force",
            reasons.join("; ")
        )))
    }

    fn local_snapshots(&self, marked: &Marked) -> u64 {
        let mut snapshots: Vec<_> = marked
            .indexes()
            .iter()
            .filter(|index| matches!(index.source, super::mark::IndexSource::Local))
            .filter_map(|index| index.relative.parent())
            .collect();
        snapshots.sort_unstable();
        snapshots.dedup();
        u64::try_from(snapshots.len()).unwrap_or(u64::MAX)
    }

    async fn sweep_bucket(
        &self,
        backend: &Arc<S3Backend>,
        client: &S3Client,
        marked: &Marked,
        report: &mut GcReport,
    ) -> Result<()> {
        let tuning = self.store.tuning();
        let previous = self.history.facts().map(|facts| facts.chunks_left);
        let prefixes = ShardCount::choose(previous, marked.set.len()).prefixes();
        let shards = u64::try_from(prefixes.len()).unwrap_or(u64::MAX);
        let rules = SweepRules {
            floor: self.floor,
            generation: self.generation,
            grace: self.grace_secs.saturating_mul(1000),
            bad_retention: i64::try_from(self.options.bad_retention.as_millis())
                .unwrap_or(i64::MAX),
            dry_run: self.options.dry_run,
            gate: (!self.options.force).then(|| DeleteGate::new(&self.history, &self.removals)),
            list_concurrency: concurrency(tuning.list_concurrency, LIST_CONCURRENCY),
            delete_concurrency: concurrency(tuning.delete_concurrency, DELETE_CONCURRENCY),
        };
        let sweep = Sweep {
            backend: Arc::clone(backend),
            client: client.clone(),
            marks: marked.set.clone(),
            rules: Arc::new(rules),
            first_seen: Arc::new(FirstSeen::load(self.store.state.first_seen())?),
            versioned: Arc::default(),
            task: Arc::clone(&self.task),
        };
        let mut meter = ProgressMeter::new(&self.store.env, "sweep", "shards");
        let result = sweep
            .run(prefixes, report, |done, report| {
                meter.update(done, Some(shards), report.listing.listed, &*self.task);
            })
            .await;
        // What a run that did not see everything has not seen may still be there.
        if !self.options.dry_run && result.is_ok() && report.errors.is_empty() {
            let first_seen = Arc::clone(&sweep.first_seen);
            self.store.env.blocking(move || first_seen.save()).await?;
        }
        let offset = client.clock_offset();
        if let Some(trip) = tripwire::clock_change(self.clock_offset, offset) {
            self.task.warn(&trip.to_string());
        }
        result
    }

    /// P4: whatever happened, the journal is brought to its shortest form and old stamps go.
    async fn finish(&self) -> Result<()> {
        self.store.table.drop_stamps_below(self.floor);
        if !self.options.dry_run && !self.task.cancel().is_cancelled() {
            let (store, oldest) = (Arc::clone(&self.store), self.start_time - DAY_SECS);
            let clear = move || leftovers::clear_temporary_files(&store, oldest);
            if let Err(error) = self.store.env.blocking(clear).await {
                self.task
                    .warn(&format!("temporary files stay for now: {error}"));
            }
        }
        let spill = self.store.state.spill();
        if let Err(error) = disk::remove_dir_all(&spill)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            return Err(Error::io("unable to remove", &spill)(error));
        }
        match self.store.backend.s3() {
            // An aborted run must end at once, and syncing a busy disk takes its time: the records
            // wait for the next run.
            Some(backend) if !self.task.cancel().is_cancelled() => {
                backend.checkpoint_journal().await
            }
            _ => Ok(()),
        }
    }
}

/// What the mark asks of the store.
struct StoreHost {
    store: Arc<DataStore>,
}

impl MarkHost for StoreHost {
    fn pins(&self) -> GcResult<Vec<PinnedIndex>> {
        self.store
            .sessions
            .pins()
            .into_iter()
            .map(|pin| {
                let path = std::path::PathBuf::from(&pin.name);
                let file = pin.file.try_clone().map_err(|source| GcError::Io {
                    operation: "keep open the base's index",
                    path: path.clone(),
                    source,
                })?;
                Ok(PinnedIndex {
                    path,
                    kind: pin.archive_type,
                    file,
                })
            })
            .collect()
    }

    fn hold_epoch(&self) -> futures_util::future::BoxFuture<'_, GcResult<EpochGuard>> {
        Box::pin(async {
            let guard = Arc::clone(&self.store.metadata_epoch).write_owned().await;
            Ok(Box::new(guard) as EpochGuard)
        })
    }
}
