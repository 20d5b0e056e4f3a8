#![allow(
    clippy::indexing_slicing,
    reason = "a harness: what is not there is a failed test"
)]
//! Seeded simulation of the real datastore and S3 client (T68 of `gc.md` §9).
//!
//! A [`Plan`] is data made from a seed: actors and what they do, trouble between the store and the
//! bucket, crashes, clock jumps. It is carried out on one thread with a virtual clock, against the
//! scripted S3 server, so that two runs of one plan take the same steps. After each step the
//! [`invariants`] G1–G16 are checked against the server's journal, the local disk and a
//! [`book`] of what was promised to whom; from time to time the world runs dry and is
//! compared with the book. A plan that fails is [shortened](shrink) by leaving elements out.
//!
//! ```text
//! make simulate SEEDS=100 STEPS=100000 FIRST_SEED=1
//! ```
//!
//! [`Plan`]: plan::Plan

pub mod actors;
pub mod beside;
pub mod book;
pub mod bucket;
pub mod coverage;
pub mod cut;
pub mod dice;
pub mod director;
pub mod disk;
pub mod invariants;
pub mod machine;
pub mod plan;
pub mod run;
pub mod shrink;
pub mod sim;
pub mod source;
pub mod trace;
pub mod transport;
pub mod universe;
pub mod watch;
