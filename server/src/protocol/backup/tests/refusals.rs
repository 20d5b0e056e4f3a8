//! Every endpoint with every parameter as it should not be, and at every wrong moment: refused, and
//! nothing comes of it.

use bytes::Bytes;
use hyper::{Method, StatusCode};
use protocol_client::Answer;
use protocol_client::backup::{digest, encode};
use protocol_client::connection::Body;
use serde_json::{Map, Value, json};

use super::super::super::endpoint::{BodyUse, Endpoint, Session as _};
use super::super::Backup;
use super::{FIRST, World, finish, refused};
use crate::rest::endpoint::Param;
use crate::rest::schema::Schema;

const TOO_LONG: &str = "a-name-that-is-longer-than-any-file-system-can-store-a-name-that-is-longer-\
    than-any-file-system-can-store-a-name-that-is-longer-than-any-file-system-can-store-a-name-that-\
    is-longer-than-any-file-system-can-store-a-name-that-is-longer-than-any-file-syst.blob";

/// A value that the schema takes.
fn good(param: &Param) -> Value {
    match (param.name, param.schema) {
        ("file-name", _) => json!("a.blob"),
        ("archive-name", _) => json!("a.didx"),
        (_, Schema::Integer { min, .. }) => json!(min),
        (_, Schema::Array(element)) => match element {
            Schema::Integer { min, .. } => json!([min]),
            _ => json!([digest(b"x")]),
        },
        _ => json!(digest(b"x")),
    }
}

/// Texts that it does not take.
fn bad_texts(schema: &Schema) -> Vec<String> {
    let texts: &[&str] = match schema {
        Schema::Integer { min, max } => {
            let mut outside = vec![(i128::from(*min) - 1).to_string()];
            outside.push((i128::from(*max) + 1).to_string());
            let others = [
                "",
                "x",
                "1.5",
                "0x1",
                "+",
                "1e3",
                "%31%00",
                "99999999999999999999999",
            ];
            outside.extend(others.map(str::to_owned));
            return outside;
        }
        Schema::Array(element) => return bad_texts(element),
        Schema::Text(text) if text.form == "digest" => &[
            "",
            "ab",
            "ABCDEF0123456789abcdef0123456789abcdef0123456789abcdef0123456789",
            "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdeg",
            "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0",
        ],
        _ => &[
            "",
            ".",
            "..",
            "../a.blob",
            "%2e%2e%2fa.blob",
            ".a.blob",
            "-a.blob",
            "a/b.blob",
            "a%2fb.blob",
            "a%00.blob",
            "a%0a.blob",
            "%c3%a4.blob",
            "a+b.blob",
            "a:b.blob",
            TOO_LONG,
        ],
    };
    texts.iter().map(|text| (*text).to_owned()).collect()
}

/// JSON values that it does not take.
fn bad_values(schema: &Schema) -> Vec<Value> {
    let (nothing, object) = (Value::Null, json!({}));
    match schema {
        Schema::Integer { min, .. } => {
            vec![
                json!(min.to_string()),
                json!(true),
                json!(1.5),
                json!([min]),
                json!(u64::MAX),
                nothing,
                object,
            ]
        }
        Schema::Array(element) => {
            let elements = bad_values(element).into_iter().map(|value| json!([value]));
            elements
                .chain([good_element(element), nothing, object])
                .collect()
        }
        _ => vec![
            json!(5),
            json!(true),
            json!(["a.didx"]),
            json!("../a.didx"),
            nothing,
            object,
        ],
    }
}

/// Where a list is wanted.
fn good_element(schema: &Schema) -> Value {
    match schema {
        Schema::Integer { min, .. } => json!(min),
        _ => json!(digest(b"x")),
    }
}

fn query(params: &[(String, Value)]) -> String {
    let pairs = params.iter().map(|(name, value)| {
        let value = value.get(0).unwrap_or(value);
        let text = value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned);
        format!("{name}={text}")
    });
    pairs.collect::<Vec<_>>().join("&")
}

