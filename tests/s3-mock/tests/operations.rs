//! Each operation of a well-behaved server.

mod common;

use common::{Ask, BUCKET, delete_objects, list, server};
use s3_mock::behaviour::{ConditionalPut, DateHeader, KeyError, Space, Throttle};
use s3_mock::{Change, MockS3, Op, Reply, What};

#[tokio::test]
async fn put_get_head_delete() {
    let server = server().await;
    let put = Ask::key("PUT", "a/b:c d")
        .body("hello")
        .header("content-type", "text/x")
        .ok(&server)
        .await;
    assert_eq!(
        (put.status, put.header("etag")),
        (200, "\"5d41402abc4b2a76b9719d911017c592\"")
    );
    let get = Ask::key("GET", "a/b:c d").ok(&server).await;
    assert_eq!(
        (get.status, get.text().as_str(), get.header("content-type")),
        (200, "hello", "text/x")
    );
    assert!(get.header("last-modified").ends_with(" GMT"));
    let part = Ask::key("GET", "a/b:c d")
        .header("range", "bytes=1-2")
        .ok(&server)
        .await;
    assert_eq!((part.status, part.text().as_str()), (206, "el"));
    assert_eq!(part.header("content-range"), "bytes 1-2/5");
    let head = Ask::key("HEAD", "a/b:c d").ok(&server).await;
    assert_eq!(
        (head.status, head.header("content-length"), head.body.len()),
        (200, "5", 0)
    );
    assert_eq!(Ask::key("DELETE", "a/b:c d").ok(&server).await.status, 204);
    let gone = Ask::key("GET", "a/b:c d").ok(&server).await;
    assert_eq!((gone.status, gone.code().as_str()), (404, "NoSuchKey"));
    assert_eq!(Ask::key("HEAD", "a/b:c d").ok(&server).await.status, 404);
    assert_eq!(Ask::key("DELETE", "a/b:c d").ok(&server).await.status, 204);
}

#[tokio::test]
async fn buckets() {
    let server = server().await;
    assert_eq!(
        Ask::new("HEAD", "/bucket/")
            .ok(&server)
            .await
            .header("x-amz-bucket-region"),
        "us-west-1"
    );
    assert_eq!(Ask::new("HEAD", "/nope/").ok(&server).await.status, 404);
    assert_eq!(
        Ask::new("GET", "/nope/key").ok(&server).await.code(),
        "NoSuchBucket"
    );
    assert_eq!(Ask::new("PUT", "/second").ok(&server).await.status, 200);
    assert_eq!(Ask::new("PUT", "/second").ok(&server).await.status, 409);
    assert_eq!(
        Ask::new("GET", "/").ok(&server).await.elements("Name"),
        ["bucket", "second"]
    );
    assert_eq!(Ask::new("PATCH", "/bucket/x").ok(&server).await.status, 501);
}

#[tokio::test]
async fn both_addressing_styles_and_tls() {
    let server = MockS3::builder()
        .bucket(BUCKET)
        .domain("s3.test")
        .start()
        .await
        .unwrap();
    server.put(BUCKET, "k", "v");
    let mut ask = Ask::new("GET", "/k");
    ask.host = Some("bucket.s3.test:1234".to_owned());
    assert_eq!(ask.ok(&server).await.text(), "v");

    let stream = tokio::net::TcpStream::connect(server.authority())
        .await
        .unwrap();
    let mut connector =
        openssl::ssl::SslConnector::builder(openssl::ssl::SslMethod::tls()).unwrap();
    let pem = server.certificate_pem().unwrap();
    let certificate = openssl::x509::X509::from_pem(pem.as_bytes()).unwrap();
    connector.cert_store_mut().add_cert(certificate).unwrap();
    let ssl = connector
        .build()
        .configure()
        .unwrap()
        .into_ssl("bucket.s3.test")
        .unwrap();
    let mut stream = tokio_openssl::SslStream::new(ssl, stream).unwrap();
    std::pin::Pin::new(&mut stream).connect().await.unwrap();
    let seen = stream.ssl().peer_certificate().unwrap();
    let seen = hex::encode(seen.digest(openssl::hash::MessageDigest::sha256()).unwrap());
    assert_eq!(seen, server.fingerprint().unwrap().replace(':', ""));
    let got = Ask::key("GET", "k")
        .send_over(&server, stream)
        .await
        .unwrap();
    assert_eq!(got.text(), "v");
}

