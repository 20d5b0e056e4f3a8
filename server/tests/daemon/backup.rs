//! Backups and restores through TLS, by login and by token, into both datastores; prune,
//! verification and collection beside them; a restart in the middle.

use std::net::SocketAddr;
use std::time::Duration;

use api_types::names::BackupDir;
use hyper::Method;
use protocol_client::rest::Rest;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::support::{Daemon, noise, scratch};

pub const MIB: usize = 1024 * 1024;

pub fn address(daemon: &Daemon) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], daemon.port))
}

pub async fn by_password(daemon: &Daemon) -> Rest {
    let rest = Rest::new(address(daemon));
    rest.login("admin@pbs", &daemon.password).await.unwrap()
}

pub fn by_token(daemon: &Daemon) -> Rest {
    let (id, secret) = daemon.token.split_once(':').unwrap();
    Rest::new(address(daemon)).with_token(id, secret)
}

pub async fn call(rest: &Rest, method: Method, path: &str, body: Option<Value>) -> Value {
    let path = format!("/api2/json/{path}");
    let answer = rest.request(method, &path, body).await.unwrap();
    answer
        .data()
        .unwrap_or_else(|error| panic!("{path}: {error:#}"))
}

/// Waits until a task has ended well.
pub async fn done(rest: &Rest, upid: &Value) {
    let end = end_of(rest, upid).await;
    assert_eq!(end, "OK", "{}", log_of(rest, upid).await);
}

/// Waits until a task has ended; how it did.
pub async fn end_of(rest: &Rest, upid: &Value) -> String {
    let upid = upid.as_str().unwrap();
    let status = format!("nodes/localhost/tasks/{upid}/status");
    for _ in 0..1200 {
        let state = call(rest, Method::GET, &status, None).await;
        if state["status"] == "stopped" {
            return state["exitstatus"].as_str().unwrap().to_owned();
        }
        sleep(Duration::from_millis(100)).await;
    }
    panic!("{upid} does not end");
}

/// The lines of a task's log.
pub async fn log_of(rest: &Rest, upid: &Value) -> String {
    let upid = upid.as_str().unwrap();
    let path = format!("/api2/json/nodes/localhost/tasks/{upid}/log?limit=0");
    let answer = rest.request(Method::GET, &path, None).await.unwrap();
    let log = answer.json().unwrap();
    let lines = log["data"].as_array().unwrap().iter();
    let lines: Vec<_> = lines.map(|line| line["t"].as_str().unwrap()).collect();
    lines.join("\n")
}

/// One snapshot: an image, a stream and a blob.
pub async fn back_up(rest: &Rest, store: &str, id: &str, time: i64, seed: u64) -> Vec<Vec<u8>> {
    let query = format!("store={store}&backup-type=host&backup-id={id}&backup-time={time}");
    let session = rest.backup(&query).await.unwrap();
    let dir: BackupDir = format!("host/{id}/{}", timestamp(time)).parse().unwrap();
    let image = noise(seed, 9 * MIB + 512);
    let stream = noise(seed / 2 + 100, 3 * MIB);
    let chunks: Vec<&[u8]> = stream.chunks(700_000).collect();
    let blob = b"notes of a machine".to_vec();
    let archives = [
        session.image("disk.img.fidx", &image, true).await.unwrap(),
        session.stream("root.pxar.didx", &chunks).await.unwrap(),
        session.blob("machine.conf.blob", &blob).await.unwrap(),
    ];
    session.manifest(&dir, &archives).await.unwrap();
    session.finish().await.unwrap().data().unwrap();
    vec![image, stream, blob]
}

pub fn timestamp(time: i64) -> String {
    api_types::names::BackupTime::from_secs(time)
        .unwrap()
        .to_string()
}

pub async fn check(rest: &Rest, store: &str, id: &str, time: i64, expected: &[Vec<u8>]) {
    let query = format!("store={store}&backup-type=host&backup-id={id}&backup-time={time}");
    let reader = rest.reader(&query).await.unwrap();
    assert_eq!(reader.manifest().await.unwrap().files().len(), 3);
    for (name, data) in [("disk.img.fidx", 0), ("root.pxar.didx", 1)] {
        let archive = reader.archive(name).await.unwrap();
        assert!(
            archive == expected[data],
            "{store} {id} {time}: {name} differs"
        );
    }
    assert_eq!(
        reader.blob("machine.conf.blob").await.unwrap(),
        expected[2],
        "{store} {id} {time}"
    );
}

async fn backups_come_back(store: &'static str) {
    let dir = scratch().unwrap();
    let mut daemon = Daemon::start(dir.path());
    let (first, token) = (by_password(&daemon).await, by_token(&daemon));
    let start = 1_790_000_000;
    let mut kept = Vec::new();
    for (number, seed) in [(0, 1), (1, 1), (2, 7)] {
        let time = start + number * 60;
        kept.push((time, back_up(&first, store, "a", time, seed).await));
    }
    // A token does not write where its user does.
    let query = format!(
        "store={store}&backup-type=host&backup-id=a&backup-time={}",
        start + 600
    );
    let refused = token.backup(&query).await.unwrap_err().to_string();
    assert!(refused.contains("backup owner check failed"), "{refused}");
    // Two groups at once, and restores beside them.
    let both = tokio::join!(
        back_up(&first, store, "b", start, 20),
        back_up(&token, store, "c", start, 21),
        check(&first, store, "a", kept[0].0, &kept[0].1),
    );
    check(&token, store, "b", start, &both.0).await;
    check(&first, store, "c", start, &both.1).await;
    // Whoever hangs up leaves nothing.
    let query = format!("store={store}&backup-type=host&backup-id=d&backup-time={start}");
    drop(first.backup(&query).await.unwrap());

    let admin = format!("admin/datastore/{store}");
    let removed = call(
        &first,
        Method::POST,
        &format!("{admin}/prune"),
        Some(json!({ "backup-type": "host", "backup-id": "a", "keep-last": 2 })),
    )
    .await;
    assert_eq!(removed.as_array().unwrap().len(), 3, "{removed}");
    kept.remove(0);
    let gc = format!("{admin}/gc");
    let running = tokio::join!(
        call(&first, Method::POST, &gc, None),
        back_up(&first, store, "b", start + 60, 22),
    );
    done(&first, &running.0).await;
    let upid = call(&first, Method::POST, &format!("{admin}/verify"), None).await;
    done(&token, &upid).await;

    let (password, fingerprint) = (daemon.password.clone(), daemon.fingerprint.clone());
    daemon.signal("-TERM");
    assert!(daemon.wait().success());
    let daemon = Daemon::start(dir.path());
    assert_eq!(
        (&daemon.password, &daemon.fingerprint),
        (&password, &fingerprint)
    );
    let rest = by_password(&daemon).await;
    for (time, expected) in &kept {
        check(&rest, store, "a", *time, expected).await;
    }
    check(&rest, store, "b", start + 60, &running.1).await;
    let snapshots = call(&rest, Method::GET, &format!("{admin}/snapshots"), None).await;
    let snapshots = snapshots.as_array().unwrap();
    assert_eq!(snapshots.len(), 5, "{snapshots:?}");
    let verified = snapshots
        .iter()
        .filter(|snapshot| snapshot["verification"]["state"] == "ok");
    assert_eq!(verified.count(), 5, "{snapshots:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn backups_come_back_from_a_bucket() {
    backups_come_back("dev").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn backups_come_back_from_a_directory() {
    backups_come_back("local").await;
}
