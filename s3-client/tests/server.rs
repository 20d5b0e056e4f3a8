//! Against the scripted server over real sockets: every operation, every mishap of the network.
#![allow(clippy::unwrap_used)] // also in the helpers of tests

mod common;

use std::time::Duration;

use common::live::{BUCKET, behaving, client, client_with, server, start};
use common::{key, keys};
use s3_client::{
    CopyOutcome, DeleteFilter, DirPrefix, KeyOutcome, ListError, ListOptions, Operation, PageOrder,
    Phase, PutMode, PutOptions, PutOutcome, RetryPolicy, S3Client, S3ErrorKind, TaskKind,
};
use s3_mock::behaviour::{ConditionalPut, KeyError, ListField, ListOrder, Space, TokenMode};
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
        PutOutcome::Created { etag: Some(_) }
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
        client.copy_object(&key(name), &copy).await.unwrap(),
        CopyOutcome::Copied
    );
    let gone = key("s/gone");
    assert_eq!(
        client.copy_object(&gone, &copy).await.unwrap(),
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
async fn deletes_of_any_number_escaped_and_partly_failing() {
    let server = behaving(|b| {
        b.delete_key_errors = vec![
            KeyError::first("dir/000005", "InternalError", 2),
            KeyError::always("locked/*", "AccessDenied"),
        ];
    })
    .await;
    let client = client(&server);
    for count in [0, 1, 1000, 1001] {
        for key in keys(count) {
            server.put(BUCKET, key.as_str(), "x");
        }
        server.reset_counters();
        let report = client.delete_objects(&keys(count)).await.unwrap();
        assert!(report.is_complete() && report.deleted == u64::try_from(count).unwrap());
        assert_eq!(server.object_count(BUCKET), 0);
    }
    let names = [
        "a&b",
        "a<b>",
        "\"quoted\"",
        "it's",
        "tab\there",
        "line\nbreak",
        "cr\rx",
        "ü",
    ];
    let odd: Vec<_> = names.map(key).to_vec();
    for key in &odd {
        server.put(BUCKET, key.as_str(), "x");
    }
    assert_eq!(client.delete_objects(&odd).await.unwrap().deleted, 8);
    assert_eq!(server.object_count(BUCKET), 0);

    server.put(BUCKET, "locked/1", "x");
    server.put(BUCKET, "free", "x");
    let report = client
        .delete_objects(&[key("locked/1"), key("free")])
        .await
        .unwrap();
    assert_eq!(
        (report.deleted, &*report.failures[0].code),
        (1, "AccessDenied")
    );
    let attempt = client
        .delete_objects_attempt(&[key("locked/1"), key("free")])
        .await;
    assert!(matches!(
        attempt.outcomes[..],
        [KeyOutcome::Refused { .. }, KeyOutcome::Deleted]
    ));
}

#[tokio::test]
async fn deletes_without_the_batch_operation() {
    let server = behaving(|b| {
        b.delete_objects = false;
        b.delete_missing_is_404 = true;
    })
    .await;
    for key in keys(40) {
        server.put(BUCKET, key.as_str(), "x");
    }
    let plain = client(&server);
    let error = plain.delete_objects(&keys(40)).await.unwrap_err();
    assert!(
        error
            .to_string()
            .contains("delete-objects-via-delete-object"),
        "{error}"
    );
    let quirky = client_with(&server, |o| {
        o.endpoint.provider_quirks = vec!["delete-objects-via-delete-object".parse().unwrap()];
    });
    assert_eq!(quirky.delete_objects(&keys(41)).await.unwrap().deleted, 41);
    assert_eq!(server.object_count(BUCKET), 0);
}

#[tokio::test]
async fn a_lost_delete_is_reported_as_open_and_may_strike_later() {
    let server = server().await;
    let client = client(&server);
    server.put(BUCKET, "k", "old");
    server.script(Fault::on(Op::DeleteObjects, Action::late()));
    let attempt = client.delete_objects_attempt(&[key("k")]).await;
    assert!(!attempt.is_definite());
    assert!(attempt.error.unwrap().may_have_been_applied());
    let late = server.wait_late(1).await;
    client
        .put_object(&key("k"), "new".into(), PutMode::Replace)
        .await
        .unwrap();
    server.release_late(late[0].id);
    assert_eq!(client.get_object(&key("k")).await.unwrap(), None);
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
        client.delete_object(&key("k")).await.unwrap(),
        s3_client::DeleteOutcome::Marked
    );
}

