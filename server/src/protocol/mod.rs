//! The backup and the reader protocol: HTTP/2 sessions on upgraded connections
//! (`backup-protocol.md`).
//!
//! ```text
//! GET /api2/json/backup   ┐             ┌─ HTTP/2 ─► request ─► table ─► parameters ─► handler ─┐
//! GET /api2/json/reader   ┴► upgrade ──►┤                                                       │
//!                            checks,    └────────────────── one session, a worker task ◄────────┘
//!                            101
//! ```
//!
//! | module | what |
//! |---|---|
//! | [`upgrade`] | the two REST endpoints: checks, worker task, 101 |
//! | [`endpoint`] | the tables of the sessions, and what a request does: no I/O of HTTP |
//! | [`http`] | HTTP/2: requests in, answers out |
//! | `heard` | a connection that nothing came on is given up |
//! | [`memory`] | how much clients' data may be in memory |
//! | [`intake`] | uploads of a session, within that |
//! | [`download`] | files as answers |
//! | [`backup`], [`reader`] | the sessions |

pub mod backup;
pub mod download;
pub mod endpoint;
mod heard;
pub mod http;
pub mod intake;
pub mod memory;
pub mod reader;
#[cfg(test)]
pub(crate) mod testing;
pub mod upgrade;
