//! What is seen of the states of digests between the steps: for the counts of what has happened, and
//! for invariants about changes.

use std::collections::{HashMap, HashSet};

use datastore::digests::State;

use crate::bucket::{ProcId, Ticket};
use crate::coverage::Kind;
use crate::sim::Core;
use crate::universe::{CRYPT, PLAIN, Set, Universe, one};

const CHUNKS: usize = 32;

/// A digest as a process has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// What is going on.
    pub state: Option<State>,
    /// Whether it is suspect.
    pub suspect: bool,
    /// Whether it was found missing.
    pub lost: bool,
}

/// What has happened to chunks while a collection ran.
#[derive(Clone, Copy, Debug, Default)]
pub struct Meanwhile {
    /// They were absent at some time.
    pub absent: Set,
    /// Their objects were written.
    pub written: Set,
}

/// What was seen at the last step.
#[derive(Debug, Default)]
pub struct Watch {
    seen: HashMap<ProcId, [Seen; CHUNKS]>,
    senders: HashMap<Ticket, ProcId>,
    late: HashSet<Ticket>,
    /// Inserts that wait: process and chunk.
    pub inserting: Vec<(ProcId, u8)>,
    /// What has happened to chunks since each running collection began.
    absences: Vec<(u64, Meanwhile)>,
    next_absence: u64,
    /// Calls under way, by what they are.
    pub calls: HashMap<&'static str, u32>,
}

impl Watch {
    /// A request leaves.
    pub fn sent(&mut self, ticket: Ticket, proc: ProcId, late: bool) {
        self.senders.insert(ticket, proc);
        if late {
            self.late.insert(ticket);
        }
    }

    /// Who sent a request.
    #[must_use]
    pub fn sender(&self, ticket: Ticket) -> Option<ProcId> {
        self.senders.get(&ticket).copied()
    }

    /// Whether a request is applied after its sender was told nothing.
    #[must_use]
    pub fn is_late(&self, ticket: Ticket) -> bool {
        self.late.contains(&ticket)
    }

    /// Remembers from now on which chunks are absent at any time.
    pub fn begin_absences(&mut self) -> u64 {
        self.next_absence += 1;
        self.absences
            .push((self.next_absence, Meanwhile::default()));
        self.next_absence
    }

    /// What has happened to chunks since then.
    pub fn end_absences(&mut self, id: u64) -> Meanwhile {
        let place = self.absences.iter().position(|(of, _)| *of == id);
        place.map_or_else(Meanwhile::default, |place| {
            self.absences.swap_remove(place).1
        })
    }

    /// A chunk's object was written.
    pub fn written(&mut self, chunk: u8) {
        for (_, meanwhile) in &mut self.absences {
            meanwhile.written |= one(chunk);
        }
    }

    /// A digest of a process at the last step.
    #[must_use]
    pub fn seen(&self, proc: ProcId, chunk: u8) -> Seen {
        let all = self.seen.get(&proc);
        all.map_or(Seen::default(), |all| all[usize::from(chunk)])
    }

    /// Suspect digests of a process at the last step.
    #[must_use]
    pub fn suspects(&self, proc: ProcId) -> Set {
        (0..PLAIN + CRYPT)
            .filter(|&chunk| self.seen(proc, chunk).suspect)
            .fold(0, |set, chunk| set | one(chunk))
    }

    /// Digests of a process in a state or suspect at the last step.
    #[must_use]
    pub fn exceptional(&self, proc: ProcId) -> Set {
        let is = |chunk: &u8| {
            let seen = self.seen(proc, *chunk);
            seen.suspect || seen.state.is_some()
        };
        let chunks = (0..PLAIN + CRYPT).filter(is);
        chunks.fold(0, |set, chunk| set | one(chunk))
    }
}

/// Looks at all digests of all processes that live.
pub fn look(core: &mut Core, universe: &Universe) {
    for (_, meanwhile) in &mut core.watch.absences {
        meanwhile.absent |= !core.bucket.present;
    }
    for proc in &core.procs {
        let (Some(store), true) = (&proc.store, proc.is_alive()) else {
            continue;
        };
        let id = proc.id;
        let before = core.watch.seen.get(&id).copied().unwrap_or_default();
        let mut now = before;
        for chunk in 0..PLAIN + CRYPT {
            let seen = store.digests().with(universe.digest(chunk), |slot| Seen {
                state: slot.state(),
                suspect: slot.suspicion().is_some(),
                lost: slot.is_lost(),
            });
            let old = before[usize::from(chunk)];
            if seen == old {
                continue;
            }
            now[usize::from(chunk)] = seen;
            if seen.suspect && !old.suspect {
                core.coverage.add(Kind::BecameSuspect);
            }
            if seen.suspect && old.suspect && matches!(old.state, Some(State::Uploading(_))) {
                let there = core.disks[proc.disk].payloads & one(chunk) != 0;
                if seen.state.is_none() && there {
                    core.coverage.add(Kind::SuspectUploaded);
                }
            }
            if matches!(old.state, Some(State::Condemned { .. }))
                && !matches!(seen.state, Some(State::Deleting { .. }))
                && core.disks[proc.disk].files & one(chunk) != 0
            {
                core.coverage.add(Kind::TakenBack);
            }
            if matches!(seen.state, Some(State::Deleting { .. }))
                && core.watch.inserting.contains(&(id, chunk))
            {
                core.coverage.add(Kind::WaitedForDelete);
            }
        }
        core.watch.seen.insert(id, now);
    }
}