#[tokio::test]
async fn signatures_are_checked() {
    let server = server().await;
    let ask = || Ask::key("GET", "k");
    let code = async |ask: Ask| ask.ok(&server).await.code();
    assert_eq!(
        code(Ask {
            secret: Some("wrong".to_owned()),
            ..ask()
        })
        .await,
        "SignatureDoesNotMatch"
    );
    let now = server.now_millis() / 1000;
    for skew in [-901, 905] {
        let skewed = Ask {
            signed_at: Some(now + skew),
            ..ask()
        };
        assert_eq!(code(skewed).await, "RequestTimeTooSkewed");
    }
    for skew in [-890, 890] {
        assert_eq!(
            code(Ask {
                signed_at: Some(now + skew),
                ..ask()
            })
            .await,
            "NoSuchKey"
        );
    }
    server.set_clock_offset_millis(3_600_000);
    assert_eq!(
        code(Ask {
            signed_at: Some(now),
            ..ask()
        })
        .await,
        "RequestTimeTooSkewed"
    );
    server.set_clock_offset_millis(0);
    let tampered = Ask {
        sent_body: Some("bad".into()),
        ..Ask::key("PUT", "k").body("abc")
    };
    assert_eq!(code(tampered).await, "XAmzContentSHA256Mismatch");
    assert!(server.keys(BUCKET, "").is_empty());
    let plain = common::http_get(&server, "/bucket/k").await;
    assert!(plain.starts_with("HTTP/1.1 403"), "{plain}");
}

#[tokio::test]
async fn sums_are_checked() {
    let server = server().await;
    let put =
        |name: &str, value: &str| Ask::key("PUT", "k").body("chunk-bytes").header(name, value);
    assert_eq!(
        put("content-md5", "dPO08vCxGYmqDLIaw5nt3Q==")
            .ok(&server)
            .await
            .status,
        200
    );
    assert_eq!(
        put("content-md5", "dPO08vCxGYmqDLIaw5nt3A==")
            .ok(&server)
            .await
            .code(),
        "BadDigest"
    );
    assert_eq!(
        put("content-md5", "x").ok(&server).await.code(),
        "InvalidDigest"
    );
    assert_eq!(
        put("x-amz-checksum-crc32c", "AAAAAA==")
            .ok(&server)
            .await
            .code(),
        "BadDigest"
    );
}

#[tokio::test]
async fn conditional_puts() {
    let server = server().await;
    let put = || Ask::key("PUT", "k").body("x").header("if-none-match", "*");
    assert_eq!(put().ok(&server).await.status, 200);
    assert_eq!(put().ok(&server).await.code(), "PreconditionFailed");
    server.configure(|b| b.conditional_put = ConditionalPut::Ignored);
    assert_eq!(put().ok(&server).await.status, 200);
    server.configure(|b| b.conditional_put = ConditionalPut::NotImplemented);
    assert_eq!(
        put().ok(&server).await.elements("Header"),
        ["If-None-Match"]
    );
    server.configure(|b| b.conditional_put = ConditionalPut::Racy { conflicts: 2 });
    assert_eq!(put().ok(&server).await.status, 409);
    assert_eq!(put().ok(&server).await.status, 409);
    assert_eq!(put().ok(&server).await.status, 412);
    let written: Vec<Change> = server
        .journal()
        .changes()
        .map(|(_, change)| change.clone())
        .collect();
    let key = || "k".to_owned();
    assert_eq!(
        written,
        [
            Change::Put {
                key: key(),
                replaced: false
            },
            Change::Put {
                key: key(),
                replaced: true
            },
        ]
    );
}

#[tokio::test]
async fn copies() {
    let server = server().await;
    server.put(BUCKET, "a/2025-01-01T00:00:00Z/x", "body");
    let copy = |from: &str, to: &str| {
        Ask::key("PUT", to)
            .header("x-amz-copy-source", from)
            .header("x-amz-metadata-directive", "REPLACE")
            .header("content-type", "application/octet-stream")
    };
    let got = copy("bucket/a/2025-01-01T00%3A00%3A00Z/x", "b:c")
        .ok(&server)
        .await;
    assert!(got.text().contains("<CopyObjectResult"), "{got:?}");
    assert_eq!(server.get(BUCKET, "b:c").unwrap(), "body");
    assert_eq!(
        copy("bucket/none", "d").ok(&server).await.code(),
        "NoSuchKey"
    );
    assert_eq!(
        copy("none/none", "d").ok(&server).await.code(),
        "NoSuchBucket"
    );
    assert_eq!(server.counters().of(Op::CopyObject), 3);
}

