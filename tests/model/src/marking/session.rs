//! Sessions, and those who remove, move and lose snapshots.

use crate::rule::Rule;

use super::state::{Collection, Phase, SESSIONS, SNAPSHOTS, Session, Stage, State, Step};
use super::{Marking, Out};

fn small(index: usize) -> u8 {
    u8::try_from(index).expect("indexes of the model are tiny")
}

impl Marking {
    pub(super) fn session_steps(&self, s: &State, out: &mut Out) {
        for i in 0..self.config.sessions {
            let who = small(i + 1);
            let own = i + 1;
            let session = s.session[i];
            let mut n = *s;
            let put_first = self.rules.has(Rule::IndexPutFirst);
            match session.phase {
                Phase::New => {
                    // `SessionRegistry::register`.
                    n.session[i].phase = Phase::Registered;
                    n.session[i].registered = true;
                    n.session[i].start = s.generation;
                    out.push((Step("S# registers", who), n));
                }
                Phase::Registered => self.open(s, i, out),
                Phase::Open => {
                    if !session.uses {
                        self.use_chunk(&mut n, i);
                        let text = if s.object {
                            "S# hits D"
                        } else {
                            "S# uploads D"
                        };
                        out.push((Step(text, who), n));
                    }
                    if session.uses || session.through {
                        // `close_index`: the object, then the local name.
                        let mut n = *s;
                        n.session[i].phase = Phase::IndexPut;
                        n.snapshot[own].refs = true;
                        if put_first {
                            n.snapshot[own].bucket_index = self.config.bucket;
                        } else {
                            n.snapshot[own].index = s.snapshot[own].dir;
                        }
                        out.push((Step("S#'s index PUT", who), n));
                    }
                }
                Phase::IndexPut => {
                    n.session[i].phase = Phase::Visible;
                    if put_first {
                        n.snapshot[own].index = s.snapshot[own].dir;
                    } else {
                        n.snapshot[own].bucket_index = self.config.bucket;
                    }
                    out.push((Step("S#'s index visible", who), n));
                }
                Phase::Visible => {
                    // `check_chunks` and the PUT of `store_manifest`.
                    let base_there = session.base == 0
                        || s.snapshot[usize::from(session.base) - 1].dir
                        || !self.rules.has(Rule::FinishLooksAtBase);
                    if base_there {
                        n.session[i].phase = Phase::ManifestPut;
                        n.snapshot[own].bucket_manifest = self.config.bucket;
                        out.push((Step("S#'s manifest PUT", who), n));
                    }
                }
                Phase::ManifestPut => {
                    n.session[i].phase = Phase::Committed;
                    n.snapshot[own].manifest = s.snapshot[own].dir;
                    out.push((Step("S#'s manifest visible", who), n));
                }
                Phase::Committed => {
                    self.leave(&mut n, i);
                    out.push((Step("S# ends", who), n));
                }
                Phase::Over => {}
            }
            self.leaves_early(s, i, out);
            if !matches!(session.phase, Phase::New | Phase::Committed | Phase::Over) {
                let mut n = *s;
                self.abort(&mut n, i);
                out.push((Step("S# aborts", who), n));
            }
        }
    }

    /// `BaseSnapshot::find`, then the directory (`create_snapshot_dir`).
    fn open(&self, s: &State, i: usize, out: &mut Out) {
        let mut n = *s;
        n.session[i].phase = Phase::Open;
        n.snapshot[i + 1].dir = true;
        out.push((Step("S# makes its directory", small(i + 1)), n));
        if !self.config.bases {
            return;
        }
        // The newest finished one; a snapshot that is being removed is locked.
        let newest = (0..SNAPSHOTS).rev().find(|&k| {
            let snapshot = s.snapshot[k];
            k != i + 1 && snapshot.dir && snapshot.manifest && snapshot.group == 0
        });
        if let Some(k) = newest.filter(|&k| !s.snapshot[k].pruning) {
            n.session[i].base = small(k + 1);
            n.session[i].through = s.snapshot[k].refs;
            out.push((
                Step("S# takes a base, makes its directory", small(i + 1)),
                n,
            ));
        }
    }

    fn use_chunk(&self, n: &mut State, i: usize) {
        let rule = match n.object {
            true => Rule::StampOnDuplicate,
            false => Rule::StampOnUpload,
        };
        if self.rules.has(rule) {
            n.stamp = n.generation;
        }
        n.object = true;
        n.session[i].uses = true;
    }

