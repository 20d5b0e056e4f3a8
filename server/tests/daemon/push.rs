//! Pushes from one daemon to another.

use std::time::Duration;

use datastore::format::CryptConfig;
use hyper::Method;
use protocol_client::rest::Rest;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::sleep;

use crate::backup::{address, back_up, by_password, by_token, call, check, end_of, log_of};
use crate::kinds::{Machine, START, full, incremental, key, restore};
use crate::support::{Daemon, scratch};

const NEW: &str = "Summary: sync job pushed";
const NOTHING_NEW: &str = "Summary: sync job found no new data to push";
pub const FAILED: &str = "Sync failed with some errors!";

/// A daemon here, and another one that is a remote of it.
pub struct Pair {
    source: Daemon,
    target: Daemon,
    pub here: Rest,
    pub there: Rest,
    pub source_dir: TempDir,
    target_dir: TempDir,
}

impl Pair {
    pub async fn start() -> Self {
        let (source_dir, target_dir) = (scratch().unwrap(), scratch().unwrap());
        let (source, target) = (
            Daemon::start(source_dir.path()),
            Daemon::start(target_dir.path()),
        );
        let pair = Self {
            here: by_password(&source).await,
            there: by_password(&target).await,
            source,
            target,
            source_dir,
            target_dir,
        };
        let mut remote = pair.remote();
        remote["name"] = json!("there");
        call(&pair.here, Method::POST, "config/remote", Some(remote)).await;
        pair
    }

    fn remote(&self) -> Value {
        json!({
            "host": "127.0.0.1",
            "port": self.target.port,
            "auth-id": "admin@pbs",
            "password": self.target.password,
            "fingerprint": self.target.fingerprint,
        })
    }

    /// Starts the target again, at another port.
    async fn restart_target(&mut self) {
        self.target = Daemon::start(self.target_dir.path());
        self.there = by_password(&self.target).await;
        let remote = Some(self.remote());
        call(&self.here, Method::PUT, "config/remote/there", remote).await;
    }

    async fn begin(&self, from: &str, to: &str, more: &Value) -> Value {
        let mut body = json!({ "store": from, "remote": "there", "remote-store": to });
        let all = body.as_object_mut().unwrap();
        all.extend(more.as_object().unwrap().clone());
        call(&self.here, Method::POST, "push", Some(body)).await
    }

    /// How a push ended, and what its log says.
    pub async fn push(&self, from: &str, to: &str, more: &Value) -> (String, String) {
        let upid = self.begin(from, to, more).await;
        (
            end_of(&self.here, &upid).await,
            log_of(&self.here, &upid).await,
        )
    }

    /// The log of a push that ended well.
    pub async fn pushed(&self, from: &str, to: &str, more: &Value) -> String {
        let (end, log) = self.push(from, to, more).await;
        assert_eq!(end, "OK", "{log}");
        log
    }
}

/// The numbers of chunks that logs tell of.
fn chunks(log: &str) -> u64 {
    let line = log.lines().find(|line| line.contains(NEW));
    let line = line.unwrap_or_else(|| panic!("nothing was pushed: {log}"));
    let words: Vec<&str> = line.split(' ').collect();
    let place = words.iter().position(|word| *word == "chunks").unwrap();
    words[place - 1].parse().unwrap()
}

pub async fn snapshots(rest: &Rest, store: &str, ns: &str) -> Vec<String> {
    let path = format!("admin/datastore/{store}/snapshots?ns={ns}");
    let list = call(rest, Method::GET, &path, None).await;
    let mut found: Vec<String> = list
        .as_array()
        .unwrap()
        .iter()
        .map(|item| {
            let text = |name: &str| item[name].as_str().unwrap().to_owned();
            let (ty, id) = (text("backup-type"), text("backup-id"));
            format!("{ty}/{id}/{}", item["backup-time"])
        })
        .collect();
    found.sort();
    found
}

async fn namespaces(rest: &Rest, store: &str) -> Vec<String> {
    let path = format!("admin/datastore/{store}/namespace");
    let list = call(rest, Method::GET, &path, None).await;
    let names = list.as_array().unwrap().iter();
    let mut names: Vec<_> = names
        .map(|item| item["ns"].as_str().unwrap().to_owned())
        .collect();
    names.sort();
    names
}

