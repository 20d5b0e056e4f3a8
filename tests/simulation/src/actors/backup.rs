//! Backups.

use std::sync::Arc;

use anyhow::{Context, Result};
use api_types::auth::Authid;
use api_types::names::{ArchiveName, BackupTime, SnapshotPath};
use api_types::status::{CryptMode, VerifyState};
use datastore::Error;
use datastore::backend::s3::insert::Payload;
use datastore::digests::State;
use datastore::format::blob::DataBlob;
use datastore::format::index::IndexFile as _;
use datastore::format::manifest::Manifest;
use datastore::session::{ExpectedIndex, SessionOptions, WriterSession};
use futures_util::future::join_all;
use std::time::Duration;

use crate::book::{SessionId, Status};
use crate::coverage::Kind;
use crate::invariants::live::chunks_of_file;
use crate::invariants::{Violation, presence, progress, reports};
use crate::machine::Server;
use crate::plan::{Backup, End, Move};
use crate::sim::Sim;
use crate::universe::{CRYPT, PLAIN, Set, data, length, one};

use super::{Call, make_namespaces, place};

/// Makes a backup.
pub async fn backup(server: &Server, plan: &Backup) -> Result<()> {
    let sim = &server.sim;
    let (ns, group) = place(plan.group)?;
    if !server.store.snapshots().namespace_exists(&ns)? {
        make_namespaces(server).await?;
    }
    let time = BackupTime::from_secs(sim.env.unix_secs())?;
    let mut options = SessionOptions::new(group.clone(), time, Authid::root());
    options.ns = ns.clone();
    options.payload = match plan.cache {
        true => Payload::Cache,
        false => Payload::Discard,
    };
    let mut running = Running::start(server, options).await?;
    let result = running.work(plan).await;
    running.finish(plan, result).await
}

/// A backup and its place in the book, left however it ends.
pub(super) struct Running<'a> {
    server: &'a Server,
    session: Option<WriterSession>,
    id: SessionId,
    /// Chunks that it may name, in the order in which it learnt of them.
    known: Vec<u8>,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let generation = self.server.store.digests().generation();
        self.server.sim.core().book.end(self.id, generation);
        self.session = None;
    }
}

impl<'a> Running<'a> {
    /// Starts a session, and writes it into the book.
    pub(super) async fn start(server: &'a Server, options: SessionOptions) -> Result<Self> {
        let missing = {
            let core = server.sim.core();
            core.book.reported & !core.bucket.present
        };
        let ns = options.ns.clone();
        let session = WriterSession::start(&server.store, options, &server.cancel).await?;
        let path = SnapshotPath::new(ns, session.dir().clone());
        Self::begin(server, session, path, missing)
    }

    /// `missing` were reported missing before the session began.
    fn begin(
        server: &'a Server,
        session: WriterSession,
        path: SnapshotPath,
        missing: Set,
    ) -> Result<Self> {
        let universe = &server.sim.universe;
        let mut core = server.sim.core();
        let base = session.base().map(|base| {
            let path = SnapshotPath::new(path.ns.clone(), base.dir().clone());
            path.ns.path_of(&path.dir.path())
        });
        let chunks = base.as_ref().and_then(|base| {
            let index = core.book.find(base)?;
            // A snapshot whose removal a power failure has undone in part may be the base. Nobody
            // can take a chunk from an index that is gone.
            let dir = server.store.base().join(base);
            // Nor from one that a sync which was given up has replaced.
            let archives = core.book.snapshots[index].archives.iter();
            let taken = archives.map(|(archive, _)| chunks_of_file(&dir.join(archive), universe));
            Some(taken.fold(0, |set, chunks| set | chunks))
        });
        let result = reports::based(&core, server.proc, base.as_deref(), chunks, missing);
        core.check(result);
        let step = core.trace.steps;
        let id = core
            .book
            .begin(server.proc, path, chunks.unwrap_or(0), step);
        // G13: a snapshot that failed its verification is no base.
        let state = session.base().map(|base| base.manifest().verify_state());
        if let (Some(Ok(Some(state))), Some(base)) = (state, base)
            && state.state == VerifyState::Failed
        {
            core.fail(Violation::new(
                "G13",
                format!("the failed snapshot {base} is a base"),
            ));
        }
        Ok(Self {
            server,
            session: Some(session),
            id,
            known: Vec::new(),
        })
    }

    pub(super) fn sim(&self) -> &Arc<Sim> {
        &self.server.sim
    }

    pub(super) fn session(&self) -> Result<&WriterSession> {
        self.session.as_ref().context("the session is over")
    }

