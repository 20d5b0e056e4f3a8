//! What a client needs to know about a server under test.

use anyhow::Context as _;
use api_types::s3::{BucketName, S3EndpointConfig};
use s3_client::env::Env;
use s3_client::{S3Client, S3ClientOptions};
use s3_mock::MockS3;

/// A server under test, and a bucket in it. The fields are plain text, so that tests can spoil
/// them.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Short name for messages, and the endpoint's id.
    pub name: String,
    /// Host name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Region to sign for.
    pub region: String,
    /// Access key.
    pub access_key: String,
    /// Secret key.
    pub secret_key: String,
    /// The certificate's fingerprint.
    pub fingerprint: Option<String>,
    /// Bucket.
    pub bucket: String,
}

impl Endpoint {
    /// The endpoint as configured by an administrator.
    pub fn config(&self) -> anyhow::Result<S3EndpointConfig> {
        let mut config = S3EndpointConfig::new(
            self.name.parse()?,
            self.host.parse()?,
            self.access_key.parse()?,
            self.secret_key.parse()?,
        );
        config.port = Some(self.port);
        config.region = Some(self.region.parse()?);
        config.path_style = Some(true);
        config.fingerprint = self
            .fingerprint
            .as_deref()
            .map(str::parse)
            .transpose()
            .context("bad fingerprint")?;
        Ok(config)
    }

    /// The bucket's name.
    pub fn bucket(&self) -> anyhow::Result<BucketName> {
        Ok(self.bucket.parse()?)
    }

    /// Options for a client of the bucket.
    pub fn options(&self) -> anyhow::Result<S3ClientOptions> {
        Ok(S3ClientOptions::new(self.config()?, Some(self.bucket()?)))
    }

    /// A client of the bucket.
    pub fn client(&self, env: Env) -> anyhow::Result<S3Client> {
        Ok(S3Client::new(self.options()?, env)?)
    }
}

/// A scripted server as an endpoint, with TLS; makes the bucket if need be.
pub fn mock_endpoint(server: &MockS3, bucket: &str) -> anyhow::Result<Endpoint> {
    server.create_bucket(bucket);
    Ok(Endpoint {
        name: "s3-mock".to_owned(),
        host: server.host().to_owned(),
        port: server.port(),
        region: server.region().to_owned(),
        access_key: server.access_key().to_owned(),
        secret_key: server.secret_key().to_owned(),
        fingerprint: Some(server.fingerprint()?),
        bucket: bucket.to_owned(),
    })
}
