//! A server in memory: every answer is scripted, every attempt recorded.
#![allow(dead_code)] // each test uses its part
#![allow(clippy::unwrap_used, missing_docs)] // it is a test

pub mod live;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use api_types::s3::{BucketName, S3EndpointConfig};
use futures_util::future::BoxFuture;
use s3_client::env::Env;
use s3_client::transport::{Attempt, Response, Transport, TransportError};
use s3_client::{ObjectKey, S3Client, S3ClientOptions};
use tokio::time::Instant;

/// 2026-01-15T08:15:30Z
pub const START: i64 = 1_768_464_930;

pub type Answer = Result<Response, TransportError>;
type Script = dyn Fn(usize, &Attempt) -> Answer + Send + Sync;

/// One recorded attempt.
#[derive(Clone, Debug)]
pub struct Seen {
    pub at: Duration,
    pub number: u32,
    pub method: String,
    pub target: String,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Seen {
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        headers
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }
}

pub struct Scripted {
    env: Env,
    start: Instant,
    latency: Duration,
    script: Box<Script>,
    seen: Mutex<Vec<Seen>>,
}

impl Scripted {
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    pub fn count(&self) -> usize {
        self.seen.lock().unwrap().len()
    }
}

impl Transport for Scripted {
    fn send(&self, attempt: Attempt) -> BoxFuture<'_, Answer> {
        Box::pin(async move {
            let headers = attempt.headers();
            let seen = Seen {
                at: self.env.now() - self.start,
                number: attempt.number,
                method: attempt.request.method.to_string(),
                target: attempt.request.target(),
                headers: headers.map(|(n, v)| (n.to_owned(), v.to_owned())).collect(),
                body: String::from_utf8_lossy(&attempt.request.body).into_owned(),
            };
            let index = {
                let mut all = self.seen.lock().unwrap();
                all.push(seen);
                all.len() - 1
            };
            self.env.sleep(self.latency).await;
            (self.script)(index, &attempt)
        })
    }
}

pub struct Setup {
    pub endpoint: S3EndpointConfig,
    pub env: Env,
    pub latency: Duration,
}

pub fn endpoint() -> S3EndpointConfig {
    let mut endpoint = S3EndpointConfig::new(
        "test".parse().unwrap(),
        "s3.example.test".parse().unwrap(),
        "TESTACCESSKEY".parse().unwrap(),
        "testsecretkey".parse().unwrap(),
    );
    endpoint.path_style = Some(true);
    endpoint
}

pub fn bucket() -> BucketName {
    "pbs-bucket".parse().unwrap()
}

impl Setup {
    pub fn new() -> Self {
        let latency = Duration::from_millis(1);
        Self {
            endpoint: endpoint(),
            env: Env::seeded(7, START),
            latency,
        }
    }

    pub fn client(
        self,
        script: impl Fn(usize, &Attempt) -> Answer + Send + Sync + 'static,
    ) -> (S3Client, Arc<Scripted>) {
        let transport = Arc::new(Scripted {
            start: self.env.now(),
            env: self.env.clone(),
            latency: self.latency,
            script: Box::new(script),
            seen: Mutex::default(),
        });
        let options = S3ClientOptions::new(self.endpoint, Some(bucket()));
        let client = S3Client::with_transport(options, self.env, transport.clone()).unwrap();
        (client, transport)
    }
}

pub fn client(
    script: impl Fn(usize, &Attempt) -> Answer + Send + Sync + 'static,
) -> (S3Client, Arc<Scripted>) {
    Setup::new().client(script)
}

pub fn key(text: &str) -> ObjectKey {
    ObjectKey::new(text).unwrap()
}

pub fn keys(count: usize) -> Vec<ObjectKey> {
    (0..count).map(|n| key(&format!("dir/{n:06}"))).collect()
}

pub fn answer(status: u16, headers: &[(&'static str, &str)], body: &str) -> Answer {
    let mut response = Response {
        status,
        body: body.to_owned().into(),
        ..Response::default()
    };
    for (name, value) in headers {
        response.headers.insert(*name, value.parse().unwrap());
    }
    Ok(response)
}

pub fn ok(body: &str) -> Answer {
    answer(200, &[], body)
}

pub fn error(status: u16, code: &str) -> Answer {
    answer(
        status,
        &[],
        &format!("<Error><Code>{code}</Code><Message>m</Message></Error>"),
    )
}
