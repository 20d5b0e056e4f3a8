//! Against the scripted server over real sockets: every operation, every mishap of the network.
#![allow(clippy::unwrap_used)] // also in the helpers of tests

mod common;

use std::time::Duration;

use common::live::{BUCKET, behaving, client, client_with, server, start};
use common::{key, keys};
use s3_client::{
    CopyOutcome, DirPrefix, KeyOutcome, ListError, ListOptions, Operation, Phase, PutMode,
    PutOptions, PutOutcome, RetryPolicy, S3Client, S3ErrorKind, TaskKind,
};
use s3_mock::behaviour::{ConditionalPut, Space};
use s3_mock::{Action, Fault, MockS3, Op, Reply};

async fn listed(client: &S3Client, dir: &str) -> Result<Vec<String>, ListError> {
    let mut listing = client.list(DirPrefix::new(dir).unwrap(), ListOptions::default());
    let mut all = Vec::new();
    while let Some(page) = listing.next_page().await {
        all.extend(
            page?
                .objects
                .into_iter()
                .map(|object| object.key.to_string()),
        );
    }
    Ok(all)
}

async fn put(client: &S3Client, name: &str, body: &'static str) -> PutOutcome {
    client
        .put_object(&key(name), body.into(), PutMode::CreateOnly)
        .await
        .unwrap()
        .outcome
}

/// Every counter of the client must be what the server saw.
fn assert_counted(client: &S3Client, server: &MockS3) {
    for (operation, op) in [
        (Operation::ListBuckets, Op::ListBuckets),
        (Operation::HeadBucket, Op::HeadBucket),
        (Operation::HeadObject, Op::HeadObject),
        (Operation::GetObject, Op::GetObject),
        (Operation::PutObject, Op::PutObject),
        (Operation::CopyObject, Op::CopyObject),
        (Operation::ListObjects, Op::ListObjects),
        (Operation::DeleteObject, Op::DeleteObject),
        (Operation::DeleteObjects, Op::DeleteObjects),
    ] {
        assert_eq!(
            client.counters().of(operation).attempts,
            server.counters().of(op),
            "{operation}"
        );
    }
}

#[tokio::test]
async fn the_life_of_an_object() {
    let server = server().await;
    let client = client(&server).with_task(TaskKind::Backup);
    assert_eq!(client.list_buckets().await.unwrap()[0].name, BUCKET);
    client.head_bucket().await.unwrap();
    let name = "s/vm/1/2025-07-14T14:20:02Z/a b+c/ü%&'<\">";
    assert!(matches!(
        put(&client, name, "content").await,
        PutOutcome::Created {
            etag: Some(_),
            versioned: false
        }
    ));
    assert_eq!(put(&client, name, "other").await, PutOutcome::AlreadyExists);
    let object = client.get_object(&key(name)).await.unwrap().unwrap();
    assert_eq!(object.body, "content");
    assert!(object.head.server_date.is_some() && object.head.last_modified.is_some());
    let part = client
        .get_object_range(&key(name), 3..100)
        .await
        .unwrap()
        .unwrap();
    assert_eq!((&*part.body, part.head.size), (&b"tent"[..], 7));
    assert_eq!(
        client.head_object(&key(name)).await.unwrap().unwrap(),
        object.head
    );
    let copy = key("s/vm/1/2025-07-14T14:20:03Z/copy");
    assert_eq!(
        client.copy_object(&key(name), &copy).await.unwrap().outcome,
        CopyOutcome::Copied
    );
    let gone = key("s/gone");
    assert_eq!(
        client.copy_object(&gone, &copy).await.unwrap().outcome,
        CopyOutcome::SourceMissing
    );
    assert_eq!(listed(&client, "s").await.unwrap(), [name, copy.as_str()]);
    client.delete_object(&copy).await.unwrap();
    assert_eq!(
        client
            .delete_objects(&[key(name), gone.clone()])
            .await
            .unwrap()
            .deleted,
        2
    );
    assert_eq!(client.get_object(&gone).await.unwrap(), None);
    assert_eq!(client.head_object(&gone).await.unwrap(), None);
    assert_eq!(server.object_count(BUCKET), 0);
    assert_counted(&client, &server);
    assert_eq!(client.counters_of(TaskKind::Backup), client.counters());
    assert_eq!(
        server.counters().connections,
        1,
        "one connection serves them all"
    );
}

