//! G1–G16 of `gc.md` §8, one module for each or for those that are looked at together.
//!
//! | module | invariants | looked at |
//! |---|---|---|
//! | [`live`] | G1, G3, G4 | after each step; before each delete request |
//! | [`presence`] | G2, G9, G10 | after each step; at each answer to a session |
//! | [`order`] | G5, G6 | before each delete request |
//! | [`progress`] | G7 | at the end of each insert |
//! | [`reports`] | G10, G12, G13 | at the end of each collection and commit |
//! | [`keys`] | G14, G15 | before each delete request |
//! | [`whole`] | a committed snapshot is whole in the bucket, during a move at one place at least | at each removal of metadata |
//! | [`labels`] | owner, notes, protection, log and `failed` are what was acknowledged | at each new manifest; when the world has run dry |
//! | [`mirror`] | the metadata in the bucket is the local tree, byte for byte | when the world has run dry |
//! | [`fence`] | G16 | before each delete request and commit |
//! | [`dry`] | G8, G11, and all that is left | when the world has run dry |
//!
//! They compare the bucket, the disk and the states of digests with the [book](crate::book), which
//! knows only what was answered to whom.

pub mod dry;
pub mod fence;
pub mod keys;
pub mod labels;
pub mod live;
pub mod mirror;
pub mod order;
pub mod presence;
pub mod progress;
pub mod reports;
pub mod whole;

use std::fmt;

use tokio::time::Instant;

use crate::bucket::{ProcId, Subject};
use crate::sim::Core;
use crate::universe::Universe;

/// An invariant that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which one.
    pub invariant: &'static str,
    /// How.
    pub text: String,
}

impl Violation {
    /// A violation.
    #[must_use]
    pub fn new(invariant: &'static str, text: impl Into<String>) -> Self {
        let text = text.into();
        Self { invariant, text }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.invariant, self.text)
    }
}

/// What must hold after every step at which no lock of the store is held.
pub fn after_step(core: &mut Core, universe: &Universe) -> Result<(), Violation> {
    live::kept(core, universe)?;
    presence::no_phantom(core, universe)
}

/// What must hold when a request leaves its process.
pub fn before_request(
    core: &mut Core,
    universe: &Universe,
    proc: ProcId,
    subject: &Subject,
    now: Instant,
) -> Result<(), Violation> {
    fence::may_send(core, universe, proc, subject, now)?;
    if !subject.is_delete() {
        return Ok(());
    }
    keys::withdraw(core, universe, proc, subject);
    keys::may_delete(core, universe, subject)?;
    let chunks = subject.deletes(universe);
    if chunks == 0 {
        return Ok(());
    }
    order::announced(core, universe, proc, chunks)?;
    live::may_delete(core, universe, proc, chunks)
}
