//! The world and everything that is known of it, and the one place through which each step goes.
//!
//! A step is an event of the trace: a request leaves, arrives, is applied, is answered; the disk is
//! changed; an actor's call begins or ends; something is done to the world. After each the
//! invariants are checked, and a crash strikes when its step has come.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use anyhow::Result;
use bytes::Bytes;
use datastore::disk::{Observer as DiskObserver, Operation as DiskOperation};
use s3_client::env::Env;
use s3_mock::behaviour::ConditionalPut;
use s3_mock::{Change, Event, MockS3, Observer, What};
use scenarios::BUCKET;

use crate::book::Book;
use crate::bucket::{Bucket, Flight, News, Owner, ProcId, Subject, Ticket};
use crate::coverage::{Coverage, Kind};
use crate::director::{Course, Director, plain_listing};
use crate::disk::{Disk, chunk_of};
use crate::invariants::{self, Violation};
use crate::machine::{Armed, Proc};
use crate::plan::Plan;
use crate::trace::Trace;
use crate::universe::Universe;
use crate::watch::Watch;

/// When every world begins: later than any real clock, since directories keep real times.
pub const START: i64 = 2_200_000_000;

/// A world.
pub struct Sim {
    /// The scripted server.
    pub mock: MockS3,
    /// Time and randomness.
    pub env: Env,
    /// All chunks.
    pub universe: Universe,
    /// The plan.
    pub plan: Plan,
    root: tempfile::TempDir,
    core: Mutex<Core>,
}

impl fmt::Debug for Sim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sim").finish_non_exhaustive()
    }
}

/// Everything that changes.
pub struct Core {
    /// The trace.
    pub trace: Trace,
    /// The bucket.
    pub bucket: Bucket,
    /// The book.
    pub book: Book,
    /// Delays and trouble.
    pub director: Director,
    /// Every process so far; the place is its id.
    pub procs: Vec<Proc>,
    /// Every disk so far.
    pub disks: Vec<Disk>,
    /// What was seen of the digests' states.
    pub watch: Watch,
    /// What has happened how often.
    pub coverage: Coverage,
    /// The first violation.
    pub violation: Option<Violation>,
    /// A crash that is to come.
    pub armed: Option<Armed>,
    /// Processes beside others that are to be killed: which, at which step.
    pub ending: Vec<(ProcId, u64)>,
    /// Local indexes that were damaged and not yet replaced: whose, which, and what it was.
    pub damaged_files: BTreeMap<(usize, String), Bytes>,
    /// Also what the end of a process has cut off must be on the disk as in the bucket.
    pub strict: bool,
    /// A delete journal was lost, and the local state was not rebuilt since.
    pub journal_lost: bool,
    next_ticket: Ticket,
}

impl Core {
    /// Notes a violation; only the first counts.
    pub fn fail(&mut self, violation: Violation) {
        self.violation.get_or_insert(violation);
    }

    /// What only a disk had that nobody uses or believes any more is lost: accepted (`gc.md` §7,
    /// residual risk).
    pub fn accept_residual_risk(&mut self) {
        let lost = self.book.live() & !self.bucket.present;
        self.bucket.tainted |= lost;
        self.journal_lost = false;
    }

    /// Notes the violation of a check that failed.
    pub fn check(&mut self, result: Result<(), Violation>) {
        if let Err(violation) = result {
            self.fail(violation);
        }
    }
}

