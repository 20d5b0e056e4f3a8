//! G16 fencing: who has lost the prefix neither deletes nor commits, and who has got it waits.

use std::time::Duration;

use s3_client::Operation;
use tokio::time::Instant;

use crate::bucket::{ProcId, Subject};
use crate::sim::Core;
use crate::universe::{Key, Universe};

use super::Violation;

/// How old the look at the marker may be.
const LOOK: Duration = Duration::from_secs(60);

/// How long a commit that was begun in time may be repeated: as long as its signature, made with
/// the time of the look, is accepted. The successor marks after that.
const REPEATS: Duration = Duration::from_secs(15 * 60);
/// How long a successor waits.
const QUARANTINE: Duration = Duration::from_secs(30 * 60);

/// Whether this request may be sent by this process now.
pub fn may_send(
    core: &Core,
    universe: &Universe,
    proc: ProcId,
    subject: &Subject,
    now: Instant,
) -> Result<(), Violation> {
    let Some(owner) = &core.bucket.owner else {
        return Ok(());
    };
    let deletes = subject.deletes(universe) != 0;
    let commits = subject.operation == Operation::PutObject
        && subject
            .keys
            .iter()
            .any(|key| matches!(universe.classify(key), Key::Manifest(_)));
    if !deletes && !commits {
        return Ok(());
    }
    let sender = usize::try_from(proc)
        .ok()
        .and_then(|proc| core.procs.get(proc));
    let Some(sender) = sender else { return Ok(()) };
    let held = now.saturating_duration_since(owner.since);
    let instance = &core.disks[sender.disk].instance;
    // The first server has nobody to wait for.
    let is_successor = instance != crate::machine::FIRST;
    if *instance == owner.instance && is_successor && deletes && held < QUARANTINE {
        return Err(Violation::new(
            "G16",
            format!("{instance} deletes {held:?} after it took over"),
        ));
    }
    // The client may still wait in its own queue for a moment. Each attempt of a delete looks at the
    // marker again; an attempt of a commit does not.
    let limit = LOOK + Duration::from_secs(5) + if deletes { Duration::ZERO } else { REPEATS };
    if *instance != owner.instance && held > limit {
        let what = if deletes { "delete" } else { "commit" };
        return Err(Violation::new(
            "G16",
            format!(
                "{instance} sends a {what} {held:?} after {} took over",
                owner.instance
            ),
        ));
    }
    Ok(())
}
