//! The archive format of file backups, pxar (`pxar.md`): a tree of files with all their metadata.
//!
//! An archive is one stream (`X.pxar`, version 1), or two (version 2): `X.mpxar` with the tree and
//! `X.ppxar` with what is in the files. Two ways to read it:
//!
//! - [`Decoder`]: from the first byte to the last, from any [`Input`];
//! - [`Accessor`]: one path at a time, from what can be read at any place ([`ReadAt`]). It finds a
//!   name by the table that ends each directory, and reads nothing else.
//!
//! An [`Encoder`] writes one.
//!
//! An archive may be hostile: nothing here panics, allocates by a length that was only claimed, or
//! goes in circles. What is read is bounded by [`limits`].

mod accessor;
mod decoder;
mod encoder;
mod error;
mod goodbye;
mod inode;
mod item;
pub mod limits;
mod name;
mod node;
mod preamble;
mod source;

pub use accessor::{Accessor, Contents, Entry, Listing};
pub use decoder::{Decoder, FileReader, Step};
pub use encoder::{Encoder, Written};
pub use error::Error;
pub use name::hash_name;
pub use node::{
    Acl, AclEntry, Body, DefaultAcl, Device, Hardlink, Inode, Metadata, Mtime, NOT_SET, Node,
    Payload, Place, Stat, Xattr, mode,
};
pub use source::{At, Forward, Input, ReadAt, Section};
