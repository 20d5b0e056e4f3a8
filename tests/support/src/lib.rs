//! Starts the S3 servers that tests run against, and finds the fixtures.
//!
//! * [`DevDaemon`]: `coffer-server --dev` as a process
//! * [`MinioServer`]: a real MinIO process on loopback, with TLS
//! * [`S3sServer`]: `s3s-fs` in this process, on a temporary directory, with TLS
//! * [`mock_endpoint`]: the scripted server of [`s3_mock`] as an endpoint
//! * [`Endpoint`]: what a client needs to know about any of them
//! * [`memory_client`]: a client of the scripted server without sockets, for virtual time
//! * [`ConnectProxy`]: an HTTP proxy on the way to one of them
//! * [`is_on_disk`]: whether a crash would leave a file as it is
//! * [`scratch`]: a temporary directory that is fast
//! * [`fixtures`]: the data made by the real system

mod daemon;
mod disk;
mod endpoint;
pub mod fixtures;
mod memory;
mod minio;
mod proxy;
#[cfg(feature = "servers")]
mod s3s_server;
mod scratch;

pub use daemon::{DevDaemon, comes, dev_command, exported, server_command};
pub use disk::{is_on_disk, tells_what_is_on_disk};
pub use endpoint::{Endpoint, mock_endpoint};
pub use memory::{MemoryTransport, http_request, memory_client};
pub use minio::MinioServer;
pub use proxy::ConnectProxy;
#[cfg(feature = "servers")]
pub use s3s_server::S3sServer;
pub use scratch::scratch;
