//! What the worker was told is safe, written down outside of the store.
//!
//! A line each: `commit PATH` once a commit has returned, `forget PATH` before a removal is asked
//! for, `wrong TEXT` for what must never be. Written with one call each, so that a killed process
//! leaves whole lines, or at worst half of its last one.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use api_types::names::SnapshotPath;

/// The ledger, open for appending.
#[derive(Debug)]
pub struct Ledger(File);

impl Ledger {
    /// Opens the file, which is made if needed.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub fn open(path: &Path) -> Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path);
        Ok(Self(file.with_context(|| {
            format!("unable to open {}", path.display())
        })?))
    }

    /// A commit has returned.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn committed(&self, path: &SnapshotPath) -> Result<()> {
        self.line(&format!("commit {path}"))
    }

    /// A removal is about to be asked for.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn forgetting(&self, path: &SnapshotPath) -> Result<()> {
        self.line(&format!("forget {path}"))
    }

    /// Something that must never be.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn wrong(&self, what: &str) -> Result<()> {
        self.line(&format!("wrong {}", what.replace('\n', " ")))
    }

    fn line(&self, text: &str) -> Result<()> {
        // The line feed comes first: behind half a line, a whole one begins.
        Ok((&self.0).write_all(format!("\n{text}\n").as_bytes())?)
    }
}

/// What the ledger says.
#[derive(Clone, Debug, Default)]
pub struct Account {
    /// Snapshots that must be there.
    pub committed: BTreeSet<SnapshotPath>,
    /// What must never have been.
    pub wrong: Vec<String>,
}

impl Account {
    /// Reads the ledger.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn read(path: &Path) -> Result<Self> {
        let text =
            std::fs::read(path).with_context(|| format!("unable to read {}", path.display()))?;
        let mut account = Self::default();
        for line in String::from_utf8_lossy(&text).lines() {
            match line.split_once(' ') {
                Some(("commit", path)) => account.committed.extend(path.parse::<SnapshotPath>()),
                Some(("forget", path)) => {
                    if let Ok(path) = path.parse::<SnapshotPath>() {
                        account.committed.remove(&path);
                    }
                }
                Some(("wrong", what)) => account.wrong.push(what.to_owned()),
                _ => {}
            }
        }
        Ok(account)
    }
}
