//! What came of each case.

use std::fmt;

use s3_client::S3ClientOptions;

/// What came of a case.
#[derive(Debug)]
pub enum Outcome {
    /// As it should be.
    Passed,
    /// The server cannot do it.
    Skipped,
    /// Not as it should be.
    Failed(anyhow::Error),
}

impl Outcome {
    pub(crate) fn of(result: anyhow::Result<()>) -> Self {
        match result {
            Ok(()) => Self::Passed,
            Err(error) => Self::Failed(error),
        }
    }
}

/// What came of a run.
#[derive(Debug)]
pub struct Report {
    /// The endpoint's id.
    pub endpoint: String,
    /// Each case, in the order of the run.
    pub cases: Vec<(&'static str, Outcome)>,
}

impl Report {
    pub(crate) fn new(options: &S3ClientOptions) -> Self {
        Self {
            endpoint: options.endpoint.id.to_string(),
            cases: Vec::new(),
        }
    }

    pub(crate) fn add(&mut self, name: &'static str, outcome: Outcome) {
        self.cases.push((name, outcome));
    }

    fn names(&self, of: impl Fn(&Outcome) -> bool) -> Vec<&'static str> {
        self.cases
            .iter()
            .filter(|(_, outcome)| of(outcome))
            .map(|(name, _)| *name)
            .collect()
    }

    /// The names of the cases that failed.
    #[must_use]
    pub fn failed(&self) -> Vec<&'static str> {
        self.names(|outcome| matches!(outcome, Outcome::Failed(_)))
    }

    /// Whether no case failed.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.failed().is_empty()
    }

    /// The names of the cases that were skipped.
    #[must_use]
    pub fn skipped(&self) -> Vec<&'static str> {
        self.names(|outcome| matches!(outcome, Outcome::Skipped))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "conformance of {}:", self.endpoint)?;
        for (name, outcome) in &self.cases {
            match outcome {
                Outcome::Passed => writeln!(f, "  ok       {name}")?,
                Outcome::Skipped => writeln!(f, "  skipped  {name}")?,
                Outcome::Failed(error) => writeln!(f, "  FAILED   {name}: {error:#}")?,
            }
        }
        Ok(())
    }
}
