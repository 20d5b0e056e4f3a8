//! Insertion of a chunk, with the rules for one that exists already (datastore-layout.md §6).

use std::io::Read;
use std::path::Path;

use api_types::datastore::SyncLevel;
use api_types::digest::Digest;

use super::{ChunkStore, open_no_follow, stat_file, touch};
use crate::atomic_file::Durability;
use crate::file_time::FileTime;
use crate::format::BlobKind;
use crate::local_error::{AtPath, LocalError, LocalResult};

const MAGIC_LEN: usize = 8;

/// What an insert did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InsertOutcome {
    /// The stored chunk was kept (and touched).
    pub duplicate: bool,
    /// Length of the file that is stored now.
    pub stored_size: u64,
    /// An empty file was overwritten: on a filesystem datastore that is damage to warn about.
    pub replaced_empty: bool,
}

/// What to do about a stored chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Decision {
    Keep,
    Replace,
    ReplaceEmpty,
    Refuse(&'static str),
}

/// How a chunk is to be stored, see [`ChunkStore::plan_insert`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InsertPlan {
    /// It was stored already, and is touched.
    Kept(InsertOutcome),
    /// Its file is to be written; the outcome when that is done.
    Write(InsertOutcome),
}

impl ChunkStore {
    /// Decides what an insert has to do, and touches the stored chunk if that is all.
    pub fn plan_insert(
        &self,
        digest: &Digest,
        raw: &[u8],
        now: FileTime,
    ) -> LocalResult<InsertPlan> {
        let path = self.chunk_path(digest);
        let Some(kind) = kind_of(raw) else {
            let reason = "the data does not start with the magic of a chunk";
            return Err(LocalError::refused("insert chunk", path, reason));
        };
        let new_size = u64::try_from(raw.len()).unwrap_or(u64::MAX);
        let stored = stat_file(&path)?;
        let decision = match stored {
            Some(chunk) => decide(kind, new_size, chunk.size, || read_magic(&path))?,
            None => Decision::Replace,
        };
        if let Decision::Refuse(reason) = decision {
            return Err(LocalError::refused("overwrite chunk", path, reason));
        }
        if let (Decision::Keep, Some(chunk)) = (decision, stored) {
            // A file that vanished after the look at it is written like a new one.
            if touch(&path, now)? {
                return Ok(InsertPlan::Kept(InsertOutcome {
                    duplicate: true,
                    stored_size: chunk.size,
                    replaced_empty: false,
                }));
            }
        }
        Ok(InsertPlan::Write(InsertOutcome {
            duplicate: false,
            stored_size: new_size,
            replaced_empty: decision == Decision::ReplaceEmpty,
        }))
    }

    /// The kind of a stored payload, by its first bytes; `None` if they are none of a chunk.
    pub fn payload_kind(&self, digest: &Digest) -> LocalResult<Option<BlobKind>> {
        read_magic(&self.chunk_path(digest))
    }

    /// Stores an encoded chunk, or keeps and touches the one that is stored, by the rules of the
    /// layout. `raw` is a whole encoded chunk that the caller has checked against `digest`.
    ///
    /// A missing prefix directory is created. With [`SyncLevel::File`] a new file is on disk when
    /// this returns.
    pub fn insert_chunk(
        &self,
        digest: &Digest,
        raw: &[u8],
        sync: SyncLevel,
        now: FileTime,
    ) -> LocalResult<InsertOutcome> {
        match self.plan_insert(digest, raw, now)? {
            InsertPlan::Kept(outcome) => Ok(outcome),
            InsertPlan::Write(outcome) => {
                let durability = match sync {
                    SyncLevel::File => Durability::Synced,
                    SyncLevel::None | SyncLevel::Filesystem => Durability::Lazy,
                };
                self.put_file(&self.chunk_path(digest), raw, Some(now), durability)?;
                Ok(outcome)
            }
        }
    }
}

