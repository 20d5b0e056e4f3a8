//! The chunk directory in digest order.
//!
//! One directory of four hex digits is read and sorted at a time, which bounds memory and yields
//! the same order as a bucket's listing.

use std::ffi::OsString;
use std::ops::RangeInclusive;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use api_types::digest::Digest;

use super::ChunkStore;
use crate::local_error::{AtPath, LocalResult, found};

/// Length of a digest in hex digits.
const HEX_LEN: usize = 64;

/// So many directories are looked for one by one.
const SMALL_RANGE: usize = 256;

/// What kind of file an entry of the chunk directory is, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A chunk or marker.
    Chunk,
    /// A corrupt copy, put aside by a verification.
    Bad(u8),
    /// Upstream's "referenced but not present" marker.
    Using,
    /// The temporary file of an insert that is under way, or was interrupted.
    Temporary,
    /// Anything else.
    Other,
}

/// An entry of the chunk directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChunkEntry {
    /// Its name as it is on disk.
    pub name: OsString,
    /// What kind of file the name says it is.
    pub kind: EntryKind,
    /// The chunk it belongs to; absent for [`EntryKind::Temporary`] and [`EntryKind::Other`].
    pub digest: Option<Digest>,
}

impl ChunkEntry {
    /// Classifies a name found in the directory of `prefix`.
    fn classify(prefix: u16, name: OsString) -> Self {
        match parse_name(prefix, name.as_bytes()) {
            Some((digest, kind)) => Self {
                name,
                kind,
                digest: Some(digest),
            },
            None => Self {
                kind: if is_temporary(name.as_bytes()) {
                    EntryKind::Temporary
                } else {
                    EntryKind::Other
                },
                name,
                digest: None,
            },
        }
    }
}

/// `0a1f`, lower case.
fn parse_prefix(name: &[u8]) -> Option<u16> {
    let hex = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    if name.len() != 4 || !name.iter().all(hex) {
        return None;
    }
    u16::from_str_radix(std::str::from_utf8(name).ok()?, 16).ok()
}

fn parse_name(prefix: u16, name: &[u8]) -> Option<(Digest, EntryKind)> {
    let (hex, suffix) = name.split_at_checked(HEX_LEN)?;
    let kind = match suffix {
        b"" => EntryKind::Chunk,
        b".using" => EntryKind::Using,
        [b'.', n @ b'0'..=b'9', b'.', b'b', b'a', b'd'] => EntryKind::Bad(n - b'0'),
        _ => return None,
    };
    let digest = Digest::from_hex(std::str::from_utf8(hex).ok()?).ok()?;
    // A file in the wrong directory is never found as a chunk, so it is none.
    (digest.prefix() == prefix).then_some((digest, kind))
}

/// A digest, and what [`crate::atomic_file`] and upstream add to it.
fn is_temporary(name: &[u8]) -> bool {
    name.split_at_checked(HEX_LEN).is_some_and(|(hex, suffix)| {
        hex.iter().all(u8::is_ascii_hexdigit)
            && suffix.starts_with(b".tmp_")
            && suffix.len() == ".tmp_".len() + 6
    })
}

/// The entries of one four-digit directory, sorted bytewise by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrefixListing {
    /// The first two bytes of every digest in it.
    pub prefix: u16,
    /// Its entries; empty if the directory is missing.
    pub entries: Vec<ChunkEntry>,
}

impl ChunkStore {
    /// Reads one directory; a missing one is empty.
    pub fn list_prefix(&self, prefix: u16) -> LocalResult<PrefixListing> {
        let path = self.prefix_dir(prefix);
        let mut names = Vec::new();
        if let Some(directory) = found(path.read_dir()).at("read chunk directory", &path)? {
            for entry in directory {
                names.push(entry.at("read chunk directory", &path)?.file_name());
            }
        }
        let entries = Self::classify(prefix, names);
        Ok(PrefixListing { prefix, entries })
    }

    /// What the names found in the directory of `prefix` mean, in their order, each once.
    pub(super) fn classify(prefix: u16, mut names: Vec<OsString>) -> Vec<ChunkEntry> {
        names.sort_unstable();
        // A directory that changes while it is read may show a name twice.
        names.dedup();
        let entries = names.into_iter();
        entries
            .map(|name| ChunkEntry::classify(prefix, name))
            .collect()
    }

