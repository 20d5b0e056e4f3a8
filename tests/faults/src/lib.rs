//! Real faults: a real server process is killed, MinIO is stopped, the network is cut in the middle
//! of a body. Afterwards the store opens, every committed snapshot verifies, and the next
//! collections leave exactly what the snapshots refer to.
//!
//! | module | job |
//! |---|---|
//! | [`place`] | where the store under test is; what the worker is told |
//! | [`content`] | chunks that anybody can make again from a number |
//! | [`ledger`] | what the worker was told is safe, written down outside of the store |
//! | [`work`] | the worker's life: backups, removals, restores and collections, side by side |
//! | [`check`] | what must hold after whatever happened |
//! | [`proxy`] | the network between the worker and MinIO |
//!
//! The worker (`src/bin/worker.rs`) uses the same public interface as the server. `tests/faults.rs`
//! plays the rounds; `make faults ROUNDS=50` the long form.

pub mod check;
pub mod content;
pub mod ledger;
pub mod place;
pub mod proxy;
pub mod work;
