//! What the operations send and make of the answers, on a virtual clock.
#![allow(clippy::unwrap_used)] // also in the helpers of tests

mod common;

use std::time::Duration;

use common::{Setup, answer, client, error, key, keys, ok};
use s3_client::{DeleteOutcome, KeyOutcome, Operation, PutMode, PutOutcome, S3ErrorKind};

#[tokio::test(start_paused = true)]
async fn conflicts_end_in_an_overwrite_only_for_content_addressed_objects() {
    let conflict =
        |_: usize, attempt: &s3_client::transport::Attempt| match attempt.request.operation {
            Operation::PutObject if attempt.headers().any(|(name, _)| name == "if-none-match") => {
                error(409, "ConditionalRequestConflict")
            }
            Operation::PutObject => ok(""),
            _ => answer(404, &[], ""),
        };
    let (client_a, server) = client(conflict);
    let put = client_a
        .put_object(&key("k"), "x".into(), PutMode::CreateOnly)
        .await
        .unwrap();
    assert_eq!(
        put.outcome,
        PutOutcome::Created {
            etag: None,
            versioned: false
        }
    );
    let puts: Vec<bool> = server
        .seen()
        .iter()
        .filter(|seen| seen.method == "PUT")
        .map(|seen| seen.header("if-none-match").is_some())
        .collect();
    assert_eq!(puts, [true, true, true, false]);
    let (client_b, server) = client(conflict);
    let failed = client_b
        .put_object(&key("k"), "x".into(), PutMode::CreateExclusive)
        .await
        .unwrap_err();
    assert!(matches!(failed.kind(), S3ErrorKind::Conflict { .. }));
    assert!(
        server
            .seen()
            .iter()
            .all(|seen| seen.method != "PUT" || seen.header("if-none-match").is_some())
    );

    // Somebody else won: that is the answer.
    let (client_c, _) = client(|_, attempt| match attempt.request.operation {
        Operation::PutObject => error(409, "ConditionalRequestConflict"),
        _ => answer(200, &[("content-length", "1")], ""),
    });
    let put = client_c
        .put_object(&key("k"), "x".into(), PutMode::CreateOnly)
        .await
        .unwrap();
    assert_eq!(put.outcome, PutOutcome::AlreadyExists);
}

#[tokio::test(start_paused = true)]
async fn a_damaged_upload_is_overwritten_and_then_reported() {
    let wrong = "\"d41d8cd98f00b204e9800998ecf8427e\"";
    let (healed, server) = client(move |index, _| match index {
        0 => answer(200, &[("etag", wrong)], ""),
        _ => ok(""),
    });
    healed
        .put_object(&key("k"), "x".into(), PutMode::CreateOnly)
        .await
        .unwrap();
    // Create-only would now find the damaged object and be content with it.
    assert_eq!(server.seen()[1].header("if-none-match"), None);
    let (broken, _) = client(move |_, _| answer(200, &[("etag", wrong)], ""));
    let failed = broken
        .put_object(&key("k"), "x".into(), PutMode::CreateOnly)
        .await
        .unwrap_err();
    assert!(
        matches!(failed.kind(), S3ErrorKind::Protocol(_)),
        "{failed}"
    );
    assert!(failed.may_have_been_applied(), "the damaged object exists");
    // Also when it is something else that ends the upload after that.
    let (denied, _) = client(move |index, _| match index {
        0 => answer(200, &[("etag", wrong)], ""),
        _ => error(403, "AccessDenied"),
    });
    let failed = denied
        .put_object(&key("k"), "x".into(), PutMode::CreateOnly)
        .await
        .unwrap_err();
    assert_eq!(failed.code(), Some("AccessDenied"));
    assert!(failed.may_have_been_applied());
    // A conflict as such wrote nothing; after a lost answer it may be with ourselves.
    for (first, code, open) in [
        (409, "ConditionalRequestConflict", false),
        (500, "InternalError", true),
    ] {
        let (conflict, _) = client(
            move |index, attempt| match attempt.request.method.as_str() {
                "HEAD" => error(404, ""),
                _ if index == 0 => error(first, code),
                _ => error(409, "ConditionalRequestConflict"),
            },
        );
        let failed = conflict
            .put_object(&key("k"), "x".into(), PutMode::CreateExclusive)
            .await
            .unwrap_err();
        assert!(matches!(failed.kind(), S3ErrorKind::Conflict { .. }));
        assert_eq!(failed.may_have_been_applied(), open, "{first}");
    }
}

