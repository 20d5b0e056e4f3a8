//! Breadth-first exploration of every reachable state.
//!
//! States are small `Copy` values kept in one vector; a state's place in it is its number, and the
//! hash table holds numbers only. Each state remembers the step and the state it was first reached
//! by, so a violation comes with a shortest trace. Nothing depends on time or randomness: two runs
//! visit the same states in the same order.

use std::fmt::{self, Display};
use std::hash::{Hash, Hasher};

/// A violated invariant of `gc.md` §8.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Invariant {
    /// No live deletion; chunks of committed snapshots exist.
    G1,
    /// Presence means object.
    G2,
    /// What a session was told is there stays.
    G3,
    /// An aborted or crashed run leaves what the next one continues from.
    G8,
    /// Garbage goes, no digest stays exceptional.
    G11,
    /// Missing chunks are uploaded again.
    G13,
}

/// A protocol: what can be, what can happen next, and what must never be.
pub trait Protocol {
    /// Everything that distinguishes one moment from another.
    type State: Copy + Eq + Hash;
    /// One indivisible thing that happens.
    type Step: Copy + Display;

    /// Where it all may begin.
    fn initial(&self) -> Vec<Self::State>;
    /// Everything that may happen next.
    fn steps(&self, state: &Self::State, out: &mut Vec<(Self::Step, Self::State)>);
    /// The invariant that `state` breaks.
    fn broken(&self, state: &Self::State) -> Option<Invariant>;
}

/// A shortest way to a broken invariant.
#[derive(Clone, Debug)]
pub struct Counterexample {
    /// What is broken.
    pub invariant: Invariant,
    /// The steps, in the words of `gc.md` §8.1.
    pub trace: Vec<String>,
}

impl Display for Counterexample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.invariant, self.trace.join(" · "))
    }
}

/// What an exploration saw.
#[derive(Clone, Debug, Default)]
pub struct Explored {
    /// Distinct states.
    pub states: usize,
    /// Steps between them, those to known states included.
    pub transitions: usize,
    /// The first violation; exploration ends with it.
    pub counterexample: Option<Counterexample>,
    /// The bound on states was reached: what was explored says nothing about the rest.
    pub truncated: bool,
}

/// Explores `protocol`, up to `max_states` states.
pub fn explore<P: Protocol>(protocol: &P, max_states: usize) -> Explored {
    let mut seen = Seen::new();
    let mut result = Explored::default();
    for state in protocol.initial() {
        let (number, new) = seen.insert(state, None);
        if new && let Some(invariant) = protocol.broken(&state) {
            result.counterexample = Some(seen.trace(number, invariant));
            result.states = seen.states.len();
            return result;
        }
    }
    let mut next = 0;
    let mut out = Vec::new();
    while next < seen.states.len() {
        out.clear();
        protocol.steps(&seen.states[next], &mut out);
        let from = as_number(next);
        for (step, state) in out.drain(..) {
            result.transitions += 1;
            let (number, new) = seen.insert(state, Some((from, step)));
            if new && let Some(invariant) = protocol.broken(&state) {
                result.counterexample = Some(seen.trace(number, invariant));
                result.states = seen.states.len();
                return result;
            }
        }
        if seen.states.len() > max_states {
            result.truncated = true;
            break;
        }
        next += 1;
    }
    result.states = seen.states.len();
    result
}

struct Seen<S, T> {
    states: Vec<S>,
    origins: Vec<Option<(u32, T)>>,
    /// Open addressing; 0 = free, else a state's number plus one.
    table: Vec<u32>,
}

impl<S: Copy + Eq + Hash, T: Copy + Display> Seen<S, T> {
    fn new() -> Self {
        Self {
            states: Vec::new(),
            origins: Vec::new(),
            table: vec![0; 1 << 12],
        }
    }

    /// The number of `state`, and whether it is new.
    fn insert(&mut self, state: S, origin: Option<(u32, T)>) -> (u32, bool) {
        if self.states.len() * 2 >= self.table.len() {
            self.grow();
        }
        let mask = self.table.len() - 1;
        let mut at = hash(&state) & mask;
        while let Some(found) = self.table[at].checked_sub(1) {
            if self.states[found as usize] == state {
                return (found, false);
            }
            at = (at + 1) & mask;
        }
        let number = as_number(self.states.len());
        self.table[at] = number + 1;
        self.states.push(state);
        self.origins.push(origin);
        (number, true)
    }

    fn grow(&mut self) {
        let mask = self.table.len() * 2 - 1;
        let mut table = vec![0; mask + 1];
        for (number, state) in self.states.iter().enumerate() {
            let mut at = hash(state) & mask;
            while table[at] != 0 {
                at = (at + 1) & mask;
            }
            table[at] = as_number(number) + 1;
        }
        self.table = table;
    }

    fn trace(&self, end: u32, invariant: Invariant) -> Counterexample {
        let mut trace = Vec::new();
        let mut at = end;
        while let Some((from, step)) = self.origins[at as usize] {
            trace.push(step.to_string());
            at = from;
        }
        trace.reverse();
        Counterexample { invariant, trace }
    }
}

fn as_number(index: usize) -> u32 {
    u32::try_from(index).expect("fewer than 2^32 - 1 states fit into memory")
}

fn hash<S: Hash>(state: &S) -> usize {
    let mut hasher = Multiply(0);
    state.hash(&mut hasher);
    // The high bits are the good ones, the table uses the low ones.
    usize::try_from(hasher.finish() >> 16).unwrap_or(usize::MAX)
}

/// Multiply and rotate: the states are small, are not chosen by an enemy, and are hashed often.
struct Multiply(u64);

impl Hasher for Multiply {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_u8(&mut self, value: u8) {
        self.write_u64(u64::from(value));
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = (self.0.rotate_left(5) ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn write_usize(&mut self, value: usize) {
        self.write_u64(value as u64);
    }

    fn write_isize(&mut self, value: isize) {
        self.write_u64(value.unsigned_abs() as u64);
    }

    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 29)
    }
}
