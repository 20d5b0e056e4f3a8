//! Clients of the scripted server over real sockets.
#![allow(dead_code)] // each test uses its part

use std::time::Duration;

use api_types::s3::S3EndpointConfig;
use s3_client::env::Env;
use s3_client::transport::Timeouts;
use s3_client::{RetryPolicy, S3Client, S3ClientOptions, Scheme};
use s3_mock::behaviour::Behaviour;
use s3_mock::{Builder, MockS3};

pub const BUCKET: &str = "pbs-bucket";

pub async fn start(configure: impl FnOnce(Builder) -> Builder) -> MockS3 {
    configure(MockS3::builder().bucket(BUCKET))
        .start()
        .await
        .unwrap()
}

pub async fn server() -> MockS3 {
    start(|builder| builder).await
}

pub async fn behaving(change: impl FnOnce(&mut Behaviour)) -> MockS3 {
    start(|builder| builder.configure(change)).await
}

/// Path-style over plain HTTP, with short pauses and timeouts.
pub fn options(server: &MockS3) -> S3ClientOptions {
    let mut endpoint = S3EndpointConfig::new(
        "mock".parse().unwrap(),
        server.host().parse().unwrap(),
        server.access_key().parse().unwrap(),
        server.secret_key().parse().unwrap(),
    );
    endpoint.port = Some(server.port());
    endpoint.region = Some(server.region().parse().unwrap());
    endpoint.path_style = Some(true);
    let mut options = S3ClientOptions::new(endpoint, Some(BUCKET.parse().unwrap()));
    options.scheme = Scheme::Http;
    options.timeouts = Timeouts {
        connect: Duration::from_secs(2),
        headers: Duration::from_millis(300),
        stall: Duration::from_millis(300),
    };
    options.retry = RetryPolicy {
        base: Duration::from_millis(2),
        ..RetryPolicy::default()
    };
    options
}

pub fn client_with(server: &MockS3, change: impl FnOnce(&mut S3ClientOptions)) -> S3Client {
    let mut options = options(server);
    change(&mut options);
    S3Client::new(options, Env::system()).unwrap()
}

pub fn client(server: &MockS3) -> S3Client {
    client_with(server, |_| ())
}
