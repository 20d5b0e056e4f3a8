//! G1 no live deletion, G3 duplicate ⇒ protected, G4 mark completeness.

use std::path::Path;

use api_types::names::ArchiveType;
use datastore::format::index::{AnyIndexReader, IndexFile as _};

use crate::bucket::ProcId;
use crate::sim::Core;
use crate::universe::{Set, Universe, members, one};

use super::Violation;

/// A chunk of a committed snapshot, or one that a running session was told of, is in the bucket,
/// or suspect with its payload on the disk.
pub fn kept(core: &mut Core, universe: &Universe) -> Result<(), Violation> {
    let live = core.book.live();
    let told = core.book.told_to(|proc| is_owner(core, proc));
    let absent = (live | told) & !core.bucket.present & !core.bucket.tainted;
    for chunk in members(absent) {
        if is_rescuable(core, universe, chunk) {
            continue;
        }
        let digest = universe.digest(chunk);
        if live & one(chunk) != 0 {
            let snapshot = core.book.owner_of(chunk).map(|s| s.relative.clone());
            let snapshot = snapshot.unwrap_or_default();
            return Err(Violation::new(
                "G1",
                format!("chunk {chunk} {digest} of the committed snapshot {snapshot} is lost"),
            ));
        }
        return Err(Violation::new(
            "G3",
            format!("chunk {chunk} {digest}, promised to a running session, is lost"),
        ));
    }
    Ok(())
}

/// Whether the process belongs to the owner of the prefix.
pub(crate) fn is_owner(core: &Core, proc: ProcId) -> bool {
    let proc = usize::try_from(proc)
        .ok()
        .and_then(|proc| core.procs.get(proc));
    proc.is_some_and(|proc| core.bucket.is_owned_by(&core.disks[proc.disk].instance))
}

/// Whether an absent chunk will be put back from a payload at the end of its quarantine.
fn is_rescuable(core: &Core, universe: &Universe, chunk: u8) -> bool {
    core.disks.iter().enumerate().any(|(number, disk)| {
        if disk.retired || disk.payloads & one(chunk) == 0 {
            return false;
        }
        let on_it = || {
            let procs = core.procs.iter();
            procs.filter(move |proc| proc.disk == number && proc.is_alive())
        };
        let suspect = on_it().any(|proc| core.watch.seen(proc.id, chunk).suspect);
        let informed = on_it()
            .filter_map(|proc| proc.store.as_ref())
            .any(|store| store.has_lease());
        // Without its delete journal a store is rebuilt before anybody may use it.
        let awaits = core.journal_lost || disk.is_journaled(chunk, universe);
        suspect || !informed && awaits
    })
}

/// At the moment when a delete is sent: nobody needs the chunk.
pub fn may_delete(
    core: &mut Core,
    universe: &Universe,
    proc: ProcId,
    chunks: Set,
) -> Result<(), Violation> {
    // What was damaged is moved away, whoever needs it.
    let chunks = chunks & !core.bucket.tainted;
    let same = |other: ProcId| is_owner(core, other) && is_owner(core, proc);
    let told = core.book.told_to(same);
    let pinned = core.book.pinned_by(same);
    let live = core.book.live();
    let visible = visible(core, universe, proc);
    let generation = generation(core, proc);
    for chunk in members(chunks) {
        let digest = universe.digest(chunk);
        let bit = one(chunk);
        let violation = |invariant: &'static str, who: &str| {
            let text = format!("a delete of chunk {chunk} {digest} is sent, which {who}");
            Err(Violation::new(invariant, text))
        };
        if told & bit != 0 {
            return violation("G3", "was promised to a running session");
        }
        if live & bit != 0 {
            let snapshot = core.book.owner_of(chunk).map(|s| s.relative.clone());
            let who = format!(
                "is in the committed snapshot {}",
                snapshot.unwrap_or_default()
            );
            return violation("G1", &who);
        }
        if pinned & bit != 0 {
            return violation("G4", "is in the base of a running session");
        }
        if visible & bit != 0 {
            return violation("G4", "a visible index refers to");
        }
        if core
            .book
            .last_end(proc, chunk)
            .is_some_and(|end| end >= generation)
        {
            let who = "was promised to a session that ended after this collection began";
            return violation("G3", who);
        }
    }
    Ok(())
}

fn generation(core: &Core, proc: ProcId) -> u64 {
    let proc = usize::try_from(proc)
        .ok()
        .and_then(|proc| core.procs.get(proc));
    let store = proc.and_then(|proc| proc.store.as_ref());
    store.map_or(0, |store| store.digests().generation())
}

/// Chunks that visible index files on the process's disk refer to.
fn visible(core: &Core, universe: &Universe, proc: ProcId) -> Set {
    let proc = usize::try_from(proc)
        .ok()
        .and_then(|proc| core.procs.get(proc));
    let Some(proc) = proc else { return 0 };
    let base = &core.disks[proc.disk].base;
    let mut set = 0;
    for top in ["host", "ns"] {
        gather(&base.join(top), universe, &mut set);
    }
    set
}

fn gather(dir: &Path, universe: &Universe, set: &mut Set) {
    let Ok(entries) = std::fs::read_dir(dir) else {
        return;
    };
    for entry in entries.flatten() {
        let path = entry.path();
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("didx") => *set |= chunks_of_file(&path, universe),
            _ if entry.file_type().is_ok_and(|kind| kind.is_dir()) => gather(&path, universe, set),
            _ => {}
        }
    }
}

/// The chunks that an index file names; none if it cannot be read.
pub(crate) fn chunks_of_file(path: &Path, universe: &Universe) -> Set {
    let Ok(index) = AnyIndexReader::open(path, ArchiveType::DynamicIndex) else {
        return 0;
    };
    let digests: Vec<_> = index.entries().digests().flatten().collect();
    universe.set(&digests)
}
