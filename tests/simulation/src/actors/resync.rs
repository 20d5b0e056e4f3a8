//! Syncs of snapshots that are here already.
//!
//! One whose files are the same stays committed all the time, and so does one with a damaged index.
//! One that becomes another snapshot is neither the one nor the other from its first replaced file
//! to its manifest.

use std::sync::Arc;

use anyhow::{Context, Result};
use api_types::names::SnapshotPath;
use api_types::status::{SnapshotVerifyState, VerifyState};
use datastore::atomic_file;
use datastore::format::blob::DataBlob;
use datastore::format::manifest::{FileInfo, Manifest};
use datastore::session::ResyncSession;
use s3_client::TaskKind;
use scenarios::{BUCKET, STORE};

use crate::book::{Change, SessionId, Snapshot, Status, places};
use crate::bucket::MANIFEST;
use crate::coverage::Kind;
use crate::invariants::{presence, reports};
use crate::machine::Server;
use crate::plan::{Resync, Source};
use crate::sim::Sim;
use crate::source::{self, SourceFile};
use crate::universe::{PLAIN, length, one};

use super::Call;
use super::read::UPID;

/// Syncs a snapshot once more.
pub async fn resync(server: &Server, plan: &Resync) -> Result<()> {
    let sim = &server.sim;
    let Some((index, snapshot)) = choose(sim, server, plan.pick) else {
        return Ok(());
    };
    let path = snapshot.path.clone();
    let content = Content::of(sim, server, &snapshot, plan)?;
    let notes = content.manifest.notes().unwrap_or_default().to_owned();
    let session =
        ResyncSession::start(&server.store, path.clone(), TaskKind::Sync, &server.cancel).await?;
    let mut syncing = Syncing::begin(server, session, index, content, plan);
    if plan.source == Source::Damaged {
        damage(server, &path, index, &snapshot)?;
    }
    let files = syncing.files().await;
    repair(server, index)?;
    files?;
    if plan.give_up {
        return Ok(());
    }
    let change = Change::begin(sim, server.proc, notes, move |book| {
        &mut book.snapshots[index].notes
    });
    syncing.commit().await?;
    change.done();
    sim.count(match plan.source {
        Source::Same => Kind::Resynced,
        Source::Damaged => Kind::IndexReplaced,
        Source::Other => Kind::Exchanged,
    });
    Ok(())
}

/// A committed snapshot, where the local tree has it.
fn choose(sim: &Sim, server: &Server, pick: u8) -> Option<(usize, Snapshot)> {
    let core = sim.core();
    let index = core.book.pick(pick)?;
    let mut snapshot = core.book.snapshots[index].clone();
    let fit = snapshot.status == Status::Committed && snapshot.acknowledged && !snapshot.doomed;
    snapshot.path = snapshot.standing(&server.store).filter(|_| fit)?;
    Some((index, snapshot))
}

/// What the source has.
struct Content {
    manifest: Manifest,
    archives: Vec<(String, Vec<u8>)>,
    files: Vec<SourceFile>,
}

impl Content {
    fn of(sim: &Sim, server: &Server, snapshot: &Snapshot, plan: &Resync) -> Result<Self> {
        if plan.source == Source::Other {
            return Self::other(sim, snapshot, plan);
        }
        let (ns, dir) = (&snapshot.path.ns, &snapshot.path.dir);
        let here = server.store.snapshots().snapshot_path(ns, dir);
        let raw = std::fs::read(here.join(MANIFEST))?;
        let mut manifest = Manifest::from_blob(&DataBlob::from_bytes(raw.into())?, None)?;
        manifest.set_notes(Some("at the source"));
        let verified = SnapshotVerifyState {
            upid: UPID.parse()?,
            state: VerifyState::Ok,
        };
        manifest.set_verify_state(Some(&verified).filter(|_| plan.verified));
        Ok(Self {
            manifest,
            archives: snapshot.archives.clone(),
            files: Vec::new(),
        })
    }

