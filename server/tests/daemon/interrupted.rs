//! The daemon ends, in order or not, in the middle of a backup and of a restore.

use api_types::names::BackupDir;
use hyper::Method;
use protocol_client::rest::Rest;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::backup::{MIB, back_up, by_password, call, check, done, timestamp};
use crate::support::{Daemon, noise, scratch};

const START: i64 = 1_790_000_000;

fn query(store: &str, id: &str, time: i64) -> String {
    format!("store={store}&backup-type=host&backup-id={id}&backup-time={time}")
}

/// Half a backup: a blob, a whole index, and one that is still open.
async fn half_a_backup(rest: &Rest, store: &str, id: &str, time: i64) -> protocol_client::Backup {
    let session = rest.backup(&query(store, id, time)).await.unwrap();
    session.blob("half.conf.blob", b"half").await.unwrap();
    let image = noise(50, 5 * MIB);
    session.image("whole.img.fidx", &image, true).await.unwrap();
    let wid = session
        .index("dynamic", "open.pxar.didx", "")
        .await
        .unwrap();
    let chunk = noise(51, MIB);
    session.store("dynamic", wid, 0, &[&chunk]).await.unwrap();
    session
}

async fn snapshots(rest: &Rest, store: &str) -> Vec<Value> {
    let path = format!("admin/datastore/{store}/snapshots");
    let listed = call(rest, Method::GET, &path, None).await;
    listed.as_array().unwrap().clone()
}

/// The finished ones; nobody lists a size for another one.
async fn finished(rest: &Rest, store: &str) -> usize {
    let all = snapshots(rest, store).await;
    all.iter().filter(|one| one["size"].is_u64()).count()
}

/// Whether all is as before, and goes on.
async fn goes_on(rest: &Rest, store: &str, kept: &[Vec<u8>]) {
    assert_eq!(finished(rest, store).await, 1);
    check(rest, store, "a", START, kept).await;
    // The half one was of this group, and of one that has no other.
    for id in ["a", "new"] {
        let later = back_up(rest, store, id, START + 120, 8).await;
        check(rest, store, id, START + 120, &later).await;
    }
    let admin = format!("admin/datastore/{store}");
    // What a crash left of a backup, the next prune clears away.
    for (work, body) in [
        ("prune-datastore", json!({ "keep-last": 5 })),
        ("verify", json!({})),
        ("gc", json!({})),
    ] {
        let path = format!("{admin}/{work}");
        let upid = call(rest, Method::POST, &path, Some(body)).await;
        done(rest, &upid).await;
    }
    assert_eq!(snapshots(rest, store).await.len(), 3);
    check(rest, store, "a", START, kept).await;
    // Nothing holds the snapshot that was being read.
    let path = format!("/api2/json/{admin}/snapshots?{}", of_group("a", START));
    let removed = rest.request(Method::DELETE, &path, None).await.unwrap();
    removed.data().unwrap();
}

fn of_group(id: &str, time: i64) -> String {
    format!("backup-type=host&backup-id={id}&backup-time={time}")
}

/// The daemon, its client, and a good snapshot.
async fn begun(dir: &TempDir, store: &str) -> (Daemon, Rest, Vec<Vec<u8>>) {
    let daemon = Daemon::start(dir.path());
    let rest = by_password(&daemon).await;
    let kept = back_up(&rest, store, "a", START, 7).await;
    (daemon, rest, kept)
}

/// What a session did is on record with an end that is no success.
async fn aborted(rest: &Rest, number: usize) {
    let path = "nodes/localhost/tasks?typefilter=backup&limit=0";
    let tasks = call(rest, Method::GET, path, None).await;
    let tasks = tasks.as_array().unwrap();
    let bad = tasks.iter().filter(|task| task["status"] != "OK");
    assert_eq!(bad.count(), number, "{tasks:?}");
    let open = tasks.iter().filter(|task| task.get("endtime").is_none());
    assert_eq!(open.count(), 0, "{tasks:?}");
}

async fn ends_in_the_middle(store: &str, signal: &str) {
    let dir = scratch().unwrap();
    let (mut daemon, rest, kept) = begun(&dir, store).await;
    let half = half_a_backup(&rest, store, "a", START + 60).await;
    let first = half_a_backup(&rest, store, "new", START + 60).await;
    let reader = rest.reader(&query(store, "a", START)).await.unwrap();
    let index = reader.index("disk.img.fidx").await.unwrap();
    let digest = datastore::format::IndexFile::index_digest(&index, 0)
        .unwrap()
        .unwrap();
    reader.chunk(&digest).await.unwrap().ok().unwrap();

    daemon.signal(signal);
    assert_eq!(daemon.wait().success(), signal == "-TERM");
    assert!(half.finish().await.is_err());
    assert!(first.blob("more.blob", b"more").await.is_err());
    assert!(reader.chunk(&digest).await.is_err());
    drop((half, first, reader));

    let daemon = Daemon::start(dir.path());
    let rest = by_password(&daemon).await;
    if signal == "-TERM" {
        // The sessions were ended in order: nothing is left of them.
        assert_eq!(snapshots(&rest, store).await.len(), 1);
    }
    aborted(&rest, 2).await;
    goes_on(&rest, store, &kept).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_ends_sessions_on_a_directory() {
    ends_in_the_middle("local", "-TERM").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_ends_sessions_on_a_bucket() {
    ends_in_the_middle("dev", "-TERM").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_ends_sessions_on_a_directory() {
    ends_in_the_middle("local", "-KILL").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_ends_sessions_on_a_bucket() {
    ends_in_the_middle("dev", "-KILL").await;
}

/// A session that is near its end when the daemon is told to end may finish.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_may_finish_within_the_time() {
    let dir = scratch().unwrap();
    let (mut daemon, rest, kept) = begun(&dir, "local").await;
    let time = START + 60;
    let session = rest.backup(&query("local", "a", time)).await.unwrap();
    let archive = session.blob("small.conf.blob", b"small").await.unwrap();
    daemon.signal("-TERM");
    // It does not take new ones any more.
    while rest.backup(&query("local", "b", time)).await.is_ok() {
        tokio::task::yield_now().await;
    }
    let snapshot: BackupDir = format!("host/a/{}", timestamp(time)).parse().unwrap();
    session.manifest(&snapshot, &[archive]).await.unwrap();
    session.finish().await.unwrap().data().unwrap();
    drop(session);
    assert!(daemon.wait().success());

    let daemon = Daemon::start(dir.path());
    let rest = by_password(&daemon).await;
    assert_eq!(finished(&rest, "local").await, 2);
    check(&rest, "local", "a", START, &kept).await;
    let path = "nodes/localhost/tasks?typefilter=backup&statusfilter=ok";
    let tasks = call(&rest, Method::GET, path, None).await;
    assert!(tasks.as_array().unwrap().len() >= 2, "{tasks}");
    assert_eq!(tasks[0]["status"], json!("OK"));
}