#[tokio::test]
async fn batch_deletes() {
    let server = server().await;
    for key in ["a&b", "c", "d"] {
        server.put(BUCKET, key, "");
    }
    let got = delete_objects(false, &["a&b", "missing"]).ok(&server).await;
    assert_eq!(got.elements("Key"), ["a&amp;b", "missing"]);
    server.configure(|b| {
        b.delete_key_errors
            .push(KeyError::first("c", "InternalError", 1));
        b.locked.push("d".into());
    });
    let got = delete_objects(true, &["c", "d"]).ok(&server).await;
    assert_eq!(got.elements("Code"), ["InternalError", "AccessDenied"]);
    assert_eq!(server.keys(BUCKET, ""), ["c", "d"]);
    let got = delete_objects(true, &["c", "d"]).ok(&server).await;
    assert_eq!(got.elements("Code"), ["AccessDenied"]);
    assert_eq!(
        Ask::key("DELETE", "d").ok(&server).await.code(),
        "AccessDenied"
    );
    assert_eq!(server.journal().deleted_keys(), ["a&b", "c"]);
}

#[tokio::test]
async fn batch_delete_limits() {
    let server = server().await;
    assert_eq!(
        delete_objects(true, &[]).ok(&server).await.code(),
        "MalformedXML"
    );
    let keys: Vec<String> = (0..1001).map(|n| format!("k{n:04}")).collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    assert_eq!(
        delete_objects(true, &keys).ok(&server).await.code(),
        "MalformedXML"
    );
    assert_eq!(
        delete_objects(true, &keys[..1000]).ok(&server).await.status,
        200
    );
    let mut bare = delete_objects(true, &["k"]);
    bare.headers.clear();
    assert_eq!(bare.ok(&server).await.code(), "InvalidRequest");
    server.configure(|b| b.delete_objects = false);
    assert_eq!(delete_objects(true, &["k"]).ok(&server).await.status, 501);
}

#[tokio::test]
async fn versioned_bucket() {
    let server = MockS3::builder()
        .versioned_bucket(BUCKET)
        .start()
        .await
        .unwrap();
    let versioning = Ask::new("GET", "/bucket/")
        .query("versioning", "")
        .ok(&server)
        .await;
    assert_eq!(versioning.elements("Status"), ["Enabled"]);
    let put = Ask::key("PUT", "k").body("1").ok(&server).await;
    assert_eq!(put.header("x-amz-version-id"), "v1");
    let deleted = Ask::key("DELETE", "k").ok(&server).await;
    assert_eq!(deleted.header("x-amz-delete-marker"), "true");
    let batch = delete_objects(false, &["k"]).ok(&server).await;
    assert_eq!(batch.elements("DeleteMarker"), ["true"]);
    assert!(list().ok(&server).await.elements("Key").is_empty());
    assert_eq!(server.hidden_version_count(BUCKET), 1);
}

#[tokio::test]
async fn refusals_of_a_provider() {
    let server = server().await;
    server.configure(|b| b.space = Space::Full507);
    assert_eq!(Ask::key("PUT", "k").ok(&server).await.status, 507);
    server.configure(|b| b.space = Space::Full403);
    assert_eq!(Ask::key("PUT", "k").ok(&server).await.status, 403);
    server.configure(|b| {
        b.space = Space::Unlimited;
        b.date_header = DateHeader::Missing;
        b.omit_headers.insert("etag".to_owned());
    });
    let put = Ask::key("PUT", "k").ok(&server).await;
    assert_eq!(
        (put.status, put.header("date"), put.header("etag")),
        (200, "", "")
    );
    assert_eq!(
        Ask::key("PUT", &"x".repeat(1025)).ok(&server).await.code(),
        "KeyTooLongError"
    );
    let throttle = Throttle {
        ops: vec![Op::GetObject],
        per_second: 1,
        reply: Reply::slow_down().retry_after(3),
    };
    server.configure(|b| b.throttle = Some(throttle));
    assert_eq!(Ask::key("GET", "k").ok(&server).await.status, 200);
    let slow = Ask::key("GET", "k").ok(&server).await;
    assert_eq!((slow.status, slow.header("retry-after")), (503, "3"));
    assert_eq!(Ask::key("HEAD", "k").ok(&server).await.status, 200);
}

#[tokio::test]
async fn the_journal_has_every_step_in_order() {
    let server = server().await;
    Ask::key("PUT", "k").body("x").ok(&server).await;
    Ask::key("GET", "k").ok(&server).await;
    let journal = server.journal();
    let steps: Vec<&str> = journal
        .events
        .iter()
        .map(|event| match &event.what {
            What::Arrived { .. } => "arrived",
            What::Applied { .. } => "applied",
            What::Answered { status: 200, .. } => "answered",
            other => panic!("unexpected {other:?}"),
        })
        .collect();
    assert_eq!(
        steps,
        ["arrived", "applied", "answered", "arrived", "answered"]
    );
    assert_eq!(journal.requests_of(Op::GetObject), [["k"]]);
    assert_eq!(server.counters().total(), 2);
    assert_eq!(server.counters().bytes_in, 1);
}
