//! Backups and restores of several clients, while prune, verification and garbage collection, with
//! no grace at all, run beside them again and again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hyper::Method;
use protocol_client::rest::Rest;
use serde_json::{Value, json};

use crate::backup::{back_up, by_password, call, check, done, end_of, log_of};
use crate::support::{Daemon, scratch};

const START: i64 = 1_790_000_000;
const CLIENTS: u64 = 3;
const BACKUPS: i64 = 5;
const KEPT: usize = 2;

type Content = Vec<Vec<u8>>;

/// Backups of one group, each read back at once, and before each the one before it.
async fn client(rest: Rest, store: &'static str, number: u64) -> Vec<(i64, Content)> {
    let id = format!("c{number}");
    let mut made: Vec<(i64, Content)> = Vec::new();
    for round in 0..BACKUPS {
        let time = START + round * 60;
        // Clients have some content in common, and with their own backups before.
        let seed = 100 + number % 2 + u64::try_from(round).unwrap() / 2 * 2;
        let content = match made.last() {
            Some((before, last)) => {
                let reading = check(&rest, store, &id, *before, last);
                tokio::join!(back_up(&rest, store, &id, time, seed), reading).0
            }
            None => back_up(&rest, store, &id, time, seed).await,
        };
        check(&rest, store, &id, time, &content).await;
        made.push((time, content));
    }
    made
}

/// How many warnings are of what may happen here: what is being read, or is the base of a backup,
/// cannot be pruned.
fn expected_warnings(log: &str) -> usize {
    let texts = ["failed to remove snapshot ", "failed to prune group "];
    let expected = |line: &&str| texts.iter().any(|text| line.contains(text));
    log.lines().filter(expected).count()
}

/// A task after the other, until there is an end; each ends well. How many.
async fn again_and_again(rest: Rest, path: String, body: Value, end: Arc<AtomicBool>) -> usize {
    let mut number = 0;
    while !end.load(Ordering::Relaxed) {
        let upid = call(&rest, Method::POST, &path, Some(body.clone())).await;
        let ended = end_of(&rest, &upid).await;
        if ended != "OK" {
            let log = log_of(&rest, &upid).await;
            let expected = format!("WARNINGS: {}", expected_warnings(&log));
            assert_eq!(ended, expected, "{log}");
        }
        number += 1;
    }
    number
}

async fn all_at_once(store: &'static str) {
    let dir = scratch().unwrap();
    let daemon = Daemon::start(dir.path());
    let rest = by_password(&daemon).await;
    let tuning = json!({ "tuning": "gc-atime-cutoff=0,gc-atime-safety-check=0" });
    let path = format!("config/datastore/{store}");
    call(&rest, Method::PUT, &path, Some(tuning)).await;

    let admin = format!("admin/datastore/{store}");
    let end = Arc::new(AtomicBool::new(false));
    let work = [
        ("gc", json!({})),
        ("prune-datastore", json!({ "keep-last": KEPT })),
        ("verify", json!({ "ignore-verified": false })),
    ];
    let work: Vec<_> = work
        .into_iter()
        .map(|(name, body)| {
            let path = format!("{admin}/{name}");
            tokio::spawn(again_and_again(rest.clone(), path, body, Arc::clone(&end)))
        })
        .collect();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| tokio::spawn(client(rest.clone(), store, number)))
        .collect();
    let mut made = Vec::new();
    for client in clients {
        made.push(client.await);
    }
    end.store(true, Ordering::Relaxed);
    for work in work {
        assert!(work.await.unwrap() > 0);
    }
    let made: Vec<_> = made.into_iter().map(Result::unwrap).collect();

    // What is left at last is what should be, and not more than it needs.
    let prune = json!({ "keep-last": KEPT });
    let path = format!("{admin}/prune-datastore");
    let upid = call(&rest, Method::POST, &path, Some(prune)).await;
    done(&rest, &upid).await;
    let upid = call(&rest, Method::POST, &format!("{admin}/gc"), None).await;
    done(&rest, &upid).await;
    let status = call(&rest, Method::GET, &format!("{admin}/gc"), None).await;
    assert_eq!(status["pending-chunks"], 0, "{status}");
    let snapshots = call(&rest, Method::GET, &format!("{admin}/snapshots"), None).await;
    let left = KEPT * usize::try_from(CLIENTS).unwrap();
    assert_eq!(snapshots.as_array().unwrap().len(), left, "{snapshots}");
    for (number, made) in made.iter().enumerate() {
        for (time, content) in made.iter().rev().take(KEPT) {
            check(&rest, store, &format!("c{number}"), *time, content).await;
        }
    }
    let verify = json!({ "ignore-verified": false });
    let upid = call(
        &rest,
        Method::POST,
        &format!("{admin}/verify"),
        Some(verify),
    )
    .await;
    done(&rest, &upid).await;
    removed_some(&rest).await;
}

/// The collections did remove chunks; else there was nothing to be safe from.
async fn removed_some(rest: &Rest) {
    let path = "nodes/localhost/tasks?typefilter=garbage_collection&limit=0";
    let tasks = call(rest, Method::GET, path, None).await;
    let mut removed = 0;
    for task in tasks.as_array().unwrap() {
        for line in log_of(rest, &task["upid"]).await.lines() {
            if let Some((_, number)) = line.split_once(": Removed chunks: ") {
                removed += number.parse::<u64>().unwrap();
            }
        }
    }
    assert!(removed > 0, "{tasks}");
}

#[tokio::test(flavor = "multi_thread")]
async fn all_goes_on_at_once_in_a_directory() {
    all_at_once("local").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_goes_on_at_once_in_a_bucket() {
    all_at_once("dev").await;
}
