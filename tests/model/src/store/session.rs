//! What sessions and readers do.

use crate::explore::Invariant;
use crate::rule::Rule;

use super::state::{
    File, Fill, Hold, Kind, Object, PROCESSES, Phase, Run, SNAPSHOTS, State, Suspect, Upload, bit,
    has, small,
};
use super::step::Step;
use super::{Out, Store};

impl Store {
    pub(super) fn session_steps(&self, s: &State, out: &mut Out) {
        for i in 0..self.config.sessions {
            match s.session[i].phase {
                Phase::New => self.begin(s, i, out),
                Phase::Active => {
                    self.inserts(s, i, out);
                    self.upload(s, i, out);
                    self.ends(s, i, out);
                }
                Phase::Checked => out.push((Step::Commits(small(i)), self.commit(s, i))),
                Phase::Visible => out.push((Step::AsksAgain(small(i)), self.ask_again(s, i))),
                Phase::Over => {}
            }
        }
        for k in 0..SNAPSHOTS {
            let is_base =
                |i: &super::state::Session| i.phase != Phase::Over && usize::from(i.base) == k + 1;
            if self.config.prune && s.snapshot[k].there && !s.session.iter().any(is_base) {
                let mut n = *s;
                n.snapshot[k].there = false;
                out.push((Step::Pruned(small(k)), n));
            }
        }
    }

    /// `WriterSession::start`: lease (`store::lease::try_writer_lease`), then
    /// `SessionRegistry::register`, then `BaseSnapshot::find`. One step: nothing that a collection
    /// does between them can tell the difference, but for the base (see the marking model).
    fn begin(&self, s: &State, i: usize, out: &mut Out) {
        for p in 0..self.config.processes {
            if !self.may_share(s, p) {
                continue;
            }
            let mut n = *s;
            self.enter(&mut n, p);
            let session = &mut n.session[i];
            session.phase = Phase::Active;
            session.process = small(p);
            session.start = n.generation;
            out.push((Step::Begins(small(i), small(p)), n));
            if !self.config.bases {
                continue;
            }
            for k in 0..SNAPSHOTS {
                let snapshot = s.snapshot[k];
                // Its session still holds the group's lock.
                let locked = k > 0 && s.session[k - 1].phase == Phase::Visible;
                if !snapshot.there
                    || locked
                    || (snapshot.failed && self.rules.has(Rule::MissingBarsBase))
                {
                    continue;
                }
                let mut n = n;
                n.session[i].base = small(k + 1);
                n.session[i].known = snapshot.refs;
                if snapshot.refs & s.reported != 0 {
                    n.broken = Some(Invariant::G13);
                }
                out.push((Step::TakesBase(small(i), small(k)), n));
            }
        }
    }

    /// `S3Backend::plan_insert`, under the digest's lock.
    fn inserts(&self, s: &State, i: usize, out: &mut Out) {
        if s.session[i].upload != Upload::None {
            return;
        }
        let p = usize::from(s.session[i].process);
        for d in 0..self.config.digests() {
            if has(s.session[i].known, d) {
                continue;
            }
            let entry = s.process[p].table[d];
            let mut n = *s;
            let sent_with_file = !self.rules.has(Rule::PresenceRemovedFirst)
                && matches!(entry.hold, Hold::Condemned | Hold::Deleting)
                && s.file[d] != File::None;
            if sent_with_file {
                self.answer_duplicate(&mut n, i, d);
                out.push((Step::Hits(small(i), small(d)), n));
                continue;
            }
            match entry.hold {
                Hold::Upload(_) | Hold::Look => continue,
                Hold::Deleting if self.rules.has(Rule::WaitWhileDeleting) => continue,
                Hold::Condemned => {
                    // `Slot::take_back`; the batch finds out at its last look.
                    n.process[p].table[d].hold = Hold::Free;
                    if entry.had || !self.rules.has(Rule::RestoreOnlyWhatWasTaken) {
                        n.file[d] = File::Marker;
                        self.answer_duplicate(&mut n, i, d);
                        out.push((Step::TakesBack(small(i), small(d)), n));
                        continue;
                    }
                }
                Hold::Free if entry.suspect == Suspect::No && s.file[d] != File::None => {
                    self.answer_duplicate(&mut n, i, d);
                    out.push((Step::Hits(small(i), small(d)), n));
                    continue;
                }
                Hold::Free | Hold::Deleting => {}
            }
            n.process[p].table[d].hold = Hold::Upload(small(i));
            n.session[i].upload = Upload::Put(small(d));
            n.session[i].keep = entry.suspect != Suspect::No;
            out.push((Step::Uploads(small(i), small(d)), n));
        }
    }

    fn answer_duplicate(&self, n: &mut State, i: usize, d: usize) {
        let p = usize::from(n.session[i].process);
        n.session[i].known |= bit(d);
        if self.rules.has(Rule::StampOnDuplicate) {
            n.process[p].table[d].stamp = n.generation;
        }
    }

