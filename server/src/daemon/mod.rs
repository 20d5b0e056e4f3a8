//! The daemon: everything that `coffer-server` is while it runs.
//!
//! | module | what |
//! |---|---|
//! | [`server`] | what all connections share |

pub mod server;

pub use server::Server;
