//! Snapshots from and to other datastores (`jobs-and-sync.md` §7).
//!
//! | module | what |
//! |---|---|
//! | [`options`] | what a sync is to do |
//! | [`filter`] | which groups: pure |
//! | [`namespaces`] | which namespaces, and what they become: pure |
//! | [`candidates`] | which snapshots: pure |
//! | [`summary`] | what the log says |
//! | [`once`] | a sync without a job |
//! | [`pull`] | from there to here |
//! | [`push`] | to a datastore of another server |
//! | [`remote`] | a datastore of another server, as `remote.cfg` describes it |

pub mod candidates;
pub mod filter;
pub mod namespaces;
pub mod once;
pub mod options;
pub mod pull;
pub mod push;
pub mod remote;
pub mod summary;
