//! Another owner, damage, ends in the middle: nothing is half there, and the next pull goes on.

use std::path::{Path, PathBuf};
use std::time::Duration;

use hyper::Method;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::world::{START, Two, collect, ended, numbers, small, verify};
use crate::backup::{back_up, by_token, call, check, log_of};

#[tokio::test(flavor = "multi_thread")]
async fn a_group_of_another_owner_fails_and_the_others_come() {
    let two = Two::new().await;
    let token = by_token(&two.target);
    back_up(&token, "local", "a", START - 60, 5).await;
    for group in ["host/a", "host/b"] {
        small(&two.from, "", group, 0).await;
    }
    let pulled = two.pull("local", json!({ "remove-vanished": true })).await;
    pulled.badly(&[
        "sync group host/a failed - owner check failed (admin@pbs != admin@pbs!",
        "[host/b]: percentage done",
    ]);
    let here = ["host/a/-1", "host/b/0"];
    assert_eq!(numbers(&two.to, "local", "").await, here);
}

/// The chunk files of the target's datastore in a directory.
fn chunks(two: &Two) -> Vec<PathBuf> {
    fn files(dir: &Path, all: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                files(&path, all);
            } else if path.extension().is_none() && path.metadata().unwrap().len() > 1000 {
                all.push(path);
            }
        }
    }
    let mut all = Vec::new();
    let dir = two.target_dir.path().join("datastores/local/.chunks");
    files(&dir, &mut all);
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_damaged_here_is_fetched_anew_if_asked_for() {
    let two = Two::new().await;
    let first = back_up(&two.from, "local", "a", START, 1).await;
    two.pull("local", json!({})).await.well(&[]);
    let damaged = chunks(&two).remove(0);
    let mut content = std::fs::read(&damaged).unwrap();
    content[500] ^= 1;
    std::fs::write(&damaged, content).unwrap();
    // A later one, of other chunks: the damaged one is not the newest.
    let second = back_up(&two.from, "local", "a", START + 60, 2).await;
    two.pull("local", json!({})).await.well(&[]);
    assert_ne!(verify(&two.to, "local").await, "OK");
    two.pull("local", json!({})).await.well(&[]);
    assert_ne!(verify(&two.to, "local").await, "OK");
    let pulled = two.pull("local", json!({ "resync-corrupt": true })).await;
    pulled.well(&["re-sync snapshot", "disk.img.fidx: sync archive"]);
    assert_eq!(verify(&two.to, "local").await, "OK");
    collect(&two.to, "local").await;
    check(&two.to, "local", "a", START, &first).await;
    check(&two.to, "local", "a", START + 60, &second).await;
    // There is nothing left to be done.
    let pulled = two.pull("local", json!({ "resync-corrupt": true })).await;
    pulled.well(&["skipped: 1 snapshot(s)"]);
}

/// The source knows nothing of it, and its manifest differs from ours just by that.
#[tokio::test(flavor = "multi_thread")]
async fn what_has_failed_here_stays_failed_until_its_chunks_are_there() {
    let two = Two::new().await;
    let content = back_up(&two.from, "local", "a", START, 1).await;
    two.pull("local", json!({})).await.well(&[]);
    std::fs::remove_file(chunks(&two).remove(0)).unwrap();
    assert_ne!(verify(&two.to, "local").await, "OK");
    let stays = "its verification stays failed, as chunk";
    for _ in 0..2 {
        let pulled = two.pull("local", json!({})).await;
        pulled.well(&["re-sync snapshot", stays, "use resync-corrupt"]);
    }
    let pulled = two.pull("local", json!({ "resync-corrupt": true })).await;
    pulled.well(&["re-sync snapshot", "disk.img.fidx: sync archive"]);
    assert!(!pulled.log.contains(stays), "{}", pulled.log);
    let pulled = two.pull("local", json!({})).await;
    pulled.well(&["no data changes"]);
    assert_eq!(verify(&two.to, "local").await, "OK");
    check(&two.to, "local", "a", START, &content).await;
}

/// Slow enough to be interrupted.
fn slowly() -> Value {
    json!({ "rate-in": "500 KB", "burst-in": "500 KB" })
}

/// Waits until a pull is in the middle of an archive.
async fn fetching(two: &Two, upid: &Value) {
    for _ in 0..300 {
        if log_of(&two.to, upid).await.contains("sync archive") {
            sleep(Duration::from_millis(1500)).await;
            return;
        }
        sleep(Duration::from_millis(100)).await;
    }
    panic!("{}", log_of(&two.to, upid).await);
}

async fn the_source_dies(store: &str) {
    let mut two = Two::new().await;
    let kept = back_up(&two.from, "local", "a", START, 1).await;
    let upid = two.begin(store, slowly()).await;
    fetching(&two, &upid).await;
    two.source.signal("-KILL");
    ended(&two.to, &upid)
        .await
        .badly(&["sync group host/a failed"]);
    assert!(numbers(&two.to, store, "").await.is_empty());
    two.restart_source().await;
    two.pull(store, json!({})).await.well(&[]);
    check(&two.to, store, "a", START, &kept).await;
    collect(&two.to, store).await;
    check(&two.to, store, "a", START, &kept).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_source_dies_while_a_directory_pulls() {
    the_source_dies("local").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_source_dies_while_a_bucket_pulls() {
    the_source_dies("dev").await;
}

async fn the_target_dies(store: &str) {
    let mut two = Two::new().await;
    let kept = back_up(&two.from, "local", "a", START, 1).await;
    let upid = two.begin(store, slowly()).await;
    fetching(&two, &upid).await;
    two.target.signal("-KILL");
    two.restart_target().await;
    let finished = |all: Vec<String>| all.iter().filter(|one| !one.ends_with('?')).count();
    assert_eq!(finished(numbers(&two.to, store, "").await), 0);
    two.pull(store, json!({})).await.well(&[]);
    assert_eq!(numbers(&two.to, store, "").await, ["host/a/0"]);
    assert_eq!(verify(&two.to, store).await, "OK");
    collect(&two.to, store).await;
    check(&two.to, store, "a", START, &kept).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_dies_while_it_pulls() {
    the_target_dies("local").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_dies_while_it_pulls() {
    the_target_dies("dev").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_aborted_pull_leaves_nothing() {
    let two = Two::new().await;
    let kept = back_up(&two.from, "local", "a", START, 1).await;
    let upid = two.begin("dev", slowly()).await;
    fetching(&two, &upid).await;
    let path = format!("nodes/localhost/tasks/{}", upid.as_str().unwrap());
    call(&two.to, Method::DELETE, &path, None).await;
    let end = ended(&two.to, &upid).await;
    assert!(end.status.contains("abort"), "{end:?}");
    assert!(numbers(&two.to, "dev", "").await.is_empty());
    two.pull("dev", json!({})).await.well(&[]);
    check(&two.to, "dev", "a", START, &kept).await;
}
