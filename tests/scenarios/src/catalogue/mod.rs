//! Which test is which scenario of `gc.md` §9, which hole of `s3-backend.md` §12, and which
//! load-bearing rule of `gc.md` §8.1. `tests/catalogue.rs` makes sure that the lists are complete
//! and that each function exists in the file named.

mod holes;
mod rules;
mod scenarios;

pub use holes::HOLES;
pub use rules::RULES;
pub use scenarios::SCENARIOS;

/// What is to be tested, the file of the test below the workspace's directory, and its function.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// `T01` to `T68`, `H1` to `H16`, or a rule in the words of §8.1.
    pub what: &'static str,
    /// The file.
    pub file: &'static str,
    /// The function.
    pub test: &'static str,
}

const fn entry(what: &'static str, file: &'static str, test: &'static str) -> Entry {
    Entry { what, file, test }
}