async fn make_namespace(rest: &Rest, store: &str, parent: &str, name: &str) {
    let path = format!("admin/datastore/{store}/namespace");
    let body = json!({ "name": name, "parent": parent });
    call(rest, Method::POST, &path, Some(body)).await;
}

/// Two snapshots, of which the second shares most chunks with the first.
async fn all_kinds_arrive(pair: &Pair, from: &str, to: &str, key: Option<&CryptConfig>) {
    let (before, machine) = (Machine::new(), Machine::new().changed());
    full(&pair.here, from, key, &before).await;
    let first = chunks(&pair.pushed(from, to, &json!({})).await);
    assert!(first > 10, "{first}");
    restore(&pair.there, to, START, key, &before).await;
    incremental(&pair.here, from, key, (&before, &machine)).await;
    let log = pair.pushed(from, to, &json!({})).await;
    // A block, a chunk of the payload and one of the metadata: the others are in the first one.
    assert_eq!(chunks(&log), 3, "{log}");
    restore(&pair.there, to, START + 60, key, &machine).await;
    restore(&pair.there, to, START, key, &before).await;
    // Nothing is new, and nothing is touched.
    let log = pair.pushed(from, to, &json!({})).await;
    assert!(log.contains(NOTHING_NEW), "{log}");
    let path = format!("admin/datastore/{to}/verify");
    let all = Some(json!({ "ignore-verified": false }));
    let verified = call(&pair.there, Method::POST, &path, all).await;
    assert_eq!(end_of(&pair.there, &verified).await, "OK");
}

