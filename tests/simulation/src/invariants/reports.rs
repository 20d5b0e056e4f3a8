//! G10, G12 and G13: what a collection says, and what a commit rests on.

use datastore::gc::GcReport;

use crate::bucket::ProcId;
use crate::sim::Core;
use crate::universe::{Set, Universe, members, one};
use crate::watch::Meanwhile;

use super::Violation;
use super::live::is_owner;

/// A collection has ended without an error.
pub fn collected(
    core: &mut Core,
    universe: &Universe,
    report: &GcReport,
    meanwhile: Meanwhile,
) -> Result<(), Violation> {
    if !report.adds_up() {
        return Err(Violation::new(
            "G12",
            format!("it does not add up: {report:?}"),
        ));
    }
    let confirmed = universe.set(&report.missing_confirmed);
    let wrong = confirmed & !meanwhile.absent;
    if let Some(chunk) = members(wrong).next() {
        return Err(Violation::new(
            "G10",
            format!(
                "chunk {chunk} {} is reported missing, although its object was there all the time",
                universe.digest(chunk)
            ),
        ));
    }
    core.book.reported |= confirmed & !core.bucket.present & !meanwhile.written;
    Ok(())
}

/// A session of the process has begun, with this base of these chunks; `missing` were reported before
/// it began, by whatever process.
pub fn based(
    core: &Core,
    proc: ProcId,
    base: Option<&str>,
    chunks: Option<Set>,
    missing: Set,
) -> Result<(), Violation> {
    let (Some(base), Some(chunks)) = (base, chunks) else {
        return Ok(());
    };
    let wrong = chunks & missing & core.book.reported & !core.bucket.present;
    match members(wrong).next() {
        Some(chunk) if is_owner(core, proc) => Err(Violation::new(
            "G13",
            format!("{base} is a base, with chunk {chunk}, which was reported missing"),
        )),
        _ => Ok(()),
    }
}

/// A session of the process has committed a snapshot of these chunks.
pub fn committed(
    core: &Core,
    universe: &Universe,
    proc: ProcId,
    chunks: Set,
) -> Result<(), Violation> {
    if !is_owner(core, proc) {
        return Ok(());
    }
    let lost = (0..crate::universe::PLAIN + crate::universe::CRYPT)
        .filter(|&chunk| core.watch.seen(proc, chunk).lost)
        .fold(0, |set, chunk| set | one(chunk));
    let wrong = chunks & core.book.reported & !core.bucket.present & lost;
    match members(wrong).next() {
        Some(chunk) => Err(Violation::new(
            "G13",
            format!(
                "a snapshot with chunk {chunk} {} is committed, which was reported missing",
                universe.digest(chunk)
            ),
        )),
        None => Ok(()),
    }
}