impl Sim {
    /// An empty world.
    pub async fn new(plan: Plan, keep_trace: bool) -> Result<Arc<Self>> {
        let seed = crate::dice::mix(&[plan.seed, plan.world, 7]);
        let setting = plan.setting.clone();
        let mock = MockS3::builder()
            .start_time(START)
            .bucket(BUCKET)
            .configure(|behaviour| {
                behaviour.list = plain_listing(setting.page_size);
                behaviour.remember_deleted = true;
                if setting.ignores_conditions {
                    behaviour.conditional_put = ConditionalPut::Ignored;
                }
                behaviour.delete_objects = !setting.single_deletes;
            })
            .start()
            .await?;
        let director = Director::new(plan.seed, plan.world, &plan.setting);
        let sim = Arc::new(Self {
            mock,
            env: Env::seeded(seed, START),
            universe: Universe::new()?,
            root: support::scratch()?,
            core: Mutex::new(Core {
                trace: Trace::new(keep_trace),
                bucket: Bucket::default(),
                book: Book::default(),
                director,
                procs: Vec::new(),
                disks: Vec::new(),
                watch: Watch::default(),
                coverage: Coverage::default(),
                violation: None,
                armed: None,
                ending: Vec::new(),
                damaged_files: BTreeMap::new(),
                strict: false,
                journal_lost: false,
                next_ticket: 0,
            }),
            plan,
        });
        // Its clock begins at the first look, and is to agree with the server's.
        let _ = sim.env.unix_millis();
        sim.mock.observe(Arc::new(JournalReader {
            sim: Arc::downgrade(&sim),
        }));
        Ok(sim)
    }

    /// Everything that changes, locked. Nothing of the store under test may be called meanwhile
    /// that changes the disk or sends a request.
    pub fn core(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The directory of everything local.
    #[must_use]
    pub fn root(&self) -> &Path {
        self.root.path()
    }

    /// The observer of the disk, for the thread of this world.
    #[must_use]
    pub fn disk_observer(self: &Arc<Self>) -> Arc<dyn DiskObserver> {
        Arc::new(DiskReader {
            sim: Arc::downgrade(self),
        })
    }

    /// Whether something was violated.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.core().violation.is_some()
    }

    /// Counts something.
    pub fn count(&self, kind: Kind) {
        self.core().coverage.add(kind);
    }

    /// A step of an actor or of the world.
    pub fn note(&self, what: fmt::Arguments<'_>) {
        self.step(&mut self.core(), &what, true);
    }

    /// A step. `settled` = no lock of the store under test is held by whoever takes it.
    pub fn step(&self, core: &mut Core, what: &fmt::Arguments<'_>, settled: bool) {
        let now = self.env.now();
        core.trace.add(self.mock.now_millis(), what);
        core.bucket.pass(now);
        if settled && core.violation.is_none() {
            crate::watch::look(core, &self.universe);
            let result = invariants::after_step(core, &self.universe);
            core.check(result);
        }
        crate::beside::strike(core);
        crate::machine::strike(self, core, !settled);
    }

    /// A request leaves its process.
    pub fn sent(&self, proc: ProcId, subject: &Subject) -> (Ticket, Course) {
        let now = self.env.now();
        let mut core = self.core();
        let core = &mut *core;
        core.next_ticket += 1;
        let ticket = core.next_ticket;
        let course = core.director.course(subject, now);
        let chunks = subject.deletes(&self.universe);
        let result = invariants::before_request(core, &self.universe, proc, subject, now);
        core.check(result);
        let flight = (chunks != 0).then(|| {
            core.coverage.add(Kind::DeleteSent);
            let until = course.late.map(|late| now + course.before + late);
            let until = until.map(|until| until + std::time::Duration::from_secs(2));
            Flight {
                proc,
                chunks,
                until,
            }
        });
        if flight.is_some() {
            crate::machine::delete_sent(core);
        }
        core.bucket.sent(ticket, flight);
        core.watch.sent(ticket, proc, course.late.is_some());
        let name = subject.operation.name();
        let keys = Keys(subject);
        self.step(core, &format_args!("p{proc} #{ticket} {name}{keys}"), true);
        (ticket, course)
    }

    /// A request did not leave after all.
    pub fn unsent(&self, ticket: Ticket) {
        self.core().bucket.flights.remove(&ticket);
    }

