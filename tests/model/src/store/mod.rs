//! One store: digests, sessions, runs, crashes, late requests, up to two processes.
//!
//! The marks are taken in one step here; how they come about is the [marking](crate::marking)
//! model's topic. Each step names the function of `datastore` that it stands for. Where the code
//! takes several steps for what is one here, the comment says why nobody can tell.

mod check;
mod collect;
pub mod config;
mod delete;
mod session;
mod state;
mod step;
pub mod topics;
mod world;

use std::cell::RefCell;

use crate::explore::{Invariant, Protocol};
use crate::rule::Rules;

use check::Dried;
pub use config::{Config, Start};
pub use state::{Budget, State};
pub use step::Step;

type Out = Vec<(Step, State)>;

/// The model in one configuration, with some rules in force.
#[derive(Debug)]
pub struct Store {
    config: Config,
    rules: Rules,
    dried: RefCell<Dried>,
}

impl Store {
    /// The model of `config`.
    #[must_use]
    pub fn new(config: Config, rules: Rules) -> Self {
        Self {
            config,
            rules,
            dried: RefCell::default(),
        }
    }
}

impl Protocol for Store {
    type State = State;
    type Step = Step;

    fn initial(&self) -> Vec<State> {
        self.config.initial()
    }

    fn steps(&self, s: &State, out: &mut Out) {
        self.session_steps(s, out);
        self.cache_steps(s, out);
        self.run_steps(s, out);
        self.world_steps(s, out);
    }

    fn broken(&self, s: &State) -> Option<Invariant> {
        self.violation(s)
    }
}
