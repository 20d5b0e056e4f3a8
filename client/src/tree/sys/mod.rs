//! What the system knows of files beyond `stat(2)`.

pub mod acl;
pub mod durable;
pub mod flags;
mod ioctl;
pub mod open;
pub mod project;
pub mod sparse;
pub mod xattr;
