//! Backup and reader sessions (`backup-protocol.md`): chunks, indexes, blobs and the manifest, over
//! HTTP/2.
//!
//! | module | what |
//! |---|---|
//! | [`backup`] | a snapshot being made: its requests |
//! | [`upload`] | an archive of it: chunks over all cores, and in order into the index |
//! | [`chunked`] | a stream cut into chunks |
//! | [`known`] | which chunks need not be sent, [`digests`] a set of them |
//! | [`reader`] | a snapshot being read, [`cache`] its chunks |
//! | `fetcher` | chunks asked for until they come, `fault` what it means if they do not |
//! | [`archive`] | the bytes of an archive at any place, [`pxar`](mod@pxar) those of files |
//! | [`crypt`] | digests, compression, encryption |
//! | [`workers`], [`limiter`] | what it may take of the machine and of the network |
//! | [`progress`] | what the user sees |

pub mod archive;
pub mod backup;
pub mod cache;
pub mod chunked;
pub mod connection;
pub mod crypt;
pub mod digests;
mod fault;
mod fetcher;
mod files;
pub mod known;
pub mod limiter;
mod open;
pub mod progress;
pub mod pxar;
pub mod reader;
mod spool;
pub mod task;
pub mod upload;
pub mod workers;

pub use archive::Archive;
pub use backup::{BackupRequest, BackupSession, IndexKind};
pub use crypt::Crypt;
pub use limiter::Limiter;
pub use progress::{Progress, Report, Status};
pub use pxar::{PxarArchive, split_names};
pub use reader::{CACHE, ReaderSession, SMALL_CACHE};
pub use upload::{ChunkSink, Statistics, Upload, Uploaded};