/// The table of datastore-layout.md §6, step 1; `stored_kind` is asked only if it matters.
fn decide<F>(
    new: BlobKind,
    new_size: u64,
    stored_size: u64,
    stored_kind: F,
) -> LocalResult<Decision>
where
    F: FnOnce() -> LocalResult<Option<BlobKind>>,
{
    if stored_size == 0 {
        return Ok(Decision::ReplaceEmpty);
    }
    if !new.is_encrypted() {
        // ◆ The digest of a plain chunk has been compared with its bytes. An encrypted one is taken
        // at its word, so one with this digest is forged; nor does damage stay.
        let is_plain = |kind: BlobKind| !kind.is_encrypted();
        let credible = stored_kind().ok().flatten().is_some_and(is_plain);
        // The smaller of two valid encodings of the same bytes stays.
        return Ok(if credible && stored_size <= new_size {
            Decision::Keep
        } else {
            Decision::Replace
        });
    }
    if stored_size == new_size {
        return Ok(Decision::Keep);
    }
    Ok(match stored_kind()? {
        Some(BlobKind::Plain | BlobKind::PlainZstd) => {
            Decision::Refuse("the stored chunk is not encrypted, the new one is")
        }
        Some(BlobKind::Encrypted) if new == BlobKind::Encrypted => Decision::Refuse(
            "both are encrypted and uncompressed but differ in size: one is forged",
        ),
        _ => Decision::Keep,
    })
}

fn kind_of(bytes: &[u8]) -> Option<BlobKind> {
    BlobKind::from_magic(bytes.get(..MAGIC_LEN)?)
}

fn read_magic(path: &Path) -> LocalResult<Option<BlobKind>> {
    let file = open_no_follow(path).at("open chunk", path)?;
    let limit = u64::try_from(MAGIC_LEN).unwrap_or(8);
    let mut magic = Vec::with_capacity(MAGIC_LEN);
    file.take(limit)
        .read_to_end(&mut magic)
        .at("read chunk", path)?;
    if magic.len() < MAGIC_LEN {
        let reason = "the stored chunk is cut off; verify the datastore";
        return Err(LocalError::invalid(path, reason));
    }
    Ok(kind_of(&magic))
}

#[cfg(test)]
mod tests {
    use BlobKind::{Encrypted, EncryptedZstd, Plain, PlainZstd};

    use super::*;

    fn case(new: BlobKind, new_size: u64, stored: Option<BlobKind>, stored_size: u64) -> Decision {
        decide(new, new_size, stored_size, || Ok(stored)).unwrap()
    }

    #[test]
    fn equal_sizes_keep_and_empty_files_are_replaced_whatever_the_coding() {
        for new in [Plain, PlainZstd, Encrypted, EncryptedZstd] {
            for stored in [Plain, PlainZstd, Encrypted, EncryptedZstd] {
                if new.is_encrypted() || !stored.is_encrypted() {
                    assert_eq!(case(new, 50, Some(stored), 50), Decision::Keep);
                }
                assert_eq!(case(new, 50, Some(stored), 0), Decision::ReplaceEmpty);
            }
        }
    }

    #[test]
    fn plain_chunks_keep_the_smaller_encoding() {
        for new in [Plain, PlainZstd] {
            assert_eq!(case(new, 50, Some(Plain), 49), Decision::Keep);
            assert_eq!(case(new, 50, Some(Plain), 51), Decision::Replace);
        }
    }

    #[test]
    fn plain_chunks_replace_what_cannot_be_theirs() {
        for new in [Plain, PlainZstd] {
            for stored in [Some(Encrypted), Some(EncryptedZstd), None] {
                for size in [49, 50, 51] {
                    assert_eq!(case(new, 50, stored, size), Decision::Replace);
                }
            }
        }
    }

    #[test]
    fn encrypted_chunks_never_overwrite() {
        for new in [Encrypted, EncryptedZstd] {
            for size in [49, 51] {
                for stored in [Plain, PlainZstd] {
                    assert!(matches!(
                        case(new, 50, Some(stored), size),
                        Decision::Refuse(_)
                    ));
                }
                assert_eq!(case(new, 50, Some(EncryptedZstd), size), Decision::Keep);
                assert_eq!(case(new, 50, None, size), Decision::Keep);
            }
        }
        assert!(matches!(
            case(Encrypted, 50, Some(Encrypted), 51),
            Decision::Refuse(_)
        ));
        assert_eq!(case(EncryptedZstd, 50, Some(Encrypted), 51), Decision::Keep);
    }
}
