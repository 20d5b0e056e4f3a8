//! The run that holds the process lock exclusively: its start, its stages, its end.

use crate::rule::Rule;

use super::state::{
    File, Hold, Kind, Object, Phase, Record, Resolving, Run, SNAPSHOTS, Stage, State, Suspect,
    Todo, bit, has, small,
};
use super::step::Step;
use super::{Out, Store};

impl Store {
    pub(super) fn run_steps(&self, s: &State, out: &mut Out) {
        if s.run.kind == Kind::None {
            for p in 0..self.config.processes {
                self.starts(s, p, out);
            }
            return;
        }
        if s.budget.aborts > 0 {
            let mut n = *s;
            n.budget.aborts -= 1;
            self.abort_run(&mut n);
            out.push((Step::RunAborted, n));
        }
        let during_rebuild = s.run.kind == Kind::Rebuild && !self.rules.has(Rule::RebuildWaits);
        if s.run.stage == Stage::Resolve || during_rebuild {
            self.resolve(s, out);
        }
        match s.run.kind {
            Kind::Collection => self.collection(s, out),
            Kind::Rebuild => self.rebuild(s, out),
            Kind::Tend => self.tend_ends(s, out),
            Kind::Verify | Kind::None => {}
        }
        for d in 0..self.config.digests() {
            self.delete(s, d, out);
        }
        let is_done = s.run.stage == Stage::Sweep
            && s.run.resolving == Resolving::None
            && s.run.todo[..self.config.digests()]
                .iter()
                .all(|todo| *todo == Todo::Done);
        if is_done {
            out.push((Step::RunEnds, self.end(s)));
        }
    }

    fn starts(&self, s: &State, p: usize, out: &mut Out) {
        let alone = !self.held_elsewhere(s, p);
        let run = |kind| Run {
            kind,
            process: small(p),
            ..Run::NONE
        };
        if s.budget.collections > 0
            && !s.needs_rebuild
            && (alone || !self.rules.has(Rule::ProcessLock))
        {
            let mut n = *s;
            self.enter(&mut n, p);
            n.budget.collections -= 1;
            n.run = run(Kind::Collection);
            out.push((Step::CollectionStarts(small(p)), n));
        }
        self.tend_starts(s, p, alone, out);
        if !s.needs_rebuild && (alone || !self.rules.has(Rule::VerifyAlone)) {
            self.verify_starts(s, p, out);
        }
        // `DataStore::s3_refresh` under the maintenance lease: nobody else in this process either.
        let idle = alone && !self.holds(s, p);
        let quiet = s.late_delete.iter().all(|late| *late == 0);
        let waits = self.rules.has(Rule::RebuildWaits);
        let empty = s.record.iter().all(|record| *record == Record::None);
        if idle && (s.budget.rebuilds > 0 || s.needs_rebuild) && (!waits || (quiet && empty)) {
            let mut n = *s;
            self.enter(&mut n, p);
            n.budget.rebuilds = n.budget.rebuilds.saturating_sub(1);
            n.run = run(Kind::Rebuild);
            n.run.stage = Stage::Marked;
            out.push((Step::RebuildStarts(small(p)), n));
        }
    }

    /// `DataStore::tend`; `due` is looked at before the lease is taken, so only what this process
    /// knows of counts.
    fn tend_starts(&self, s: &State, p: usize, alone: bool, out: &mut Out) {
        let table = &s.process[p].table[..self.config.digests()];
        let due = table.iter().any(|entry| entry.suspect == Suspect::Due);
        let unread = !s.process[p].seen && s.record.iter().any(|r| *r != Record::None);
        let alone = alone || !self.rules.has(Rule::ResolvedOnlyAlone);
        if !s.needs_rebuild && alone && (due || unread) {
            let mut n = *s;
            self.enter(&mut n, p);
            n.run = Run {
                kind: Kind::Tend,
                process: small(p),
                ..Run::NONE
            };
            out.push((Step::TendStarts(small(p)), n));
        }
    }

    fn tend_ends(&self, s: &State, out: &mut Out) {
        if s.run.resolving == Resolving::None {
            let mut n = *s;
            self.checkpoint(&mut n);
            n.run = Run::NONE;
            out.push((Step::RunEnds, n));
        }
    }

