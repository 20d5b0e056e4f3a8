//! What the daemon does by the clock (`jobs-and-sync.md`).

pub mod calendar;
