//! Two daemons, of which one pulls from the other.

use api_types::names::BackupDir;
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::COOKIE;
use hyper::{Method, Request};
use protocol_client::backup::encode;
use protocol_client::rest::{Credentials, Rest};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::backup::{by_password, call, end_of, log_of, timestamp};
use crate::support::{Daemon, noise, scratch};

pub const START: i64 = 1_790_000_000;

/// The remote `src` of the target is the source.
pub struct Two {
    pub source: Daemon,
    pub from: Rest,
    pub target: Daemon,
    pub to: Rest,
    source_dir: TempDir,
    pub target_dir: TempDir,
}

/// How a task ended, and what it said.
#[derive(Debug)]
pub struct Ended {
    pub status: String,
    pub log: String,
}

impl Ended {
    /// It went well, and said all of this.
    pub fn well(&self, lines: &[&str]) {
        assert_eq!(self.status, "OK", "{}", self.log);
        self.said(lines);
    }

    /// It failed in the end, and said all of this.
    pub fn badly(&self, lines: &[&str]) {
        assert_eq!(self.status, "sync failed with some errors.", "{}", self.log);
        self.said(lines);
    }

    pub fn said(&self, lines: &[&str]) {
        for line in lines {
            assert!(self.log.contains(line), "no '{line}' in:\n{}", self.log);
        }
    }
}

impl Two {
    pub async fn new() -> Self {
        let (source_dir, target_dir) = (scratch().unwrap(), scratch().unwrap());
        let source = Daemon::start(source_dir.path());
        let target = Daemon::start(target_dir.path());
        let two = Self {
            from: by_password(&source).await,
            to: by_password(&target).await,
            source,
            target,
            source_dir,
            target_dir,
        };
        let remote = json!({
            "name": "src", "host": "127.0.0.1", "port": two.source.port,
            "auth-id": "admin@pbs", "password": two.source.password,
            "fingerprint": two.source.fingerprint,
        });
        call(&two.to, Method::POST, "config/remote", Some(remote)).await;
        two
    }

    /// The source is there again, on another port.
    pub async fn restart_source(&mut self) {
        self.source = Daemon::start(self.source_dir.path());
        self.from = by_password(&self.source).await;
        let port = json!({ "port": self.source.port });
        call(&self.to, Method::PUT, "config/remote/src", Some(port)).await;
    }

    /// The target is there again.
    pub async fn restart_target(&mut self) {
        self.target = Daemon::start(self.target_dir.path());
        self.to = by_password(&self.target).await;
    }

    /// Begins to pull from the source's `local` into a datastore of the target.
    pub async fn begin(&self, store: &str, more: Value) -> Value {
        let mut body = json!({ "store": store, "remote": "src", "remote-store": "local" });
        extend(&mut body, more);
        call(&self.to, Method::POST, "pull", Some(body)).await
    }

    /// The same to its end.
    pub async fn pull(&self, store: &str, more: Value) -> Ended {
        let upid = self.begin(store, more).await;
        ended(&self.to, &upid).await
    }
}

pub fn extend(body: &mut Value, more: Value) {
    let (Value::Object(body), Value::Object(more)) = (body, more) else {
        panic!("no objects");
    };
    body.extend(more);
}

pub async fn ended(rest: &Rest, upid: &Value) -> Ended {
    Ended {
        status: end_of(rest, upid).await,
        log: log_of(rest, upid).await,
    }
}

/// The parameters that name a snapshot.
pub fn query(store: &str, ns: &str, group: &str, time: i64) -> String {
    let (ty, id) = group.split_once('/').unwrap();
    let ns = if ns.is_empty() {
        String::new()
    } else {
        format!("&ns={ns}")
    };
    format!("store={store}&backup-type={ty}&backup-id={id}&backup-time={time}{ns}")
}

