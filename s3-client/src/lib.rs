//! An S3 client for backup servers, over hyper and openssl.
pub mod encode;
pub mod env;
mod error;
mod key;
mod operation;
pub mod sigv4;
pub mod timestamp;
pub mod xml;
pub use error::*;
pub use key::*;
pub use operation::*;
