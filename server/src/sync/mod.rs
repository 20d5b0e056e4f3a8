//! Snapshots from and to other datastores (`jobs-and-sync.md` §7).
//!
//! | module | what |
//! |---|---|
//! | [`options`] | what a sync is to do |
//! | [`filter`] | which groups: pure |
//! | [`namespaces`] | which namespaces, and what they become: pure |
//! | [`candidates`] | which snapshots: pure |
//! | [`summary`] | what the log says |
//! | [`pull`] | from there to here |
//! | [`push`] | to a datastore of another server |
//! | [`transfer`] | one or the other: for jobs, and once |
//! | [`remote`] | a datastore of another server, as `remote.cfg` describes it |

pub mod candidates;
pub mod filter;
pub mod namespaces;
pub mod options;
pub mod pull;
pub mod push;
pub mod remote;
pub mod summary;
pub mod transfer;
