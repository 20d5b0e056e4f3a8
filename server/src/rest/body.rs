//! Bodies of requests, read into memory.

use std::pin::pin;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::StatusCode;
use hyper::body::Body;
use s3_client::env::Env;

use super::error::RestError;
use crate::quota::Share;

/// How much is read, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes.
    pub bytes: usize,
    /// How long all of it may take.
    pub time: Duration,
    /// How long nothing may come.
    pub pause: Duration,
}

/// Reads a body. What is in memory counts for `share`, if there is one.
pub async fn read<B>(
    env: &Env,
    body: B,
    limits: Limits,
    share: Option<&mut Share>,
) -> Result<Bytes, RestError>
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<anyhow::Error>,
{
    tokio::select! {
        collected = collect(env, body, limits, share) => collected,
        () = env.sleep(limits.time) => Err(timeout()),
    }
}

async fn collect<B>(
    env: &Env,
    body: B,
    limits: Limits,
    mut share: Option<&mut Share>,
) -> Result<Bytes, RestError>
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<anyhow::Error>,
{
    let mut body = pin!(body);
    let mut whole = BytesMut::new();
    loop {
        let frame = tokio::select! {
            frame = body.frame() => frame,
            () = env.sleep(limits.pause) => return Err(timeout()),
        };
        let Some(frame) = frame else {
            return Ok(whole.freeze());
        };
        let frame = frame.map_err(|error| {
            let error: anyhow::Error = error.into();
            RestError::bad_request(format!("failed to read the request body: {error}"))
        })?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        if data.len() > limits.bytes - whole.len() {
            return Err(RestError::bad_request("Request body too large"));
        }
        let length = u64::try_from(data.len()).unwrap_or(u64::MAX);
        if share.as_mut().is_some_and(|share| !share.take(length)) {
            return Err(RestError::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "too many such requests at the same time; try again later",
            ));
        }
        whole.extend_from_slice(&data);
    }
}

fn timeout() -> RestError {
    RestError::new(
        StatusCode::REQUEST_TIMEOUT,
        "timeout while reading the request body",
    )
}