    /// The prefixes of a range that may have a directory, in order; all of a small range.
    ///
    /// A young store that makes its directories on demand has few of the 65 536: one look at
    /// their parent is cheaper than a look for each.
    pub fn prefixes(&self, range: RangeInclusive<u16>) -> LocalResult<Vec<u16>> {
        if range.len() <= SMALL_RANGE && !self.is_young()? {
            return Ok(range.collect());
        }
        let path = self.chunk_dir();
        let mut prefixes = Vec::new();
        for entry in path.read_dir().at("read chunk directory", path)? {
            let name = entry.at("read chunk directory", path)?.file_name();
            prefixes.extend(parse_prefix(name.as_encoded_bytes()).filter(|p| range.contains(p)));
        }
        prefixes.sort_unstable();
        Ok(prefixes)
    }

    /// Reads the directories of a range of prefixes, one at a time, in order. Missing ones may be
    /// left out, also those that are made meanwhile.
    #[must_use]
    pub fn iterate(&self, range: RangeInclusive<u16>) -> ChunkPrefixes<'_> {
        ChunkPrefixes {
            store: self,
            range: Some(range),
            prefixes: Vec::new().into_iter(),
        }
    }

    /// Whether there are so few directories that all of them are found quicker than some are looked
    /// for: each is a link to its parent, on file systems that count those.
    fn is_young(&self) -> LocalResult<bool> {
        let path = self.chunk_dir();
        let links = path.symlink_metadata().at("stat", path)?.nlink();
        Ok((2..SMALL_RANGE as u64).contains(&links))
    }

    pub(super) fn prefix_dir(&self, prefix: u16) -> PathBuf {
        self.chunks.join(format!("{prefix:04x}"))
    }
}

/// The directories of a range of prefixes, see [`ChunkStore::iterate`].
#[derive(Clone, Debug)]
pub struct ChunkPrefixes<'a> {
    store: &'a ChunkStore,
    /// Until the first look.
    range: Option<RangeInclusive<u16>>,
    prefixes: std::vec::IntoIter<u16>,
}

impl Iterator for ChunkPrefixes<'_> {
    type Item = LocalResult<PrefixListing>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(range) = self.range.take() {
            match self.store.prefixes(range) {
                Ok(prefixes) => self.prefixes = prefixes.into_iter(),
                Err(error) => return Some(Err(error)),
            }
        }
        Some(self.store.list_prefix(self.prefixes.next()?))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn kind_of(name: &str) -> EntryKind {
        ChunkEntry::classify(0xbb9f, name.into()).kind
    }

    #[test]
    fn names_are_classified_strictly() {
        let hex = "bb9f8df61474d25e71fa00722318cd387396ca1736605e1248821cc0de3d3af8";
        assert_eq!(kind_of(hex), EntryKind::Chunk);
        assert_eq!(kind_of(&format!("{hex}.0.bad")), EntryKind::Bad(0));
        assert_eq!(kind_of(&format!("{hex}.9.bad")), EntryKind::Bad(9));
        assert_eq!(kind_of(&format!("{hex}.using")), EntryKind::Using);
        assert_eq!(kind_of(&format!("{hex}.tmp_Ab12Cd")), EntryKind::Temporary);
        for other in [
            format!("{hex}.10.bad"),
            format!("{hex}.x.bad"),
            format!("{hex}.0.bad2"),
            format!("{hex}.tmp_Ab12C"),
            format!("{hex}.tmp"),
            "x.tmp_Ab12Cd".to_owned(),
            format!("{hex}0"),
            hex.to_uppercase(),
            hex[1..].to_owned(),
            format!("aaaa{}", &hex[4..]),
            String::new(),
        ] {
            assert_eq!(kind_of(&other), EntryKind::Other, "{other}");
        }
    }

    proptest! {
        #[test]
        fn any_name_is_classified_without_panic(name in prop::collection::vec(1..=255u8, 0..80)) {
            use std::os::unix::ffi::OsStringExt;
            let entry = ChunkEntry::classify(0, OsString::from_vec(name));
            let nameless = matches!(entry.kind, EntryKind::Other | EntryKind::Temporary);
            prop_assert_eq!(entry.digest.is_none(), nameless);
        }
    }
}
