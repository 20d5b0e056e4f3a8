//! What the digest table and the register of sessions synchronise with.
//!
//! One place for it, so that `tests/concurrency` can compile those two modules with a checker's
//! types instead, which try the interleavings of real threads.

pub use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
pub use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use tokio::sync::Notify;
pub use tokio::sync::futures::Notified;
