//! S3 endpoints: names of buckets and regions, host templates, provider quirks, the
//! configuration entity.

mod endpoint;
mod host;
mod names;
mod secret;

pub use endpoint::S3EndpointConfig;
pub use host::EndpointHost;
pub use names::{BucketName, ChecksumMode, ProviderQuirk, Region, StorageClass};
pub use secret::{AccessKey, CaCert, SecretKey};