/// A snapshot of little more than a number.
pub async fn small(rest: &Rest, ns: &str, group: &str, number: i64) {
    let time = START + number * 60;
    let session = rest.backup(&query("local", ns, group, time)).await.unwrap();
    let dir: BackupDir = format!("{group}/{}", timestamp(time)).parse().unwrap();
    let image = noise(number.unsigned_abs() + 900, 70_000);
    let archives = [
        session.image("disk.img.fidx", &image, true).await.unwrap(),
        session.blob("number.conf.blob", &[7; 20]).await.unwrap(),
    ];
    session.manifest(&dir, &archives).await.unwrap();
    session.finish().await.unwrap().data().unwrap();
}

/// The snapshots of a namespace as `type/id/number`, those that are unfinished with a question
/// mark.
pub async fn numbers(rest: &Rest, store: &str, ns: &str) -> Vec<String> {
    let path = format!("admin/datastore/{store}/snapshots?ns={ns}");
    let listed = call(rest, Method::GET, &path, None).await;
    let name = |item: &Value| {
        let number = (item["backup-time"].as_i64().unwrap() - START) / 60;
        let (ty, id) = (&item["backup-type"], &item["backup-id"]);
        let mark = if item["size"].is_u64() { "" } else { "?" };
        format!(
            "{}/{}/{number}{mark}",
            ty.as_str().unwrap(),
            id.as_str().unwrap()
        )
    };
    let mut all: Vec<String> = listed.as_array().unwrap().iter().map(name).collect();
    all.sort();
    all
}

pub async fn namespaces(rest: &Rest, store: &str) -> Vec<String> {
    let path = format!("admin/datastore/{store}/namespace");
    let listed = call(rest, Method::GET, &path, None).await;
    let name = |item: &Value| item["ns"].as_str().unwrap().to_owned();
    let mut all: Vec<String> = listed.as_array().unwrap().iter().map(name).collect();
    all.sort();
    all
}

/// What names a snapshot, with something more.
pub fn of_snapshot(group: &str, time: i64, more: Value) -> Value {
    let (ty, id) = group.split_once('/').unwrap();
    let mut body = json!({ "backup-type": ty, "backup-id": id, "backup-time": time });
    extend(&mut body, more);
    body
}

/// A value in a query.
pub fn in_query(body: &Value) -> String {
    let Value::Object(all) = body else {
        panic!("no object");
    };
    let pair = |(name, value): (&String, &Value)| match value {
        Value::String(text) => format!("{name}={text}"),
        other => format!("{name}={other}"),
    };
    all.iter().map(pair).collect::<Vec<_>>().join("&")
}

/// The log of a client, some time after its backup.
pub async fn upload_log(rest: &Rest, group: &str, time: i64, text: &[u8]) {
    let Credentials::Ticket { ticket, csrf } = &rest.credentials else {
        panic!("no ticket");
    };
    let query = query("local", "", group, time);
    let query = query.strip_prefix("store=local&").unwrap();
    let body: Bytes = encode(text).unwrap();
    let request = Request::builder()
        .method(Method::POST)
        .uri(format!(
            "/api2/json/admin/datastore/local/upload-backup-log?{query}"
        ))
        .header("Host", "localhost")
        .header(COOKIE, format!("PBSAuthCookie={ticket}"))
        .header("CSRFPreventionToken", csrf)
        .header("Content-Type", "application/octet-stream")
        .body(Full::new(body))
        .unwrap();
    let (answer, _) = rest.send(request).await.unwrap();
    answer.data().unwrap();
}

/// Verifies a datastore anew; how the task ended.
pub async fn verify(rest: &Rest, store: &str) -> String {
    let path = format!("admin/datastore/{store}/verify");
    let body = json!({ "ignore-verified": false });
    let upid = call(rest, Method::POST, &path, Some(body)).await;
    end_of(rest, &upid).await
}

/// Collects garbage, of which there must be none that anybody misses.
pub async fn collect(rest: &Rest, store: &str) {
    let path = format!("admin/datastore/{store}/gc");
    let upid = call(rest, Method::POST, &path, None).await;
    crate::backup::done(rest, &upid).await;
}