    fn other(sim: &Sim, snapshot: &Snapshot, plan: &Resync) -> Result<Self> {
        let mut chunks: Vec<u8> = plan.chunks.iter().map(|chunk| chunk % PLAIN).collect();
        chunks.sort_unstable();
        chunks.dedup();
        let archives = vec![("a0.didx".to_owned(), chunks)];
        let mut files = Vec::new();
        for (name, chunks) in &archives {
            files.push(source::index(sim, name, chunks)?);
        }
        for name in &snapshot.blobs {
            files.push(source::blob(sim, name, "of another snapshot")?);
        }
        Ok(Self {
            manifest: source::manifest(&snapshot.path.dir, &files)?,
            archives,
            files,
        })
    }

    fn chunks(&self, name: &str) -> &[u8] {
        let archive = self.archives.iter().find(|(archive, _)| archive == name);
        archive.map_or(&[], |(_, chunks)| chunks)
    }
}

/// A sync and its place in the book, left however it ends.
struct Syncing<'a> {
    server: &'a Server,
    session: Option<ResyncSession>,
    id: SessionId,
    index: usize,
    content: Content,
    corrupt: bool,
    is_other: bool,
}

impl Drop for Syncing<'_> {
    fn drop(&mut self) {
        let generation = self.server.store.digests().generation();
        self.server.sim.core().book.end(self.id, generation);
        self.session = None;
    }
}

impl<'a> Syncing<'a> {
    fn begin(
        server: &'a Server,
        session: ResyncSession,
        index: usize,
        content: Content,
        plan: &Resync,
    ) -> Self {
        let mut core = server.sim.core();
        let step = core.trace.steps;
        Self {
            server,
            session: Some(session),
            id: core.book.begin_again(server.proc, index, step),
            index,
            content,
            corrupt: plan.corrupt,
            is_other: plan.source == Source::Other,
        }
    }

    fn session(&self) -> Result<&ResyncSession> {
        self.session.as_ref().context("the session is over")
    }

    /// Fetches what is not here as the source has it.
    async fn files(&mut self) -> Result<()> {
        let files: Vec<FileInfo> = self.content.manifest.files().to_vec();
        for file in &files {
            let name = &file.filename;
            let is_here = self.session()?.has_file(file).await?;
            if is_here && !(self.corrupt && name.is_index()) {
                continue;
            }
            for chunk in self.content.chunks(name.as_str()).to_vec() {
                self.store(chunk).await?;
            }
            if is_here {
                continue;
            }
            self.touch();
            let raw = self.raw(name.as_str())?;
            match name.is_index() {
                true => self.session()?.replace_index(name, raw).await?,
                false => self.session()?.replace_blob(name, raw).await?,
            }
            let replaced = (self.index, name.to_string());
            self.server.sim.core().damaged_files.remove(&replaced);
        }
        Ok(())
    }

    /// The bytes of a file at the source: if it has the same snapshot, what the bucket has.
    fn raw(&self, name: &str) -> Result<bytes::Bytes> {
        let mut made = self.content.files.iter();
        if let Some(file) = made.find(|file| file.file.name.as_str() == name) {
            return Ok(file.raw.clone());
        }
        let core = self.server.sim.core();
        let relative = &core.book.snapshots[self.index].relative;
        let key = format!("{STORE}/.cnt/{relative}/{name}");
        let body = self.server.sim.mock.get(BUCKET, &key);
        body.with_context(|| format!("{key} is not in the bucket"))
    }

    async fn store(&self, chunk: u8) -> Result<()> {
        let sim = &self.server.sim;
        let (digest, length) = (*sim.universe.digest(chunk), length(chunk)?);
        let known = self.session()?.touch_known(digest, length).await?;
        if known {
            self.told(chunk, true);
            return Ok(());
        }
        let blob = sim.universe.blob(chunk, true, &sim.env)?;
        let stored = self.session()?.insert_chunk(digest, length, blob).await?;
        self.told(chunk, stored.duplicate);
        Ok(())
    }

