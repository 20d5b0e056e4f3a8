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

#[cfg(test)]
mod tests {
    use http_body_util::StreamBody;
    use hyper::body::Frame;

    use super::*;
    use crate::quota::Quota;

    const LIMITS: Limits = Limits {
        bytes: 100,
        time: Duration::from_secs(60),
        pause: Duration::from_secs(10),
    };

    /// Pieces that come so many seconds apart.
    fn slow(count: usize, seconds: u64) -> impl Body<Data = Bytes, Error = anyhow::Error> + Send {
        let pieces = futures_util::stream::iter(0..count);
        StreamBody::new(futures_util::StreamExt::then(pieces, move |_| async move {
            Env::system().sleep(Duration::from_secs(seconds)).await;
            Ok(Frame::data(Bytes::from_static(b"0123456789")))
        }))
    }

    #[tokio::test(start_paused = true)]
    async fn size_time_pauses_and_share_are_limited() {
        let env = Env::system();
        let status = async |count, seconds, share: Option<&mut Share>| {
            let body = Box::pin(slow(count, seconds));
            match read(&env, body, LIMITS, share).await {
                Ok(bytes) => Ok(bytes.len()),
                Err(error) => Err(error.status.as_u16()),
            }
        };
        assert_eq!(status(10, 5, None).await, Ok(100));
        assert_eq!(status(11, 1, None).await, Err(400));
        assert_eq!(status(1, 11, None).await, Err(408));
        assert_eq!(status(9, 9, None).await, Err(408));
        let quota = Quota::new(30, 30);
        assert_eq!(status(3, 1, Some(&mut quota.share(None))).await, Ok(30));
        assert_eq!(status(4, 1, Some(&mut quota.share(None))).await, Err(503));
    }
}
