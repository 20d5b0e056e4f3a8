//! Groups of snapshots that resemble each other, as those of real machines do.

use std::path::{Path, PathBuf};

use anyhow::Result;
use api_types::digest::Digest;
use api_types::names::{ArchiveType, BackupTime};

use super::corpus::Corpus;
use super::index_file;

/// The first backup of each group, seconds since the epoch; then one a day.
const FIRST_BACKUP: i64 = 1_750_000_000;

/// How many snapshots, and how much they have in common. Every other group is of a VM (fixed
/// indexes: chunks are replaced in place), the others of a host (dynamic ones: pieces of other
/// lengths take the place of old ones).
#[derive(Clone, Copy, Debug)]
pub struct Series {
    /// Groups.
    pub groups: u64,
    /// Snapshots of each, with one index each.
    pub snapshots: u64,
    /// Entries that change from one snapshot to the next, of a thousand.
    pub changed_per_mille: u64,
}

/// One index to be written.
#[derive(Debug)]
pub struct IndexOf {
    /// Directory of its snapshot, below the store.
    pub snapshot: String,
    /// Its name.
    pub name: &'static str,
    /// Its kind.
    pub kind: ArchiveType,
    /// Its entries.
    pub digests: Vec<Digest>,
    /// Of its header.
    pub uuid: [u8; 16],
}

impl IndexOf {
    /// Its path below the store.
    #[must_use]
    pub fn relative(&self) -> PathBuf {
        Path::new(&self.snapshot).join(self.name)
    }
}

/// What a series came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Index files.
    pub indexes: u64,
    /// Their entries.
    pub references: u64,
    /// The chunks referenced: those born first.
    pub chunks: u64,
}

impl Series {
    /// Entries of each index, if all of them together name about `chunks` chunks.
    #[must_use]
    pub fn entries(self, chunks: u64) -> u64 {
        let growth = 1000 + (self.snapshots - 1) * self.changed_per_mille;
        (chunks * 1000 / (self.groups * growth)).max(1)
    }

    /// Makes every index over about `chunks` chunks of the corpus.
    pub fn for_each(
        self,
        corpus: Corpus,
        chunks: u64,
        mut visit: impl FnMut(IndexOf) -> Result<()>,
    ) -> Result<Written> {
        let entries = self.entries(chunks);
        let changes = (entries * self.changed_per_mille / 1000).max(1);
        let mut written = Written::default();
        let mut fresh = || {
            written.chunks += 1;
            corpus.digest(corpus.born(written.chunks - 1))
        };
        let (mut indexes, mut references) = (0, 0);
        for group in 0..self.groups {
            let fixed = group % 2 == 0;
            let mut current: Vec<Digest> = (0..entries).map(|_| fresh()).collect();
            for number in 0..self.snapshots {
                for change in 0..if number == 0 { 0 } else { changes } {
                    let spread = change * entries / changes + number * 7;
                    let at = usize::try_from(spread).unwrap_or(0) % current.len();
                    // A host's files grow and shrink; on average they keep their length.
                    match (fixed, change % 4) {
                        (false, 0) => current.insert(at, fresh()),
                        (false, 1) if current.len() > 1 => {
                            current.remove(at);
                        }
                        _ => current[at] = fresh(),
                    }
                }
                let time = FIRST_BACKUP + i64::try_from(number)? * 86_400;
                let time = BackupTime::from_secs(time)?;
                let (place, name, kind) = if fixed {
                    ("vm", "drive-scsi0.img.fidx", ArchiveType::FixedIndex)
                } else {
                    ("host", "root.pxar.didx", ArchiveType::DynamicIndex)
                };
                let mut uuid = [0; 16];
                uuid[..8].copy_from_slice(&group.to_be_bytes());
                uuid[8..].copy_from_slice(&number.to_be_bytes());
                indexes += 1;
                references += u64::try_from(current.len())?;
                visit(IndexOf {
                    snapshot: format!("{place}/{}/{time}", 100 + group),
                    name,
                    kind,
                    digests: current.clone(),
                    uuid,
                })?;
            }
        }
        written.indexes = indexes;
        written.references = references;
        Ok(written)
    }

    /// Writes the indexes below a store's directory, without manifests.
    pub fn write_indexes(self, base: &Path, corpus: Corpus, chunks: u64) -> Result<Written> {
        self.for_each(corpus, chunks, |index| {
            let path = base.join(index.relative());
            index_file::write(&path, index.kind, &index.digests, index.uuid)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_series_names_as_many_chunks_as_asked_for() {
        let series = Series {
            groups: 4,
            snapshots: 5,
            changed_per_mille: 50,
        };
        let corpus = Corpus::new(10_000);
        let mut seen = BTreeSet::new();
        let mut paths = BTreeSet::new();
        let written = series
            .for_each(corpus, 9000, |index| {
                paths.insert(index.relative());
                seen.extend(index.digests);
                Ok(())
            })
            .unwrap();
        assert_eq!((paths.len(), written.indexes), (20, 20));
        assert!((8500..=9000).contains(&seen.len()), "{}", seen.len());
        // A host's chunk may be replaced before any index names it.
        assert!(written.chunks >= u64::try_from(seen.len()).unwrap());
        let born: BTreeSet<Digest> = (0..written.chunks)
            .map(|i| corpus.digest(corpus.born(i)))
            .collect();
        assert!(seen.is_subset(&born));
    }
}
