//! First sightings of objects without a usable date (`gc.md` §6.1): such an object is not deleted
//! by the collection that first sees it. A text file of `digest generation` lines; a line that
//! cannot be read counts as not seen.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use api_types::digest::Digest;

use crate::atomic_file;
use crate::digests::Generation;
use crate::error::{Error, Result};

/// Most sightings that are remembered.
const MAX_ENTRIES: usize = 1 << 20;

/// The persistent sightings.
#[derive(Debug)]
pub struct FirstSeen {
    path: PathBuf,
    seen: BTreeMap<Digest, Generation>,
    new: Mutex<BTreeMap<Digest, Generation>>,
}

impl FirstSeen {
    /// Reads the file at `path`; a missing one is empty.
    ///
    /// # Errors
    /// If the file exists and cannot be read.
    pub fn load(path: PathBuf) -> Result<Self> {
        let text = match std::fs::read(&path) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(Error::io("unable to read", &path)(error)),
        };
        let seen = text
            .lines()
            .take(MAX_ENTRIES)
            .filter_map(parse_line)
            .collect();
        Ok(Self {
            path,
            seen,
            new: Mutex::default(),
        })
    }

    /// The generation of the first sighting in an earlier run.
    #[must_use]
    pub fn generation_of(&self, digest: &Digest) -> Option<Generation> {
        self.seen.get(digest).copied()
    }

    /// Records a sighting in this run.
    pub fn record(&self, digest: Digest, generation: Generation) {
        let first = self
            .generation_of(&digest)
            .unwrap_or(generation)
            .min(generation);
        let mut new = self.sightings();
        if new.len() < MAX_ENTRIES {
            new.insert(digest, first);
        }
    }

    /// Replaces the file by the sightings of this run; what was not seen again is forgotten.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn save(&self) -> Result<()> {
        let new = self.sightings();
        if new.is_empty() && self.seen.is_empty() {
            return Ok(());
        }
        let text: String = new
            .iter()
            .map(|(digest, generation)| format!("{digest} {generation}\n"))
            .collect();
        Ok(atomic_file::replace_durable(
            &self.path,
            text.as_bytes(),
            0o600,
        )?)
    }

    fn sightings(&self) -> MutexGuard<'_, BTreeMap<Digest, Generation>> {
        self.new.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn parse_line(line: &str) -> Option<(Digest, Generation)> {
    let (digest, generation) = line.split_once(' ')?;
    Some((Digest::from_hex(digest).ok()?, generation.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sightings_survive_and_vanish_when_not_repeated() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("first-seen");
        let (a, b) = (Digest::from_bytes([1; 32]), Digest::from_bytes([2; 32]));
        let first = FirstSeen::load(path.clone()).unwrap();
        first.record(a, 5);
        first.record(b, 5);
        first.save().unwrap();
        let second = FirstSeen::load(path.clone()).unwrap();
        assert_eq!(second.generation_of(&a), Some(5));
        second.record(a, 6);
        second.save().unwrap();
        let third = FirstSeen::load(path).unwrap();
        assert_eq!(third.generation_of(&a), Some(5));
        assert_eq!(third.generation_of(&b), None);
    }
}
