//! The daemon: everything that `coffer-server` is while it runs.
//!
//! | module | what |
//! |---|---|
//! | [`server`] | what all connections share |
//! | [`listen`] | connections: accepted, limited, spoken to, ended |
//! | [`tls`], [`certificate`], [`certificate_info`] | the certificate: made, read, read again, shown |
//! | [`places`] | how much is done at a time |
//! | [`ignored`] | settings that do nothing |
//! | [`proxies`] | whom a request comes from |
//! | [`redirect`], [`access_log`] | plain HTTP; a line for each request |
//! | [`run`], [`notify`] | from start to end, and telling systemd |
//! | [`dev`] | an installation to try things out |
//! | [`command`] | the command line |

pub mod access_log;
pub mod certificate;
pub mod certificate_info;
pub mod command;
pub mod dev;
mod idle;
pub mod ignored;
pub mod listen;
pub mod notify;
pub mod places;
pub mod proxies;
pub mod redirect;
pub mod run;
pub mod server;
pub mod tls;

pub use server::Server;