    fn told(&self, chunk: u8, duplicate: bool) {
        let mut core = self.server.sim.core();
        core.book.told(self.id, one(chunk));
        let universe = &self.server.sim.universe;
        let result = presence::answered(&core, universe, self.server.proc, one(chunk), duplicate);
        core.check(result);
    }

    /// Something is about to be replaced: from now on another snapshot is neither.
    fn touch(&self) {
        if !self.is_other {
            return;
        }
        let mut core = self.server.sim.core();
        core.book.set_status(self.index, Status::Doubtful);
        let snapshot = &mut core.book.snapshots[self.index];
        snapshot.acknowledged = false;
        snapshot.failed = 0;
    }

    async fn commit(&mut self) -> Result<()> {
        let sim = Arc::clone(&self.server.sim);
        // Also if no file differs.
        self.touch();
        if self.is_other {
            let mut core = sim.core();
            let snapshot = &mut core.book.snapshots[self.index];
            snapshot.archives.clone_from(&self.content.archives);
        }
        let blob = self.content.manifest.to_blob()?;
        let session = self.session.take().context("the session is over")?;
        let call = Call::begin(&sim, "commit");
        let result = session.commit(blob, &self.server.cancel).await;
        drop(call);
        if !self.is_other {
            return Ok(result.map(|_| ())?);
        }
        let mut core = sim.core();
        let core = &mut *core;
        let doomed = core.book.snapshots[self.index].doomed;
        if result.is_err() || doomed {
            core.book.set_status(self.index, Status::Doubtful);
            return Ok(result.map(|_| ())?);
        }
        core.book.snapshots[self.index].acknowledged = true;
        core.book.set_status(self.index, Status::Committed);
        let chunks = core.book.snapshots[self.index].chunks();
        let result = reports::committed(core, &sim.universe, self.server.proc, chunks);
        core.check(result);
        Ok(())
    }
}

/// Damages the first index on the disk.
fn damage(server: &Server, path: &SnapshotPath, index: usize, snapshot: &Snapshot) -> Result<()> {
    let Some((name, _)) = snapshot.archives.first() else {
        return Ok(());
    };
    let directory = server.store.snapshots().snapshot_path(&path.ns, &path.dir);
    let file = directory.join(name);
    let whole = std::fs::read(&file)?;
    let half = whole[..whole.len() / 2].to_vec();
    let of = (index, name.clone());
    server.sim.core().damaged_files.insert(of, whole.into());
    atomic_file::replace_durable(&file, &half, 0o644)?;
    server.sim.note(format_args!(
        "world: damages {}/{name}",
        places::directory(path)
    ));
    Ok(())
}

/// Puts back what was damaged and not replaced by the store.
pub fn repair(server: &Server, index: usize) -> Result<()> {
    let (damaged, place) = {
        let core = server.sim.core();
        let mut all = core.damaged_files.iter();
        let damaged = all.find(|((of, _), _)| *of == index);
        let damaged = damaged.map(|(of, whole)| (of.clone(), whole.clone()));
        let place = core.book.snapshots[index].standing(&server.store);
        (damaged, place)
    };
    let (Some((of, whole)), Some(place)) = (damaged, place) else {
        return Ok(());
    };
    let directory = server
        .store
        .snapshots()
        .snapshot_path(&place.ns, &place.dir);
    // Fails if the process has ended: the next one finds it damaged.
    atomic_file::replace_durable(&directory.join(&of.1), &whole, 0o644)?;
    server.sim.core().damaged_files.remove(&of);
    Ok(())
}

/// After a crash, when everything is calm: what is still damaged.
pub fn repair_all(server: &Server) -> Result<()> {
    let indexes: Vec<usize> = {
        let core = server.sim.core();
        core.damaged_files.keys().map(|(index, _)| *index).collect()
    };
    indexes
        .into_iter()
        .try_for_each(|index| repair(server, index))
}
