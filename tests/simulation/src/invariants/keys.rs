//! G14 foreign keys, G15 metadata untouched.

use crate::book::{Snapshot, Status};
use crate::bucket::{MANIFEST, ProcId, Subject};
use crate::sim::Core;
use crate::universe::{Key, Universe};

use super::{Violation, whole};

/// Keys that are no chunks of ours, as others leave them below `.chunks/`.
#[must_use]
pub fn foreign(universe: &Universe) -> Vec<String> {
    let hex = universe.digest(0).to_hex();
    let (upper, first) = (hex.to_uppercase(), &hex[..4]);
    [
        format!("{first}/{upper}"),
        format!("{first}/{hex}0"),
        format!("{first}/{}", &hex[..63]),
        format!("{first}/{hex}.txt"),
        format!("{first}/{hex}.10.bad"),
        "readme".to_owned(),
    ]
    .map(|name| format!("{}/.chunks/{name}", scenarios::STORE))
    .to_vec()
}

/// A delete request names only chunks, or metadata of snapshots that are to go.
pub fn may_delete(core: &Core, universe: &Universe, subject: &Subject) -> Result<(), Violation> {
    for key in &subject.keys {
        match universe.classify(key) {
            Key::Chunk(_) | Key::Bad(_) | Key::Other | Key::InUse => {}
            Key::NoChunk => {
                let text = format!("a delete of {key}, which is no chunk, is sent");
                return Err(Violation::new("G14", text));
            }
            Key::Manifest(snapshot) => refuse_live(core, key, &snapshot, |_| true)?,
            Key::Metadata(path) => {
                let (directory, name) = path.rsplit_once('/').unwrap_or_default();
                refuse_live(core, key, directory, |snapshot| snapshot.has_file(name))?;
            }
        }
    }
    Ok(())
}

/// The manifest of a commit that was cut off before it was here and its client was told of it may be
/// withdrawn: the snapshot is committed no more.
pub fn withdraw(core: &mut Core, universe: &Universe, proc: ProcId, subject: &Subject) {
    let disk = |core: &Core| {
        let proc = core.procs.get(crate::machine::index(proc))?;
        Some(core.disks.get(proc.disk)?.base.clone())
    };
    for key in &subject.keys {
        let Key::Manifest(directory) = universe.classify(key) else {
            continue;
        };
        let (Some(index), Some(base)) = (core.book.find(&directory), disk(core)) else {
            continue;
        };
        let snapshot = &core.book.snapshots[index];
        let is_cut = snapshot.session.is_none() && !snapshot.acknowledged;
        let is_here = base.join(&directory).join(MANIFEST).exists();
        let path = format!("{directory}/{MANIFEST}");
        let is_journaled = crate::cut::is_journaled(&base, &path);
        let is_elsewhere = snapshot.places().count() > 1;
        if is_cut && is_journaled && !is_here && !is_elsewhere {
            core.book.set_status(index, Status::Doubtful);
        }
    }
}

fn refuse_live(
    core: &Core,
    key: &str,
    directory: &str,
    has: impl Fn(&Snapshot) -> bool,
) -> Result<(), Violation> {
    let Some(index) = core.book.find(directory) else {
        return Ok(());
    };
    let snapshot = &core.book.snapshots[index];
    // A move deletes where the snapshot was, or where it did not come to be.
    let is_moving = || {
        !snapshot.may_be_at(directory)
            || whole::is_whole(&core.bucket, snapshot, |place| place != directory)
    };
    if !snapshot.is_needed() || !has(snapshot) || is_moving() {
        return Ok(());
    }
    Err(Violation::new(
        "G15",
        format!("a delete of {key} of a committed snapshot is sent"),
    ))
}
