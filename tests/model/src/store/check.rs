//! The invariants of `gc.md` §8 on a state.

use std::collections::HashMap;

use crate::explore::{Invariant, Protocol};

use super::Store;
use super::config::Start;
use super::state::{
    Budget, File, Fill, Hold, Kind, Object, Phase, Record, Resolving, State, Suspect, Todo, has,
};
use super::step::Step;

/// States by the state that they become when everything stops, with the verdict on that.
pub(super) type Dried = HashMap<State, Option<Invariant>>;

impl Store {
    pub(super) fn violation(&self, s: &State) -> Option<Invariant> {
        if s.broken.is_some() {
            return s.broken;
        }
        for d in 0..self.config.digests() {
            for p in 0..self.config.processes {
                if self.answers_duplicate(s, p, d) && !self.is_there_for_good(s, d) {
                    return Some(Invariant::G2);
                }
            }
            let used = (s.session.iter())
                .any(|i| !matches!(i.phase, Phase::New | Phase::Over) && has(i.known, d));
            if used && !self.is_safe(s, d) {
                return Some(Invariant::G3);
            }
            let committed = s.snapshot.iter().any(|k| k.there && has(k.refs, d));
            if committed && !self.is_safe(s, d) {
                return Some(Invariant::G1);
            }
            if has(s.reported, d) && s.bucket[d] == Object::Absent && self.may_become_base(s, d) {
                return Some(Invariant::G13);
            }
        }
        self.config.dry.then(|| self.run_dry(s)).flatten()
    }

    /// Whether process `p`, asked now, would say "duplicate" of `d` (G2). One that does not hold
    /// the process lock would take it first, and read the journal.
    fn answers_duplicate(&self, s: &State, p: usize, d: usize) -> bool {
        let elsewhere =
            s.run.kind != Kind::None && usize::from(s.run.process) != p && self.is_exclusive(s);
        if s.needs_rebuild || elsewhere || s.run.kind == Kind::Rebuild {
            return false;
        }
        let mut n = *s;
        self.enter(&mut n, p);
        let entry = n.process[p].table[d];
        match entry.hold {
            Hold::Condemned => entry.had,
            Hold::Free => entry.suspect == Suspect::No && n.file[d] != File::None,
            Hold::Upload(_) | Hold::Look | Hold::Deleting => false,
        }
    }

    /// The object exists and nothing may still delete it, unless its loss is not the store's.
    fn is_there_for_good(&self, s: &State, d: usize) -> bool {
        let in_flight = matches!(s.run.todo[d], Todo::Sent) || s.late_delete[d] > 0;
        (s.bucket[d] != Object::Absent && !in_flight) || has(s.excused_marker, d)
    }

    /// In the bucket, or suspect with a durable payload here.
    fn is_safe(&self, s: &State, d: usize) -> bool {
        let suspect = s.record[d] != Record::None
            || s.process.iter().any(|p| p.table[d].suspect != Suspect::No);
        s.bucket[d] != Object::Absent || has(s.excused, d) || (s.file[d] == File::Kept && suspect)
    }

    /// A snapshot that a backup could take as its base references `d`, and is nobody's yet.
    fn may_become_base(&self, s: &State, d: usize) -> bool {
        s.snapshot.iter().enumerate().any(|(k, snapshot)| {
            let being_written = k > 0 && s.session[k - 1].phase == Phase::Visible;
            snapshot.there && !snapshot.failed && has(snapshot.refs, d) && !being_written
        })
    }

    /// G11 (and G8 for an interrupted run): when everything stops, late requests and quarantines
    /// pass and two collections run, nothing exceptional and no garbage is left.
    fn run_dry(&self, s: &State) -> Option<Invariant> {
        let mut n = *s;
        let interrupted = n.run.kind != Kind::None;
        if interrupted {
            self.abort_run(&mut n);
        }
        for i in 0..self.config.sessions {
            self.cancel_upload(&mut n, i);
            super::session::leave(&mut n, i);
        }
        for process in &mut n.process {
            process.fill = Fill::None;
        }
        n.reported = 0;
        n.copy.taken = false;
        n.budget = Budget {
            collections: 2,
            ..Budget::default()
        };
        let known = self.dried.borrow().get(&n).copied();
        let verdict = known.unwrap_or_else(|| {
            let verdict = self.dry(&n);
            self.dried.borrow_mut().insert(n, verdict);
            verdict
        });
        verdict.map(|_| match interrupted {
            true => Invariant::G8,
            false => Invariant::G11,
        })
    }

    fn dry(&self, s: &State) -> Option<Invariant> {
        let mut n = *s;
        let mut out = Vec::new();
        // Far more than a quarantine and two collections take.
        for _ in 0..400 {
            out.clear();
            self.steps(&n, &mut out);
            let Some((_, next)) = out
                .iter()
                .filter_map(|(step, next)| Some((calm(*step)?, next)))
                .min_by_key(|(rank, _)| *rank)
            else {
                break;
            };
            n = *next;
        }
        for d in 0..self.config.digests() {
            let exceptional = n.process[..self.config.processes].iter().any(|p| {
                let entry = p.table[d];
                entry.hold != Hold::Free || (p.seen && entry.suspect != Suspect::No)
            });
            let referenced = n.snapshot.iter().any(|k| k.there && has(k.refs, d));
            let garbage = !referenced && (n.bucket[d] != Object::Absent || n.file[d] != File::None);
            let phantom = n.bucket[d] == Object::Absent && n.file[d] != File::None;
            let open = n.record[d] != Record::None || n.late_delete[d] > 0;
            if exceptional || garbage || phantom || open {
                return Some(Invariant::G11);
            }
        }
        (n.run.kind != Kind::None || n.run.resolving != Resolving::None).then_some(Invariant::G11)
    }

    /// Whether a verify began when the object was damaged.
    pub(super) fn was_bad(&self, d: usize) -> bool {
        let start = self.config.starts.first().and_then(|starts| starts.get(d));
        matches!(start, Some(Start::Bad | Start::BadUnknown | Start::LiveBad))
    }
}

/// What happens when nobody disturbs, in this order.
fn calm(step: Step) -> Option<u8> {
    use Step as T;
    match step {
        T::ResolveHead(_) | T::ResolvePut(_) | T::QuarantineEnds(_) => Some(0),
        T::ResolveHolds(_) => Some(1),
        T::Marks
        | T::Lists
        | T::LeftAlone(_)
        | T::HeldForHead(_)
        | T::MarkerFromListing(_)
        | T::Looks(_)
        | T::Condemned(_)
        | T::StaleRemoved(_)
        | T::Recorded(_)
        | T::LooksAgain(_)
        | T::Sent(_)
        | T::DeleteApplied(_)
        | T::Answered(_)
        | T::Rebuilt(_)
        | T::RunEnds => Some(2),
        T::LateDelete(_) | T::LatePut(_) | T::LateRetry(_) => Some(3),
        T::QuarantineOver(..) => Some(4),
        T::TendStarts(_) => Some(5),
        T::RebuildStarts(_) => Some(6),
        T::CollectionStarts(_) => Some(7),
        _ => None,
    }
}
