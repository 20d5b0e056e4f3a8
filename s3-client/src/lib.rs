//! An S3 client for backup servers, over hyper and openssl.

pub mod classify;
pub mod encode;
pub mod endpoint;
pub mod env;
pub mod limits;
pub mod probe;
pub mod retry;
pub mod sigv4;
pub mod timestamp;
pub mod transport;
pub mod xml;

mod body;
mod client;
mod clock;
mod counters;
mod error;
mod gate;
mod key;
mod layer;
mod operation;
mod ops;
mod options;
mod registry;

pub use client::*;
pub use counters::*;
pub use endpoint::Scheme;
pub use error::*;
pub use key::*;
pub use operation::*;
pub use ops::*;
pub use options::*;
pub use registry::ClientRegistry;
pub use retry::RetryPolicy;
