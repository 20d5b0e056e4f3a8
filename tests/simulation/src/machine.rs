//! Processes and disks: how they begin, end, and end in the middle.
//!
//! A crash strikes at a step. The disk is copied at that very moment, and whatever the dying
//! process still does (its tasks are dropped a little later) changes only the old disk: it sends
//! nothing any more, and its operations on the disk are refused.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use api_types::datastore::DatastoreTuning;
use api_types::s3::ProviderQuirk;
use datastore::backend::s3::ownership::Instance;
use datastore::chunk_store::PrefixDirs;
use datastore::store::create::CreateOptions;
use datastore::store::state_dir::StateDir;
use datastore::store::{BackendOptions, DataStore, StoreOptions};
use datastore::task::SilentTask;
use s3_client::S3Client;
use scenarios::{BUCKET, STORE};
use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;

use crate::bucket::ProcId;
use crate::coverage::Kind;
use crate::disk::Disk;
use crate::invariants::Violation;
use crate::sim::{Core, Sim, place};
use crate::transport::SimTransport;

/// The installation that creates the datastore.
pub const FIRST: &str = "server-0";

/// A process.
#[derive(Debug)]
pub struct Proc {
    /// Its number.
    pub id: ProcId,
    /// Its disk.
    pub disk: usize,
    /// Whether it may still do something.
    alive: Arc<AtomicBool>,
    /// The open datastore.
    pub store: Option<Arc<DataStore>>,
    /// Stops what it does.
    pub cancel: CancellationToken,
    /// Takes nothing new on.
    pub draining: bool,
    tasks: Vec<AbortHandle>,
}

impl Proc {
    /// Whether it may still do something.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.alive.load(Ordering::SeqCst)
    }

    /// Whether something of it is still at work.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.tasks.iter().any(|task| !task.is_finished())
    }
}

/// A crash to come.
#[derive(Clone, Copy, Debug)]
pub struct Armed {
    /// At this step.
    pub at: u64,
    /// Loses what was not synced.
    pub power: bool,
    /// Counted from the next delete of chunks on: so many steps after it.
    pub after_delete: Option<u64>,
    /// The delete journal is lost.
    pub lose_journal: bool,
    /// It has struck.
    pub struck: bool,
}

/// A process as an actor sees it.
#[derive(Clone, Debug)]
pub struct Server {
    /// The world.
    pub sim: Arc<Sim>,
    /// The process.
    pub proc: ProcId,
    /// Its datastore.
    pub store: Arc<DataStore>,
    /// Stops what it does.
    pub cancel: CancellationToken,
}

pub(crate) fn index(proc: ProcId) -> usize {
    usize::try_from(proc).unwrap_or(usize::MAX)
}

/// Whether no process may use the disk any more.
#[must_use]
pub fn is_dead(core: &Core, disk: usize) -> bool {
    core.disks[disk].retired
}

/// A delete of chunks is sent: a crash may have waited for that.
pub fn delete_sent(core: &mut Core) {
    let steps = core.trace.steps;
    if let Some(armed) = &mut core.armed
        && let Some(after) = armed.after_delete.take()
    {
        armed.at = steps + after;
    }
}

/// Lets an armed crash strike if its step has come.
pub fn strike(sim: &Sim, core: &mut Core, at_disk: bool) {
    let Some(armed) = core.armed else { return };
    let waits = armed.struck || armed.after_delete.is_some();
    if waits || core.trace.steps < armed.at || core.director.hurry {
        return;
    }
    let Some(current) = current(core) else { return };
    core.armed = Some(Armed {
        struck: true,
        ..armed
    });
    count_phases(core);
    if at_disk {
        core.coverage.add(Kind::CrashAtDisk);
    }
    let disk = core.procs[current].disk;
    if let Err(error) = exchange_disk(sim, core, disk, armed) {
        core.fail(Violation::new(
            "harness",
            format!("no disk image: {error:#}"),
        ));
    }
    let now = sim.mock.now_millis();
    core.trace.add(now, &format_args!("CRASH of disk {disk}"));
}

