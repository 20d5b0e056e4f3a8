//! Snapshots from and to other datastores (`jobs-and-sync.md` §7).
//!
//! | module | what |
//! |---|---|
//! | [`remote`] | a datastore of another server, as `remote.cfg` describes it |

pub mod remote;
