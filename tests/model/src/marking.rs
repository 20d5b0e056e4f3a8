//! How the marks come about: generation, register, floor, walk, pins, moves, the bucket's own list.
//!
//! One digest D that exists; snapshot B0 references it from the start; sessions S1 and S2 write B1
//! and B2 into the same group. Condemning and deleting are one step, since the states that order
//! them against sessions are the [store](crate::store) model's topic.

mod collection;
mod session;
mod state;

use crate::explore::{Invariant, Protocol};
use crate::rule::Rules;

pub use state::{Config, State, Step, topics};

type Out = Vec<(Step, State)>;

/// The model in one configuration, with some rules in force.
#[derive(Clone, Copy, Debug)]
pub struct Marking {
    config: Config,
    rules: Rules,
}

impl Marking {
    /// The model of `config`.
    #[must_use]
    pub fn new(config: Config, rules: Rules) -> Self {
        Self { config, rules }
    }

    /// G11: when everything stops and two collections run, an unreferenced D is gone.
    fn run_dry(&self, s: &State) -> Option<Invariant> {
        let mut n = *s;
        for i in 0..n.session.len() {
            self.abort(&mut n, i);
        }
        self.crash(&mut n);
        n.collections = 2;
        n.crashes = 0;
        n.by_hand = false;
        let mut out = Vec::new();
        for _ in 0..100 {
            out.clear();
            self.collection_steps(&n, &mut out);
            let Some((_, next)) = out.first() else { break };
            n = *next;
        }
        let referenced = n.snapshot.iter().any(|k| k.is_committed() && k.refs);
        (n.object && !referenced).then_some(Invariant::G11)
    }
}

impl Protocol for Marking {
    type State = State;
    type Step = Step;

    fn initial(&self) -> Vec<State> {
        self.config.initial()
    }

    fn steps(&self, s: &State, out: &mut Out) {
        self.session_steps(s, out);
        self.removal_steps(s, out);
        self.collection_steps(s, out);
        self.crash_steps(s, out);
    }

    fn broken(&self, s: &State) -> Option<Invariant> {
        let quiet = s.is_quiet() && self.config.dry;
        s.broken
            .or_else(|| quiet.then(|| self.run_dry(s)).flatten())
    }
}