#[tokio::test]
async fn virtual_hosted_style_signs_and_finds_the_bucket() {
    let server = start(|builder| builder.domain("localhost")).await;
    let client = client_with(&server, |options| {
        options.endpoint.endpoint = "{{bucket}}.localhost".parse().unwrap();
        options.endpoint.path_style = None;
    });
    put(&client, "a:b/c", "x").await;
    assert_eq!(server.keys(BUCKET, ""), ["a:b/c"]);
    assert_eq!(client.list_buckets().await.unwrap().len(), 1);
}

#[tokio::test]
async fn lost_answers_are_retried_and_counted_as_the_server_saw_them() {
    for action in [
        Action::Drop,
        Action::ApplyThenDrop,
        Action::Hang,
        Action::ApplyThenHang,
        Action::Reply(Reply::internal_error()),
        Action::Reply(Reply::slow_down()),
        Action::ApplyThenReply(Reply::internal_error()),
    ] {
        let server = server().await;
        let client = client(&server);
        server.script(Fault::on(Op::PutObject, action.clone()).times(2));
        client
            .put_object(&key("k"), "body".into(), PutMode::Replace)
            .await
            .unwrap();
        assert_eq!(server.get(BUCKET, "k").unwrap(), "body", "{action:?}");
        let counters = client.counters();
        assert_eq!(
            (
                counters.of(Operation::PutObject).retries,
                server.counters().of(Op::PutObject)
            ),
            (2, 3)
        );
        assert_counted(&client, &server);
    }
}

#[tokio::test]
async fn damaged_answers_are_never_taken_for_data() {
    for action in [
        Action::TruncateBody { keep: 3 },
        Action::WrongLength { delta: 5 },
        Action::StallBody { keep: 3 },
    ] {
        let server = server().await;
        server.put(BUCKET, "k", "the content");
        let client = client(&server);
        server.script(Fault::on(Op::GetObject, action.clone()).times(2));
        let object = client.get_object(&key("k")).await.unwrap().unwrap();
        assert_eq!(object.body, "the content", "{action:?}");
        assert_eq!(server.counters().of(Op::GetObject), 3);
    }
}

#[tokio::test]
async fn a_stall_is_noticed_in_every_phase() {
    let server = server().await;
    server.put(BUCKET, "k", "the content");
    let client = client(&server).with_retry(RetryPolicy::single_attempt());
    for (action, phase) in [
        (Action::Hang, Phase::Headers),
        (Action::StallBody { keep: 2 }, Phase::Stall),
    ] {
        server.script(Fault::on(Op::GetObject, action));
        let started = client.env().now();
        let failed = client.get_object(&key("k")).await.unwrap_err();
        assert_eq!(*failed.kind(), S3ErrorKind::Timeout { phase });
        let waited = client.env().now() - started;
        assert!(
            waited > Duration::from_millis(290) && waited < Duration::from_secs(5),
            "{waited:?}"
        );
    }
}

#[tokio::test]
async fn a_connection_closed_while_idle_costs_no_pause() {
    let server = server().await;
    server.put(BUCKET, "k", "x");
    let slow = RetryPolicy {
        base: Duration::from_secs(3600),
        cap: Duration::from_secs(3600),
        ..RetryPolicy::default()
    };
    let client = client(&server).with_retry(slow);
    for _ in 0..20 {
        client.get_object(&key("k")).await.unwrap().unwrap();
        server.drop_connections();
    }
    assert!(server.counters().connections >= 20);
}

#[tokio::test]
async fn clocks_that_differ_are_corrected() {
    let server = server().await;
    server.set_clock_offset_millis(-3_600_000);
    let client = client(&server);
    put(&client, "k", "x").await;
    let offset = client.clock_offset().unwrap();
    assert!((-3_602_000..-3_598_000).contains(&offset), "{offset}");
    assert!(client.clock_refused());
    // Fencing: a request signed an hour ago (server time) is refused and changes nothing.
    let late = client.signed_at(server.now_millis() / 1000 - 3600);
    let refused = late.delete_objects_attempt(&[key("k")]).await;
    assert!(
        matches!(&refused.outcomes[0], KeyOutcome::Retryable { code, .. } if code == "RequestTimeTooSkewed")
    );
    assert!(server.get(BUCKET, "k").is_some());
    let timely = client.signed_at(server.now_millis() / 1000 - 60);
    assert_eq!(
        timely.delete_objects_attempt(&[key("k")]).await.outcomes,
        [KeyOutcome::Deleted]
    );
}