    /// `S3Backend::resolve_digest`: hold, HEAD, PUT, finish.
    fn resolve(&self, s: &State, out: &mut Out) {
        let p = usize::from(s.run.process);
        match s.run.resolving {
            Resolving::None => {
                for d in 0..self.config.digests() {
                    self.resolve_begins(s, p, d, out);
                }
            }
            Resolving::Head(d) => {
                let at = usize::from(d);
                let mut n = *s;
                let payload = matches!(s.file[at], File::Payload | File::Kept);
                n.run.resolving = match (s.bucket[at] == Object::Absent, payload) {
                    (true, true) => Resolving::Put(d),
                    (true, false) => Resolving::Drop(d),
                    (false, _) => Resolving::Keep(d),
                };
                out.push((Step::ResolveHead(d), n));
            }
            Resolving::Put(d) => {
                let mut n = *s;
                super::session::put(&mut n, usize::from(d));
                n.run.resolving = Resolving::Keep(d);
                out.push((Step::ResolvePut(d), n));
            }
            Resolving::Keep(d) | Resolving::Drop(d) => {
                let at = usize::from(d);
                let mut n = *s;
                if matches!(s.run.resolving, Resolving::Drop(_)) {
                    unlink(&mut n, at);
                }
                let entry = &mut n.process[p].table[at];
                if entry.hold == Hold::Look {
                    entry.hold = Hold::Free;
                }
                entry.suspect = Suspect::No;
                entry.unresolved = false;
                n.run.resolving = Resolving::None;
                out.push((Step::QuarantineEnds(d), n));
            }
        }
    }

    fn resolve_begins(&self, s: &State, p: usize, d: usize, out: &mut Out) {
        let entry = s.process[p].table[d];
        let uploading = matches!(entry.hold, Hold::Upload(_));
        let free = entry.hold == Hold::Free || (uploading && !self.rules.has(Rule::NotUnderUpload));
        if entry.suspect != Suspect::Due || !free {
            return;
        }
        let mut n = *s;
        if !uploading {
            n.process[p].table[d].hold = Hold::Look;
        }
        let looks = s.file[d] != File::None && self.rules.has(Rule::CheckAtEnd);
        n.run.resolving = match looks {
            true => Resolving::Head(small(d)),
            false => Resolving::Keep(small(d)),
        };
        out.push((Step::ResolveHolds(small(d)), n));
    }

    /// `gc::run::Run::start` and `mark` in one step (their order is the marking model's topic),
    /// then the listing, then the merge's judgements.
    fn collection(&self, s: &State, out: &mut Out) {
        let p = usize::from(s.run.process);
        match s.run.stage {
            Stage::Resolve if s.run.resolving == Resolving::None => {
                let mut n = *s;
                n.generation += 1;
                let floor = (s.session.iter())
                    .filter(|i| !matches!(i.phase, Phase::New | Phase::Over))
                    .filter(|i| usize::from(i.process) == p)
                    .map(|i| i.start)
                    .fold(n.generation, u8::min);
                n.run.floor = floor;
                for k in 0..SNAPSHOTS {
                    if s.snapshot[k].there {
                        n.run.marked |= s.snapshot[k].refs;
                        n.run.marked_snapshots |= bit(k);
                    }
                }
                n.run.stage = Stage::Marked;
                out.push((Step::Marks, n));
            }
            Stage::Resolve => {}
            Stage::Marked => self.lists(s, out),
            Stage::Sweep => {
                for d in 0..self.config.digests() {
                    if s.run.todo[d] == Todo::Judge {
                        self.judge(s, p, d, out);
                    }
                }
            }
        }
    }

    /// The listing of the chunks, exact or (a bounded number of times) wrong about one digest.
    fn lists(&self, s: &State, out: &mut Out) {
        let mut n = *s;
        n.run.stage = Stage::Sweep;
        for d in 0..self.config.digests() {
            n.run.todo[d] = Todo::Judge;
            if s.bucket[d] != Object::Absent {
                n.run.listed |= bit(d);
            }
        }
        out.push((Step::Lists, n));
        if s.budget.stale > 0 {
            n.budget.stale -= 1;
            for d in 0..self.config.digests() {
                let mut n = n;
                n.run.listed ^= bit(d);
                out.push((Step::ListsWrongly(small(d)), n));
            }
        }
    }

    /// One event of `gc::merge` and what `sweep::condemn` or `backend::s3::confirm` make of it.
    fn judge(&self, s: &State, p: usize, d: usize, out: &mut Out) {
        let entry = s.process[p].table[d];
        let mut n = *s;
        n.run.todo[d] = Todo::Done;
        let leave_alone = match self.rules.has(Rule::ExceptionalLeftAlone) {
            true => !entry.is_ordinary(),
            false => entry.hold != Hold::Free,
        };
        let (marked, listed) = (has(s.run.marked, d), has(s.run.listed, d));
        let young = entry.stamp != 0 && entry.stamp >= s.run.floor;
        let no_file = s.file[d] == File::None;
        if leave_alone || (!marked && young) || (marked && listed && !no_file) {
            out.push((Step::LeftAlone(small(d)), n));
        } else if marked && listed && !self.rules.has(Rule::HeadBeforePresence) {
            n.file[d] = File::Marker;
            out.push((Step::MarkerFromListing(small(d)), n));
        } else if marked {
            n.process[p].table[d].hold = Hold::Look;
            n.run.todo[d] = Todo::Head;
            out.push((Step::HeldForHead(small(d)), n));
        } else if listed {
            n.process[p].table[d].had = !no_file;
            n.process[p].table[d].hold = Hold::Condemned;
            if self.rules.has(Rule::PresenceRemovedFirst) {
                unlink(&mut n, d);
                // A session that takes it back gets the same marker again.
                n.excused_marker |= s.excused_marker & bit(d);
            }
            n.run.todo[d] = Todo::Condemned;
            out.push((Step::Condemned(small(d)), n));
        } else {
            unlink(&mut n, d);
            out.push((Step::StaleRemoved(small(d)), n));
        }
    }