/// A request to an endpoint that is refused for this parameter.
async fn ask(
    client: &protocol_client::Backup,
    endpoint: &Endpoint<Backup>,
    query: &str,
    body: Option<Value>,
) -> Answer {
    let target = format!("{}?{query}", endpoint.path);
    let body = match (body, endpoint.body) {
        (Some(value), _) => Body::Json(value),
        (None, BodyUse::Stream) if endpoint.method == Method::POST => {
            Body::Raw(Bytes::from_static(b"nothing"))
        }
        (None, _) => Body::None,
    };
    let request = client
        .connection
        .request(endpoint.method.clone(), &target, body);
    request.await.unwrap()
}

#[tokio::test]
async fn every_parameter_of_every_endpoint_is_checked() {
    let world = World::filesystem().await;
    let running = world.backup(FIRST).await;
    let client = &running.client;
    let mut number = 0;
    let mut check = |answer: Answer, name: &str, what: &str| {
        number += 1;
        let text = answer.text();
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{what}: {text}");
        let told = format!("'{name}': ");
        assert!(
            text.starts_with("parameter verification failed") && text.contains(&told),
            "{what}: {text}"
        );
    };
    for endpoint in Backup::endpoints() {
        let all: Vec<_> = endpoint
            .params
            .iter()
            .map(|param| (param.name.to_owned(), good(param)))
            .collect();
        let place = format!("{} {}", endpoint.method, endpoint.path);
        let unknown = format!("{}&nothing=1", query(&all));
        check(
            ask(client, endpoint, &unknown, None).await,
            "nothing",
            &place,
        );
        for (at, param) in endpoint.params.iter().enumerate() {
            let (name, what) = (param.name, format!("{place} {}", param.name));
            let mut others = all.clone();
            let own = others.remove(at);
            if !param.optional {
                check(
                    ask(client, endpoint, &query(&others), None).await,
                    name,
                    &what,
                );
            }
            if !param.schema.is_array() {
                let twice = [all.as_slice(), &[own]].concat();
                check(
                    ask(client, endpoint, &query(&twice), None).await,
                    name,
                    &what,
                );
            }
            for text in bad_texts(&param.schema) {
                let bad = format!("{}&{name}={text}", query(&others));
                check(
                    ask(client, endpoint, &bad, None).await,
                    name,
                    &format!("{what}={text}"),
                );
            }
            if endpoint.body == BodyUse::Stream {
                continue;
            }
            for value in bad_values(&param.schema) {
                let what = format!("{what}: {value}");
                let mut object: Map<String, Value> = others.iter().cloned().collect();
                object.insert(name.to_owned(), value);
                check(
                    ask(client, endpoint, &query(&all), Some(object.into())).await,
                    name,
                    &what,
                );
            }
        }
    }
    assert!(number > 300, "{number}");
    // None of it has done anything: this is still the first index of an empty session.
    let archive = client.stream("a.didx", &[b"content"]).await.unwrap();
    finish(running, FIRST, &[archive]).await;
    let snapshot = world.store.base().join(FIRST);
    let mut names: Vec<_> = std::fs::read_dir(snapshot)
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    names.sort();
    assert_eq!(names, ["a.didx", "index.json.blob"]);
}

/// Requests that would be fine at another time; `wid` is that of the writer that they mean.
fn steps(wid: u64) -> Vec<(Method, String, Body)> {
    let raw = encode(b"content").unwrap();
    let (digest, length) = (digest(b"content"), raw.len());
    let sums = format!("wid={wid}&chunk-count=1&size=7&csum={digest}");
    let chunk = format!("wid={wid}&digest={digest}&size=7&encoded-size={length}");
    let list = json!({ "wid": wid, "digest-list": [digest], "offset-list": [0] });
    let (post, put) = (Method::POST, Method::PUT);
    vec![
        (
            post.clone(),
            format!("dynamic_chunk?{chunk}"),
            Body::Raw(raw.clone()),
        ),
        (
            post.clone(),
            format!("fixed_chunk?{chunk}"),
            Body::Raw(raw.clone()),
        ),
        (
            put.clone(),
            "dynamic_index".into(),
            Body::Json(list.clone()),
        ),
        (put, "fixed_index".into(), Body::Json(list)),
        (post.clone(), format!("dynamic_close?{sums}"), Body::None),
        (post.clone(), format!("fixed_close?{sums}"), Body::None),
        (
            post.clone(),
            "dynamic_index?archive-name=a.didx".into(),
            Body::None,
        ),
        (
            post.clone(),
            "fixed_index?archive-name=a.fidx&size=7".into(),
            Body::None,
        ),
        (
            post.clone(),
            format!("blob?file-name=a.blob&encoded-size={length}"),
            Body::Raw(raw.clone()),
        ),
        (
            post.clone(),
            format!("blob?file-name=index.json.blob&encoded-size={length}"),
            Body::Raw(raw),
        ),
        (
            Method::GET,
            "previous?archive-name=index.json.blob".into(),
            Body::None,
        ),
        (post, "finish".into(), Body::None),
    ]
}

