//! Insertion of a chunk, with the rules for one that exists already (datastore-layout.md §6).

use std::io::Read;
use std::path::Path;

use api_types::datastore::SyncLevel;
use api_types::digest::Digest;

use super::{ChunkStore, open_no_follow, stat_file, touch};
use crate::atomic_file::Durability;
use crate::file_time::FileTime;
use crate::local_error::{AtPath, LocalError, LocalResult};

/// How a chunk is coded, by its magic (formats.md §1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coding {
    Plain,
    PlainCompressed,
    Encrypted,
    EncryptedCompressed,
}

impl Coding {
    const MAGIC_LEN: usize = 8;

    fn from_magic(bytes: &[u8]) -> Option<Self> {
        match bytes.get(..Self::MAGIC_LEN)? {
            [0x42, 0xab, 0x38, 0x07, 0xbe, 0x83, 0x70, 0xa1] => Some(Self::Plain),
            [0x31, 0xb9, 0x58, 0x42, 0x6f, 0xb6, 0xa3, 0x7f] => Some(Self::PlainCompressed),
            [0x7b, 0x67, 0x85, 0xbe, 0x22, 0x2d, 0x4c, 0xf0] => Some(Self::Encrypted),
            [0xe6, 0x59, 0x1b, 0xbf, 0x0b, 0xbf, 0xd8, 0x0b] => Some(Self::EncryptedCompressed),
            _ => None,
        }
    }

    fn is_encrypted(self) -> bool {
        matches!(self, Self::Encrypted | Self::EncryptedCompressed)
    }
}

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

impl ChunkStore {
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
        let path = self.chunk_path(digest);
        let Some(coding) = Coding::from_magic(raw) else {
            let reason = "the data does not start with the magic of a chunk";
            return Err(LocalError::refused("insert chunk", path, reason));
        };
        let new_size = u64::try_from(raw.len()).unwrap_or(u64::MAX);
        let stored = stat_file(&path)?;
        let decision = match stored {
            Some(chunk) => decide(coding, new_size, chunk.size, || read_magic(&path))?,
            None => Decision::Replace,
        };
        if let Decision::Refuse(reason) = decision {
            return Err(LocalError::refused("overwrite chunk", path, reason));
        }
        if let (Decision::Keep, Some(chunk)) = (decision, stored) {
            // A file that vanished after the look at it is written like a new one.
            if touch(&path, now)? {
                let stored_size = chunk.size;
                return Ok(InsertOutcome {
                    duplicate: true,
                    stored_size,
                    replaced_empty: false,
                });
            }
        }
        let durability = match sync {
            SyncLevel::File => Durability::Synced,
            SyncLevel::None | SyncLevel::Filesystem => Durability::Lazy,
        };
        self.put_file(&path, raw, Some(now), durability)?;
        let replaced_empty = decision == Decision::ReplaceEmpty;
        Ok(InsertOutcome {
            duplicate: false,
            stored_size: new_size,
            replaced_empty,
        })
    }
}

/// The table of datastore-layout.md §6, step 1; `stored_coding` is asked only if it matters.
fn decide<F>(
    new: Coding,
    new_size: u64,
    stored_size: u64,
    stored_coding: F,
) -> LocalResult<Decision>
where
    F: FnOnce() -> LocalResult<Option<Coding>>,
{
    if stored_size == 0 {
        return Ok(Decision::ReplaceEmpty);
    }
    if stored_size == new_size {
        return Ok(Decision::Keep);
    }
    if !new.is_encrypted() {
        // The smaller of two valid encodings of the same bytes stays.
        let keep = stored_size < new_size;
        return Ok(if keep {
            Decision::Keep
        } else {
            Decision::Replace
        });
    }
    Ok(match stored_coding()? {
        Some(Coding::Plain | Coding::PlainCompressed) => {
            Decision::Refuse("the stored chunk is not encrypted, the new one is")
        }
        Some(Coding::Encrypted) if new == Coding::Encrypted => Decision::Refuse(
            "both are encrypted and uncompressed but differ in size: one is forged",
        ),
        _ => Decision::Keep,
    })
}

fn read_magic(path: &Path) -> LocalResult<Option<Coding>> {
    let file = open_no_follow(path).at("open chunk", path)?;
    let limit = u64::try_from(Coding::MAGIC_LEN).unwrap_or(8);
    let mut magic = Vec::with_capacity(Coding::MAGIC_LEN);
    file.take(limit)
        .read_to_end(&mut magic)
        .at("read chunk", path)?;
    if magic.len() < Coding::MAGIC_LEN {
        let reason = "the stored chunk is cut off; verify the datastore";
        return Err(LocalError::invalid(path, reason));
    }
    Ok(Coding::from_magic(&magic))
}

#[cfg(test)]
mod tests {
    use Coding::{Encrypted, EncryptedCompressed, Plain, PlainCompressed};

    use super::*;

    fn case(new: Coding, new_size: u64, stored: Option<Coding>, stored_size: u64) -> Decision {
        decide(new, new_size, stored_size, || Ok(stored)).unwrap()
    }

    #[test]
    fn equal_sizes_keep_and_empty_files_are_replaced_whatever_the_coding() {
        for new in [Plain, PlainCompressed, Encrypted, EncryptedCompressed] {
            for stored in [Plain, PlainCompressed, Encrypted, EncryptedCompressed] {
                assert_eq!(case(new, 50, Some(stored), 50), Decision::Keep);
                assert_eq!(case(new, 50, Some(stored), 0), Decision::ReplaceEmpty);
            }
        }
    }

    #[test]
    fn plain_chunks_keep_the_smaller_encoding() {
        for new in [Plain, PlainCompressed] {
            assert_eq!(case(new, 50, Some(Plain), 49), Decision::Keep);
            assert_eq!(case(new, 50, Some(Plain), 51), Decision::Replace);
        }
    }

    #[test]
    fn encrypted_chunks_never_overwrite() {
        for new in [Encrypted, EncryptedCompressed] {
            for size in [49, 51] {
                for stored in [Plain, PlainCompressed] {
                    assert!(matches!(
                        case(new, 50, Some(stored), size),
                        Decision::Refuse(_)
                    ));
                }
                assert_eq!(
                    case(new, 50, Some(EncryptedCompressed), size),
                    Decision::Keep
                );
                assert_eq!(case(new, 50, None, size), Decision::Keep);
            }
        }
        assert!(matches!(
            case(Encrypted, 50, Some(Encrypted), 51),
            Decision::Refuse(_)
        ));
        assert_eq!(
            case(EncryptedCompressed, 50, Some(Encrypted), 51),
            Decision::Keep
        );
    }
}