    /// `DataStore::rebuild_presence`: LIST, then the directory is made to say the same.
    fn rebuild(&self, s: &State, out: &mut Out) {
        let p = usize::from(s.run.process);
        if s.run.stage == Stage::Marked {
            let mut n = *s;
            n.run.stage = Stage::Sweep;
            for d in 0..self.config.digests() {
                n.run.todo[d] = Todo::Judge;
                if s.bucket[d] != Object::Absent {
                    n.run.listed |= bit(d);
                }
            }
            out.push((Step::Lists, n));
            return;
        }
        for d in 0..self.config.digests() {
            if s.run.todo[d] != Todo::Judge {
                continue;
            }
            let mut n = *s;
            n.run.todo[d] = Todo::Done;
            match (has(s.run.listed, d), s.file[d]) {
                (true, File::None) => n.file[d] = File::Marker,
                (false, File::Marker) => unlink(&mut n, d),
                (false, File::Payload | File::Kept) if s.process[p].table[d].is_ordinary() => {
                    n.process[p].table[d].hold = Hold::Look;
                    n.run.todo[d] = Todo::Head;
                }
                _ => {}
            }
            out.push((Step::Rebuilt(small(d)), n));
        }
    }

    /// `verify::object::repair` of an object that a first GET found damaged: lease, hold, second
    /// GET, condemnation as one without local file.
    fn verify_starts(&self, s: &State, p: usize, out: &mut Out) {
        for d in 0..self.config.digests() {
            // The first GET is the budget: it saw damage at some earlier moment.
            let saw_damage = s.budget.verifies > 0 && self.was_bad(d);
            if !saw_damage || !s.process[p].table[d].is_ordinary() {
                continue;
            }
            let mut n = *s;
            self.enter(&mut n, p);
            n.budget.verifies -= 1;
            n.run = Run {
                kind: Kind::Verify,
                process: small(p),
                stage: Stage::Sweep,
                ..Run::NONE
            };
            n.process[p].table[d].hold = Hold::Look;
            n.run.todo[d] = Todo::Head;
            out.push((Step::VerifyHolds(small(p), small(d)), n));
        }
    }

    /// The HEAD or GET that a held digest waits for, and what follows from it under the lock.
    pub(super) fn look(&self, s: &State, d: usize, out: &mut Out) {
        let p = usize::from(s.run.process);
        let mut n = *s;
        n.run.todo[d] = Todo::Done;
        n.process[p].table[d].hold = Hold::Free;
        if s.run.kind == Kind::Verify {
            if s.bucket[d] == Object::Bad || !self.rules.has(Rule::VerifySecondGet) {
                unlink(&mut n, d);
                let entry = &mut n.process[p].table[d];
                entry.lost = true;
                entry.had = false;
                if self.rules.has(Rule::VerifyJournal) {
                    entry.hold = Hold::Condemned;
                    n.run.todo[d] = Todo::Condemned;
                } else {
                    n.run.todo[d] = Todo::Looked;
                }
            }
            out.push((Step::VerifyLooks(small(d)), n));
            return;
        }
        let blind = !self.rules.has(Rule::HeadBeforeMissing) && !has(s.run.listed, d);
        let exists = s.bucket[d] != Object::Absent && !blind;
        let payload = matches!(s.file[d], File::Payload | File::Kept);
        match (exists, payload) {
            (true, _) if s.file[d] == File::None => {
                n.file[d] = File::Marker;
                n.process[p].table[d].lost = false;
            }
            (true, _) => n.process[p].table[d].lost = false,
            (false, true) => {
                // `confirm::heal_or_confirm_missing` puts the cached payload.
                super::session::put(&mut n, d);
                n.excused &= !bit(d);
                n.excused_marker &= !bit(d);
                n.reported &= !bit(d);
            }
            (false, false) if has(s.run.listed, d) && s.run.kind == Kind::Collection => {}
            (false, false) => {
                unlink(&mut n, d);
                n.process[p].table[d].lost = true;
                n.run.missing |= bit(d);
            }
        }
        out.push((Step::Looks(small(d)), n));
    }

