//! A delete on its way (`backend::s3::delete::send_batch`); each digest is a batch of its own.

use crate::explore::Invariant;
use crate::rule::Rule;

use super::collect::others_must_read;
use super::state::{File, Hold, Object, Phase, Record, State, Suspect, Todo, bit, has, small};
use super::step::Step;
use super::{Out, Store};

/// Attempts of one request; three in the code, two are enough to tell a first from a later one.
const ATTEMPTS: u8 = 2;

impl Store {
    pub(super) fn delete(&self, s: &State, d: usize, out: &mut Out) {
        let p = usize::from(s.run.process);
        let d8 = small(d);
        let mut n = *s;
        match s.run.todo[d] {
            Todo::Judge | Todo::Done => {}
            Todo::Head => self.look(s, d, out),
            Todo::Condemned => {
                // `raise_epoch`, then `write_record`: whether or not a session has taken the digest back.
                n.record[d] = match self.rules.has(Rule::JournalFsync) {
                    true => Record::Durable,
                    false => Record::Volatile,
                };
                if self.rules.has(Rule::EpochPerRequest) {
                    n.generation += 1;
                    n.epoch = n.epoch.max(n.generation);
                }
                n.process[p].table[d].unresolved = true;
                others_must_read(&mut n, p);
                n.run.todo[d] = Todo::Recorded;
                out.push((Step::Recorded(d8), n));
            }
            Todo::Recorded => {
                // `last_look`.
                let entry = &mut n.process[p].table[d];
                if entry.hold == Hold::Condemned {
                    entry.hold = Hold::Deleting;
                    n.run.todo[d] = Todo::Looked;
                } else if !self.rules.has(Rule::FinalRecheck) {
                    n.run.todo[d] = Todo::Looked;
                } else {
                    if entry.suspect == Suspect::No {
                        entry.unresolved = false;
                    }
                    n.run.todo[d] = Todo::Done;
                }
                out.push((Step::LooksAgain(d8), n));
            }
            Todo::Looked => {
                n.epoch = n.epoch.max(n.generation);
                self.send(&mut n, d);
                out.push((Step::Sent(d8), n));
            }
            Todo::Sent => {
                n.bucket[d] = Object::Absent;
                n.run.todo[d] = Todo::Applied;
                out.push((Step::DeleteApplied(d8), n));
                if s.budget.denials > 0 {
                    let mut n = *s;
                    n.budget.denials -= 1;
                    n.run.todo[d] = Todo::Denied;
                    out.push((Step::DeleteDenied(d8), n));
                }
                if s.budget.lost_answers > 0 {
                    let mut n = *s;
                    n.budget.lost_answers -= 1;
                    n.late_delete[d] += 1;
                    self.unanswered(&n, d, out);
                }
            }
            Todo::Applied => {
                if s.budget.lost_answers > 0 {
                    let mut n = *s;
                    n.budget.lost_answers -= 1;
                    self.unanswered(&n, d, out);
                }
                let certain =
                    !has(s.run.unanswered, d) || !self.rules.has(Rule::LaterOkResolvesNothing);
                self.settle(&mut n, d, certain, false);
                out.push((Step::Answered(d8), n));
            }
            Todo::Denied => {
                let certain = !has(s.run.unanswered, d) || !self.rules.has(Rule::NorDoesADenial);
                self.settle(&mut n, d, certain, true);
                out.push((Step::Answered(d8), n));
            }
        }
    }

    fn send(&self, n: &mut State, d: usize) {
        n.run.todo[d] = Todo::Sent;
        n.run.attempts[d] += 1;
        let referenced = n.snapshot.iter().any(|k| k.there && has(k.refs, d));
        let used = (n.session.iter())
            .any(|i| !matches!(i.phase, Phase::New | Phase::Over) && has(i.known, d));
        if (referenced || used) && !has(n.excused, d) {
            n.broken = Some(Invariant::G1);
        }
    }

    /// An attempt ended without an answer: another one, or the end.
    fn unanswered(&self, s: &State, d: usize, out: &mut Out) {
        let mut n = *s;
        n.run.unanswered |= bit(d);
        if n.run.attempts[d] < ATTEMPTS {
            let mut again = n;
            self.send(&mut again, d);
            out.push((Step::SentAgain(small(d)), again));
        }
        self.settle(&mut n, d, false, false);
        out.push((Step::AnswerLost(small(d)), n));
    }

    /// `S3Backend::settle`: the outcome of one key.
    fn settle(&self, n: &mut State, d: usize, certain: bool, denied: bool) {
        n.run.todo[d] = Todo::Done;
        let entry = &mut n.process[usize::from(n.run.process)].table[d];
        let mine = entry.hold == Hold::Deleting;
        if mine {
            entry.hold = Hold::Free;
        }
        if certain {
            entry.unresolved = false;
            if mine && denied && entry.had {
                n.file[d] = File::Marker;
            } else if !self.rules.has(Rule::PresenceRemovedFirst) {
                n.file[d] = File::None;
            }
        } else if self.rules.has(Rule::Quarantine) && self.rules.has(Rule::VerifyJournal) {
            entry.suspect = Suspect::Quarantine;
            entry.unresolved = true;
        } else {
            entry.unresolved = false;
        }
        if !certain && !self.rules.has(Rule::NoAttemptAfterSuspect) {
            n.late_retry |= bit(d);
        }
    }
}