    async fn work(&mut self, plan: &Backup) -> Result<()> {
        if plan.base {
            self.take_base().await?;
        }
        let offset = if plan.encrypted { PLAIN } else { 0 };
        let limit = if plan.encrypted { CRYPT } else { PLAIN };
        for step in &plan.moves {
            match step {
                Move::Insert(chunks) => {
                    let mut chunks: Vec<u8> =
                        chunks.iter().map(|chunk| offset + chunk % limit).collect();
                    chunks.dedup();
                    let inserts = chunks
                        .iter()
                        .map(|&chunk| self.insert(chunk, plan.compressed));
                    let done = join_all(inserts).await;
                    for (chunk, result) in chunks.iter().zip(done) {
                        result?;
                        self.learn(*chunk);
                    }
                }
                Move::Ask(chunk) => {
                    let chunk = offset + chunk % limit;
                    if self.ask(chunk).await? {
                        self.learn(chunk);
                    }
                }
                Move::Wait(millis) => {
                    self.sim().env.sleep(Duration::from_millis(*millis)).await;
                }
            }
        }
        if self.known.is_empty() {
            let chunk = offset + plan.group % limit;
            self.insert(chunk, plan.compressed).await?;
            self.learn(chunk);
        }
        Ok(())
    }

    pub(super) fn learn(&mut self, chunk: u8) {
        if !self.known.contains(&chunk) {
            self.known.push(chunk);
        }
    }

    async fn take_base(&mut self) -> Result<()> {
        let session = self.session()?;
        let Some(base) = session.base() else {
            return Ok(());
        };
        let files = base.manifest().files().iter();
        let names: Vec<ArchiveName> = files
            .map(|file| file.filename.clone())
            .filter(|name| name.as_str().ends_with(".didx"))
            .collect();
        let mut digests = Vec::new();
        for name in &names {
            let index = session.load_base_index(name).await?;
            digests.extend(index.entries().digests().collect::<Result<Vec<_>, _>>()?);
        }
        let chunks = digests
            .iter()
            .filter_map(|digest| self.sim().universe.number(digest));
        for chunk in chunks.collect::<Vec<_>>() {
            self.learn(chunk);
        }
        self.sim().count(Kind::BaseUsed);
        Ok(())
    }

    pub(super) async fn insert(&self, chunk: u8, compressed: bool) -> Result<()> {
        let sim = self.sim();
        let blob = sim.universe.blob(chunk, compressed, &sim.env)?;
        let digest = *sim.universe.digest(chunk);
        let (proc, began) = (self.server.proc, sim.env.now());
        {
            let mut core = sim.core();
            let state = core.watch.seen(proc, chunk).state;
            if matches!(state, Some(State::Deleting { .. })) {
                core.coverage.add(Kind::WaitedForDelete);
            }
            core.watch.inserting.push((proc, chunk));
        }
        let result = self
            .session()?
            .insert_chunk(digest, length(chunk)?, blob)
            .await;
        let mut core = sim.core();
        let core = &mut *core;
        let inserting = &mut core.watch.inserting;
        if let Some(place) = inserting.iter().position(|it| *it == (proc, chunk)) {
            inserting.swap_remove(place);
        }
        let took = sim.env.now().saturating_duration_since(began);
        core.check(progress::inserted(&sim.universe, chunk, took));
        let duplicate = result?.duplicate;
        self.told(core, chunk, duplicate);
        let answer = if duplicate { "duplicate" } else { "uploaded" };
        sim.step(core, &format_args!("p{proc} {answer} chunk {chunk}"), true);
        Ok(())
    }

    pub(super) async fn ask(&self, chunk: u8) -> Result<bool> {
        let sim = self.sim();
        let digest = *sim.universe.digest(chunk);
        let known = self.session()?.touch_known(digest, length(chunk)?).await?;
        let mut core = sim.core();
        let core = &mut *core;
        if known {
            self.told(core, chunk, true);
        }
        let proc = self.server.proc;
        sim.step(
            core,
            &format_args!("p{proc} knows chunk {chunk}: {known}"),
            true,
        );
        Ok(known)
    }

    fn told(&self, core: &mut crate::sim::Core, chunk: u8, duplicate: bool) {
        core.coverage.add(match duplicate {
            true => Kind::Duplicate,
            false => Kind::Uploaded,
        });
        core.book.told(self.id, one(chunk));
        let universe = &self.sim().universe;
        let result = presence::answered(core, universe, self.server.proc, one(chunk), duplicate);
        core.check(result);
    }

    async fn finish(&mut self, plan: &Backup, result: Result<()>) -> Result<()> {
        let end = match (&result, plan.end) {
            (Ok(()), end) => end,
            (Err(_), End::Drop | End::DropEarly | End::CommitOrDrop) => End::DropEarly,
            (Err(_), _) => End::Abort,
        };
        if end == End::DropEarly {
            self.sim().count(Kind::Dropped);
            return result;
        }
        if result.is_ok() {
            let written = self.write(plan).await;
            let linger = Duration::from_millis(plan.linger);
            self.sim().env.sleep(linger).await;
            match (written, end) {
                (Ok(()), End::Commit | End::CommitOrDrop) => {
                    let committed = self.commit().await;
                    if committed.is_ok() || end == End::CommitOrDrop {
                        return committed;
                    }
                    self.abort().await?;
                    return committed;
                }
                (Ok(()), End::Drop) => {
                    self.sim().count(Kind::Dropped);
                    return Ok(());
                }
                (Err(error), End::CommitOrDrop | End::Drop) => return Err(error),
                (Err(error), _) => {
                    self.abort().await?;
                    return Err(error);
                }
                (Ok(()), _) => {}
            }
        }
        self.abort().await?;
        result
    }

