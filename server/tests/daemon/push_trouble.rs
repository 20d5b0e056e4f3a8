//! Pushes of snapshots that cannot be had, or not all of them.

use api_types::names::{BackupDir, BackupNamespace};
use datastore::locks::NamedLocks;
use s3_client::env::Env;
use serde_json::json;

use crate::backup::{MIB, back_up, check, timestamp};
use crate::kinds::START;
use crate::pull::world::upload_log;
use crate::push::{FAILED, Pair, snapshots};
use crate::support::noise;

#[tokio::test(flavor = "multi_thread")]
async fn nothing_newer_is_pushed_than_what_is_being_changed() {
    let pair = Pair::start().await;
    let first = back_up(&pair.here, "local", "one", START, 1).await;
    let second = back_up(&pair.here, "local", "one", START + 60, 2).await;
    let other = back_up(&pair.here, "local", "two", START, 3).await;
    // As whoever protects or removes it has it, for longer than anybody should.
    let locks = pair.source_dir.path().join("run/locks/local");
    let dir: BackupDir = format!("host/one/{}", timestamp(START)).parse().unwrap();
    let held = NamedLocks::new(locks, Env::system())
        .snapshot_exclusive(&BackupNamespace::root(), &dir)
        .unwrap();
    let (end, log) = pair.push("local", "local", &json!({})).await;
    assert_eq!(end, FAILED, "{log}");
    assert!(
        log.contains("group host/one: failed to lock snapshot"),
        "{log}"
    );
    let there = snapshots(&pair.there, "local", "").await;
    assert_eq!(there, [format!("host/two/{START}")]);
    check(&pair.there, "local", "two", START, &other).await;
    drop(held);
    pair.pushed("local", "local", &json!({})).await;
    check(&pair.there, "local", "one", START, &first).await;
    check(&pair.there, "local", "one", START + 60, &second).await;
}

/// A client may store a log that no session takes.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_is_too_large_keeps_no_snapshot_back() {
    let pair = Pair::start().await;
    let first = back_up(&pair.here, "local", "one", START, 1).await;
    let second = back_up(&pair.here, "local", "one", START + 60, 2).await;
    upload_log(&pair.here, "host/one", START, &noise(4, 17 * MIB)).await;
    upload_log(&pair.here, "host/one", START + 60, b"it went well").await;
    let (end, log) = pair.push("local", "local", &json!({})).await;
    assert_eq!(end, "WARNINGS: 1", "{log}");
    let what = format!(
        "the client's log of host/one/{} is not pushed",
        timestamp(START)
    );
    assert!(log.contains(&what), "{log}");
    check(&pair.there, "local", "one", START, &first).await;
    check(&pair.there, "local", "one", START + 60, &second).await;
    let of_second = format!(
        "store=local&backup-type=host&backup-id=one&backup-time={}",
        START + 60
    );
    let reader = pair.there.reader(&of_second).await.unwrap();
    let log = reader.blob("client.log.blob").await.unwrap();
    assert_eq!(log, b"it went well");
}
