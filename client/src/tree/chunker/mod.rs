//! Where archives are cut into chunks (`pxar.md` §10): always as upstream does, so that what is
//! backed up again is found again.

mod payload;
mod rolling;
mod table;
#[cfg(test)]
mod tests;

pub use payload::PayloadChunker;
pub use rolling::Chunker;

/// How large chunks are on average: a power of two between 64 KiB and 4 MiB. The smallest ones
/// have a quarter of it, the largest four times as much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkSize(u32);

impl ChunkSize {
    /// Archives of files, unless told otherwise: 4 MiB.
    pub const ARCHIVE: Self = Self(4 << 20);
    /// Catalogs: 512 KiB.
    pub const CATALOG: Self = Self(512 << 10);

    /// The option's value; none unless it is 64, 128, 256, 512, 1024, 2048 or 4096.
    #[must_use]
    pub fn from_kib(kib: u64) -> Option<Self> {
        let kib = u32::try_from(kib).ok()?;
        (kib.is_power_of_two() && (64..=4096).contains(&kib)).then_some(Self(kib << 10))
    }

    /// The average in bytes.
    #[must_use]
    pub fn average(self) -> usize {
        self.0 as usize
    }

    /// The length of the shortest chunk, but for the last one of a stream and suggested ones.
    #[must_use]
    pub fn min(self) -> usize {
        self.average() / 4
    }

    /// The length of the longest chunk.
    #[must_use]
    pub fn max(self) -> usize {
        4 * self.average()
    }

    /// The bits of the hash that say whether to cut.
    fn mask(self) -> u32 {
        2 * self.0 - 1
    }
}
