//! G2 presence ⇒ object, G9 and G10 as far as they are about it: no jump of a clock ends a
//! quarantine early, no listing creates presence.

use crate::bucket::ProcId;
use crate::sim::Core;
use crate::universe::{Set, Universe, members, one};

use super::Violation;
use super::live::is_owner;

/// In every process, alive or to come: what would be answered "duplicate" has an object, and no
/// delete of it may still be applied.
pub fn no_phantom(core: &Core, universe: &Universe) -> Result<(), Violation> {
    let unresolved = core.bucket.unresolved();
    // What was damaged from outside is excused until the store has said so.
    let excused = core.bucket.tainted & !core.book.reported;
    let doubtful = (!core.bucket.present & !excused) | unresolved;
    for (number, disk) in core.disks.iter().enumerate() {
        let suspicious = disk.files & doubtful;
        if disk.retired || suspicious == 0 || !core.bucket.is_owned_by(&disk.instance) {
            continue;
        }
        for chunk in members(suspicious) {
            let ordinary = believers(core, number, chunk);
            if !ordinary.believe
                || (!ordinary.informed && disk.is_journaled(chunk, universe))
                || disk.is_listed_bad(chunk, universe)
                || disk.is_distrusted()
            {
                continue;
            }
            let digest = universe.digest(chunk);
            let why = match core.bucket.present & one(chunk) {
                0 => "has no object",
                _ => "may still be deleted",
            };
            return Err(Violation::new(
                "G2",
                format!("chunk {chunk} {digest} would be answered \"duplicate\" and {why}"),
            ));
        }
    }
    Ok(())
}

struct Believers {
    /// Somebody would believe the local file, or nobody is there to ask.
    believe: bool,
    /// They have read the delete journal.
    informed: bool,
}

fn believers(core: &Core, disk: usize, chunk: u8) -> Believers {
    let mut found = Believers {
        believe: true,
        informed: false,
    };
    let procs = core.procs.iter();
    for proc in procs.filter(|proc| proc.disk == disk && proc.is_alive()) {
        let Some(store) = &proc.store else { continue };
        let informed = store.has_lease();
        let seen = core.watch.seen(proc.id, chunk);
        let ordinary = seen.state.is_none() && !seen.suspect;
        if informed && ordinary {
            return Believers {
                believe: true,
                informed: true,
            };
        }
        if informed || !ordinary {
            found.believe = false;
        }
        found.informed |= informed;
    }
    found
}

/// A session of the process was told that these are stored.
pub fn answered(
    core: &Core,
    universe: &Universe,
    proc: ProcId,
    chunks: Set,
    duplicate: bool,
) -> Result<(), Violation> {
    if !is_owner(core, proc) {
        return Ok(());
    }
    let excused = core.bucket.tainted & !core.book.reported;
    let wrong = chunks & !core.bucket.present & !excused;
    if let Some(chunk) = members(wrong).next() {
        // Uploaded while suspect, and taken by a late delete before the answer.
        if !duplicate && core.watch.seen(proc, chunk).suspect {
            return Ok(());
        }
        let answer = if duplicate { "duplicate" } else { "uploaded" };
        return Err(Violation::new(
            "G2",
            format!(
                "\"{answer}\" is answered for chunk {chunk} {}, which has no object",
                universe.digest(chunk)
            ),
        ));
    }
    let unresolved = chunks & core.bucket.unresolved();
    if let Some(chunk) = members(unresolved).next().filter(|_| duplicate) {
        return Err(Violation::new(
            "G2",
            format!(
                "\"duplicate\" is answered for chunk {chunk} {}, which may still be deleted",
                universe.digest(chunk)
            ),
        ));
    }
    Ok(())
}