async fn each_refused(
    client: &protocol_client::Backup,
    steps: Vec<(Method, String, Body)>,
    text: &str,
) {
    for (method, target, body) in steps {
        let answer = client
            .connection
            .request(method, &target, body)
            .await
            .unwrap();
        let shown = answer.text();
        assert!(
            answer.status == StatusCode::BAD_REQUEST && shown.contains(text),
            "{target}: {shown}"
        );
    }
}

#[tokio::test]
async fn steps_out_of_order_are_refused() {
    for world in [World::filesystem().await, World::s3().await] {
        let running = world.backup(FIRST).await;
        let client = &running.client;
        let writing = |wid| steps(wid).into_iter().take(6).collect::<Vec<_>>();
        let of_kind = |wid, kind: &str| {
            let mut all = writing(wid);
            all.retain(|(_, target, _)| target.starts_with(kind));
            all
        };
        // Before anything: no writer, no base, nothing to finish.
        each_refused(client, writing(1), "writer '1' not registered").await;
        refused(
            &client.previous("a.didx").await.unwrap(),
            "no valid previous backup",
        );
        refused(&client.finish().await.unwrap(), "file count == 0");

        // A writer of the one kind is none of the other; its name is taken, it must be closed.
        let wid = client.index("dynamic", "a.didx", "").await.unwrap();
        each_refused(
            client,
            of_kind(wid, "fixed_"),
            "fixed writer '1' not registered",
        )
        .await;
        each_refused(client, writing(wid + 1), "writer '2' not registered").await;
        let list = [(0, digest(b"content"))];
        refused(
            &client.append("dynamic", wid, &list).await.unwrap(),
            "no such chunk",
        );
        let again = client.index("dynamic", "a.didx", "").await.unwrap_err();
        assert!(again.to_string().contains("a.didx"), "{again}");
        refused(&client.finish().await.unwrap(), "found open index writer");
        let early = client.close("dynamic", wid, 1, 7, [0; 32]).await.unwrap();
        refused(&early, "unexpected chunk count");

        // Closed with a wrong checksum, it is gone, and its name is free.
        client
            .chunk("dynamic", wid, b"content")
            .await
            .unwrap()
            .data()
            .unwrap();
        client
            .append("dynamic", wid, &list)
            .await
            .unwrap()
            .data()
            .unwrap();
        let wrong = client.close("dynamic", wid, 1, 7, [0; 32]).await.unwrap();
        refused(&wrong, "got unexpected checksum");
        each_refused(client, writing(wid), "writer '1' not registered").await;
        let archive = client.stream("a.didx", &[b"content"]).await.unwrap();
        each_refused(client, writing(2), "writer '2' not registered").await;
        refused(
            &client.finish().await.unwrap(),
            "unable to update manifest blob",
        );

        // Finished: nothing more, and what is there stays.
        client
            .manifest(&FIRST.parse().unwrap(), &[archive])
            .await
            .unwrap();
        client.finish().await.unwrap().data().unwrap();
        let manifest = world.store.base().join(FIRST).join("index.json.blob");
        let before = std::fs::read(&manifest).unwrap();
        each_refused(client, steps(2), "backup already marked as finished.").await;
        assert_eq!(client.previous_backup_time().await.unwrap(), Value::Null);
        let body = Body::Raw(Bytes::from_static(&[7; 1000]));
        let speed = client.connection.request(Method::POST, "speedtest", body);
        speed.await.unwrap().data().unwrap();
        running.disconnect().await.1.unwrap();
        assert_eq!(std::fs::read(&manifest).unwrap(), before);
        assert_eq!(
            std::fs::read_dir(manifest.parent().unwrap())
                .unwrap()
                .count(),
            2
        );
        let reader = world.reader(FIRST).await;
        assert_eq!(reader.client.archive("a.didx").await.unwrap(), b"content");
    }
}