    /// Writes the indexes and blobs.
    async fn write(&mut self, plan: &Backup) -> Result<()> {
        let session = self.session.as_ref().context("the session is over")?;
        let count = usize::from(plan.archives.max(1)).min(self.known.len());
        let mut archives = Vec::new();
        for number in 0..count {
            let chunks: Vec<u8> = self
                .known
                .iter()
                .skip(number)
                .step_by(count)
                .copied()
                .collect();
            archives.push((format!("a{number}.didx"), chunks));
        }
        let blobs: Vec<String> = (0..plan.blobs).map(|n| format!("b{n}.blob")).collect();
        self.announce(&archives, &blobs);
        for name in &blobs {
            let blob = DataBlob::encode(name.as_bytes(), None, false, &self.server.sim.env)?;
            session.add_blob(&name.parse()?, blob.into_raw()).await?;
        }
        for (name, chunks) in &archives {
            let writer = session.open_dynamic_index(&name.parse()?).await?;
            let mut offset = 0;
            let mut entries = Vec::new();
            for &chunk in chunks {
                entries.push((offset, *self.server.sim.universe.digest(chunk)));
                offset += u64::try_from(data(chunk).len())?;
            }
            session.append(writer, entries).await?;
            session
                .close_index(writer, ExpectedIndex::default())
                .await?;
        }
        Ok(())
    }

    async fn commit(&self) -> Result<()> {
        let sim = Arc::clone(self.sim());
        let session = self.session()?;
        let mut manifest = Manifest::new(session.dir());
        for file in session.files() {
            manifest.add_file(WriterSession::file_info(&file, CryptMode::None))?;
        }
        let call = Call::begin(&sim, "commit");
        let result = session.commit(manifest).await;
        drop(call);
        self.committed(result)
    }

    /// The names of what it is about to write.
    pub(super) fn announce(&self, archives: &[(String, Vec<u8>)], blobs: &[String]) {
        if let Some(snapshot) = self.sim().core().book.snapshot_of(self.id) {
            snapshot.archives = archives.to_vec();
            snapshot.blobs = blobs.to_vec();
        }
    }

    /// A commit was answered.
    pub(super) fn committed(&self, result: Result<(), Error>) -> Result<()> {
        let sim = Arc::clone(self.sim());
        let mut core = sim.core();
        let core = &mut *core;
        let Some(snapshot) = core.book.snapshot_of(self.id) else {
            return Ok(result?);
        };
        let (chunks, relative) = (snapshot.chunks(), snapshot.relative.clone());
        match result {
            Ok(()) => {
                core.coverage.add(Kind::Committed);
                if let Some(snapshot) = core.book.snapshot_of(self.id) {
                    snapshot.acknowledged = true;
                }
                let proc = self.server.proc;
                self.check_commit(core, &relative, chunks);
                sim.step(core, &format_args!("p{proc} committed {relative}"), true);
                Ok(())
            }
            Err(error) => {
                self.doubt(core, &relative);
                if matches!(error, Error::Refused(_)) {
                    core.coverage.add(Kind::CommitRefused);
                }
                Err(error.into())
            }
        }
    }

    fn check_commit(&self, core: &mut crate::sim::Core, relative: &str, chunks: Set) {
        let doomed = core
            .book
            .find(relative)
            .is_some_and(|index| core.book.snapshots[index].doomed);
        let status = core
            .book
            .find(relative)
            .map(|index| core.book.snapshots[index].status);
        let owner = core.bucket.owner.as_ref();
        let disk = core.procs[usize::try_from(self.server.proc).unwrap_or(0)].disk;
        let is_ours = owner.is_some_and(|owner| owner.instance == core.disks[disk].instance);
        if is_ours && !doomed && status != Some(Status::Committed) {
            let text =
                format!("the commit of {relative} is answered, and its manifest is {status:?}");
            core.fail(Violation::new("commit", text));
        }
        let result = reports::committed(core, &self.sim().universe, self.server.proc, chunks);
        core.check(result);
    }

    /// The client has no answer, so nothing is promised about the snapshot.
    fn doubt(&self, core: &mut crate::sim::Core, relative: &str) {
        if let Some(index) = core.book.find(relative) {
            core.book.set_status(index, Status::Doubtful);
        }
    }

    pub(super) async fn abort(&mut self) -> Result<()> {
        let sim = Arc::clone(self.sim());
        {
            let mut core = sim.core();
            let relative = core.book.snapshot_of(self.id).map(|s| s.relative.clone());
            self.doubt(&mut core, &relative.unwrap_or_default());
            let generation = self.server.store.digests().generation();
            core.book.end(self.id, generation);
        }
        sim.count(Kind::Aborted);
        match self.session.take() {
            Some(session) => Ok(session.abort().await?),
            None => Ok(()),
        }
    }
}
