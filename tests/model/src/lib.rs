//! Explicit-state models of the collection protocol (`gc.md` §6–§8): every interleaving of a small
//! world, breadth first, with every rule a switch.
//!
//! | model | topic |
//! |---|---|
//! | [`store`] | states of digests, deletes on their way, crashes, late requests, the cache, verify, rebuild, two processes |
//! | [`marking`] | generation, register, walk, pins, moves, indexes that only the bucket has |
//! | [`servers`] | two servers on one prefix |
//!
//! Every step is one critical section of `datastore` and names the function it stands for. The
//! tests explore every configuration with all rules in force, and show for each load-bearing rule
//! that the models notice its absence. What the models leave out is in `docs/adr/`.
#![allow(
    missing_docs,
    clippy::expect_used,
    reason = "a model for tests: its steps and fields are named after what they are"
)]

pub mod explore;
pub mod marking;
pub mod rule;
pub mod servers;
pub mod store;
