//! `make bench`: what Coffer costs, beside a baseline that does what upstream does.
//!
//! A *row* is one measure ([`rows`]). It prepares its data once, then runs the baseline and ours in
//! turn, so that both see the same machine; the median counts. The baseline ([`baseline`]) is an
//! honest implementation of the algorithm of `gc.md` §3 over the same S3 client.
//!
//! A complete run writes `docs/benchmarks.md`; every run writes `target/bench/results.json` and
//! prints the table. With `--quick` the rows are small: the test suite runs them so that they
//! cannot rot, nothing follows from their figures.

pub mod baseline;
pub mod children;
pub mod machine;
pub mod outcome;
pub mod report;
pub mod row;
pub mod rows;
pub mod world;
