//! G8 and G11, and everything else that can be judged only when nothing is going on any more: what
//! is left in the bucket and on the disk is what the book says, and nothing else.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use api_types::names::{ArchiveType, SnapshotPath};
use bytes::Bytes;
use datastore::format::index::{AnyIndexReader, IndexFile as _};
use datastore::store::state_dir::StateDir;
use scenarios::{BUCKET, STORE};

use crate::book::places::directory;
use crate::book::{Snapshot, Status};
use crate::coverage::Kind;
use crate::machine::Server;
use crate::sim::Sim;
use crate::universe::{Key, Set, members, one};

use super::{Violation, labels, mirror, whole};

/// Compares a world that has run dry with the book.
pub fn compare(sim: &Sim, server: &Server) -> Result<Result<(), Violation>> {
    settle_places(sim, server);
    let checks = [
        nothing_exceptional(sim, server)?,
        mirror::equal(sim, server.store.base())?,
        only_live(sim, server)?,
        restores(sim, server)?,
        labels::compare(sim, server)?,
        nothing_foreign_touched(sim),
    ];
    Ok(checks.into_iter().collect())
}

/// Every snapshot is at one place: where the local tree has it, or, if it is not here, where it is
/// whole in the bucket.
fn settle_places(sim: &Sim, server: &Server) {
    let mut core = sim.core();
    let core = &mut *core;
    for index in 0..core.book.snapshots.len() {
        let snapshot = &core.book.snapshots[index];
        let whole = || {
            let mut places = snapshot.places();
            let at = |path: &&SnapshotPath| {
                let wanted = directory(path);
                whole::is_whole(&core.bucket, snapshot, |place| place == wanted)
            };
            places.find(at).cloned()
        };
        let place = snapshot.standing(&server.store).or_else(whole);
        if let Some(place) = place {
            core.book.settle(index, &place);
        }
    }
}

/// G11: nothing is exceptional any more.
fn nothing_exceptional(sim: &Sim, server: &Server) -> Result<Result<(), Violation>> {
    let count = server.store.digests().exceptional_count();
    if count > 0 {
        let exceptional = sim.core().watch.exceptional(server.proc);
        let chunks: Vec<u8> = members(exceptional).collect();
        let text = format!("{count} digests are still exceptional: chunks {chunks:?}");
        return Ok(Err(Violation::new("G11", text)));
    }
    let path = StateDir::of(server.store.base()).delete_journal();
    let journal = std::fs::read_to_string(&path)?;
    if !journal.is_empty() {
        let text = format!("records are still open: {journal}");
        return Ok(Err(Violation::new("G11", text)));
    }
    Ok(Ok(()))
}

/// The chunks that a snapshot's local indexes name; `None` if it is not there or not finished.
fn chunks_of(sim: &Sim, server: &Server, snapshot: &Snapshot) -> Result<Option<Set>> {
    let (ns, dir) = (&snapshot.path.ns, &snapshot.path.dir);
    let snapshots = server.store.snapshots();
    let Some(info) = snapshots.snapshot_info(ns, dir)? else {
        return Ok(None);
    };
    if !info.is_finished() {
        return Ok(None);
    }
    let mut set = 0;
    let path = snapshots.snapshot_path(ns, dir);
    for name in info.index_files() {
        set |= set_of(
            sim,
            &AnyIndexReader::open(&path.join(name), ArchiveType::DynamicIndex)?,
        )?;
    }
    Ok(Some(set))
}

fn set_of(sim: &Sim, index: &AnyIndexReader) -> Result<Set> {
    let digests = index.entries().digests().collect::<Result<Vec<_>, _>>()?;
    Ok(sim.universe.set(&digests))
}

