//! The index of an image: equal chunks, one digest each (formats.md §2).

mod reader;
#[cfg(test)]
mod tests;
mod writer;

pub use reader::FixedIndexReader;
pub use writer::FixedIndexWriter;

/// Chunk size of every image that a server writes.
pub const FIXED_CHUNK_SIZE: u64 = 4 << 20;

const MAGIC: [u8; 8] = [0x2f, 0x7f, 0x41, 0xed, 0x91, 0xfd, 0x0f, 0xcd];
const DIGEST_LEN: u64 = 32;
