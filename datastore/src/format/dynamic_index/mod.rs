//! The index of a stream: chunks of any length, each with its end offset (formats.md §3).

mod reader;
#[cfg(test)]
mod tests;
mod writer;

pub use reader::DynamicIndexReader;
pub use writer::DynamicIndexWriter;

const MAGIC: [u8; 8] = [0x1c, 0x91, 0x4e, 0xa5, 0x19, 0xba, 0xb3, 0xcd];
const ENTRY_LEN: u64 = 40;
