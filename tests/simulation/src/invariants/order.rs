//! G5 order of removal, G6 one collector: what must have happened when a delete leaves.

use datastore::digests::State;

use crate::bucket::ProcId;
use crate::sim::Core;
use crate::universe::{Set, Universe, members, one};

use super::Violation;

/// Presence is gone, the record is on the disk, the last look was taken, nobody else deletes.
pub fn announced(
    core: &Core,
    universe: &Universe,
    proc: ProcId,
    chunks: Set,
) -> Result<(), Violation> {
    let place = usize::try_from(proc)
        .ok()
        .and_then(|proc| core.procs.get(proc));
    let Some(sender) = place else { return Ok(()) };
    let disk = &core.disks[sender.disk];
    let Some(store) = &sender.store else {
        return Ok(());
    };
    for chunk in members(chunks) {
        let digest = universe.digest(chunk);
        let violation = |what: &str| {
            let text = format!("a delete of chunk {chunk} {digest} is sent {what}");
            Err(Violation::new("G5", text))
        };
        if disk.files & one(chunk) != 0 {
            return violation("while its local file is there");
        }
        if !disk.is_journaled(chunk, universe) {
            return violation("without a record in the delete journal");
        }
        let state = store.digests().with(digest, |slot| slot.state());
        if !matches!(state, Some(State::Deleting { .. })) {
            return violation("that was not looked at again");
        }
    }
    for flight in core.bucket.flights.values() {
        let other = usize::try_from(flight.proc).ok();
        let Some(other) = other.and_then(|other| core.procs.get(other)) else {
            continue;
        };
        let in_flight = other.is_alive() && flight.until.is_none();
        if in_flight && other.id != proc && other.disk == sender.disk {
            return Err(Violation::new(
                "G6",
                "two processes delete at the same time",
            ));
        }
    }
    Ok(())
}
