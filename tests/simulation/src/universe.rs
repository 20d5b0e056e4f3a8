//! The few chunks that everybody backs up again and again, so that they meet.

use std::collections::HashMap;

use anyhow::{Context, Result};
use api_types::digest::Digest;
use datastore::format::blob::DataBlob;
use datastore::format::crypt::CryptConfig;
use s3_client::env::Env;
use scenarios::{STORE, chunk_key};

/// Plain chunks: numbers `0..PLAIN`.
pub const PLAIN: u8 = 14;
/// Encrypted chunks: numbers `PLAIN..PLAIN + CRYPT`.
pub const CRYPT: u8 = 6;

/// A set of chunks, a bit each.
pub type Set = u64;

/// The set of one chunk.
#[must_use]
pub fn one(chunk: u8) -> Set {
    1 << chunk
}

/// The chunks of a set.
pub fn members(set: Set) -> impl Iterator<Item = u8> {
    (0..PLAIN + CRYPT).filter(move |&chunk| set & one(chunk) != 0)
}

/// All chunks that there are.
#[derive(Debug)]
pub struct Universe {
    /// The key of encrypted chunks.
    crypt: CryptConfig,
    digests: Vec<Digest>,
    numbers: HashMap<Digest, u8>,
}

/// What a key below the store's prefix is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Key {
    /// A chunk of the universe.
    Chunk(u8),
    /// Evidence of a damaged one.
    Bad(u8),
    /// Something else below `.chunks/`.
    NoChunk,
    /// A manifest, by its snapshot's path.
    Manifest(String),
    /// Another file of the metadata, by its path.
    Metadata(String),
    /// The in-use marker.
    InUse,
    /// Anything else.
    Other,
}

impl Universe {
    /// The universe, the same in every world.
    pub fn new() -> Result<Self> {
        let crypt = CryptConfig::new([7; 32])?;
        let mut digests = Vec::new();
        for chunk in 0..PLAIN + CRYPT {
            let data = data(chunk);
            digests.push(match chunk < PLAIN {
                true => Digest::from_bytes(openssl::sha::sha256(&data)),
                false => crypt.compute_digest(&data),
            });
        }
        let numbers = digests.iter().copied().zip(0..).collect();
        Ok(Self {
            crypt,
            digests,
            numbers,
        })
    }

    /// The digest of a chunk.
    #[must_use]
    pub fn digest(&self, chunk: u8) -> &Digest {
        &self.digests[usize::from(chunk)]
    }

    /// The number of a digest, if it is a chunk of the universe.
    #[must_use]
    pub fn number(&self, digest: &Digest) -> Option<u8> {
        self.numbers.get(digest).copied()
    }

    /// The chunks of these digests.
    #[must_use]
    pub fn set<'a>(&self, digests: impl IntoIterator<Item = &'a Digest>) -> Set {
        let numbers = digests.into_iter().filter_map(|digest| self.number(digest));
        numbers.fold(0, |set, chunk| set | one(chunk))
    }

    /// The key of a chunk's object.
    #[must_use]
    pub fn key(&self, chunk: u8) -> String {
        chunk_key(self.digest(chunk))
    }

    /// The chunk as a client sends it.
    pub fn blob(&self, chunk: u8, compressed: bool, env: &Env) -> Result<DataBlob> {
        let crypt = (chunk >= PLAIN).then_some(&self.crypt);
        Ok(DataBlob::encode(&data(chunk), crypt, compressed, env)?)
    }

    /// Whether these bytes are the chunk.
    pub fn is_whole(&self, chunk: u8, raw: &[u8]) -> Result<bool> {
        let Ok(blob) = DataBlob::from_bytes(raw.to_vec().into()) else {
            return Ok(false);
        };
        let crypt = (chunk >= PLAIN).then_some(&self.crypt);
        let sound = blob.verify_crc().is_ok();
        Ok(sound
            && blob
                .decode(crypt, 1 << 20)
                .is_ok_and(|plain| plain == data(chunk)))
    }

    /// What a key is.
    #[must_use]
    pub fn classify(&self, key: &str) -> Key {
        let Some(relative) = key
            .strip_prefix(STORE)
            .and_then(|key| key.strip_prefix('/'))
        else {
            return Key::Other;
        };
        if let Some(path) = relative.strip_prefix(".cnt/") {
            return match path.strip_suffix("/index.json.blob") {
                Some(snapshot) => Key::Manifest(snapshot.to_owned()),
                None => Key::Metadata(path.to_owned()),
            };
        }
        let Some(chunk) = relative.strip_prefix(".chunks/") else {
            return match relative {
                ".in-use" => Key::InUse,
                _ => Key::Other,
            };
        };
        self.classify_chunk(chunk).unwrap_or(Key::NoChunk)
    }

    fn classify_chunk(&self, relative: &str) -> Option<Key> {
        let name = relative.get(5..)?;
        let (hex, rest) = name.split_at_checked(64)?;
        let digest = Digest::from_hex(hex).ok()?;
        if digest.to_hex() != hex || relative.get(..4) != hex.get(..4) {
            return None;
        }
        let chunk = self.number(&digest)?;
        match rest.as_bytes() {
            [] => Some(Key::Chunk(chunk)),
            [b'.', b'0'..=b'9', b'.', b'b', b'a', b'd'] => Some(Key::Bad(chunk)),
            _ => None,
        }
    }
}

/// The plaintext of a chunk.
#[must_use]
pub fn data(chunk: u8) -> Vec<u8> {
    let length = 60 + 10 * usize::from(chunk % 8);
    let text = format!("chunk {chunk}, ");
    text.bytes().cycle().take(length).collect()
}

/// The length of a chunk's plaintext.
pub fn length(chunk: u8) -> Result<u32> {
    u32::try_from(data(chunk).len()).context("a short chunk")
}
