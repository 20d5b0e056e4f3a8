//! What the endpoints of the REST interface do, an area a module (`rest-api.md`).
//!
//! | module | what |
//! |---|---|
//! | [`fields`] | parameters that many endpoints have |
//! | [`target`] | datastore, group, snapshot of a call; opened if the caller may |
//! | [`rights`] | who may do what to which groups |
//! | [`stream`] | bodies of downloads |
//! | [`access`] | `/access`: who is it, and what may they do |
//! | [`admin`] | `/admin`: contents of datastores, jobs |
//! | [`config`] | `/config`: datastores, S3 endpoints, jobs |
//! | [`nodes`] | `/nodes`: tasks, the machine |
//! | [`pull`] | `/pull`: syncs without a job |
//! | [`push`] | `/push`: snapshots to other servers |
//! | [`tape`] | `/tape`: there are none |
//! | [`status`], [`charts`] | `/status`, and `rrd` of the node and of datastores |

pub mod access;
pub mod admin;
pub mod certificates;
pub mod charts;
pub mod config;
mod entry;
pub mod fields;
pub mod nodes;
pub mod ping;
pub mod pull;
pub mod push;
pub mod rights;
pub mod status;
pub mod stream;
pub mod tape;
pub mod target;
pub mod version;

use entry::{download_entry, entry};

#[cfg(test)]
mod tests;