#[tokio::test(start_paused = true)]
async fn without_conditional_uploads_head_comes_first() {
    let mut setup = Setup::new();
    setup.endpoint.provider_quirks = vec!["skip-if-none-match-header".parse().unwrap()];
    let (client, server) =
        setup.client(|_, attempt| match attempt.request.path.ends_with("there") {
            true => answer(200, &[("content-length", "1")], ""),
            false if attempt.request.operation == Operation::HeadObject => answer(404, &[], ""),
            false => ok(""),
        });
    let there = client
        .put_object(&key("there"), "x".into(), PutMode::CreateOnly)
        .await
        .unwrap();
    assert_eq!(there.outcome, PutOutcome::AlreadyExists);
    client
        .put_object(&key("new"), "x".into(), PutMode::CreateOnly)
        .await
        .unwrap();
    client
        .put_object(&key("there"), "x".into(), PutMode::Replace)
        .await
        .unwrap();
    let methods: Vec<_> = server
        .seen()
        .iter()
        .map(|seen| seen.method.clone())
        .collect();
    assert_eq!(methods, ["HEAD", "HEAD", "PUT", "PUT"]);
    assert!(
        server
            .seen()
            .iter()
            .all(|seen| seen.header("if-none-match").is_none())
    );
}

#[tokio::test(start_paused = true)]
async fn absence_is_confirmed_before_it_is_believed() {
    let (proven, server) = client(|_, attempt| match attempt.request.operation {
        Operation::HeadObject => answer(404, &[], ""),
        _ => error(404, "NoSuchKey"),
    });
    assert_eq!(proven.head_object(&key("k")).await.unwrap(), None);
    assert_eq!(server.seen()[1].header("range"), Some("bytes=0-0"));
    for wrong in [
        answer(404, &[], "<html>lost</html>"),
        error(404, "NoSuchBucket"),
        error(403, ""),
    ] {
        let (client, _) = client(move |_, attempt| match attempt.request.operation {
            Operation::HeadObject => answer(404, &[], ""),
            _ => wrong.clone(),
        });
        assert!(client.head_object(&key("k")).await.is_err());
    }
    // The GET finds it after all.
    let (found, _) = client(|_, attempt| match attempt.request.operation {
        Operation::HeadObject => answer(404, &[], ""),
        _ => answer(206, &[("content-range", "bytes 0-0/5")], "x"),
    });
    assert_eq!(found.head_object(&key("k")).await.unwrap().unwrap().size, 5);
}

#[tokio::test(start_paused = true)]
async fn eventual_consistency_is_given_time() {
    let mut setup = Setup::new();
    setup.endpoint.provider_quirks = vec!["eventual-consistency".parse().unwrap()];
    let (client, server) = setup.client(|index, _| {
        if index < 2 {
            error(404, "NoSuchKey")
        } else {
            ok("late")
        }
    });
    let object = client.get_object(&key("k")).await.unwrap().unwrap();
    assert_eq!(object.body, "late");
    let pause = |n: usize| (server.seen()[n].at - server.seen()[n - 1].at).as_secs();
    assert_eq!((pause(1), pause(2)), (1, 5));
}