    fn journal_line(&self, event: &Event) {
        let mut core = self.core();
        let core = &mut *core;
        let is_late = core.watch.is_late(event.tag);
        let news = core.bucket.line(event, &self.universe);
        if let What::Applied { changes } = &event.what {
            let paths = changes.iter();
            let paths = paths.filter_map(|it| crate::bucket::metadata_path(it, &self.universe));
            let paths: Vec<String> = paths.collect();
            let by = core.watch.sender(event.tag);
            crate::cut::came_late(core, &paths, is_late, by);
            let deleted = changes
                .iter()
                .filter(|it| matches!(it, Change::Deleted { .. }));
            for path in deleted.filter_map(|it| crate::bucket::metadata_path(it, &self.universe)) {
                core.book.unwritten(&path);
            }
            crate::cut::applied(core, paths, by);
        }
        for news in news {
            self.follow(core, event.tag, is_late, &news);
        }
        let ticket = event.tag;
        match &event.what {
            What::Arrived { .. } => self.step(core, &format_args!("s3 #{ticket} arrived"), true),
            What::Applied { .. } => self.step(core, &format_args!("s3 #{ticket} applied"), true),
            What::Answered { status, .. } => {
                self.step(core, &format_args!("s3 #{ticket} answers {status}"), true);
            }
            What::Dropped => self.step(core, &format_args!("s3 #{ticket} dropped"), true),
            What::Hung => self.step(core, &format_args!("s3 #{ticket} hangs"), true),
        }
    }

    /// What a change of the bucket means for the others.
    fn follow(&self, core: &mut Core, ticket: Ticket, is_late: bool, news: &News) {
        match news {
            News::ChunkPut(chunk) => {
                core.book.written(*chunk);
                core.watch.written(*chunk);
                if is_late {
                    core.coverage.add(Kind::LatePut);
                }
            }
            News::ChunkDeleted(chunk) => {
                if is_late {
                    core.coverage.add(Kind::LateDelete);
                    if core.book.live() & crate::universe::one(*chunk) != 0 {
                        core.coverage.add(Kind::LateDeleteHit);
                    }
                }
            }
            News::ManifestPut(snapshot) => {
                if is_late {
                    core.book.late_manifest(snapshot);
                } else {
                    core.book.manifest_put(snapshot);
                }
            }
            News::MetadataDeleted(directory) => {
                let result = invariants::whole::after_removal(core, directory);
                core.check(result);
            }
            News::Claimed => {
                let proc = core.watch.sender(ticket);
                let instance = proc
                    .and_then(|proc| core.procs.get(usize::try_from(proc).ok()?))
                    .and_then(|proc| core.disks.get(proc.disk))
                    .map(|disk| disk.instance.clone());
                if let Some(instance) = instance {
                    let since = self.env.now();
                    let owner = core.bucket.owner.as_ref();
                    if owner.is_none_or(|owner| owner.instance != instance) {
                        core.bucket.owner = Some(Owner { instance, since });
                        crate::cut::taken_over(core);
                    }
                }
            }
        }
    }

    fn disk_operation(&self, operation: &DiskOperation<'_>) -> io::Result<()> {
        let mut core = self.core();
        let core = &mut *core;
        let path = operation.path();
        let Some(disk) = core.disks.iter().position(|disk| disk.has(path)) else {
            return Ok(());
        };
        let ended = || io::Error::other("the process has ended");
        if crate::machine::is_dead(core, disk) || crate::beside::has_ended(core) {
            return Err(ended());
        }
        let kind = kind_of(operation);
        let name = Name::of(path, &core.disks[disk].base, &self.universe);
        self.step(core, &format_args!("d{disk} {kind} {name}"), false);
        if crate::machine::is_dead(core, disk) || crate::beside::has_ended(core) {
            return Err(ended());
        }
        Ok(())
    }

