#![allow(
    clippy::disallowed_methods,
    reason = "this is the one place where the disk is changed; clippy.toml bans it elsewhere"
)]
//! Every change that this crate makes to the disk goes through here.
//!
//! The functions and [`DiskFile`] are those of `std::fs` and the system calls that it lacks, one to
//! one: nothing is buffered, copied or retried. What they add is that each operation is announced
//! to an observer (`observe`, with the feature `simulation`) before it is done, which may record
//! or refuse it. So a test can stop a server between any two steps and knows what a power failure
//! may take back. Without the feature nothing of this is compiled in.
//!
//! Reading needs no detour. Lock files ([`crate::locks`]) are made outside: they are empty and
//! mean nothing once their holders are gone.
//!
//! # For simulations
//!
//! ```
//! # #[cfg(feature = "simulation")] {
//! use std::io;
//! use std::sync::Arc;
//! use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
//!
//! use datastore::disk::{self, Observer, Operation};
//!
//! /// The plug is pulled after some operations.
//! struct Plug {
//!     left: AtomicU64,
//! }
//!
//! impl Observer for Plug {
//!     fn before(&self, operation: &Operation<'_>) -> io::Result<()> {
//!         let left = self.left.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1));
//!         left.map(|_| ()).map_err(|_| io::Error::other(format!("power cut: {operation}")))
//!     }
//! }
//!
//! let dir = tempfile::tempdir()?;
//! let plug = Arc::new(Plug { left: AtomicU64::new(1) });
//! let guard = disk::observe(plug);
//! disk::create_dir(&dir.path().join("a"), 0o755)?;
//! assert!(disk::create_dir(&dir.path().join("b"), 0o755).is_err());
//! drop(guard);
//! assert!(!dir.path().join("b").exists());
//! # }
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! The observer belongs to the thread. A seeded [`Env`](crate::env::Env) runs blocking work on the
//! thread that asks for it, so that everything a simulated server does is seen. What runs in `Drop`
//! is seen, too: an observer that has refused one operation must refuse all later ones to look
//! like a power cut.

mod dir;
mod direct;
mod file;
#[cfg(feature = "simulation")]
mod observer;
mod operation;
mod paths;

pub use dir::DiskDir;
pub use file::DiskFile;
#[cfg(feature = "simulation")]
pub use observer::{Observation, Observer, observe};
pub use operation::{Attribute, OpenFile, Operation};
pub use paths::{
    create_dir, create_dir_all, hard_link, remove_dir, remove_dir_all, remove_file, rename,
    set_access_time, set_mode, set_owner, sync_dir, sync_file_system,
};

use std::io;

/// Does `action`, which is this operation, unless the observer refuses it.
#[inline]
fn perform<T>(operation: &Operation<'_>, action: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    #[cfg(feature = "simulation")]
    {
        observer::perform(operation, action)
    }
    #[cfg(not(feature = "simulation"))]
    {
        let _ = operation;
        action()
    }
}

#[cfg(test)]
mod tests;