#[tokio::test]
async fn wrong_credentials_region_and_bucket_are_told_apart() {
    let server = server().await;
    let denied = client_with(&server, |o| {
        o.endpoint.secret_key = "wrong".parse().unwrap();
    });
    let error = denied.get_object(&key("k")).await.unwrap_err();
    assert_eq!(error.code(), Some("SignatureDoesNotMatch"));
    assert!(
        error.to_string().contains("check the secret key"),
        "{error}"
    );
    let nowhere = client_with(&server, |o| {
        o.bucket = Some("other-bucket".parse().unwrap());
    });
    for error in [
        nowhere.get_object(&key("k")).await.unwrap_err(),
        nowhere.head_bucket().await.unwrap_err(),
        nowhere.head_object(&key("k")).await.unwrap_err(),
        nowhere.delete_objects(&keys(1)).await.unwrap_err(),
    ] {
        assert_eq!(*error.kind(), S3ErrorKind::NoSuchBucket, "{error}");
    }
    let listing = listed(&nowhere, "x").await.unwrap_err();
    assert!(
        matches!(listing, ListError::Request(error) if *error.kind() == S3ErrorKind::NoSuchBucket)
    );
    let region = client_with(&server, |o| {
        o.endpoint.region = Some("eu-9".parse().unwrap());
    });
    assert!(region.get_object(&key("k")).await.is_err());
}

#[tokio::test]
async fn a_foreign_404_proves_nothing() {
    let server = server().await;
    server.put(BUCKET, "k", "x");
    let client = client(&server);
    server.script(Fault::on_any(Action::Reply(Reply::foreign_404())).always());
    assert!(client.get_object(&key("k")).await.is_err());
    assert!(client.head_object(&key("k")).await.is_err());
    assert!(client.delete_object(&key("k")).await.is_err());
}

#[tokio::test]
async fn create_only_on_every_kind_of_server() {
    for (kind, again) in [
        (ConditionalPut::Supported, PutOutcome::AlreadyExists),
        (
            ConditionalPut::Racy { conflicts: 2 },
            PutOutcome::AlreadyExists,
        ),
    ] {
        let server = behaving(|b| b.conditional_put = kind).await;
        let client = client(&server);
        assert!(
            matches!(put(&client, "k", "x").await, PutOutcome::Created { .. }),
            "{kind:?}"
        );
        assert_eq!(put(&client, "k", "y").await, again);
        assert_eq!(server.get(BUCKET, "k").unwrap(), "x");
    }
    let server = behaving(|b| b.conditional_put = ConditionalPut::NotImplemented).await;
    let plain = client(&server);
    let error = plain
        .put_object(&key("k"), "x".into(), PutMode::CreateOnly)
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("skip-if-none-match-header"),
        "{error}"
    );
    let quirky = client_with(&server, |o| {
        o.endpoint.provider_quirks = vec!["skip-if-none-match-header".parse().unwrap()];
    });
    put(&quirky, "k", "x").await;
    assert_eq!(put(&quirky, "k", "y").await, PutOutcome::AlreadyExists);
}

#[tokio::test]
async fn deleted_versions_are_noticed() {
    let server = start(|builder| builder.versioned_bucket("versioned")).await;
    let client = client_with(&server, |o| o.bucket = Some("versioned".parse().unwrap()));
    put(&client, "k", "x").await;
    assert!(
        client
            .head_object(&key("k"))
            .await
            .unwrap()
            .unwrap()
            .version_id
            .is_some()
    );
    assert_eq!(
        client.delete_object(&key("k")).await.unwrap().outcome,
        s3_client::DeleteOutcome::Marked
    );
}

