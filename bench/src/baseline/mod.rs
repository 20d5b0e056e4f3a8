//! The baseline: the algorithm that upstream uses today, as `gc.md` §1 and §3 describe it.
//!
//! Written from that description alone, to be a fair opponent: what the algorithm does not forbid
//! is optimised. What makes it the baseline is the order of things — one after the other — and that
//! liveness is asked of the file system, a system call per chunk.
//!
//! * [`lru`]: the cache that saves touching a chunk again
//! * [`mark`]: phase 1, all index files, newest first, one `utimensat` per distinct digest
//! * [`s3`]: phases 2 and 3 on a bucket
//! * [`sweep`]: phase 2 on a filesystem

pub mod lru;
pub mod mark;
pub mod s3;
pub mod sweep;