#[tokio::test]
async fn listings_survive_missing_fields_and_see_through_bad_servers() {
    let fill = |server: &MockS3| {
        for key in keys(25) {
            server.put(BUCKET, key.as_str(), "x");
        }
    };
    let all: Vec<String> = keys(25).iter().map(ToString::to_string).collect();
    let sparse = behaving(|b| {
        b.list.page_size = 10;
        b.list.numeric_entities = true;
        b.list.omit = [
            ListField::Name,
            ListField::Prefix,
            ListField::KeyCount,
            ListField::MaxKeys,
            ListField::LastModified,
            ListField::ETag,
            ListField::StorageClass,
        ]
        .into();
    })
    .await;
    fill(&sparse);
    assert_eq!(listed(&client(&sparse), "dir").await.unwrap(), all);

    let order = |order| async move {
        let server = behaving(|b| {
            b.list.page_size = 10;
            b.list.order = order;
        })
        .await;
        fill(&server);
        let mut listing =
            client(&server).list(DirPrefix::new("dir").unwrap(), ListOptions::default());
        let mut sorted = true;
        while let Some(page) = listing.next_page().await {
            sorted &= page.unwrap().order == PageOrder::Sorted;
        }
        sorted
    };
    assert!(order(ListOrder::Sorted).await);
    assert!(!order(ListOrder::ReversedPages).await);
    assert!(!order(ListOrder::Hashed).await);

    for tokens in [
        TokenMode::Repeats { from_page: 1 },
        TokenMode::Missing { from_page: 1 },
    ] {
        let server = behaving(|b| {
            b.list.page_size = 10;
            b.list.tokens = tokens;
        })
        .await;
        fill(&server);
        let error = listed(&client(&server), "dir").await.unwrap_err();
        assert!(
            matches!(error, ListError::Incomplete { .. }),
            "{tokens:?}: {error}"
        );
    }
}

#[tokio::test]
async fn deleting_a_prefix_deletes_all_of_it_and_nothing_else() {
    for tokens in [TokenMode::LastKey, TokenMode::Offset] {
        let server = behaving(|b| {
            b.list.page_size = 100;
            b.list.tokens = tokens;
        })
        .await;
        for key in keys(2500) {
            server.put(BUCKET, key.as_str(), "x");
        }
        server.put(BUCKET, "dir2/kept", "x");
        let client = client(&server);
        let dir = DirPrefix::new("dir").unwrap();
        let report = client
            .delete_prefix(&dir, DeleteFilter::Everything)
            .await
            .unwrap();
        assert!(report.is_complete() && report.deleted >= 2500);
        assert_eq!(server.keys(BUCKET, ""), ["dir2/kept"], "{tokens:?}");
    }
}

#[tokio::test]
async fn protected_snapshots_survive_the_deletion_of_their_group() {
    let server = behaving(|b| b.list.page_size = 2).await;
    let kept = [
        "s/vm/1/2025-01-01T00:00:00Z/.protected",
        "s/vm/1/2025-01-01T00:00:00Z/x.fidx",
        "s/vm/1/notes",
        "s/vm/1/owner",
    ];
    let gone = [
        "s/vm/1/2025-01-02T00:00:00Z/x.fidx",
        "s/vm/1/2025-01-03T00:00:00Z/index.json.blob",
    ];
    for name in kept.iter().chain(&gone) {
        server.put(BUCKET, name, "x");
    }
    let dir = DirPrefix::new("s/vm/1").unwrap();
    let report = client(&server)
        .delete_prefix(&dir, DeleteFilter::SkipProtected)
        .await
        .unwrap();
    assert_eq!(report.deleted, 2);
    assert_eq!(server.keys(BUCKET, ""), kept);
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
