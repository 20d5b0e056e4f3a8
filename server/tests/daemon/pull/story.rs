//! All that there is comes, byte for byte, and the second time nothing.

use api_types::names::{ArchiveName, BackupDir};
use datastore::format::CryptConfig;
use hyper::Method;
use protocol_client::rest::Rest;
use serde_json::json;

use super::world::{Ended, START, Two, collect, ended, of_snapshot, query, upload_log, verify};
use crate::backup::{MIB, back_up, call, check, timestamp};
use crate::support::{Daemon, noise, scratch};

fn key() -> CryptConfig {
    CryptConfig::new(*b"a key that is used for this only").unwrap()
}

/// An encrypted snapshot of the group `vm/7`.
async fn encrypted(rest: &Rest) -> Vec<u8> {
    let mut session = rest
        .backup(&query("local", "", "vm/7", START))
        .await
        .unwrap();
    session.key = Some(key());
    let dir: BackupDir = format!("vm/7/{}", timestamp(START)).parse().unwrap();
    let image = noise(77, 5 * MIB);
    let archives = [session.image("disk.img.fidx", &image, true).await.unwrap()];
    session.manifest(&dir, &archives).await.unwrap();
    session.finish().await.unwrap().data().unwrap();
    image
}

/// A file at both ends.
async fn same(two: &Two, store: &str, group: &str, time: i64, name: &str) {
    let mut ends = Vec::new();
    for (rest, store) in [(&two.from, "local"), (&two.to, store)] {
        let reader = rest.reader(&query(store, "", group, time)).await.unwrap();
        ends.push(reader.download(name).await.unwrap().ok().unwrap());
    }
    assert!(ends[0] == ends[1], "{group} {time}: {name} differs");
}

async fn run_job(rest: &Rest) -> Ended {
    let upid = call(rest, Method::POST, "admin/sync/nightly/run", None).await;
    ended(rest, &upid).await
}

async fn everything_comes_once(store: &str) {
    let two = Two::new().await;
    let mut kept = Vec::new();
    for (number, seed) in [(0, 1), (1, 2)] {
        let time = START + number * 60;
        kept.push((time, back_up(&two.from, "local", "a", time, seed).await));
    }
    let image = encrypted(&two.from).await;
    let first = two.pull(store, json!({})).await;
    first.well(&[
        &format!("pull datastore '{store}' from 'src/local'"),
        "Found 2 groups to sync (out of 2 total)",
        "disk.img.fidx: sync archive",
        "percentage done: 25.00% (0/2 groups, 1/2 snapshots in group #1)",
        "percentage done: 100.00% (2/2 groups)",
        "Finished syncing root namespace, current progress: 2 groups, 0 snapshots",
        &format!("pull datastore '{store}' end"),
    ]);
    for (time, expected) in &kept {
        check(&two.to, store, "a", *time, expected).await;
        for name in [ArchiveName::MANIFEST, "disk.img.fidx", "root.pxar.didx"] {
            same(&two, store, "host/a", *time, name).await;
        }
    }
    same(&two, store, "vm/7", START, ArchiveName::MANIFEST).await;
    let query = query(store, "", "vm/7", START);
    let mut reader = two.to.reader(&query).await.unwrap();
    reader.key = Some(key());
    reader.manifest().await.unwrap();
    assert!(reader.archive("disk.img.fidx").await.unwrap() == image);
    drop(reader);

    let job = json!({
        "id": "nightly", "store": store, "remote": "src", "remote-store": "local",
        "owner": "admin@pbs", "schedule": "yearly",
    });
    call(&two.to, Method::POST, "config/sync", Some(job)).await;
    let again = run_job(&two.to).await;
    again.well(&[
        &format!("Starting datastore sync job 'src:local:{store}::nightly'"),
        "skipped: 1 snapshot(s)",
        "no data changes",
        "Summary: sync job found no new data to pull",
    ]);
    assert!(!again.log.contains("sync archive"), "{}", again.log);
    let listed = call(&two.to, Method::GET, "admin/sync", None).await;
    assert_eq!(listed[0]["last-run-state"], "OK", "{listed}");
    assert!(listed[0]["next-run"].is_i64(), "{listed}");

    // What comes late to the newest snapshot.
    let newest = START + 60;
    upload_log(&two.from, "host/a", newest, b"it went well").await;
    run_job(&two.to)
        .await
        .well(&["got backup log file client.log.blob"]);
    same(&two, store, "host/a", newest, ArchiveName::CLIENT_LOG).await;
    let notes = of_snapshot("host/a", newest, json!({ "notes": "before the upgrade" }));
    let path = "admin/datastore/local/notes";
    call(&two.from, Method::PUT, path, Some(notes)).await;
    let changed = run_job(&two.to).await;
    changed.well(&["re-sync snapshot", "sync done"]);
    assert!(!changed.log.contains("sync archive"), "{}", changed.log);
    same(&two, store, "host/a", newest, ArchiveName::MANIFEST).await;

    assert_eq!(verify(&two.to, store).await, "OK");
    collect(&two.to, store).await;
    for (time, expected) in &kept {
        check(&two.to, store, "a", *time, expected).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_comes_once_into_a_directory() {
    everything_comes_once("local").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_comes_once_into_a_bucket() {
    everything_comes_once("dev").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_datastore_beside_is_pulled_from_without_a_remote() {
    let dir = scratch().unwrap();
    let daemon = Daemon::start(dir.path());
    let rest = crate::backup::by_password(&daemon).await;
    let kept = back_up(&rest, "dev", "a", START, 1).await;
    let body = json!({ "store": "local", "remote-store": "dev", "worker-threads": 4 });
    let upid = call(&rest, Method::POST, "pull", Some(body)).await;
    ended(&rest, &upid)
        .await
        .well(&["pull datastore 'local' from 'self/dev'"]);
    check(&rest, "local", "a", START, &kept).await;
    let body = json!({ "store": "local", "remote-store": "local" });
    let same = rest
        .request(Method::POST, "/api2/json/pull", Some(body))
        .await;
    let refused = same.unwrap().data().unwrap_err().to_string();
    assert!(refused.contains("can't be the same"), "{refused}");
}
