//! Layers around one attempt, each a [`Transport`] over another; and the retries on top.
//!
//! From outside to inside: [`Retrying`] → [`Limiting`] → [`Counting`] → [`Signing`] → network.
//! A request waits for its slot before it is counted and signed, so that the signature is fresh.

mod count;
mod limit;
mod retrying;
mod sign;

pub(crate) use count::Counting;
pub(crate) use limit::{Limiting, concurrency};
pub(crate) use retrying::{Call, Retrying, Unsuccessful};
pub(crate) use sign::Signing;