/// Ends every process of a disk, and puts a copy in the disk's place.
fn exchange_disk(sim: &Sim, core: &mut Core, disk: usize, armed: Armed) -> Result<()> {
    let number = core.disks.len();
    let (base, locks) = (
        place(sim.root(), "disk", number),
        place(sim.root(), "locks", number),
    );
    let choice = crate::dice::mix(&[sim.plan.seed, sim.plan.world, core.trace.steps]);
    match armed.power {
        true => {
            core.coverage.add(Kind::PowerLoss);
            core.disks[disk].what_is_left(&base, choice)?;
        }
        false => core.disks[disk].image(&base, &locks)?,
    }
    if armed.lose_journal {
        // It may be lost already.
        let _ = std::fs::remove_file(StateDir::of(&base).delete_journal());
        core.journal_lost = true;
    }
    core.disks[disk].retired = true;
    let instance = core.disks[disk].instance.clone();
    let copy = Disk::new(base, locks, &instance, &sim.universe)?;
    core.disks.push(copy);
    for index in 0..core.procs.len() {
        if core.procs[index].disk == disk {
            kill(core, index);
        }
    }
    Ok(())
}

/// Ends a process in the middle of what it does.
pub(crate) fn kill(core: &mut Core, index: usize) {
    let proc = &mut core.procs[index];
    proc.alive.store(false, Ordering::SeqCst);
    for task in proc.tasks.drain(..) {
        task.abort();
    }
    let id = proc.id;
    core.book.crash(id);
    core.watch.inserting.retain(|(proc, _)| *proc != id);
}

fn count_phases(core: &mut Core) {
    core.coverage.add(Kind::Crash);
    let during = |core: &Core, call| core.watch.calls.get(call).is_some_and(|count| *count > 0);
    for (call, kind) in [
        ("commit", Kind::CrashInCommit),
        ("collect", Kind::CrashInCollection),
        ("remove", Kind::CrashInRemoval),
        ("refresh", Kind::CrashInRefresh),
        ("verify", Kind::CrashInVerify),
        ("move", Kind::CrashInMove),
    ] {
        if during(core, call) {
            core.coverage.add(kind);
        }
    }
    if !core.book.sessions.is_empty() {
        core.coverage.add(Kind::CrashInSession);
    }
    if !core.bucket.flights.is_empty() {
        core.coverage.add(Kind::CrashInDelete);
    }
    core.watch.calls.clear();
}

/// The process that takes new work on.
#[must_use]
pub fn current(core: &Core) -> Option<usize> {
    let fit = |proc: &&Proc| proc.is_alive() && !proc.draining && proc.store.is_some();
    core.procs.iter().rev().find(fit).map(|proc| index(proc.id))
}

impl Sim {
    /// The process that takes new work on, and its disk.
    #[must_use]
    pub fn current(&self) -> Option<(ProcId, usize)> {
        let core = self.core();
        let proc = &core.procs[current(&core)?];
        Some((proc.id, proc.disk))
    }

    /// The process that takes new work on.
    #[must_use]
    pub fn server(self: &Arc<Self>) -> Option<Server> {
        let core = self.core();
        let proc = &core.procs[current(&core)?];
        Some(Server {
            sim: Arc::clone(self),
            proc: proc.id,
            store: proc.store.clone()?,
            cancel: proc.cancel.clone(),
        })
    }

    fn client(self: &Arc<Self>, proc: ProcId, alive: &Arc<AtomicBool>) -> Result<S3Client> {
        let mut options = support::mock_endpoint(&self.mock, BUCKET)?.options()?;
        let quirks = &mut options.endpoint.provider_quirks;
        if self.plan.setting.single_deletes {
            quirks.push(ProviderQuirk::DeleteObjectsViaDeleteObject);
        }
        if self.plan.setting.ignores_conditions {
            quirks.push(ProviderQuirk::SkipIfNoneMatchHeader);
        }
        let transport = Arc::new(SimTransport {
            sim: Arc::clone(self),
            proc,
            alive: Arc::clone(alive),
        });
        Ok(S3Client::with_transport(
            options,
            self.env.clone(),
            transport,
        )?)
    }

    /// A new process on a disk, without an open datastore yet; and what to open it with.
    pub(crate) fn new_proc(self: &Arc<Self>, disk: usize) -> Result<(usize, StoreOptions)> {
        let alive = Arc::new(AtomicBool::new(true));
        let id = {
            let mut core = self.core();
            let id = ProcId::try_from(core.procs.len())?;
            core.procs.push(Proc {
                id,
                disk,
                alive: Arc::clone(&alive),
                store: None,
                cancel: CancellationToken::new(),
                draining: false,
                tasks: Vec::new(),
            });
            id
        };
        let client = self.client(id, &alive)?;
        let core = self.core();
        let disk = &core.disks[disk];
        let options = StoreOptions {
            name: STORE.parse()?,
            path: disk.base.clone(),
            lock_dir: disk.locks.clone(),
            tuning: DatastoreTuning {
                gc_atime_safety_check: Some(false),
                gc_atime_cutoff: Some(u32::try_from(self.plan.setting.grace / 60)?),
                ..DatastoreTuning::default()
            },
            backend: BackendOptions::S3 {
                client,
                max_cache_bytes: self.plan.setting.max_cache,
            },
            instance: Instance {
                id: disk.instance.clone(),
                hostname: disk.instance.clone(),
            },
            quarantine: None,
            env: self.env.clone(),
        };
        Ok((index(id), options))
    }