    /// The end of a sweep: what is missing is reported and its snapshots fail
    /// (`gc::outcome::fail_snapshots`), old stamps go, the journal is checkpointed
    /// (`gc::run::Run::finish`).
    fn end(&self, s: &State) -> State {
        let mut n = *s;
        let p = usize::from(s.run.process);
        match s.run.kind {
            Kind::Collection => {
                for d in 0..self.config.digests() {
                    // Not if it has been uploaded since.
                    if has(s.run.missing, d) && s.process[p].table[d].lost {
                        n.reported |= bit(d);
                    }
                }
                for k in 0..SNAPSHOTS {
                    let affected = self.is_affected(s, k) && s.snapshot[k].there;
                    n.snapshot[k].failed |= affected && s.snapshot[k].refs & s.run.missing != 0;
                }
                for entry in &mut n.process[p].table {
                    if entry.stamp < s.run.floor {
                        entry.stamp = 0;
                    }
                }
            }
            Kind::Rebuild => {
                n.needs_rebuild = false;
                n.generation = n.generation.max(n.epoch);
                for entry in &mut n.process[p].table {
                    entry.lost = false;
                }
            }
            Kind::Verify | Kind::Tend | Kind::None => {}
        }
        self.checkpoint(&mut n);
        n.run = Run::NONE;
        n
    }

    /// Whether the report of this run knows snapshot `k`: the mark has read it, or it was finished
    /// before the last marking (`SessionRegistry::recent_finishes`).
    fn is_affected(&self, s: &State, k: usize) -> bool {
        has(s.run.marked_snapshots, k) || self.rules.has(Rule::ReportCoversRecent)
    }

    /// `S3Backend::checkpoint_journal`: `syncfs`, then the settled records go. One step: what is
    /// settled was unlinked before the sync.
    fn checkpoint(&self, n: &mut State) {
        let p = usize::from(n.run.process);
        let mut dropped = false;
        for d in 0..self.config.digests() {
            if n.record[d] != Record::None && !n.process[p].table[d].unresolved {
                n.record[d] = Record::None;
                dropped = true;
            }
        }
        if dropped {
            if self.rules.has(Rule::DurableUnlink) {
                n.ghost = 0;
            }
            others_must_read(n, p);
        }
    }

    /// Abort, panic or a dropped task: the guards of `DeleteBatch` and `UploadGuard`.
    pub(super) fn abort_run(&self, n: &mut State) {
        let p = usize::from(n.run.process);
        for d in 0..self.config.digests() {
            let todo = n.run.todo[d];
            if todo == Todo::Sent {
                n.late_delete[d] += 1;
            }
            let entry = &mut n.process[p].table[d];
            match todo {
                Todo::Judge | Todo::Done => {}
                Todo::Head => entry.hold = Hold::Free,
                Todo::Condemned | Todo::Recorded => {
                    // `Slot::release`: ordinary, without presence; nothing was sent.
                    if entry.hold == Hold::Condemned {
                        entry.hold = Hold::Free;
                    }
                    if todo == Todo::Recorded && entry.suspect == Suspect::No {
                        entry.unresolved = false;
                    }
                }
                Todo::Looked | Todo::Sent | Todo::Applied | Todo::Denied => {
                    if entry.hold == Hold::Deleting {
                        entry.hold = Hold::Free;
                        if self.rules.has(Rule::AbortLeavesSuspect) {
                            entry.suspect = Suspect::Quarantine;
                        } else {
                            entry.unresolved = false;
                        }
                    }
                }
            }
        }
        if let Resolving::Head(d) | Resolving::Put(d) | Resolving::Keep(d) | Resolving::Drop(d) =
            n.run.resolving
        {
            let entry = &mut n.process[p].table[usize::from(d)];
            if entry.hold == Hold::Look {
                entry.hold = Hold::Free;
            }
        }
        n.run = Run::NONE;
    }

    /// Whether the run keeps every other process out.
    pub(super) fn is_exclusive(&self, s: &State) -> bool {
        match s.run.kind {
            Kind::None => false,
            Kind::Verify => self.rules.has(Rule::VerifyAlone),
            Kind::Tend => self.rules.has(Rule::ResolvedOnlyAlone),
            Kind::Collection | Kind::Rebuild => true,
        }
    }
}

/// Removes the local file; a power loss before the next sync would bring it back.
pub(super) fn unlink(n: &mut State, d: usize) {
    if n.file[d] != File::None {
        n.file[d] = File::None;
        if !has(n.excused_marker, d) {
            n.ghost |= bit(d);
        }
        n.excused_marker &= !bit(d);
    }
}

/// The journal has changed on disk: `DeleteJournal::reload` of the other processes will notice.
pub(super) fn others_must_read(n: &mut State, p: usize) {
    for (other, process) in n.process.iter_mut().enumerate() {
        process.seen &= other == p;
    }
}
