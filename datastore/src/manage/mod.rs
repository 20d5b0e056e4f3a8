//! What is done to snapshots, groups and namespaces after the backup: listing, notes, owner,
//! protection, removal (`s3-backend.md` §8–§9, `datastore-layout.md` §7.2, §11).
//!
//! On an S3 datastore the bucket holds everything and the local tree is its full mirror. So what
//! comes into being is written to the bucket first and made visible locally afterwards; what goes
//! loses its commit record (the manifest) in the bucket first, all else after that. Reading and
//! listing ask the local tree alone. Whatever a lost answer or a crash leaves in between is put
//! right by the [cleanup journal](crate::backend::s3::cleanup), towards the local tree.
//!
//! Methods that change something must be awaited to their end: stop them by their cancellation
//! token, not by dropping them.

mod client_log;
pub mod destroy;
mod forget;
mod group;
mod list;
mod manifest;
pub(crate) mod mirrored;
mod namespace;
mod notes;
mod paths;
mod protected;
mod protection;
pub mod relocate;
#[cfg(test)]
mod tests;

pub use forget::Forgotten;
pub use group::RemovalStats;
pub use namespace::NamespaceRemoval;
