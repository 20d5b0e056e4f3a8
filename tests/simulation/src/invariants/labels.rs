//! What is written beside the chunks is what somebody was told last: owner, notes, protection, the
//! client's log; and a snapshot that lacks a chunk stays failed.

use std::path::Path;

use anyhow::Result;
use api_types::names::ArchiveName;
use api_types::status::VerifyState;
use datastore::disk::Operation;
use datastore::format::blob::DataBlob;
use datastore::format::manifest::Manifest;
use datastore::store::DataStore;

use crate::book::{Register, Snapshot, Status};
use crate::bucket::MANIFEST;
use crate::machine::Server;
use crate::sim::{Core, Sim};
use crate::universe::{Set, members};

use super::Violation;

/// An operation on a disk was done.
pub fn after_operation(core: &mut Core, operation: &Operation<'_>) -> Result<(), Violation> {
    let path = match operation {
        Operation::Rename { to: path, .. } | Operation::CreateFile { path, .. } => path,
        _ => return Ok(()),
    };
    let Some(disk) = core.disks.iter().find(|disk| disk.has(path)) else {
        return Ok(());
    };
    let Ok(relative) = path.strip_prefix(&disk.base) else {
        return Ok(());
    };
    let name = relative.file_name().and_then(|name| name.to_str());
    let directory = relative.parent().and_then(Path::to_str).unwrap_or_default();
    if let Operation::Rename { from, .. } = operation
        && let Ok(from) = from.strip_prefix(&disk.base)
        && relative.starts_with(".trash")
    {
        // A group that is removed, or whatever it is in.
        let from = from.to_string_lossy().into_owned();
        core.book.unlabel_below(&from);
        return Ok(());
    }
    match (name, operation) {
        (Some(MANIFEST), Operation::Rename { .. }) => stays_failed(core, path, directory),
        // It is not replaced: the group is a new one, whatever was there when its process ended.
        (Some("owner"), Operation::CreateFile { .. }) => {
            core.book.unlabel(directory);
            Ok(())
        }
        _ => Ok(()),
    }
}

/// A manifest was replaced: `failed` is still in it while a chunk is missing for whose sake it is.
fn stays_failed(core: &Core, path: &Path, directory: &str) -> Result<(), Violation> {
    let Some(index) = core.book.find(directory) else {
        return Ok(());
    };
    let snapshot = &core.book.snapshots[index];
    let missing = snapshot.failed & !core.bucket.present;
    if missing == 0 || !snapshot.is_needed() || is_failed(path) {
        return Ok(());
    }
    let chunks: Vec<u8> = members(missing).collect();
    let text = format!(
        "{directory} is not failed any more, although its chunks {chunks:?} are still missing"
    );
    Err(Violation::new("G13", text))
}

fn is_failed(manifest: &Path) -> bool {
    let read = || {
        let blob = DataBlob::from_bytes(std::fs::read(manifest).ok()?.into()).ok()?;
        let manifest = Manifest::from_blob(&blob, None).ok()?;
        manifest.verify_state().ok()?
    };
    read().is_some_and(|state| state.state == VerifyState::Failed)
}

/// A collection has reported these chunks missing: remembers who is failed for their sake.
pub fn note_failed(core: &mut Core, store: &DataStore, missing: Set) {
    let missing = missing & core.book.reported;
    for snapshot in &mut core.book.snapshots {
        let lacks = snapshot.chunks() & missing;
        if lacks == 0 || !snapshot.is_needed() {
            continue;
        }
        let Some(place) = snapshot.standing(store) else {
            continue;
        };
        let path = store.snapshots().snapshot_path(&place.ns, &place.dir);
        if is_failed(&path.join(MANIFEST)) {
            snapshot.failed |= lacks;
        }
    }
}

/// Compares what is written with the book, when nothing is going on.
pub fn compare(sim: &Sim, server: &Server) -> Result<Result<(), Violation>> {
    let core = sim.core();
    let store = &server.store;
    let committed = |snapshot: &&Snapshot| snapshot.status == Status::Committed;
    for snapshot in core.book.snapshots.iter().filter(committed) {
        let (ns, dir) = (&snapshot.path.ns, &snapshot.path.dir);
        let Some(info) = store.snapshots().snapshot_info(ns, dir)? else {
            continue;
        };
        if !info.is_finished() {
            continue;
        }
        let relative = &snapshot.relative;
        let path = store.snapshots().snapshot_path(ns, dir);
        let raw = std::fs::read(path.join(MANIFEST))?;
        let manifest = Manifest::from_blob(&DataBlob::from_bytes(raw.into())?, None)?;
        let notes = manifest.notes().unwrap_or_default().to_owned();
        let checks = [
            is_as_told("notes", relative, &snapshot.notes, &notes),
            is_as_told("protection", relative, &snapshot.protected, &info.protected),
            has_log(snapshot, &info.files),
            lacks_nothing(&core, snapshot, &path.join(MANIFEST)),
        ];
        if let Err(violation) = checks.into_iter().collect::<Result<(), _>>() {
            return Ok(Err(violation));
        }
    }
    for (directory, labels) in core.book.labelled() {
        let path = store.base().join(directory);
        let read = |name: &str| std::fs::read_to_string(path.join(name));
        let Ok(owner) = read("owner") else { continue };
        // Without notes there is no file.
        let notes = read("notes").unwrap_or_default();
        let owner = owner.trim_end().to_owned();
        let checks = [
            is_as_told("owner", directory, &labels.owner, &owner),
            is_as_told("notes", directory, &labels.notes, &notes),
        ];
        if let Err(violation) = checks.into_iter().collect::<Result<(), _>>() {
            return Ok(Err(violation));
        }
    }
    Ok(Ok(()))
}

fn is_as_told<T: Clone + PartialEq + std::fmt::Debug>(
    what: &str,
    of: &str,
    told: &Register<T>,
    is: &T,
) -> Result<(), Violation> {
    if told.allows(is) {
        return Ok(());
    }
    let text = format!("{what} of {of}: {is:?}, and told was {:?}", told.choices());
    Err(Violation::new("labels", text))
}

fn has_log(snapshot: &Snapshot, files: &[String]) -> Result<(), Violation> {
    if !snapshot.logged || files.iter().any(|file| file == ArchiveName::CLIENT_LOG) {
        return Ok(());
    }
    let text = format!("the client's log of {} is gone", snapshot.relative);
    Err(Violation::new("labels", text))
}

/// After a complete collection, whoever lacks a chunk is failed.
fn lacks_nothing(core: &Core, snapshot: &Snapshot, manifest: &Path) -> Result<(), Violation> {
    let missing = snapshot.chunks() & !core.bucket.present;
    if missing == 0 || is_failed(manifest) {
        return Ok(());
    }
    let chunks: Vec<u8> = members(missing).collect();
    let text = format!(
        "{} lacks the chunks {chunks:?} and is not failed",
        snapshot.relative
    );
    Err(Violation::new("G13", text))
}
