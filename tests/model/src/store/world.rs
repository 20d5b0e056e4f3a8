//! What happens to the store from outside: late requests, time, crashes, lost objects.

use crate::rule::Rule;

use super::collect::unlink;
use super::state::{
    Entry, File, Fill, Kind, Object, Phase, Record, State, Suspect, Todo, Upload, bit, has, small,
};
use super::step::Step;
use super::{Out, Store};

impl Store {
    pub(super) fn world_steps(&self, s: &State, out: &mut Out) {
        for d in 0..self.config.digests() {
            self.late(s, d, out);
            self.quarantine_passes(s, d, out);
            if s.budget.losses > 0 && s.bucket[d] == Object::Good {
                let mut n = *s;
                n.budget.losses -= 1;
                n.bucket[d] = Object::Absent;
                n.excused |= bit(d);
                let taken = s
                    .process
                    .iter()
                    .any(|p| p.table[d].hold == super::state::Hold::Condemned && p.table[d].had);
                if s.file[d] != File::None || taken {
                    n.excused_marker |= bit(d);
                }
                out.push((Step::LostOutside(small(d)), n));
            }
        }
        if s.budget.copies > 0 {
            let mut n = *s;
            n.budget.copies -= 1;
            n.copy.taken = true;
            n.copy.file = s.file;
            n.copy.record = s.record;
            n.copy.generation = s.generation;
            out.push((Step::DiskCopied, n));
        }
        if s.budget.crashes > 0 {
            for p in 0..self.config.processes {
                let mut n = *s;
                n.budget.crashes -= 1;
                self.crash(&mut n, p);
                self.start(&mut n, p);
                out.push((Step::Crash(small(p)), n));
            }
        }
        if s.budget.power_losses > 0 {
            self.power_loss(s, out);
        }
        if s.budget.restores > 0 && s.copy.taken {
            out.push((Step::DiskRestored, self.restore(s)));
        }
    }

    fn late(&self, s: &State, d: usize, out: &mut Out) {
        if s.late_delete[d] > 0 {
            let mut n = *s;
            n.late_delete[d] -= 1;
            out.push((Step::LateDeleteNever(small(d)), n));
            n.bucket[d] = Object::Absent;
            out.push((Step::LateDelete(small(d)), n));
        }
        if has(s.late_put, d) {
            let mut n = *s;
            n.late_put &= !bit(d);
            out.push((Step::LatePutNever(small(d)), n));
            super::session::put(&mut n, d);
            out.push((Step::LatePut(small(d)), n));
        }
        if has(s.late_retry, d) {
            let mut n = *s;
            n.late_retry &= !bit(d);
            n.late_delete[d] += 1;
            out.push((Step::LateRetry(small(d)), n));
        }
    }

    /// Half an hour passes: by then no request of before is applied any more.
    fn quarantine_passes(&self, s: &State, d: usize, out: &mut Out) {
        let outstanding = s.late_delete[d] > 0
            || matches!(s.run.todo[d], Todo::Sent | Todo::Applied | Todo::Denied);
        if outstanding && self.rules.has(Rule::QuarantineLongEnough) {
            return;
        }
        for p in 0..self.config.processes {
            if s.process[p].table[d].suspect == Suspect::Quarantine {
                let mut n = *s;
                n.process[p].table[d].suspect = Suspect::Due;
                out.push((Step::QuarantineOver(small(p), small(d)), n));
            }
        }
    }

    /// Process `p` dies: its memory, its sessions, its run.
    fn crash(&self, n: &mut State, p: usize) {
        for i in 0..self.config.sessions {
            let session = n.session[i];
            if matches!(session.phase, Phase::New | Phase::Over)
                || usize::from(session.process) != p
            {
                continue;
            }
            if let Upload::Put(d) = session.upload
                && self.config.late_puts
            {
                n.late_put |= bit(usize::from(d));
            }
            super::session::leave(n, i);
        }
        if n.run.kind != Kind::None && usize::from(n.run.process) == p {
            for d in 0..self.config.digests() {
                if n.run.todo[d] == Todo::Sent {
                    n.late_delete[d] += 1;
                }
            }
            n.run = super::state::Run::NONE;
        }
        n.process[p].table = [Entry::NEW; super::state::DIGESTS];
        n.process[p].fill = Fill::None;
        n.process[p].seen = false;
    }

