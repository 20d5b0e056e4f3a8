//! Where archives are cut into chunks (`pxar.md` §10).

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

    /// The longest chunk in bytes.
    #[must_use]
    pub fn max(self) -> usize {
        4 * self.average()
    }
}

/// Cuts by content: unified archives, `mpxar`, catalogs.
#[derive(Clone, Debug)]
pub struct Chunker {
    size: ChunkSize,
}

impl Chunker {
    /// At the beginning of a stream.
    #[must_use]
    pub fn new(size: ChunkSize) -> Self {
        Self { size }
    }

    /// Looks at the next bytes of the stream; how many of them belong to the chunk that ends with
    /// them, or 0 if it does not end here. After a cut, go on with the rest of `bytes`.
    pub fn scan(&mut self, bytes: &[u8]) -> usize {
        let _ = (self.size, bytes);
        0
    }
}

/// Cuts a payload stream (`ppxar`): where files begin if possible, otherwise by content.
#[derive(Clone, Debug)]
pub struct PayloadChunker {
    chunker: Chunker,
}

impl PayloadChunker {
    /// At the beginning of a stream.
    #[must_use]
    pub fn new(size: ChunkSize) -> Self {
        Self {
            chunker: Chunker::new(size),
        }
    }

    /// A file begins at this byte of the stream, counted from its beginning, injected chunks
    /// included. Told in ascending order, before the file's bytes are scanned.
    pub fn suggest(&mut self, position: u64) {
        let _ = position;
    }

    /// As [`Chunker::scan`].
    pub fn scan(&mut self, bytes: &[u8]) -> usize {
        self.chunker.scan(bytes)
    }

    /// The chunk, if one has begun, ends here, and chunks of this length together follow that are
    /// not scanned.
    pub fn inject(&mut self, length: u64) {
        let _ = length;
    }
}
