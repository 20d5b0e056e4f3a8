//! The digest table and the register of sessions, compiled from the very files of `datastore` with
//! the synchronisation types of `shuttle`, which decides at each of their operations which thread
//! goes on.
//!
//! Feature flags would not do: cargo unifies them over the workspace, and every other test would
//! run with the checker's types.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "test support"
)]

#[path = "../../../datastore/src/digests/mod.rs"]
pub mod digests;
#[allow(dead_code, reason = "what only a whole session calls")]
#[path = "../../../datastore/src/session/registry.rs"]
pub mod registry;
pub mod sync;
