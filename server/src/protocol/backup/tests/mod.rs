//! Sessions with a client, over HTTP/2 in memory.

mod checks;
mod ends;
mod order;
mod parameters;
mod story;
mod wire;

use hyper::StatusCode;
use protocol_client::{Answer, Archive};
use serde_json::Value;

use super::super::testing::{Running, World, options};

const FIRST: &str = "host/a/2026-01-01T00:00:00Z";
const SECOND: &str = "host/a/2026-01-02T00:00:00Z";
const MIB: usize = 1 << 20;

/// Bytes that do not compress and differ by seed.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

fn refused(answer: &Answer, text: &str) {
    assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{}", answer.text());
    assert!(answer.text().contains(text), "{} / {text}", answer.text());
}

async fn finish(
    running: Running<protocol_client::Backup>,
    dir: &str,
    archives: &[Archive],
) -> Vec<String> {
    let client = &running.client;
    client
        .manifest(&dir.parse().unwrap(), archives)
        .await
        .unwrap();
    let answer = client.finish().await.unwrap();
    assert_eq!(answer.data().unwrap(), Value::Null);
    let (task, end) = running.disconnect().await;
    end.unwrap();
    task.lines()
        .iter()
        .map(|line| line.text().to_owned())
        .collect()
}
