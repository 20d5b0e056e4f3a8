//! Locks that other tasks and other server processes see (datastore-layout.md §7, §9.5).

pub mod move_journal;
pub mod named;
pub mod process;
mod turn;

pub use move_journal::MoveJournal;
pub use named::{LockFile, NamedLocks};
pub use process::{ExclusiveGuard, ProcessLocker, SharedGuard};
pub(crate) use turn::Turn;
