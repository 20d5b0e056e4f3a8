//! A scripted, in-process S3 server for tests.
//!
//! It keeps buckets in memory, checks signatures like the real thing, and does on demand what
//! providers and networks do: refuse, lie, lose answers, apply requests long after their client
//! has given up. It shares no code with the client under test.
//!
//! ```no_run
//! # async fn example() -> anyhow::Result<()> {
//! use s3_mock::{Action, Fault, MockS3, Op};
//!
//! let server = MockS3::builder().bucket("backups").start().await?;
//! // The answer to the next batch delete is lost, and the batch is applied when we say so.
//! server.script(Fault::on(Op::DeleteObjects, Action::late()));
//! // … drive the client against `server.authority()` …
//! let late = server.wait_late(1).await;
//! server.release_late(late[0].id);
//! assert_eq!(server.journal().deleted_keys(), ["store/.chunks/0000"]);
//! # Ok(()) }
//! ```
//!
//! * [`Builder`], [`MockS3`]: start a server, look into it, preload it
//! * [`Behaviour`]: the provider it plays (conditional PUT, listings, latencies, space, …)
//! * [`Fault`], [`Action`], [`Gate`]: mishaps of single requests, and stopping requests
//! * [`Journal`], [`Counters`]: what happened, in exact order; [`Observer`]: the same as it happens
//! * [`Treatment`]: the fate of a single request, for simulations
//! * [`sigv4`], [`tls`]: signing and certificates, for tests that speak HTTP themselves
//!
//! Time is tokio's, on top of a settable start, so that paused runtimes work. Note that tokio's
//! paused clock jumps while sockets are in flight: use [`MockS3::connect`] (a connection in memory)
//! or [`MockS3::exchange`] (no connection at all) with paused time.

mod answer;
pub mod behaviour;
mod body;
mod builder;
mod clock;
mod dates;
mod delete;
mod encoding;
mod fault;
mod gate;
mod handle;
mod journal;
mod late;
mod listing;
mod objects;
mod op;
mod pattern;
mod pipeline;
mod request;
mod server;
mod shared;
mod state;
mod store;
mod treatment;

pub mod sigv4;
pub mod tls;

pub use answer::Reply;
pub use behaviour::Behaviour;
pub use builder::Builder;
pub use dates::amz_date;
pub use encoding::{md5, percent_encode, sha256_hex};
pub use fault::{Action, ClientSees, Fault, FaultId};
pub use gate::Gate;
pub use handle::MockS3;
pub use journal::{Change, Counters, Event, Journal, Observer, RequestId, What};
pub use late::LateRequest;
pub use op::Op;
pub use pattern::Pattern;
pub use pipeline::Dropped;
pub use store::StoredObject;
pub use treatment::Treatment;
