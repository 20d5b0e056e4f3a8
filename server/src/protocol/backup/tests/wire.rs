//! Requests as clients send them: parameters in bodies, many at once, as they were recorded.

use bytes::Bytes;
use hyper::{Method, StatusCode};
use protocol_client::backup::{digest, dynamic_csum};
use protocol_client::connection::Body;
use serde_json::{Value, json};

use super::super::Backup;
use super::{FIRST, MIB, World, noise, refused};

/// The third-party client has its parameters in JSON bodies, with a charset, or no type at all.
#[tokio::test]
async fn parameters_in_bodies() {
    let world = World::filesystem().await;
    let running = world.backup(FIRST).await;
    let connection = &running.client.connection;
    let post = async |target: &str, body: Value| {
        let kind = Some("application/json; charset=UTF-8");
        let body = Body::Typed(kind, body.to_string().into());
        connection
            .request(Method::POST, target, body)
            .await
            .unwrap()
    };
    let create = json!({ "archive-name": "a.pxar.didx" });
    // The query does not count then.
    let answer = post("dynamic_index?archive-name=b.didx", create).await;
    assert_eq!(
        answer.headers["content-type"],
        "application/json;charset=UTF-8"
    );
    assert_eq!(answer.data().unwrap(), json!(1));
    running
        .client
        .chunk("dynamic", 1, b"data")
        .await
        .unwrap()
        .data()
        .unwrap();
    running
        .client
        .append("dynamic", 1, &[(0, digest(b"data"))])
        .await
        .unwrap()
        .data()
        .unwrap();
    let csum = hex::encode(dynamic_csum(&[b"data"]));
    let close = json!({ "wid": 1, "chunk-count": 1, "size": 4, "csum": csum });
    let text = json!({ "wid": "1", "chunk-count": 1, "size": 4, "csum": csum });
    refused(&post("dynamic_close", text).await, "'wid'");
    post("dynamic_close", close).await.data().unwrap();
    running
        .client
        .manifest(&FIRST.parse().unwrap(), &[])
        .await
        .unwrap();
    let long = Body::Typed(Some("application/json"), vec![b' '; 512 * 1024 + 1].into());
    let answer = connection
        .request(Method::POST, "finish", long)
        .await
        .unwrap();
    refused(&answer, "longer than");
    let finish = Body::Typed(None, Bytes::new());
    let answer = connection
        .request(Method::POST, "finish", finish)
        .await
        .unwrap();
    answer.data().unwrap();
    for (method, target) in [
        (Method::GET, "nothing"),
        (Method::DELETE, "blob"),
        (Method::GET, "a/b"),
    ] {
        let answer = connection
            .request(method, target, Body::None)
            .await
            .unwrap();
        assert_eq!(answer.status, StatusCode::NOT_FOUND);
        assert_eq!(answer.text(), format!("Path '/{target}' not found."));
    }
    let root = connection.get("").await.unwrap().data().unwrap();
    assert!(
        root.as_array()
            .unwrap()
            .contains(&json!({ "subdir": "blob" }))
    );
}

/// More than fits into the windows and the intake, all at once, to a bucket.
#[tokio::test(flavor = "multi_thread")]
async fn many_uploads_at_once() {
    let world = World::s3().await;
    let running = world.backup(FIRST).await;
    let client = &running.client;
    let wid = client.index("dynamic", "a.didx", "").await.unwrap();
    let chunks: Vec<_> = (0..100).map(|seed| noise(seed, MIB + 4321)).collect();
    let uploads = chunks
        .iter()
        .map(|chunk| client.chunk("dynamic", wid, chunk));
    for answer in futures_util::future::join_all(uploads).await {
        answer.unwrap().data().unwrap();
    }
    // Lists that are sent before the one before is answered stay in order.
    let length = chunks[0].len() as u64;
    let lists: Vec<Vec<_>> = chunks
        .iter()
        .enumerate()
        .map(|(number, chunk)| vec![(number as u64 * length, digest(chunk))])
        .collect();
    let appends = lists.iter().map(|list| client.append("dynamic", wid, list));
    for answer in futures_util::future::join_all(appends).await {
        answer.unwrap().data().unwrap();
    }
    let chunks: Vec<_> = chunks.iter().map(Vec::as_slice).collect();
    let csum = dynamic_csum(&chunks);
    let closed = client
        .close("dynamic", wid, 100, 100 * length, csum)
        .await
        .unwrap();
    closed.data().unwrap();
}

/// A bucket that takes nothing for a while holds up uploads and nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_bucket_slows_uploads_only() {
    use s3_mock::{Action, Fault, Gate, Op};

    let world = World::s3().await;
    let running = world.backup(FIRST).await;
    let client = &running.client;
    let wid = client.index("dynamic", "a.didx", "").await.unwrap();
    let gate = Gate::new();
    let server = world.server.as_ref().unwrap();
    let fault = Fault::on(Op::PutObject, Action::Pause(gate.clone()));
    server.script(fault.keys("*/.chunks/*").always());
    let chunks: Vec<_> = (0..100).map(|seed| noise(seed, MIB + 4321)).collect();
    let uploads = chunks
        .iter()
        .map(|chunk| client.chunk("dynamic", wid, chunk));
    let uploads = futures_util::future::join_all(uploads);
    let meanwhile = async {
        // As many as the client of the bucket sends at once.
        gate.arrived_count(16).await;
        let time = client.previous_backup_time().await.unwrap();
        assert_eq!(time, Value::Null);
        let other = client.index("dynamic", "b.didx", "").await.unwrap();
        assert_eq!((other, gate.arrivals()), (2, 16));
        gate.release();
    };
    let (answers, ()) = tokio::join!(uploads, meanwhile);
    for answer in answers {
        answer.unwrap().data().unwrap();
    }
}

/// Every request of the recorded sessions is one that the table knows, with parameters that it
/// takes.
#[test]
fn recorded_requests_are_understood() {
    use crate::protocol::endpoint::Session as _;
    use crate::rest::params::{Params, Source};

    let Some(folder) = crate::testing::fixtures("recordings") else {
        return;
    };
    let files = ["client", "s3-datastore"].map(|name| folder.join(name));
    let files = files
        .iter()
        .flat_map(|path| std::fs::read_dir(path).unwrap());
    let mut seen = std::collections::BTreeSet::new();
    for file in files {
        let path = file.unwrap().path();
        let text = String::from_utf8_lossy(&std::fs::read(&path).unwrap()).into_owned();
        for line in text.lines().filter(|line| line.starts_with("H2 ")) {
            let Some((_, request)) = line.split_once(" > ") else {
                continue;
            };
            let (method, url) = request.split_once(' ').unwrap();
            let target = url.split_once("://").unwrap().1.split_once('/').unwrap().1;
            let (word, query) = target.split_once('?').unwrap_or((target, ""));
            let method: Method = method.parse().unwrap();
            let ours = Backup::endpoints()
                .iter()
                .map(|e| (&e.method, e.path, e.params))
                .chain(
                    crate::protocol::reader::Reader::endpoints()
                        .iter()
                        .map(|e| (&e.method, e.path, e.params)),
                )
                .find(|(known, path, _)| **known == method && *path == word);
            let (_, _, params) = ours.unwrap_or_else(|| panic!("{path:?}: {line}"));
            seen.insert(format!("{method} {word}"));
            if method != Method::PUT {
                let given = Source::from_texts(query, "").unwrap();
                Params::check(params, &[], given).unwrap();
            }
        }
    }
    assert!(seen.len() >= 13, "{seen:?}");
}
