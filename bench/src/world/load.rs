//! What clients back up: 4 MiB chunks, each of them different.
//!
//! Making them must cost a client next to nothing, since it shares the processor with the server
//! that is measured. Incompressible chunks differ in their last bytes, so that digest and CRC need
//! not be computed anew; compressible ones are compressed beforehand.

use anyhow::{Context as _, Result};
use api_types::digest::Digest;
use bytes::{Bytes, BytesMut};
use datastore::format::{BlobKind, DataBlob, FIXED_CHUNK_SIZE};
use openssl::sha::{Sha256, sha256};
use serde::{Deserialize, Serialize};

/// Plain bytes of each chunk.
pub const CHUNK: usize = 4 << 20;
const _: () = assert!(CHUNK as u64 == FIXED_CHUNK_SIZE);
/// Bytes at the end of an incompressible chunk that make it different.
const TAIL: usize = 16;
/// Different beginnings of incompressible chunks.
const BASES: usize = 16;
const WORDS: u64 = 4096;

/// What kind of data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub enum Data {
    /// Nothing can compress it.
    Random,
    /// Words.
    Text,
}

/// An encoded chunk.
#[derive(Clone, Debug)]
pub struct Chunk {
    /// SHA-256 of the plain data.
    pub digest: Digest,
    /// The blob.
    pub encoded: Bytes,
}

/// The chunks.
pub struct Load {
    data: Data,
    count: usize,
    source: Source,
}

enum Source {
    Random(Vec<Base>),
    Text(Vec<Chunk>),
}

/// A chunk without its tail.
struct Base {
    plain: Vec<u8>,
    digest: Sha256,
    crc: crc32fast::Hasher,
}

impl Load {
    /// So many chunks.
    pub fn new(data: Data, count: usize) -> Result<Self> {
        let source = match data {
            Data::Random => Source::Random((0..count.min(BASES)).map(Base::new).collect()),
            Data::Text => {
                let words = vocabulary();
                let chunks: Result<_> = (0..count).map(|n| text_chunk(&words, n)).collect();
                Source::Text(chunks?)
            }
        };
        Ok(Self {
            data,
            count,
            source,
        })
    }

    /// Of which kind.
    #[must_use]
    pub fn data(&self) -> Data {
        self.data
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// Plain bytes of all.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.count as u64 * FIXED_CHUNK_SIZE
    }

    /// The chunk of this number, below [`Load::count`].
    pub fn chunk(&self, number: usize) -> Result<Chunk> {
        match &self.source {
            Source::Random(bases) => {
                let base = bases.get(number % BASES).context("no such chunk")?;
                Ok(base.chunk(number))
            }
            Source::Text(chunks) => chunks.get(number).cloned().context("no such chunk"),
        }
    }
}

impl Base {
    fn new(number: usize) -> Self {
        let mut numbers = Numbers(number as u64);
        let mut plain = Vec::with_capacity(CHUNK);
        while plain.len() < CHUNK - TAIL {
            plain.extend_from_slice(&numbers.next().to_le_bytes());
        }
        let (mut digest, mut crc) = (Sha256::new(), crc32fast::Hasher::new());
        digest.update(&plain);
        crc.update(&plain);
        Self { plain, digest, crc }
    }

    fn chunk(&self, number: usize) -> Chunk {
        let mut tail = [0; TAIL];
        tail[..8].copy_from_slice(&(number as u64).to_le_bytes());
        let (mut digest, mut crc) = (self.digest.clone(), self.crc.clone());
        digest.update(&tail);
        crc.update(&tail);
        let mut encoded = BytesMut::with_capacity(12 + CHUNK);
        encoded.extend_from_slice(&BlobKind::Plain.magic());
        encoded.extend_from_slice(&crc.finalize().to_le_bytes());
        encoded.extend_from_slice(&self.plain);
        encoded.extend_from_slice(&tail);
        Chunk {
            digest: Digest::from_bytes(digest.finish()),
            encoded: encoded.freeze(),
        }
    }
}

/// Words of three to eleven letters.
fn vocabulary() -> Vec<Vec<u8>> {
    (0..WORDS)
        .map(|number| {
            let word = Numbers(number).next();
            let letters = word.to_le_bytes().into_iter().cycle().skip(1);
            let letters = letters.map(|byte| b'a' + byte % 26);
            letters
                .zip(0..3 + word % 9)
                .map(|(letter, _)| letter)
                .collect()
        })
        .collect()
}

/// A text of these words that no other chunk has.
fn text_chunk(words: &[Vec<u8>], number: usize) -> Result<Chunk> {
    let mut numbers = Numbers(((number as u64) << 32) | 0x7e87);
    let mut plain = Vec::with_capacity(CHUNK + 32);
    while plain.len() < CHUNK {
        let bits = numbers.next();
        let word = usize::try_from(bits % WORDS)?;
        plain.extend_from_slice(words.get(word).context("no such word")?);
        plain.push(if bits >> 60 == 0 { b'\n' } else { b' ' });
    }
    plain.truncate(CHUNK);
    Ok(Chunk {
        digest: Digest::from_bytes(sha256(&plain)),
        encoded: DataBlob::encode_with_iv(&plain, None, true)?.into_raw(),
    })
}

/// SplitMix64: the same numbers in every process.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_what_they_say() {
        for (data, compressed) in [(Data::Random, false), (Data::Text, true)] {
            let load = Load::new(data, 20).unwrap();
            let mut digests = std::collections::HashSet::new();
            for number in 0..load.count() {
                let chunk = load.chunk(number).unwrap();
                let blob = DataBlob::from_bytes(chunk.encoded).unwrap();
                blob.verify_unencrypted(&chunk.digest, Some(FIXED_CHUNK_SIZE))
                    .unwrap();
                assert_eq!(blob.is_compressed(), compressed);
                assert!(digests.insert(chunk.digest));
            }
            assert!(load.chunk(20).is_err() || data == Data::Random);
        }
    }
}
