//! What is read at most, and written. The format has no such limits; real archives stay far below
//! them.

/// Bytes of a path.
pub const PATH: usize = 64 << 10;
/// Bytes of the extended attributes of one file together, as [`Xattr::stored_len`] counts them. What
/// is beyond is not written, and passed over when it is read.
///
/// [`Xattr::stored_len`]: crate::Xattr::stored_len
pub const ATTRIBUTES: u64 = 16 << 20;
/// Bytes of the access lists of one file together, with its capabilities. No system has so many.
pub const LISTS: u64 = 4 << 20;
/// Bytes of the prelude.
pub const PRELUDE: u64 = 16 << 20;
/// Entries of a directory that is listed by its table.
pub const LISTING: u64 = 8 << 20;
/// Names with one hash in a directory.
pub const COLLISIONS: usize = 64;
/// Bytes of what a symbolic or hard link leads to, when it is written.
pub const TARGET: usize = 4096;
