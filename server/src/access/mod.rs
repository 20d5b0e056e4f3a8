//! Who is it, and what may they do: credentials, users and access rights (`auth.md`).
//!
//! | module | what |
//! |---|---|
//! | [`credentials`] | what a request shows: cookie or API token |
//! | [`ticket`], [`csrf`] | what a login hands out, and how it is checked |
//! | [`password`] | hashes of passwords and token secrets |
//! | [`acl`] | the tree of access rights |
//! | [`login`], [`pam`] | logging in, by realm |
//! | [`attempts`] | how many requests of an address may be unproven |
//! | [`hashing`], [`verified`] | slow hashes, few at a time, and not twice |
//! | [`forget`] | what is taken away with an entry |
//! | [`control`] | all of it together, as the daemon asks it |
//! | [`acl_file`], [`secrets`], [`keys`] | the files: access rights, hashes, keys |
//! | [`cached`] | files that are read again when they change |

pub mod acl;
pub mod acl_file;
pub mod attempts;
pub mod cached;
pub mod control;
pub mod credentials;
pub mod csrf;
pub mod forget;
pub mod hashing;
pub mod keys;
pub mod login;
pub mod pam;
pub mod password;
pub mod secrets;
pub mod ticket;
pub mod verified;
