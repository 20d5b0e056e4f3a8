//! What the daemon does by the clock, and how that went.
//!
//! | module | what |
//! |---|---|
//! | [`calendar`] | schedules |
//! | [`run`] | a run of a job, as a task |
//! | [`scheduler`] | starts what is due |
//! | [`state`] | the last run of a job, on disk, and the lock of a run |
//! | [`status`] | last and next run, as listings say it |

pub mod calendar;
pub mod run;
pub mod scheduler;
pub mod state;
pub mod status;