#[tokio::test(flavor = "multi_thread")]
async fn snapshots_arrive_byte_by_byte_and_once() {
    let pair = Pair::start().await;
    all_kinds_arrive(&pair, "dev", "local", None).await;
    all_kinds_arrive(&pair, "local", "dev", key().as_ref()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_push() {
    let pair = Pair::start().await;
    let data = back_up(&pair.here, "local", "one", START, 1).await;
    let job = json!({
        "id": "nightly",
        "store": "local",
        "remote": "there",
        "remote-store": "dev",
        "sync-direction": "push",
    });
    call(&pair.here, Method::POST, "config/sync", Some(job)).await;
    let path = "admin/sync/nightly/run";
    let upid = call(&pair.here, Method::POST, path, None).await;
    assert_eq!(end_of(&pair.here, &upid).await, "OK");
    let status = format!("nodes/localhost/tasks/{}/status", upid.as_str().unwrap());
    let status = call(&pair.here, Method::GET, &status, None).await;
    assert_eq!(status["type"], "syncjob");
    assert_eq!(status["id"], "there:dev:local::nightly");
    check(&pair.there, "dev", "one", START, &data).await;
    let listed = call(
        &pair.here,
        Method::GET,
        "admin/sync?sync-direction=push",
        None,
    )
    .await;
    assert_eq!(listed[0]["last-run-state"], "OK", "{listed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn namespaces_owners_and_what_has_vanished() {
    let pair = Pair::start().await;
    let (here, there) = (&pair.here, &pair.there);
    make_namespace(here, "local", "", "a").await;
    make_namespace(here, "local", "a", "b").await;
    make_namespace(here, "local", "", "gone").await;
    let first = back_up(here, "local", "one", START, 1).await;
    back_up(here, "local", "one", START + 60, 2).await;
    back_up(here, "local", "two", START, 3).await;
    back_up(here, "local", "foreign", START, 3).await;
    let nested = back_up(here, "local&ns=a/b", "deep", START, 4).await;
    back_up(here, "local&ns=gone", "old", START, 5).await;
    // Somebody else has a group of that name.
    make_namespace(there, "local", "", "t").await;
    let token = by_token(&pair.target);
    back_up(&token, "local&ns=t", "foreign", START - 60, 9).await;

    let more = json!({ "remote-ns": "t", "worker-threads": 4 });
    let (end, log) = pair.push("local", "local", &more).await;
    assert_eq!(end, "WARNINGS: 1", "{log}");
    assert!(log.contains("group host/foreign is skipped"), "{log}");
    assert_eq!(
        namespaces(there, "local").await,
        ["", "t", "t/a", "t/a/b", "t/gone"]
    );
    check(there, "local&ns=t", "one", START, &first).await;
    check(there, "local&ns=t/a/b", "deep", START, &nested).await;
    let foreign = format!("host/foreign/{}", START - 60);
    assert_eq!(
        snapshots(there, "local", "t").await,
        [
            foreign.clone(),
            format!("host/one/{START}"),
            format!("host/one/{}", START + 60),
            format!("host/two/{START}"),
        ]
    );

    // A third snapshot there that never was here: one of them is protected.
    let protect = format!(
        "admin/datastore/local/protected?ns=t&backup-type=host&backup-id=one&backup-time={START}\
         &protected=true"
    );
    call(there, Method::PUT, &protect, None).await;
    for (path, method) in [
        (
            format!("snapshots?backup-type=host&backup-id=one&backup-time={START}"),
            Method::DELETE,
        ),
        (
            "groups?backup-type=host&backup-id=two".to_owned(),
            Method::DELETE,
        ),
        (
            "namespace?ns=gone&delete-groups=true".to_owned(),
            Method::DELETE,
        ),
    ] {
        let path = format!("admin/datastore/local/{path}");
        call(here, method, &path, None).await;
    }
    let third = back_up(here, "local", "one", START + 120, 6).await;
    // Without being told so a push removes nothing.
    pair.push("local", "local", &more).await;
    assert_eq!(snapshots(there, "local", "t/gone").await.len(), 1);
    let more = json!({ "remote-ns": "t", "remove-vanished": true });
    let (end, log) = pair.push("local", "local", &more).await;
    assert_eq!(end, "WARNINGS: 1", "{log}");
    let removed = "Summary: removed vanished: snapshots: 2, groups: 2, namespaces: 1";
    assert!(log.contains(removed), "{log}");
    assert_eq!(namespaces(there, "local").await, ["", "t", "t/a", "t/a/b"]);
    assert_eq!(
        snapshots(there, "local", "t").await,
        [
            foreign,
            format!("host/one/{START}"),
            format!("host/one/{}", START + 60),
            format!("host/one/{}", START + 120),
        ]
    );
    check(there, "local&ns=t", "one", START + 120, &third).await;

    // Only the last one, only of one group, only of the root.
    let more = json!({ "transfer-last": 1, "group-filter": ["group:host/one"], "max-depth": 0 });
    pair.pushed("local", "dev", &more).await;
    assert_eq!(
        snapshots(there, "dev", "").await,
        [format!("host/one/{}", START + 120)]
    );
    assert_eq!(namespaces(there, "dev").await, [""]);
}

/// Waits until a push has sent something of a snapshot that it cannot finish soon.
async fn sending(pair: &Pair, store: &str) {
    for _ in 0..600 {
        if !snapshots(&pair.there, store, "").await.is_empty() {
            return;
        }
        sleep(Duration::from_millis(100)).await;
    }
    panic!("nothing arrives");
}

/// A push whose target ends by this signal in the middle of it, and is there again.
async fn interrupted(signal: &str) -> (Pair, Vec<Vec<u8>>) {
    let mut pair = Pair::start().await;
    let data = back_up(&pair.here, "local", "one", START, 1).await;
    // It takes a minute at this rate.
    let slow = json!({ "rate-out": "200 KB" });
    let upid = pair.begin("local", "local", &slow).await;
    sending(&pair, "local").await;
    pair.target.signal(signal);
    let end = end_of(&pair.here, &upid).await;
    let log = log_of(&pair.here, &upid).await;
    assert_eq!(end, FAILED, "{log}");
    assert!(log.contains("group host/one: failed to push"), "{log}");
    pair.target.wait();
    pair.restart_target().await;
    (pair, data)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_ends_fails_the_push_and_the_next_one_converges() {
    let (pair, data) = interrupted("-TERM").await;
    let log = pair.pushed("local", "local", &json!({})).await;
    assert!(log.contains(NEW), "{log}");
    check(&pair.there, "local", "one", START, &data).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_dead_target_has_left_is_in_the_way_until_there_is_a_newer_one() {
    let (pair, _) = interrupted("-KILL").await;
    let (end, log) = pair.push("local", "local", &json!({})).await;
    assert_eq!(end, "WARNINGS: 1", "{log}");
    assert!(log.contains("unfinished at the target"), "{log}");
    let data = back_up(&pair.here, "local", "one", START + 60, 2).await;
    let (end, log) = pair.push("local", "local", &json!({})).await;
    assert!(end.starts_with("WARNINGS"), "{log}");
    check(&pair.there, "local", "one", START + 60, &data).await;
    assert!(
        pair.pushed("local", "local", &json!({}))
            .await
            .contains(NOTHING_NEW)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_aborted_push_leaves_nothing_at_the_target() {
    let pair = Pair::start().await;
    let data = back_up(&pair.here, "dev", "one", START, 1).await;
    let upid = pair
        .begin("dev", "local", &json!({ "rate-out": "200 KB" }))
        .await;
    sending(&pair, "local").await;
    // What is read cannot go.
    let query = format!("backup-type=host&backup-id=one&backup-time={START}");
    let path = format!("/api2/json/admin/datastore/dev/snapshots?{query}");
    let refused = pair
        .here
        .request(Method::DELETE, &path, None)
        .await
        .unwrap();
    assert_eq!(refused.status, 400, "{}", refused.text());
    let task = format!("nodes/localhost/tasks/{}", upid.as_str().unwrap());
    call(&pair.here, Method::DELETE, &task, None).await;
    let end = end_of(&pair.here, &upid).await;
    assert!(end.contains("abort"), "{end}");
    for _ in 0..600 {
        if snapshots(&pair.there, "local", "").await.is_empty() {
            break;
        }
        sleep(Duration::from_millis(100)).await;
    }
    assert!(snapshots(&pair.there, "local", "").await.is_empty());
    pair.pushed("dev", "local", &json!({})).await;
    check(&pair.there, "local", "one", START, &data).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rights_are_asked_at_both_ends() {
    let pair = Pair::start().await;
    back_up(&pair.here, "local", "one", START, 1).await;
    let user = json!({ "userid": "pusher@pbs", "password": "12345678" });
    call(&pair.here, Method::POST, "access/users", Some(user)).await;
    let grant = async |path: &str, role: &str| {
        let body = json!({ "path": path, "role": role, "auth-id": "pusher@pbs" });
        call(&pair.here, Method::PUT, "access/acl", Some(body)).await;
    };
    let pusher = Rest::new(address(&pair.source));
    let pusher = pusher.login("pusher@pbs", "12345678").await.unwrap();
    let body = |more: Value| {
        let mut body = json!({ "store": "local", "remote": "there", "remote-store": "local" });
        let all = body.as_object_mut().unwrap();
        all.extend(more.as_object().unwrap().clone());
        Some(body)
    };
    let path = "/api2/json/push";
    let refused = async |more: Value, missing: &str| {
        let answer = pusher
            .request(Method::POST, path, body(more))
            .await
            .unwrap();
        assert_eq!(answer.status, 400);
        assert!(answer.text().contains(missing), "{}", answer.text());
    };
    refused(json!({}), "Remote.DatastoreBackup").await;
    grant("/remote/there/local", "RemoteSyncPushOperator").await;
    refused(json!({}), "Datastore.Read|Datastore.Backup").await;
    grant("/datastore/local", "DatastoreBackup").await;
    refused(json!({ "remove-vanished": true }), "Remote.DatastorePrune").await;
    // With their own groups only, of which there are none.
    let upid = call(&pusher, Method::POST, "push", body(json!({}))).await;
    assert_eq!(end_of(&pair.here, &upid).await, "OK");
    assert!(snapshots(&pair.there, "local", "").await.is_empty());
    // With those of others, but without the right to make a namespace there.
    grant("/datastore/local", "DatastoreReader").await;
    let upid = call(
        &pusher,
        Method::POST,
        "push",
        body(json!({ "remote-ns": "new" })),
    )
    .await;
    assert_eq!(end_of(&pair.here, &upid).await, FAILED);
    let log = log_of(&pair.here, &upid).await;
    assert!(log.contains("Remote.DatastoreModify"), "{log}");
    let upid = call(&pusher, Method::POST, "push", body(json!({}))).await;
    assert_eq!(end_of(&pair.here, &upid).await, "OK");
    assert_eq!(snapshots(&pair.there, "local", "").await.len(), 1);
}