/// Exactly the chunks of the snapshots that are there have an object; and no phantom is left.
fn only_live(sim: &Sim, server: &Server) -> Result<Result<(), Violation>> {
    let snapshots = sim.core().book.snapshots.clone();
    let half_committed = mirror::half_committed_now(sim, server.store.base())?;
    let mut wanted = 0;
    let mut needed = 0;
    // A move that was cut off before a takeover, or a rebuild of the local state, leaves a snapshot at two
    // places: of one of them the book knows.
    let kinds = [Kind::TakenOver, Kind::Refreshed];
    let is_rebuilt = kinds.iter().any(|&kind| sim.core().coverage.of(kind) > 0);
    let elsewhere = is_rebuilt.then(|| mirror::finished_indexes(server.store.base()));
    for (_, body) in elsewhere.transpose()?.unwrap_or_default() {
        wanted |= set_of(
            sim,
            &AnyIndexReader::from_bytes(body, "index", ArchiveType::DynamicIndex)?,
        )?;
    }
    for snapshot in &snapshots {
        if let Some(chunks) = chunks_of(sim, server, snapshot)? {
            wanted |= chunks;
            // One that was removed may be back after a power failure, without its chunks.
            if snapshot.status == Status::Committed {
                needed |= chunks;
            }
        }
        if half_committed.contains(&snapshot.relative) {
            wanted |= snapshot.chunks();
        }
    }
    let core = sim.core();
    let mut found = 0;
    for key in sim.mock.keys(BUCKET, &format!("{STORE}/.chunks/")) {
        if let Key::Chunk(chunk) = sim.universe.classify(&key) {
            found |= one(chunk);
        }
    }
    if found != core.bucket.present {
        let text = "the bucket is not what its journal says".to_owned();
        return Ok(Err(Violation::new("harness", text)));
    }
    if let Some(chunk) = members(needed & !found & !core.bucket.tainted).next() {
        let text = format!("chunk {chunk} {} is lost", sim.universe.digest(chunk));
        return Ok(Err(Violation::new("G1", text)));
    }
    if let Some(chunk) = members(found & !wanted).next() {
        let digest = sim.universe.digest(chunk);
        let text = format!("chunk {chunk} {digest} is garbage and still there");
        return Ok(Err(Violation::new("G11", text)));
    }
    let files = core.disks[core.procs[usize::try_from(server.proc)?].disk].files;
    if let Some(chunk) = members(files & !found).next() {
        let digest = sim.universe.digest(chunk);
        let text = format!("chunk {chunk} {digest} has a local file and no object");
        return Ok(Err(Violation::new("G11", text)));
    }
    Ok(Ok(()))
}

/// Every committed snapshot is shown and restores bit by bit from the bucket alone.
fn restores(sim: &Sim, server: &Server) -> Result<Result<(), Violation>> {
    let snapshots = sim.core().book.snapshots.clone();
    for snapshot in &snapshots {
        let shown = chunks_of(sim, server, snapshot)?.is_some();
        if snapshot.status == Status::Committed && snapshot.acknowledged && !shown {
            let text = format!("the committed snapshot {} is not shown", snapshot.relative);
            return Ok(Err(Violation::new("G1", text)));
        }
        // One that somebody began to remove may be shown again after a power failure; its chunks
        // are there (see above), its objects may not be.
        if snapshot.status != Status::Committed {
            continue;
        }
        if let Err(error) = restore(sim, snapshot) {
            let text = format!("{} does not restore: {error:#}", snapshot.relative);
            return Ok(Err(Violation::new("restore", text)));
        }
    }
    Ok(Ok(()))
}

fn object(sim: &Sim, key: &str) -> Result<Bytes> {
    let body = sim.mock.get(BUCKET, key);
    body.with_context(|| format!("{key} is not in the bucket"))
}

fn restore(sim: &Sim, snapshot: &Snapshot) -> Result<()> {
    let dir = format!("{STORE}/.cnt/{}", snapshot.relative);
    object(sim, &format!("{dir}/index.json.blob"))?;
    for blob in &snapshot.blobs {
        object(sim, &format!("{dir}/{blob}"))?;
    }
    let tainted = sim.core().bucket.tainted;
    for (name, chunks) in &snapshot.archives {
        let body = object(sim, &format!("{dir}/{name}"))?;
        let index = AnyIndexReader::from_bytes(body, name, ArchiveType::DynamicIndex)?;
        let digests = index.entries().digests().collect::<Result<Vec<_>, _>>()?;
        let expected: Vec<_> = chunks.iter().map(|&c| *sim.universe.digest(c)).collect();
        anyhow::ensure!(digests == expected, "{name} names other chunks");
        for &chunk in chunks {
            if tainted & one(chunk) != 0 {
                continue;
            }
            let raw = object(sim, &sim.universe.key(chunk))?;
            let whole = sim.universe.is_whole(chunk, &raw)?;
            anyhow::ensure!(whole, "chunk {chunk} of {name} is something else");
        }
    }
    Ok(())
}

/// G14: what others left below `.chunks/` is there.
fn nothing_foreign_touched(sim: &Sim) -> Result<(), Violation> {
    let keys: BTreeSet<String> = sim
        .mock
        .keys(BUCKET, &format!("{STORE}/.chunks/"))
        .into_iter()
        .collect();
    match super::keys::foreign(&sim.universe)
        .into_iter()
        .find(|key| !keys.contains(key))
    {
        Some(key) => Err(Violation::new("G14", format!("{key} is gone"))),
        None => Ok(()),
    }
}