    fn leaves_early(&self, s: &State, i: usize, out: &mut Out) {
        let session = s.session[i];
        let may = (session.phase >= Phase::Open && !self.rules.has(Rule::LeaveAfterVisible))
            || (session.phase >= Phase::Visible && !self.rules.has(Rule::ManifestBeforeLeaving));
        if may && session.registered {
            let mut n = *s;
            n.session[i].registered = false;
            out.push((Step("S# deregisters", small(i + 1)), n));
        }
    }

    /// `Registration::drop`: the pins stay for a mark that is under way.
    fn leave(&self, n: &mut State, i: usize) {
        if n.gc.stage != Stage::Idle && self.pins(&n.session[i]) {
            n.gc.ended_pins = true;
        }
        n.session[i] = Session {
            phase: Phase::Over,
            registered: false,
            start: 0,
            uses: false,
            through: false,
            base: 0,
        };
    }

    /// Whether the session's pinned index files reference D: they stay readable when their names
    /// are gone.
    pub(super) fn pins(&self, session: &Session) -> bool {
        session.through && self.rules.has(Rule::BaseLockOrPin)
    }

    /// `WriterSession::abort`.
    pub(super) fn abort(&self, n: &mut State, i: usize) {
        if matches!(n.session[i].phase, Phase::New | Phase::Over) {
            return;
        }
        n.snapshot[i + 1] = Default::default();
        self.leave(n, i);
    }

    pub(super) fn removal_steps(&self, s: &State, out: &mut Out) {
        // From the tenth pass on the mark holds the metadata epoch.
        let held = s.gc.stage != Stage::Idle && s.gc.pass > 2;
        for k in 0..SNAPSHOTS {
            let who = small(k);
            let snapshot = s.snapshot[k];
            let own = k > 0 && !matches!(s.session[k - 1].phase, Phase::New | Phase::Over);
            let base = s.session.iter().any(|i| i.base == small(k + 1));
            let locked = own || (base && self.rules.has(Rule::BaseLockOrPin));
            let there = snapshot.dir && snapshot.manifest;
            let mut n = *s;
            if snapshot.pruning {
                n.snapshot[k] = Default::default();
                out.push((Step("B# gone from the disk", who), n));
            } else if self.config.prune && there && !locked && !held && s.moving != Some(who) {
                // `delete_manifests`, `delete_rest`; then `remove_locally`.
                n.snapshot[k].bucket_manifest = false;
                n.snapshot[k].bucket_index = false;
                n.snapshot[k].pruning = true;
                out.push((Step("B# pruned", who), n));
            }
            if s.by_hand && there && !own {
                let mut n = *s;
                n.by_hand = false;
                n.snapshot[k] = Default::default();
                out.push((Step("B# removed by hand", who), n));
            }
            if s.moves && there && !locked && !held && snapshot.group == 0 && !snapshot.pruning {
                // `MoveJournal::lock`, `append`; the lock is kept until the rename is done.
                let mut n = *s;
                n.moves = false;
                n.moving = Some(who);
                n.journal |= 1 << k;
                out.push((Step("B#'s new path in the journal", who), n));
            }
        }
        if let Some(k) = s.moving {
            let mut n = *s;
            n.moving = None;
            n.snapshot[usize::from(k)].group = 1;
            out.push((Step("B# moved", k), n));
        }
    }

    pub(super) fn crash_steps(&self, s: &State, out: &mut Out) {
        if s.crashes == 0 {
            return;
        }
        let mut n = *s;
        n.crashes -= 1;
        self.crash(&mut n);
        out.push((Step("crash", 0), n));
        if self.config.local_loss {
            for k in 0..SNAPSHOTS {
                let mut n = n;
                n.snapshot[k].dir = false;
                n.snapshot[k].index = false;
                n.snapshot[k].manifest = false;
                n.snapshot[k].pruning = false;
                out.push((Step("power loss, the disk forgets B#", small(k)), n));
            }
        }
    }

    pub(super) fn crash(&self, n: &mut State) {
        for i in 0..SESSIONS {
            if n.session[i].phase != Phase::New {
                self.leave(n, i);
            }
        }
        for snapshot in &mut n.snapshot {
            // Its lock is free again; an unfinished removal is a matter of the next prune.
            snapshot.pruning = false;
        }
        n.gc = Collection::IDLE;
        n.stamp = 0;
        n.moving = None;
        if !self.rules.has(Rule::DurableGeneration) {
            n.generation = 1;
        }
    }
}