/// An image of two chunks and a piece: which offsets fit.
#[tokio::test]
async fn offsets_of_an_image_are_checked() {
    const FULL: u64 = 4 << 20;
    let world = World::filesystem().await;
    let running = world.backup(FIRST).await;
    let client = &running.client;
    let size = 2 * FULL + 7;
    let wid = client
        .index("fixed", "a.fidx", &format!("&size={size}"))
        .await
        .unwrap();
    let full = vec![1; usize::try_from(FULL).unwrap()];
    for chunk in [&full[..], b"content"] {
        client
            .chunk("fixed", wid, chunk)
            .await
            .unwrap()
            .data()
            .unwrap();
    }
    let (whole, end) = (digest(&full), digest(b"content"));
    for (offset, digest, why) in [
        (1, whole, "got unaligned chunk (pos = 1)"),
        (FULL - 1, whole, "got unaligned chunk"),
        (0, end, "chunk with unexpected length (7 != 4194304)"),
        (FULL, end, "chunk with unexpected length"),
        (2 * FULL, whole, "chunk data exceeds size"),
        (2 * FULL + 1, end, "chunk data exceeds size"),
        (i64::MAX.cast_unsigned(), end, "chunk data exceeds size"),
    ] {
        refused(
            &client
                .append("fixed", wid, &[(offset, digest)])
                .await
                .unwrap(),
            why,
        );
    }
    let beyond = client
        .append("fixed", wid, &[(u64::MAX, end)])
        .await
        .unwrap();
    refused(&beyond, "'offset-list'");
    let list = [(2 * FULL, end), (0, whole), (FULL, whole)];
    client
        .append("fixed", wid, &list)
        .await
        .unwrap()
        .data()
        .unwrap();
    let csum = protocol_client::backup::fixed_csum(&[whole, whole, end]);
    for (count, size, csum, why) in [
        (2, size, csum, "received wrong number of chunk (3 != 2)"),
        (4, size, csum, "received wrong number of chunk (3 != 4)"),
        (3, size - 1, csum, "unexpected file size"),
        (3, size + 1, csum, "unexpected file size"),
    ] {
        refused(
            &client.close("fixed", wid, count, size, csum).await.unwrap(),
            why,
        );
    }
    client
        .close("fixed", wid, 3, size, csum)
        .await
        .unwrap()
        .data()
        .unwrap();
}

/// The number of chunks is right, and one of them is missing all the same.
#[tokio::test]
async fn an_image_with_a_hole_is_not_closed() {
    let world = World::filesystem().await;
    let running = world.backup(FIRST).await;
    let client = &running.client;
    let full = vec![1; 4 << 20];
    let wid = client
        .index("fixed", "a.fidx", &format!("&size={}", 8 << 20))
        .await
        .unwrap();
    client
        .chunk("fixed", wid, &full)
        .await
        .unwrap()
        .data()
        .unwrap();
    let whole = digest(&full);
    client
        .append("fixed", wid, &[(0, whole), (0, whole)])
        .await
        .unwrap()
        .data()
        .unwrap();
    let nothing = api_types::digest::Digest::from_bytes([0; 32]);
    let csum = protocol_client::backup::fixed_csum(&[whole, nothing]);
    let closed = client.close("fixed", wid, 2, 8 << 20, csum).await.unwrap();
    refused(&closed, "no chunk was appended at 4194304");
}
