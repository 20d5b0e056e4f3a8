//! Names, ids, configuration entities and statuses of Coffer; no I/O.
//!
//! Everything that comes from a client, a bucket, a disk or a configuration file and is later used
//! as a path component, an object key or an answer goes through one of these types first. A value
//! of such a type *is* the proof that the rules were checked: no constructor skips them.
//!
//! | module | what |
//! |---|---|
//! | [`names`] | datastore, namespace, backup type, id and time, group, snapshot, archive |
//! | [`digest`] | chunk digests and key or certificate fingerprints |
//! | [`auth`] | user ids, realms, API tokens |
//! | [`access`] | privileges, roles, the paths they are given on |
//! | [`upid`] | worker task ids and the escaping they share with lock files |
//! | [`human`], [`text`] | byte sizes, single lines |
//! | [`property`] | `key=value` strings, checked reading and writing of an entity's properties |
//! | [`s3`] | S3 endpoints |
//! | [`datastore`] | datastores: backend, tuning, maintenance |
//! | [`prune`] | keep rules |
//! | [`status`] | results of garbage collections and tasks, items of listings |
//!
//! All of them parse with [`std::str::FromStr`], print with [`std::fmt::Display`] and go through
//! serde as what they print; an error is a [`ParseError`] that says what was wrong with what.

pub mod access;
pub mod auth;
pub mod datastore;
pub mod digest;
mod error;
pub mod human;
mod macros;
pub mod names;
pub mod property;
pub mod prune;
pub mod s3;
pub mod status;
pub mod text;
pub mod upid;

pub use error::ParseError;