#[tokio::test(start_paused = true)]
async fn single_deletes_accept_what_providers_answer() {
    for (reply, outcome) in [
        (answer(204, &[], ""), DeleteOutcome::Deleted),
        (
            answer(204, &[("x-amz-delete-marker", "true")], ""),
            DeleteOutcome::Marked,
        ),
        (error(404, "NoSuchKey"), DeleteOutcome::Missing),
    ] {
        let (client, _) = client(move |_, _| reply.clone());
        let answer = client.delete_object(&key("k")).await.unwrap();
        assert_eq!(answer.outcome, outcome);
    }
}

#[tokio::test(start_paused = true)]
async fn only_the_failed_keys_are_sent_again() {
    let (client, server) = client(|index, _| match index {
        0 => ok(
            "<DeleteResult><Error><Key>dir/000001</Key><Code>InternalError</Code></Error>\
                 <Error><Key>dir/000002</Key><Code>AccessDenied</Code></Error></DeleteResult>",
        ),
        _ => ok("<DeleteResult/>"),
    });
    let report = client.delete_objects(&keys(4)).await.unwrap();
    assert_eq!((report.deleted, report.failures.len()), (3, 1));
    assert_eq!(report.failures[0].code, "AccessDenied");
    let again = &server.seen()[1].body;
    assert!(
        again.contains("dir/000001") && again.matches("<Key>").count() == 1,
        "{again}"
    );
}