    /// A process starts. It reads the journal when it takes the process lock, not now.
    fn start(&self, n: &mut State, p: usize) {
        if !self.rules.has(Rule::JournalReadUnderLock) {
            self.read_journal(n, p);
        }
    }

    /// What happens when process `p` takes the process lock: `DataStore::activate`, if it did not
    /// hold it.
    pub(super) fn enter(&self, n: &mut State, p: usize) {
        if !self.holds(n, p) && self.rules.has(Rule::JournalReadUnderLock) {
            self.read_journal(n, p);
        }
    }

    /// `S3Backend::adopt_journal`: every digest of the journal is suspect for a full quarantine.
    fn read_journal(&self, n: &mut State, p: usize) {
        if n.process[p].seen {
            return;
        }
        n.process[p].seen = true;
        for d in 0..self.config.digests() {
            if n.record[d] == Record::None {
                continue;
            }
            if self.rules.has(Rule::FullQuarantineAfterRestart) {
                n.process[p].table[d].suspect = Suspect::Quarantine;
                n.process[p].table[d].unresolved = true;
            } else {
                // "Expired" by the wall clock.
                n.record[d] = Record::None;
                unlink(n, d);
            }
        }
    }

    /// Everything stops, and what was not synced is lost or not, digest by digest.
    fn power_loss(&self, s: &State, out: &mut Out) {
        let mut n = *s;
        n.budget.power_losses -= 1;
        for p in 0..self.config.processes {
            self.crash(&mut n, p);
        }
        let mut outcomes = vec![n];
        for d in 0..self.config.digests() {
            let mut more = Vec::new();
            for n in &outcomes {
                let unsynced = matches!(n.file[d], File::Marker | File::Payload);
                if has(n.ghost, d) && n.file[d] == File::None {
                    let mut n = *n;
                    n.file[d] = File::Marker;
                    more.push(n);
                } else if unsynced && !has(n.excused_marker, d) {
                    let mut n = *n;
                    n.file[d] = match has(n.ghost, d) {
                        true => File::Marker,
                        false => File::None,
                    };
                    more.push(n);
                }
                if n.record[d] == Record::Volatile {
                    let mut n = *n;
                    n.record[d] = Record::None;
                    more.push(n);
                }
            }
            outcomes.extend(more);
        }
        for mut n in outcomes {
            n.ghost = 0;
            for record in &mut n.record {
                if *record == Record::Volatile {
                    *record = Record::Durable;
                }
            }
            for p in 0..self.config.processes {
                self.start(&mut n, p);
            }
            out.push((Step::PowerLoss, n));
        }
    }

    /// The machine is set back to the copy; `DataStore::note_rollback` compares the generations.
    fn restore(&self, s: &State) -> State {
        let mut n = *s;
        n.budget.restores -= 1;
        for p in 0..self.config.processes {
            self.crash(&mut n, p);
        }
        for d in 0..self.config.digests() {
            // Accepted: until the end of its quarantine a chunk depends on this disk.
            if s.file[d] == File::Kept && (s.bucket[d] == Object::Absent || s.late_delete[d] > 0) {
                n.excused |= bit(d);
            }
        }
        n.file = s.copy.file;
        n.record = s.copy.record;
        n.generation = s.copy.generation;
        n.ghost = 0;
        // Nothing that the copy says of a chunk is excused: what it names was there then.
        n.needs_rebuild = self.rules.has(Rule::EpochInBucket) && s.epoch > n.generation;
        for p in 0..self.config.processes {
            self.start(&mut n, p);
        }
        n
    }
}