    fn new_disk(&self, instance: &str) -> Result<usize> {
        let mut core = self.core();
        let number = core.disks.len();
        let base: PathBuf = place(self.root(), "disk", number);
        let locks = place(self.root(), "locks", number);
        std::fs::create_dir_all(&base)?;
        let disk = Disk::new(base, locks, instance, &self.universe)?;
        core.disks.push(disk);
        Ok(number)
    }

    /// Creates the datastore.
    pub async fn create(self: &Arc<Self>) -> Result<()> {
        let disk = self.new_disk(FIRST)?;
        self.create_on(disk, false).await
    }

    async fn create_on(self: &Arc<Self>, disk: usize, takeover: bool) -> Result<()> {
        let (proc, options) = self.new_proc(disk)?;
        let create = CreateOptions {
            reuse: takeover,
            overwrite_in_use: takeover,
            prefix_dirs: PrefixDirs::OnDemand,
        };
        let created = DataStore::create(options, create, &SilentTask::new()).await;
        let mut core = self.core();
        match created {
            Ok(store) => {
                core.procs[proc].store = Some(store);
                Ok(())
            }
            Err(error) => {
                kill(&mut core, proc);
                Err(error.into())
            }
        }
    }

    /// A disk that is not retired, the youngest of its installation.
    pub(crate) fn youngest_disk(&self, of: Option<&str>) -> Option<usize> {
        let core = self.core();
        let fits = |disk: &Disk| !disk.retired && of.is_none_or(|of| disk.instance == of);
        (0..core.disks.len())
            .rev()
            .find(|&disk| fits(&core.disks[disk]))
    }

    /// Opens the datastore on a disk as a new process.
    pub fn open(self: &Arc<Self>, disk: usize) -> Result<()> {
        let (proc, options) = self.new_proc(disk)?;
        let opened = DataStore::open(options);
        let mut core = self.core();
        match opened {
            Ok(store) => {
                core.procs[proc].store = Some(store);
                drop(core);
                self.note(format_args!("p{proc} opened on d{disk}"));
                Ok(())
            }
            Err(error) => {
                kill(&mut core, proc);
                drop(core);
                self.note(format_args!("p{proc} not opened on d{disk}: {error}"));
                Err(error.into())
            }
        }
    }

    /// Makes sure that a process takes new work on.
    pub fn start_if_none(self: &Arc<Self>) -> Result<()> {
        if current(&self.core()).is_some() {
            return Ok(());
        }
        let owner = self
            .core()
            .bucket
            .owner
            .as_ref()
            .map(|owner| owner.instance.clone());
        let disk = self.youngest_disk(owner.as_deref());
        let disk = disk.or_else(|| self.youngest_disk(None));
        self.open(disk.context("a disk")?)
    }

