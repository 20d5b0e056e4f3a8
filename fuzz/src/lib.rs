//! Fuzz targets: everything that is read from a client, a bucket, a disk or a person.
//!
//! A target is a function from bytes to "accepted or not" that panics when a property does not
//! hold: what is accepted can be written and read back as the same, keeps within the documented
//! limits, and costs memory in proportion to its length. One program holds all of them
//! (`src/bin/fuzz.rs`, libFuzzer), since twenty would take twenty times the build; the variable
//! `FUZZ_TARGET` chooses.
//!
//! `make fuzz` runs them. The corpus and the inputs that once failed are also replayed by a plain
//! `cargo test` (`tests/replay.rs`), which needs no fuzzer.

pub mod memory;
pub mod prepare;
pub mod scratch;
mod targets;

pub use targets::TARGETS;

/// One thing to be fuzzed.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name, on the command line and of its corpus directory.
    pub name: &'static str,
    /// Longest input that is tried.
    pub max_len: usize,
    /// Checks every property of one input; whether the input was valid.
    pub check: fn(&[u8]) -> bool,
    /// Valid inputs to begin with, made by our own writers.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Words of the format, which a fuzzer would take long to find.
    pub words: &'static [&'static str],
    /// Bytes of memory that may be allocated at once, whatever the input.
    pub memory: usize,
}

/// Bytes of memory per byte of input beyond [`Target::memory`]; the checks themselves hold the
/// input several times over.
const MEMORY_PER_BYTE: usize = 256;

impl Target {
    /// The target of that name.
    #[must_use]
    pub fn find(name: &str) -> Option<&'static Self> {
        TARGETS.iter().find(|target| target.name == name)
    }

    /// Checks one input, the bound on memory included; whether the input was valid.
    ///
    /// # Panics
    /// When a property does not hold: that is the finding.
    pub fn run(&self, data: &[u8]) -> bool {
        let (accepted, peak) = memory::peak_of(|| (self.check)(data));
        let limit = self.memory + MEMORY_PER_BYTE * data.len();
        assert!(
            peak <= limit,
            "{peak} bytes were allocated at once for an input of {}, at most {limit} are fine",
            data.len()
        );
        accepted
    }
}
