//! Index files over given digests, written in one piece: `formats.md`, both kinds.

use std::io::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use api_types::digest::Digest;
use api_types::names::ArchiveType;

const FIXED_MAGIC: [u8; 8] = [0x2f, 0x7f, 0x41, 0xed, 0x91, 0xfd, 0x0f, 0xcd];
const DYNAMIC_MAGIC: [u8; 8] = [0x1c, 0x91, 0x4e, 0xa5, 0x19, 0xba, 0xb3, 0xcd];
const HEADER_LEN: usize = 4096;
const CHUNK: u64 = 4 << 20;

/// The content of an index over these chunks, all of the usual size.
#[must_use]
pub fn encode(kind: ArchiveType, digests: &[Digest], uuid: [u8; 16]) -> Vec<u8> {
    let dynamic = kind == ArchiveType::DynamicIndex;
    let mut bytes = vec![0; HEADER_LEN];
    bytes.reserve_exact(digests.len() * if dynamic { 40 } else { 32 });
    let mut end: u64 = 0;
    for digest in digests {
        end += CHUNK;
        if dynamic {
            bytes.extend_from_slice(&end.to_le_bytes());
        }
        bytes.extend_from_slice(digest.as_bytes());
    }
    let csum = openssl::sha::sha256(&bytes[HEADER_LEN..]);
    let (magic, size, chunk) = if dynamic {
        (DYNAMIC_MAGIC, 0, 0)
    } else {
        (FIXED_MAGIC, end, CHUNK)
    };
    let mut header = Vec::with_capacity(80);
    header.extend_from_slice(&magic);
    header.extend_from_slice(&uuid);
    header.extend_from_slice(&1_760_000_000_i64.to_le_bytes());
    header.extend_from_slice(&csum);
    header.extend_from_slice(&size.to_le_bytes());
    header.extend_from_slice(&chunk.to_le_bytes());
    bytes[..header.len()].copy_from_slice(&header);
    bytes
}

/// Writes such an index, and the directories to it.
pub fn write(path: &Path, kind: ArchiveType, digests: &[Digest], uuid: [u8; 16]) -> Result<()> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)
            .with_context(|| format!("cannot make {}", parent.display()))?;
    }
    let failed = || format!("cannot write {}", path.display());
    let mut file = std::fs::File::create(path).with_context(failed)?;
    file.write_all(&encode(kind, digests, uuid))
        .with_context(failed)
}

#[cfg(test)]
mod tests {
    use datastore::format::index::{AnyIndexReader, IndexFile as _};

    use super::*;
    use crate::world::corpus::Corpus;

    #[test]
    fn the_product_reads_them() {
        let corpus = Corpus::new(10);
        let digests: Vec<Digest> = (0..10).map(|rank| corpus.digest(rank)).collect();
        for kind in [ArchiveType::FixedIndex, ArchiveType::DynamicIndex] {
            let bytes = encode(kind, &digests, [7; 16]);
            let reader = AnyIndexReader::from_bytes(bytes.into(), "index", kind).unwrap();
            let summary = reader.verify_csum().unwrap();
            assert_eq!((summary.count, summary.size), (10, 10 * CHUNK));
            assert_eq!(reader.index_digest(9).unwrap(), Some(digests[9]));
        }
    }
}