    /// Runs work as a task of the process; `None` if the process ended first.
    pub async fn run<T, F>(self: &Arc<Self>, proc: ProcId, work: F) -> Option<T>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let handle = {
            let mut core = self.core();
            let proc = &mut core.procs[index(proc)];
            if !proc.is_alive() {
                return None;
            }
            let handle = tokio::spawn(crate::beside::DOER.scope(proc.id, work));
            proc.tasks.retain(|task| !task.is_finished());
            proc.tasks.push(handle.abort_handle());
            handle
        };
        match handle.await {
            Ok(value) => Some(value),
            Err(error) if error.is_panic() => {
                let panic = error.into_panic();
                let text = panic
                    .downcast_ref::<String>()
                    .map(String::as_str)
                    .or_else(|| panic.downcast_ref::<&str>().copied())
                    .unwrap_or("unknown");
                let violation = Violation::new("no panic", format!("a task panicked: {text}"));
                self.core().fail(violation);
                None
            }
            Err(_) => None,
        }
    }

    /// Arms a crash and waits until it has struck, at most a while; then starts a new process.
    pub async fn crash(self: &Arc<Self>, armed: Armed, down: Duration) -> Result<()> {
        {
            let mut core = self.core();
            if core.armed.is_some() {
                return Ok(());
            }
            core.armed = Some(armed);
        }
        let struck = || self.core().armed.is_none_or(|armed| armed.struck);
        let patience = match armed.after_delete {
            Some(_) => 6000,
            None => 600,
        };
        for _ in 0..patience {
            if struck() {
                break;
            }
            self.env.sleep(Duration::from_millis(100)).await;
        }
        let struck = struck();
        self.core().armed = None;
        if !struck {
            return Ok(());
        }
        self.bury().await;
        self.note_cut()?;
        self.env.sleep(down).await;
        self.start_if_none()
    }

    /// Waits until nothing of the dead is left, and removes what was theirs.
    pub async fn bury(&self) {
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        let (stores, disks) = {
            let mut core = self.core();
            let dead = core.procs.iter_mut().filter(|proc| !proc.is_alive());
            let stores: Vec<_> = dead.filter_map(|proc| proc.store.take()).collect();
            let retired = core.disks.iter().filter(|disk| disk.retired);
            let disks: Vec<_> = retired.map(|d| (d.base.clone(), d.locks.clone())).collect();
            (stores, disks)
        };
        drop(stores);
        for (base, locks) in disks {
            // They may be gone already.
            let _ = std::fs::remove_dir_all(base);
            let _ = std::fs::remove_dir_all(locks);
        }
    }

    /// A second process takes over on the same disk; the old one finishes what it does.
    pub fn reload(self: &Arc<Self>) -> Result<()> {
        let (old, disk) = {
            let mut core = self.core();
            let Some(old) = current(&core) else {
                return Ok(());
            };
            if core
                .procs
                .iter()
                .any(|proc| proc.is_alive() && proc.draining)
            {
                return Ok(());
            }
            core.procs[old].draining = true;
            (old, core.procs[old].disk)
        };
        if let Err(error) = self.open(disk) {
            let mut core = self.core();
            if core.procs[old].is_alive() {
                core.procs[old].draining = false;
            }
            return Err(error);
        }
        self.count(Kind::Reloaded);
        Ok(())
    }

    /// Ends processes that were to finish what they did and have.
    pub async fn end_drained(&self) -> usize {
        let left = {
            let mut core = self.core();
            let mut left = 0;
            for index in 0..core.procs.len() {
                let proc = &core.procs[index];
                if proc.is_alive() && proc.draining {
                    if proc.is_busy() {
                        left += 1;
                    } else {
                        kill(&mut core, index);
                    }
                }
            }
            left
        };
        self.bury().await;
        left
    }

    /// Another server takes the prefix over.
    pub async fn take_over(self: &Arc<Self>) -> Result<()> {
        let number = self.core().disks.len();
        let disk = self.new_disk(&format!("server-{number}"))?;
        self.note(format_args!("takeover by d{disk} begins"));
        let result = self.create_on(disk, true).await;
        self.after_takeover(disk, result)
    }

    /// Completes a takeover that was interrupted.
    pub async fn complete_takeover(self: &Arc<Self>, disk: usize) -> Result<()> {
        let result = self.create_on(disk, true).await;
        self.after_takeover(disk, result)
    }

    fn after_takeover(self: &Arc<Self>, disk: usize, result: Result<()>) -> Result<()> {
        if let Err(error) = result {
            self.note(format_args!("takeover by d{disk} failed: {error}"));
            return Err(error);
        }
        {
            let mut core = self.core();
            core.coverage.add(Kind::TakenOver);
            for index in 0..core.procs.len() {
                if core.procs[index].disk != disk {
                    core.procs[index].draining = true;
                }
            }
            core.accept_residual_risk();
        }
        self.note(format_args!("takeover by d{disk} completed"));
        Ok(())
    }

    /// The disk of the owner of the prefix, and whether a process is open on it.
    #[must_use]
    pub fn owners_disk(&self) -> Option<(usize, bool)> {
        let owner = self.core().bucket.owner.as_ref()?.instance.clone();
        let disk = self.youngest_disk(Some(&owner))?;
        let core = self.core();
        let open = core
            .procs
            .iter()
            .any(|p| p.disk == disk && p.is_alive() && p.store.is_some());
        Some((disk, open))
    }

    /// Ends everything that does not belong to the owner of the prefix.
    pub async fn end_others(&self, disk: usize) {
        {
            let mut core = self.core();
            for index in 0..core.procs.len() {
                let proc = &core.procs[index];
                if proc.is_alive() && proc.disk != disk {
                    kill(&mut core, index);
                }
            }
            for (number, other) in core.disks.iter_mut().enumerate() {
                other.retired |= number != disk;
            }
        }
        self.bury().await;
    }

    /// Ends everything, so that nothing refers to the world any more.
    pub async fn close(&self) {
        {
            let mut core = self.core();
            for index in 0..core.procs.len() {
                kill(&mut core, index);
            }
        }
        self.bury().await;
    }
}
