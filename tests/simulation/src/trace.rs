//! The trace: every step in order, hashed, and kept as text if somebody wants to read it.

use std::fmt::{self, Write as _};

use crate::dice::mix;

/// What has happened so far.
#[derive(Debug, Default)]
pub struct Trace {
    /// Steps so far.
    pub steps: u64,
    hash: u64,
    line: String,
    /// The lines, if they are kept.
    kept: Option<Vec<String>>,
}

impl Trace {
    /// An empty trace; keeps its lines if asked to.
    #[must_use]
    pub fn new(keep: bool) -> Self {
        Self {
            kept: keep.then(Vec::new),
            ..Self::default()
        }
    }

    /// Adds a step at a virtual time.
    pub fn add(&mut self, millis: i64, what: &fmt::Arguments<'_>) {
        self.steps += 1;
        self.line.clear();
        // Writing to a string cannot fail.
        let _ = write!(self.line, "{millis} {what}");
        self.hash = mix(&[self.hash, crate::dice::text(&self.line)]);
        let steps = self.steps;
        if let Some(kept) = &mut self.kept {
            let seconds = millis.rem_euclid(1_000_000_000) / 1000;
            let rest = millis.rem_euclid(1000);
            kept.push(format!("{steps:>6} {seconds:>6}.{rest:03} {what}"));
        }
    }

    /// The hash of all steps: equal for two runs that did the same.
    #[must_use]
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// The lines kept.
    #[must_use]
    pub fn lines(&self) -> &[String] {
        self.kept.as_deref().unwrap_or_default()
    }
}
