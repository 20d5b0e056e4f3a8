//! An S3 client for backup servers, over hyper and openssl. It knows nothing of backups.
//!
//! *Why its own?* A backup server must know precisely what happened to a request: whether an
//! object is proven to be absent or an answer merely says 404, whether a delete whose answer was
//! lost may still strike, what a request cost. And it has to work with every provider, so it
//! sends the plainest requests and reads answers liberally.
//!
//! ```no_run
//! # async fn example(endpoint: api_types::s3::S3EndpointConfig) -> Result<(), s3_client::S3Error> {
//! use s3_client::{DirPrefix, PutMode, S3Client, S3ClientOptions, TaskKind, env::Env};
//!
//! let options = S3ClientOptions::new(endpoint, "my-bucket".parse().ok());
//! let client = S3Client::new(options, Env::system())?.with_task(TaskKind::Backup);
//! let key = DirPrefix::new("store1")?.join("hello")?;
//! client.put_object(&key, "world".into(), PutMode::CreateOnly).await?;
//! assert!(client.get_object(&key).await?.is_some());
//! println!("{}", client.counters());
//! # Ok(()) }
//! ```
//!
//! From the top down:
//! * [`S3Client`] and its operations; [`ClientRegistry`] hands out one per endpoint and bucket;
//!   [`probe`] finds out what a provider can do
//! * retries ([`retry`]: the policy and the pure decision), over layers that each wrap one
//!   attempt: limits ([`limits`]), counters ([`Counters`]), signature ([`sigv4`])
//! * [`transport`]: the trait they share, and HTTP/1.1 with its own pool, TLS and proxy
//! * pure parts: [`classify`] (what an answer means), [`xml`], [`encode`], [`endpoint`],
//!   [`timestamp`]
//! * [`mod@env`]: clock and randomness, for this crate and those above it

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

pub use client::S3Client;
pub use counters::{
    CounterSnapshot, Counters, LATENCY_CLASSES, OperationCounters, ThresholdCrossed,
    UpstreamStatistics,
};
pub use endpoint::Scheme;
pub use error::{ErrorContext, Phase, S3Error, S3ErrorKind, Subject};
pub use key::{DirPrefix, KeyError, ListPrefix, MAX_KEY_BYTES, ObjectKey};
pub use operation::{OpClass, Operation, Priority, TaskKind};
pub use ops::{
    Answered, CopyOutcome, DeleteAttempt, DeleteFailure, DeleteFilter, DeleteOutcome, DeleteReport,
    ETag, IncompleteReason, KeyOutcome, ListError, ListOptions, ListPage, ListedObject, Listing,
    MAX_DELETE_KEYS, Object, ObjectHead, PageOrder, PutMode, PutOptions, PutOutcome, ShardEvent,
    ShardItem, ShardedListing,
};
pub use options::{Quirks, S3ClientOptions, rates};
pub use registry::ClientRegistry;
pub use retry::RetryPolicy;
pub use xml::BucketInfo;
