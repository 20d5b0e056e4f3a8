//! Two servers on one prefix: claim, wait, fence, signed-at (`gc.md` §6.6, G16).
//!
//! A owns the prefix and does not know that B claims it. D exists; A holds it for garbage, or a
//! session of A uploads it and commits. B claims, waits a quarantine, lists, answers "duplicate".
//! Time is only the order of things around B's wait: a look at the owner is good for a minute, a
//! signature for fifteen, both are over when the wait is.

use std::fmt;

use crate::explore::{Invariant, Protocol};
use crate::rule::{Rule, Rules};

/// How far B is.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, PartialOrd)]
pub enum Taker {
    /// Not there yet.
    Away,
    /// It has written its name into the marker.
    Claimed,
    /// A quarantine has passed.
    Waited,
    /// It has listed the chunks and snapshots.
    Listed,
}

/// A request that needs the fence.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Request {
    /// Not begun.
    None,
    /// The owner was looked at; A may pause here for as long as it likes.
    Checked {
        /// B's wait has ended since.
        stale: bool,
    },
    /// Given up by A, the provider may still apply it.
    Late,
    /// Over.
    Done,
}

/// Everything.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct State {
    object: bool,
    taker: Taker,
    delete: Request,
    /// A's session: told that D is there, its manifest.
    known: bool,
    manifest: Request,
    committed: bool,
    /// B's knowledge.
    presence: bool,
    marked: bool,
    b_committed: bool,
    collected: bool,
}

/// The model with some rules in force.
#[derive(Clone, Copy, Debug)]
pub struct Servers {
    /// Which.
    pub rules: Rules,
}

/// A step.
#[derive(Clone, Copy, Debug)]
pub struct Step(&'static str);

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

type Out = Vec<(Step, State)>;

impl Servers {
    fn owner_steps(self, s: &State, out: &mut Out) {
        let owns = s.taker == Taker::Away;
        let mut n = *s;
        if !s.known && s.delete == Request::None {
            // `insert`: A's writes of chunks are not fenced, they are garbage at worst.
            n.known = true;
            n.object = true;
            out.push((Step("A uploads D"), n));
        }
        let garbage = !s.known && !s.committed && s.object;
        if owns && garbage && s.delete == Request::None {
            // `Ownership::check` in `send_batch`; D is `Deleting`.
            let mut n = *s;
            n.delete = Request::Checked { stale: false };
            out.push((Step("A checks"), n));
        }
        if let Request::Checked { stale } = s.delete {
            let mut n = *s;
            n.delete = Request::Done;
            if !self.is_refused(stale) {
                n.object = false;
            }
            out.push((Step("A sends D"), n));
            let mut n = *s;
            n.delete = Request::Late;
            if !self.is_refused(stale) {
                out.push((Step("A sends D, answer lost"), n));
            }
        }
        if s.delete == Request::Late {
            let mut n = *s;
            n.delete = Request::Done;
            out.push((Step("late delete never applied"), n));
            n.object = false;
            out.push((Step("late delete"), n));
        }
        self.commit_steps(s, owns, out);
    }

    /// `WriterSession::store_manifest`, `S3Backend::put_manifest`.
    fn commit_steps(self, s: &State, owns: bool, out: &mut Out) {
        let checks = self.rules.has(Rule::CheckBeforeManifest);
        if s.known && s.manifest == Request::None && (owns || !checks) {
            let mut n = *s;
            n.manifest = Request::Checked { stale: false };
            out.push((Step("A is about to commit"), n));
        }
        if let Request::Checked { stale } = s.manifest {
            let mut n = *s;
            n.manifest = Request::Done;
            n.known = false;
            n.committed = !(checks && self.is_refused(stale));
            out.push((Step("A commits"), n));
        }
    }

    /// A signature with the time of the look is too old when B's wait is over.
    fn is_refused(self, stale: bool) -> bool {
        stale && self.rules.has(Rule::SignedByCheck)
    }

    fn taker_steps(self, s: &State, out: &mut Out) {
        let mut n = *s;
        match s.taker {
            Taker::Away => {
                // `settle_ownership`: `Ownership::claim`.
                n.taker = Taker::Claimed;
                out.push((Step("B claims"), n));
            }
            Taker::Claimed => {
                if !self.rules.has(Rule::TakeoverWaits) {
                    n.taker = Taker::Waited;
                    out.push((Step("B does not wait"), n));
                } else if s.delete != Request::Late {
                    // `wait_for_late_deletes`.
                    for request in [&mut n.delete, &mut n.manifest] {
                        if let Request::Checked { stale } = request {
                            *stale = true;
                        }
                    }
                    n.taker = Taker::Waited;
                    out.push((Step("B waits"), n));
                }
            }
            Taker::Waited => {
                // `refresh_metadata`, `rebuild_presence`.
                n.taker = Taker::Listed;
                n.presence = s.object;
                n.marked = s.committed;
                out.push((Step("B lists D"), n));
            }
            Taker::Listed => {
                if !s.collected && s.presence && !s.b_committed {
                    n.b_committed = true;
                    out.push((Step("B hits D, commits"), n));
                }
                if !s.collected && !s.marked && !s.b_committed {
                    let mut n = *s;
                    n.collected = true;
                    n.presence = false;
                    n.object = false;
                    out.push((Step("B deletes D"), n));
                }
            }
        }
    }
}

impl Protocol for Servers {
    type State = State;
    type Step = Step;

    fn initial(&self) -> Vec<State> {
        [false, true]
            .map(|object| State {
                object,
                taker: Taker::Away,
                delete: Request::None,
                known: false,
                manifest: Request::None,
                committed: false,
                presence: false,
                marked: false,
                b_committed: false,
                collected: false,
            })
            .to_vec()
    }

    fn steps(&self, s: &State, out: &mut Out) {
        self.owner_steps(s, out);
        self.taker_steps(s, out);
    }

    fn broken(&self, s: &State) -> Option<Invariant> {
        if (s.committed || s.b_committed) && !s.object {
            Some(Invariant::G1)
        } else if s.presence && (!s.object || s.delete == Request::Late) {
            Some(Invariant::G2)
        } else {
            None
        }
    }
}
