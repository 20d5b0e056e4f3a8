//! Who is it, and what may they do: credentials, users and access rights (`auth.md`).

pub mod acl;