    fn disk_done(&self, operation: &DiskOperation<'_>) {
        let mut core = self.core();
        let core = &mut *core;
        let result = invariants::labels::after_operation(core, operation);
        core.check(result);
        let path = operation.path();
        // A retired disk is not written to any more.
        let disk = core.disks.iter_mut().find(|disk| disk.has(path));
        if let Some(disk) = disk {
            let before = disk.payloads;
            disk.done(operation, &self.universe);
            let evicted = before & !disk.payloads & disk.files;
            if evicted != 0 {
                core.coverage.add(Kind::Evicted);
            }
        }
    }
}

struct JournalReader {
    sim: Weak<Sim>,
}

impl Observer for JournalReader {
    fn line(&self, event: &Event) {
        if let Some(sim) = self.sim.upgrade() {
            sim.journal_line(event);
        }
    }
}

struct DiskReader {
    sim: Weak<Sim>,
}

impl DiskObserver for DiskReader {
    fn before(&self, operation: &DiskOperation<'_>) -> io::Result<()> {
        match self.sim.upgrade() {
            Some(sim) => sim.disk_operation(operation),
            None => Ok(()),
        }
    }

    fn after(&self, operation: &DiskOperation<'_>, result: Result<(), &io::Error>) {
        if let (Some(sim), Ok(())) = (self.sim.upgrade(), result) {
            sim.disk_done(operation);
        }
    }
}

struct Keys<'a>(&'a Subject);

impl fmt::Display for Keys<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for key in &self.0.keys {
            let key = key.strip_prefix("store1/").unwrap_or(key);
            let short = match key.strip_prefix(".chunks/") {
                Some(chunk) => chunk.get(5..13).unwrap_or(chunk),
                None => key,
            };
            write!(f, " {short}")?;
        }
        Ok(())
    }
}

/// A path in the trace: relative, without the random part of temporary names.
struct Name<'a> {
    path: &'a Path,
    is_chunk: bool,
}

impl<'a> Name<'a> {
    fn of(path: &'a Path, base: &Path, universe: &Universe) -> Self {
        let is_chunk = chunk_of(path, universe).is_some();
        // Outside there are only the locks.
        let name = || Path::new(path.file_name().unwrap_or_default());
        let path = path.strip_prefix(base).unwrap_or_else(|_| name());
        Self { path, is_chunk }
    }
}

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.path.file_name().and_then(|name| name.to_str());
        let name = name.unwrap_or_default();
        if self.is_chunk {
            return f.write_str(name.get(..8).unwrap_or(name));
        }
        // Names made of process ids and random characters.
        for dir in [".trash", "spill"] {
            let mut parts = self.path.components();
            if parts.any(|part| part.as_os_str() == dir) {
                return f.write_str(dir);
            }
        }
        let parent = self.path.parent().unwrap_or(Path::new(""));
        let stem = name.split(".tmp").next().unwrap_or(name);
        write!(f, "{}", parent.join(stem).display())
    }
}

fn kind_of(operation: &DiskOperation<'_>) -> &'static str {
    match operation {
        DiskOperation::CreateFile { .. } => "create",
        DiskOperation::Write { .. } => "write",
        DiskOperation::SetLen { .. } => "set length",
        DiskOperation::SetAttribute { .. } => "set attribute",
        DiskOperation::Rename { .. } => "rename",
        DiskOperation::HardLink { .. } => "link",
        DiskOperation::RemoveFile { .. } => "remove",
        DiskOperation::CreateDir { .. } => "mkdir",
        DiskOperation::RemoveDir { .. } => "rmdir",
        DiskOperation::SyncFile { .. } => "sync",
        DiskOperation::SyncDir { .. } => "sync directory",
        DiskOperation::SyncFileSystem { .. } => "sync all",
    }
}

/// A path below the world's directory.
#[must_use]
pub fn place(root: &Path, kind: &str, number: usize) -> PathBuf {
    root.join(format!("{kind}-{number}"))
}