#[tokio::test]
async fn no_space_is_an_error_of_its_own() {
    for (space, status) in [(Space::Full507, 507), (Space::Full403, 403)] {
        let server = behaving(|b| b.space = space).await;
        let error = client(&server)
            .put_object(&key("k"), "x".into(), PutMode::CreateOnly)
            .await
            .unwrap_err();
        match error.kind() {
            S3ErrorKind::Server { status: seen, .. } => assert_eq!(*seen, status),
            S3ErrorKind::Denied { code, .. } => assert_eq!(code, "QuotaExceeded"),
            other => panic!("{other:?}"),
        }
        assert_eq!(
            server.counters().of(Op::PutObject),
            1,
            "trying again does not help"
        );
    }
}

#[tokio::test]
async fn throttling_lowers_the_concurrency() {
    let server = behaving(|b| b.set_latency(Op::GetObject, Duration::from_millis(5))).await;
    server.put(BUCKET, "k", "x");
    server.script(Fault::on(Op::GetObject, Action::Reply(Reply::slow_down())).times(12));
    let client = client(&server);
    let get = || {
        let client = client.clone();
        tokio::spawn(async move { client.get_object(&key("k")).await.unwrap().unwrap() })
    };
    for request in (0..32).map(|_| get()).collect::<Vec<_>>() {
        request.await.unwrap();
    }
    assert_eq!(client.counters().of(Operation::GetObject).throttled, 12);
    assert_counted(&client, &server);
}

#[tokio::test]
async fn big_objects_pass_and_bigger_ones_are_refused() {
    let server = server().await;
    let body = bytes::Bytes::from(vec![7; 5 << 20]);
    let client = client_with(&server, |options| options.max_object_bytes = 6 << 20);
    client
        .put_object(&key("big"), body.clone(), PutMode::CreateOnly)
        .await
        .unwrap();
    assert_eq!(
        client.get_object(&key("big")).await.unwrap().unwrap().body,
        body
    );
    let error = client
        .get_object_limited(&key("big"), 1 << 20)
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("larger than 1048576 bytes"),
        "{error}"
    );
    assert_eq!(error.context().attempts, 1);
    assert!(error.is_too_large() && !error.is_transient(), "{error:?}");
}

#[tokio::test]
async fn the_storage_class_goes_with_chunks_only() {
    let server = server().await;
    let client = client_with(&server, |options| {
        options.endpoint.storage_class = Some("STANDARD_IA".parse().unwrap());
    });
    let chunk = PutOptions::chunk(PutMode::CreateOnly);
    client
        .put_object(&key("chunk"), "x".into(), chunk)
        .await
        .unwrap();
    put(&client, "index", "x").await;
    assert_eq!(
        server
            .object(BUCKET, "chunk")
            .unwrap()
            .storage_class
            .as_deref(),
        Some("STANDARD_IA")
    );
    assert_ne!(
        server
            .object(BUCKET, "index")
            .unwrap()
            .storage_class
            .as_deref(),
        Some("STANDARD_IA")
    );
}

#[tokio::test]
async fn bandwidth_is_limited_over_the_socket() {
    let server = server().await;
    let client = client_with(&server, |options| {
        options.endpoint.rate_out = Some("2 MiB".parse().unwrap());
        options.endpoint.burst_out = Some("128 KiB".parse().unwrap());
    });
    let started = client.env().now();
    let body = bytes::Bytes::from(vec![1; 1 << 20]);
    client
        .put_object(&key("k"), body, PutMode::CreateOnly)
        .await
        .unwrap();
    assert!(
        (client.env().now() - started) > Duration::from_millis(350),
        "{:?}",
        (client.env().now() - started)
    );
}

#[tokio::test]
async fn checksums_other_than_md5() {
    for mode in ["crc32c", "none", "content-md5"] {
        let server = behaving(|b| b.delete_objects_requires_md5 = false).await;
        let client = client_with(&server, |options| {
            options.endpoint.checksum_mode = Some(mode.parse().unwrap());
            options.endpoint.provider_quirks = vec!["unsigned-payload".parse().unwrap()];
        });
        put(&client, "k", "x").await;
        assert_eq!(
            client.delete_objects(&[key("k")]).await.unwrap().deleted,
            1,
            "{mode}"
        );
    }
}
