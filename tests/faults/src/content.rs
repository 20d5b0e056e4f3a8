//! Chunks that anybody can make again from a number, and a source of seeded choices.

use api_types::digest::Digest;
use bytes::Bytes;
use datastore::env::Env;
use openssl::sha::sha256;

/// How many different chunks there are: few enough that backups share them, and that garbage comes
/// back to life.
pub const CHUNKS: u64 = 400;

/// Seeded choices.
#[derive(Clone, Debug)]
pub struct Choices(Env);

impl Choices {
    /// The choices of this seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(Env::seeded(seed, 0))
    }

    /// A number below `limit`.
    #[must_use]
    pub fn below(&self, limit: u64) -> u64 {
        self.0.random_u64() % limit.max(1)
    }

    /// True once in `times`.
    #[must_use]
    pub fn once_in(&self, times: u64) -> bool {
        self.below(times) == 0
    }

    /// One of the list.
    #[must_use]
    pub fn pick<'a, T>(&self, list: &'a [T]) -> Option<&'a T> {
        let at = self.below(u64::try_from(list.len()).unwrap_or(u64::MAX));
        list.get(usize::try_from(at).unwrap_or(0))
    }
}

/// The content of chunk `number`: 4 to 132 KiB that do not compress.
#[must_use]
pub fn chunk(number: u64) -> Bytes {
    let source = Env::seeded(number, 0);
    let length = 4096 + source.random_u64() % (128 << 10);
    let mut data = vec![0; usize::try_from(length).unwrap_or(4096)];
    source.fill_random(&mut data);
    data.into()
}

/// The name of a chunk's content.
#[must_use]
pub fn digest(data: &[u8]) -> Digest {
    Digest::from_bytes(sha256(data))
}
