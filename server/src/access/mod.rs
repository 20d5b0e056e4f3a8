//! Who is it, and what may they do: credentials, users and access rights (`auth.md`).
//!
//! | module | what |
//! |---|---|
//! | [`credentials`] | what a request shows: cookie or API token |
//! | [`ticket`], [`csrf`] | what a login hands out, and how it is checked |
//! | [`password`] | hashes of passwords and token secrets |
//! | [`acl`] | the tree of access rights |

pub mod acl;
pub mod credentials;
pub mod csrf;
pub mod password;
pub mod ticket;