#[tokio::test(start_paused = true)]
async fn batches_hold_at_most_a_thousand_keys() {
    for (count, requests) in [(0, 0), (1, 1), (1000, 1), (1001, 2), (3500, 4)] {
        let (client, server) = client(|_, _| ok("<DeleteResult/>"));
        let report = client.delete_objects(&keys(count)).await.unwrap();
        assert_eq!(report.deleted, u64::try_from(count).unwrap());
        assert_eq!(server.count(), requests, "{count}");
        let seen = server.seen();
        assert!(
            seen.iter()
                .all(|request| request.body.matches("<Key>").count() <= 1000)
        );
        assert!(
            seen.iter()
                .all(|request| request.header("content-md5").is_some())
        );
    }
    let (client, server) = client(|_, _| ok("<DeleteResult/>"));
    let refused = client.delete_objects_attempt(&keys(1001)).await;
    assert!(
        refused
            .outcomes
            .iter()
            .all(|outcome| matches!(outcome, KeyOutcome::Refused { .. }))
    );
    assert!(client.delete_objects_attempt(&[]).await.outcomes.is_empty());
    assert_eq!(server.count(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_quirk_deletes_one_by_one_in_parallel() {
    let quirky = |script: fn(&str) -> common::Answer| {
        let mut setup = Setup {
            latency: Duration::from_secs(1),
            ..Setup::new()
        };
        setup.endpoint.provider_quirks = vec!["delete-objects-via-delete-object".parse().unwrap()];
        setup.client(move |_, attempt| script(&attempt.request.path))
    };
    let script = |path: &str| match path.ends_with("000003") {
        true => error(403, "AccessDenied"),
        false => answer(204, &[], ""),
    };
    let (client, server) = quirky(script);
    let start = client.env().now();
    let report = client.delete_objects(&keys(32)).await.unwrap();
    assert_eq!((report.deleted, report.failures.len()), (31, 1));
    assert_eq!(
        (client.env().now() - start).as_secs(),
        2,
        "sixteen at a time"
    );
    assert!(
        server
            .seen()
            .iter()
            .all(|request| request.method == "DELETE")
    );

    let (client, _) = quirky(script);
    let attempt = client.delete_objects_attempt(&keys(5)).await;
    assert!(matches!(attempt.outcomes[3], KeyOutcome::Refused { .. }));
    assert_eq!(
        attempt
            .outcomes
            .iter()
            .filter(|o| **o == KeyOutcome::Deleted)
            .count(),
        4
    );
}

#[tokio::test(start_paused = true)]
async fn copies_are_encoded_once_and_checked_by_their_body() {
    let (client, server) = client(|index, _| match index {
        0 => ok("<Error><Code>InternalError</Code></Error>"),
        _ => ok("<CopyObjectResult/>"),
    });
    client
        .copy_object(&key("s/14:20:02Z/a+b"), &key("s/14:20:03Z/c"))
        .await
        .unwrap();
    assert_eq!(server.count(), 2, "an error in a 200 is a failure");
    let copy = &server.seen()[0];
    assert_eq!(copy.target, "/pbs-bucket/s/14%3A20%3A03Z/c");
    assert_eq!(
        copy.header("x-amz-copy-source"),
        Some("pbs-bucket/s/14%3A20%3A02Z/a%2Bb")
    );
    assert_eq!(copy.header("x-amz-metadata-directive"), Some("REPLACE"));
    assert_eq!(copy.header("content-length"), Some("0"));
}

#[tokio::test(start_paused = true)]
async fn content_length_goes_only_where_it_belongs() {
    let (client, server) = client(|_, attempt| match attempt.request.operation {
        Operation::DeleteObjects => ok("<DeleteResult/>"),
        _ => answer(200, &[("content-length", "0")], ""),
    });
    client
        .put_object(&key("k"), "".into(), PutMode::Replace)
        .await
        .unwrap();
    assert!(client.delete_objects(&keys(1)).await.unwrap().is_complete());
    client.get_object(&key("k")).await.unwrap();
    client.head_object(&key("k")).await.unwrap();
    client.delete_object(&key("k")).await.unwrap();
    let lengths: Vec<_> = server
        .seen()
        .iter()
        .map(|seen| (seen.method.clone(), seen.header("content-length").is_some()))
        .collect();
    let expected = [
        ("PUT", true),
        ("POST", true),
        ("GET", false),
        ("HEAD", false),
        ("DELETE", false),
    ];
    assert_eq!(
        lengths,
        expected.map(|(method, sent)| (method.to_owned(), sent))
    );
    let put = &server.seen()[0];
    assert_eq!(put.header("content-md5"), None, "no digest of nothing");
    let signed = put.header("authorization").unwrap();
    assert!(
        signed.contains("SignedHeaders=content-length;content-type;host;x-amz-"),
        "{signed}"
    );
}

#[tokio::test(start_paused = true)]
async fn errors_tell_what_where_and_keep_secrets() {
    let (client, _) = client(|_, _| {
        answer(
            403,
            &[("x-amz-request-id", "REQ1")],
            "<Error><Code>AccessDenied</Code><Message>quota reached</Message></Error>",
        )
    });
    let failed = client.get_object(&key("store/x")).await.unwrap_err();
    assert_eq!(
        failed.to_string(),
        "get object \"store/x\" in bucket \"pbs-bucket\" of endpoint \"test\": \
         access denied (AccessDenied): quota reached [request id REQ1]"
    );
    assert!(
        failed
            .context()
            .body_excerpt
            .as_deref()
            .unwrap()
            .contains("quota reached")
    );
    for shown in [format!("{failed:?}"), format!("{client:?}")] {
        assert!(
            !shown.contains("testsecretkey") && !shown.contains("Signature"),
            "{shown}"
        );
    }
}

#[test]
fn every_operation_can_run_on_any_thread() {
    fn on_any_thread<F: Future + Send>(_: fn(&'static s3_client::S3Client) -> F) {}
    on_any_thread(s3_client::S3Client::list_buckets);
    on_any_thread(|client| client.delete_objects(&[]));
    on_any_thread(|client| client.delete_objects_attempt(&[]));
    on_any_thread(|client| async move {
        let dir = s3_client::DirPrefix::new("d").unwrap();
        let _ = client
            .delete_prefix(&dir, s3_client::DeleteFilter::Everything)
            .await;
        let _ = client
            .put_object(&key("k"), "x".into(), PutMode::CreateOnly)
            .await;
        let _ = client.get_object_range(&key("k"), 0..1).await;
        let _ = s3_client::probe::full(client, Some(&dir)).await;
    });
}
