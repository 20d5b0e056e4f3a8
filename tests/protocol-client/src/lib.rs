//! A thin client of the backup and reader protocol (`backup-protocol.md`), for tests.
//!
//! It does what it is told, also what no client should do, and hides no answer: every request
//! gives the status and the body that the server sent.
//!
//! | module | what |
//! |---|---|
//! | [`rest`] | TLS, login, REST requests, the upgrade |
//! | [`connection`] | requests on an upgraded connection, or on any other |
//! | [`backup`] | chunks, indexes, blobs, whole archives, the manifest |
//! | [`reader`] | files and chunks, whole archives |
//! | [`repository`] | the environment variables of clients |
//!
//! `coffer-test-client` is a command line for it: whole files as archives, and no more.

pub mod backup;
pub mod connection;
pub mod reader;
pub mod repository;
pub mod rest;

pub use backup::{Archive, Backup};
pub use connection::{Answer, Connection};
pub use reader::Reader;
pub use repository::Repository;
pub use rest::{Credentials, Rest};