    /// The PUT (`s3_client::put_object`), the look after a 412 (`existing::judge_existing`), the
    /// record (`insert::record_upload`).
    fn upload(&self, s: &State, i: usize, out: &mut Out) {
        let session = s.session[i];
        match session.upload {
            Upload::None => return,
            Upload::Put(d) => {
                let at = usize::from(d);
                let mut n = *s;
                let replace = session.keep && self.rules.has(Rule::ReplaceForSuspect);
                if s.bucket[at] != Object::Absent && !replace {
                    n.session[i].upload = match self.rules.has(Rule::Validated412) {
                        true => Upload::Validate(d),
                        false => Upload::Applied(d),
                    };
                    out.push((Step::Put412(small(i), d), n));
                } else {
                    put(&mut n, at);
                    n.session[i].upload = Upload::Applied(d);
                    out.push((Step::PutApplied(small(i), d), n));
                }
            }
            Upload::Validate(d) => {
                let at = usize::from(d);
                let mut n = *s;
                n.session[i].upload = match s.bucket[at] {
                    Object::Absent => Upload::Put(d),
                    Object::Good => Upload::Applied(d),
                    Object::Bad => {
                        put(&mut n, at);
                        Upload::Applied(d)
                    }
                };
                out.push((Step::Validated(small(i), d), n));
            }
            Upload::Applied(d) => {
                out.push((Step::Uploaded(small(i), d), self.record_upload(s, i, d)));
            }
        }
        if s.budget.cancels > 0 {
            let mut n = *s;
            n.budget.cancels -= 1;
            self.cancel_upload(&mut n, i);
            out.push((Step::Cancelled(small(i)), n));
        }
    }

    /// `UploadGuard::finish` in `record_upload`: file, stamp and state in one critical section. The
    /// payload was written and synced before it, and the directory is synced before the answer;
    /// nobody can rely on the chunk in between, so it is one step here.
    fn record_upload(&self, s: &State, i: usize, d: u8) -> State {
        let (mut n, at) = (*s, usize::from(d));
        let session = s.session[i];
        let entry = &mut n.process[usize::from(session.process)].table[at];
        let durable = session.keep && self.rules.has(Rule::PayloadKept);
        n.file[at] = match (durable, self.config.cache) {
            (true, _) => File::Kept,
            (false, true) => File::Payload,
            (false, false) => File::Marker,
        };
        if entry.hold == Hold::Upload(small(i)) {
            entry.hold = Hold::Free;
        }
        if !self.rules.has(Rule::SuspectSurvivesUpload) {
            entry.suspect = Suspect::No;
            entry.unresolved = false;
        }
        if self.rules.has(Rule::StampOnUpload) {
            entry.stamp = s.generation;
        }
        entry.lost = false;
        n.reported &= !bit(at);
        if s.bucket[at] != Object::Absent || durable {
            n.excused &= !bit(at);
            n.excused_marker &= !bit(at);
        } else if has(s.excused, at) {
            // Lost outside since the PUT was applied: nobody can have noticed.
            n.excused_marker |= bit(at);
        }
        n.session[i].known |= bit(at);
        n.session[i].upload = Upload::None;
        n.session[i].keep = false;
        if s.bucket[at] == Object::Bad {
            n.broken = Some(Invariant::G3);
        }
        n
    }

    /// `UploadGuard::drop`: the digest is as before, the PUT may still be applied.
    pub(super) fn cancel_upload(&self, n: &mut State, i: usize) {
        let session = n.session[i];
        let (d, sent) = match session.upload {
            Upload::None => return,
            Upload::Put(d) => (usize::from(d), true),
            Upload::Validate(d) | Upload::Applied(d) => (usize::from(d), false),
        };
        if sent && self.config.late_puts {
            n.late_put |= bit(d);
        }
        let entry = &mut n.process[usize::from(session.process)].table[d];
        if entry.hold == Hold::Upload(small(i)) {
            entry.hold = Hold::Free;
        }
        n.session[i].upload = Upload::None;
        n.session[i].keep = false;
    }

    /// `WriterSession::commit` or `abort`, then the end of its registration and lease.
    fn ends(&self, s: &State, i: usize, out: &mut Out) {
        let session = s.session[i];
        if session.upload != Upload::None {
            return;
        }
        let table = &s.process[usize::from(session.process)].table;
        let lost = (0..self.config.digests()).any(|d| has(session.known, d) && table[d].lost);
        if session.known != 0 && !(lost && self.rules.has(Rule::FinishAsksLost)) {
            let mut n = *s;
            n.session[i].phase = Phase::Checked;
            if self.config.slow_commit {
                out.push((Step::Asks(small(i)), n));
            } else {
                let n = self.ask_again(&self.commit(&n, i), i);
                out.push((Step::Commits(small(i)), n));
            }
        }
        let mut n = *s;
        leave(&mut n, i);
        out.push((Step::Aborts(small(i)), n));
    }

