//! Shortening a plan that fails: elements are left out as long as the same invariant is violated.

use std::time::{Duration, Instant};

use crate::plan::{Act, Move, Plan};
use crate::run::{Conduct, Outcome, run};

/// Shortens a plan that violates an invariant; gives the shortest found and its outcome.
#[must_use]
pub fn shrink(
    plan: &Plan,
    invariant: &'static str,
    conduct: &Conduct,
    patience: Duration,
) -> (Plan, Option<Outcome>) {
    let mut search = Search {
        conduct: conduct.clone(),
        best: plan.clone(),
        invariant,
        deadline: now() + patience,
    };
    search.episodes();
    loop {
        let before = (search.best.len(), size(&search.best));
        search.lanes();
        search.steps();
        search.weather();
        search.inside();
        if (search.best.len(), size(&search.best)) == before || search.is_over() {
            break;
        }
    }
    let conduct = Conduct {
        keep_trace: true,
        ..conduct.clone()
    };
    let outcome = run(&search.best, &conduct).ok();
    (search.best, outcome)
}

#[allow(
    clippy::disallowed_methods,
    reason = "how long the search takes is real time"
)]
fn now() -> Instant {
    Instant::now()
}

/// Length in detail.
fn size(plan: &Plan) -> usize {
    serde_json::to_string(plan).map_or(0, |text| text.len())
}

struct Search {
    best: Plan,
    conduct: Conduct,
    invariant: &'static str,
    deadline: Instant,
}

impl Search {
    fn is_over(&self) -> bool {
        now() >= self.deadline
    }

    /// Takes the candidate if it fails in the same way.
    fn try_it(&mut self, candidate: Plan) -> bool {
        if self.is_over() {
            return false;
        }
        let Ok(outcome) = run(&candidate, &self.conduct) else {
            return false;
        };
        let same = outcome
            .violation
            .is_some_and(|violation| violation.invariant == self.invariant);
        if same {
            self.best = candidate;
        }
        same
    }

    /// First what comes last in time goes, then from the front.
    fn episodes(&mut self) {
        let mut count = 1;
        while count < self.best.episodes.len() {
            let mut candidate = self.best.clone();
            candidate.episodes.truncate(count);
            if self.try_it(candidate) {
                break;
            }
            count += 1;
        }
        while self.best.episodes.len() > 1 {
            let mut candidate = self.best.clone();
            candidate.episodes.remove(0);
            if !self.try_it(candidate) {
                break;
            }
        }
    }

    fn lanes(&mut self) {
        for episode in (0..self.best.episodes.len()).rev() {
            for lane in (0..self.best.episodes[episode].lanes.len()).rev() {
                let mut candidate = self.best.clone();
                candidate.episodes[episode].lanes.remove(lane);
                self.try_it(candidate);
            }
        }
    }

    fn steps(&mut self) {
        for episode in (0..self.best.episodes.len()).rev() {
            for lane in (0..self.best.episodes[episode].lanes.len()).rev() {
                for step in (0..self.best.episodes[episode].lanes[lane].len()).rev() {
                    let mut candidate = self.best.clone();
                    // What comes later keeps its time.
                    let steps = &mut candidate.episodes[episode].lanes[lane];
                    let gone = steps.remove(step);
                    if let Some(next) = steps.get_mut(step) {
                        next.pause += gone.pause;
                    }
                    self.try_it(candidate);
                }
            }
        }
    }

    fn weather(&mut self) {
        for episode in 0..self.best.episodes.len() {
            for place in (0..self.best.episodes[episode].weather.len()).rev() {
                let mut candidate = self.best.clone();
                candidate.episodes[episode].weather.remove(place);
                self.try_it(candidate);
            }
        }
    }

    /// The insides of backups and collections.
    fn inside(&mut self) {
        for episode in 0..self.best.episodes.len() {
            for lane in 0..self.best.episodes[episode].lanes.len() {
                for step in 0..self.best.episodes[episode].lanes[lane].len() {
                    self.inside_step(episode, lane, step);
                }
            }
        }
    }

    fn inside_step(&mut self, episode: usize, lane: usize, step: usize) {
        let act = |plan: &Plan| plan.episodes[episode].lanes[lane][step].act.clone();
        let with = |plan: &Plan, act: Act| {
            let mut candidate = plan.clone();
            candidate.episodes[episode].lanes[lane][step].act = act;
            candidate
        };
        match act(&self.best) {
            Act::Backup(backup) => {
                for place in (0..backup.moves.len()).rev() {
                    let Act::Backup(mut shorter) = act(&self.best) else {
                        return;
                    };
                    let mut halved = shorter.clone();
                    shorter.moves.remove(place);
                    if self.try_it(with(&self.best, Act::Backup(shorter))) {
                        continue;
                    }
                    if let Some(Move::Insert(chunks)) = halved.moves.get_mut(place)
                        && chunks.len() > 1
                    {
                        chunks.truncate(1);
                        self.try_it(with(&self.best, Act::Backup(halved)));
                    }
                }
            }
            Act::Collect(collect) => {
                for place in (0..collect.meanwhile.len()).rev() {
                    let Act::Collect(mut shorter) = act(&self.best) else {
                        return;
                    };
                    shorter.meanwhile.remove(place);
                    self.try_it(with(&self.best, Act::Collect(shorter)));
                }
            }
            _ => {}
        }
    }
}
