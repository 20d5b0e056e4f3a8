//! Every endpoint with every parameter as it should not be: refused, and nothing comes of it.

use bytes::Bytes;
use hyper::{Method, StatusCode};
use protocol_client::Answer;
use protocol_client::backup::digest;
use protocol_client::connection::Body;
use serde_json::{Map, Value, json};

use super::super::super::endpoint::{BodyUse, Endpoint, Session as _};
use super::super::Backup;
use super::{FIRST, World, finish};
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