    /// `store_manifest`: the snapshot is visible.
    fn commit(&self, s: &State, i: usize) -> State {
        let mut n = *s;
        n.snapshot[i + 1].there = true;
        n.snapshot[i + 1].refs = s.session[i].known;
        n.session[i].phase = Phase::Visible;
        n
    }

    /// A chunk that was found missing since the first look ends the snapshot.
    fn ask_again(&self, s: &State, i: usize) -> State {
        let mut n = *s;
        let session = s.session[i];
        let table = &s.process[usize::from(session.process)].table;
        let lost = (0..self.config.digests()).any(|d| has(session.known, d) && table[d].lost);
        let asks = self.rules.has(Rule::FinishAsksAgain) && self.rules.has(Rule::FinishAsksLost);
        if lost && asks {
            n.snapshot[i + 1].there = false;
        }
        leave(&mut n, i);
        n
    }

    /// Reads and evictions.
    pub(super) fn cache_steps(&self, s: &State, out: &mut Out) {
        for p in 0..self.config.processes {
            self.fill(s, p, out);
            for d in 0..self.config.digests() {
                self.evict(s, p, d, out);
            }
        }
    }

    /// `S3Backend::read` with a cache fill: the lease is held from before the GET
    /// (`DataStore::held_lease`), look and rename are one critical section (`fill_cache`).
    fn fill(&self, s: &State, p: usize, out: &mut Out) {
        let locked = self.rules.has(Rule::FillUnderLock);
        match s.process[p].fill {
            Fill::None => {
                let allowed = !locked || self.holds(s, p);
                if s.budget.fills == 0 || !allowed || s.needs_rebuild {
                    return;
                }
                for d in 0..self.config.digests() {
                    if s.bucket[d] == Object::Good && s.file[d] == File::Marker {
                        let mut n = *s;
                        n.budget.fills -= 1;
                        n.process[p].fill = Fill::Fetched(small(d));
                        out.push((Step::Fetched(small(p), small(d)), n));
                    }
                }
            }
            Fill::Fetched(d) => {
                let at = usize::from(d);
                let mut n = *s;
                n.process[p].fill = Fill::None;
                let there = s.file[at] != File::None || !self.rules.has(Rule::FillNeedsMarker);
                if s.process[p].table[at].is_ordinary() && there {
                    if locked {
                        n.file[at] = File::Payload;
                    } else {
                        n.process[p].fill = Fill::Checked(d);
                    }
                }
                out.push((Step::Filled(small(p), d), n));
            }
            Fill::Checked(d) => {
                let mut n = *s;
                n.process[p].fill = Fill::None;
                n.file[usize::from(d)] = File::Payload;
                out.push((Step::Renamed(small(p), d), n));
            }
        }
    }

    /// `S3Backend::evict`.
    fn evict(&self, s: &State, p: usize, d: usize, out: &mut Out) {
        let allowed = self.holds(s, p) || !self.rules.has(Rule::NoFileBeforeThat);
        let entry = s.process[p].table[d];
        let evictable = entry.is_ordinary()
            || (entry.hold == Hold::Free && !self.rules.has(Rule::SuspectNotEvicted));
        if s.budget.evictions > 0
            && allowed
            && evictable
            && matches!(s.file[d], File::Payload | File::Kept)
        {
            let mut n = *s;
            n.budget.evictions -= 1;
            n.file[d] = File::Marker;
            out.push((Step::Evicted(small(p), small(d)), n));
        }
    }

    /// Whether process `p` may take a writer's lease (`store::lease`).
    fn may_share(&self, s: &State, p: usize) -> bool {
        let Run { kind, process, .. } = s.run;
        let elsewhere = kind != Kind::None && usize::from(process) != p;
        !s.needs_rebuild
            && kind != Kind::Rebuild
            && !(elsewhere && self.rules.has(Rule::ProcessLock) && self.is_exclusive(s))
    }

    /// Whether process `p` holds the process lock in any way.
    pub(super) fn holds(&self, s: &State, p: usize) -> bool {
        let here = |process: u8| usize::from(process) == p;
        (s.run.kind != Kind::None && here(s.run.process))
            || s.session.iter().any(|session| {
                !matches!(session.phase, Phase::New | Phase::Over) && here(session.process)
            })
            || (s.process[p].fill != Fill::None && self.rules.has(Rule::FillUnderLock))
    }

    /// Whether another process than `p` holds it.
    pub(super) fn held_elsewhere(&self, s: &State, p: usize) -> bool {
        (0..PROCESSES).any(|other| other != p && self.holds(s, other))
    }
}

/// A PUT that is applied. What the store found lost stays so until an upload is recorded.
pub(super) fn put(n: &mut State, d: usize) {
    n.bucket[d] = Object::Good;
}

/// The end of a session, whichever.
pub(super) fn leave(n: &mut State, i: usize) {
    let session = &mut n.session[i];
    session.phase = Phase::Over;
    session.known = 0;
    session.start = 0;
    session.base = 0;
    session.process = 0;
    session.upload = Upload::None;
    session.keep = false;
}
