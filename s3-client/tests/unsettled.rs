//! Successes after attempts whose answer was lost: each change says how many may still be applied.
#![allow(clippy::unwrap_used)] // also in the helpers of tests

mod common;

use common::{Answer, Setup, answer, client, error, key, keys, ok};
use s3_client::transport::TransportError;
use s3_client::{Answered, CopyOutcome, DeleteOutcome, PutMode, PutOutcome, S3Client};
use tokio_util::sync::CancellationToken;

/// Answers `first` in their order, and `last` to all that follows.
fn scripted(first: Vec<Answer>, last: Answer) -> S3Client {
    client(move |index, _| first.get(index).cloned().unwrap_or_else(|| last.clone())).0
}

async fn put(client: &S3Client, mode: PutMode) -> Answered<PutOutcome> {
    client
        .put_object(&key("k"), "x".into(), mode)
        .await
        .unwrap()
}

fn lost() -> Answer {
    Err(TransportError::broken("reset after the request was sent"))
}

/// What comes before the success, and the attempts that it leaves open.
fn beginnings() -> Vec<(Vec<Answer>, u32)> {
    vec![
        (vec![], 0),
        (vec![lost()], 1),
        (vec![lost(), error(500, "InternalError"), lost()], 3),
        // A complete answer that denies it: nothing is open.
        (vec![error(429, "SlowDown")], 0),
        (vec![error(400, "RequestTimeout"), lost()], 1),
    ]
}

#[tokio::test(start_paused = true)]
async fn a_put_says_what_its_lost_attempts_left_open() {
    for (first, open) in beginnings() {
        let client = scripted(first, ok(""));
        let stored = put(&client, PutMode::Replace).await;
        assert!(matches!(stored.outcome, PutOutcome::Replaced { .. }));
        assert_eq!((stored.unresolved, stored.is_settled()), (open, open == 0));
    }
    // That the object is there may be the lost attempt's doing.
    let client = scripted(vec![lost()], error(412, "PreconditionFailed"));
    let exists = put(&client, PutMode::CreateOnly).await;
    assert_eq!(exists.outcome, PutOutcome::AlreadyExists);
    assert_eq!(exists.unresolved, 1);
}

#[tokio::test(start_paused = true)]
async fn what_an_earlier_round_of_a_put_left_open_counts() {
    // A lost attempt, a conflict with it, and the unconditional upload that succeeds.
    let (client, _) = client(
        move |index, attempt| match attempt.request.method.as_str() {
            "HEAD" => error(404, ""),
            _ if index == 0 => lost(),
            _ if attempt.headers().any(|(name, _)| name == "if-none-match") => {
                error(409, "ConditionalRequestConflict")
            }
            _ => ok(""),
        },
    );
    let created = put(&client, PutMode::CreateOnly).await;
    assert!(matches!(created.outcome, PutOutcome::Created { .. }));
    assert_eq!(created.unresolved, 1);
}

#[tokio::test(start_paused = true)]
async fn a_copy_says_what_its_lost_attempts_left_open() {
    for (first, open) in beginnings() {
        let client = scripted(first, ok("<CopyObjectResult/>"));
        let copied = client.copy_object(&key("a"), &key("b")).await.unwrap();
        assert_eq!(
            (copied.outcome, copied.unresolved),
            (CopyOutcome::Copied, open)
        );
    }
    // The source is gone now; the lost attempt may have found it.
    let client = scripted(vec![lost()], error(404, "NoSuchKey"));
    let missing = client.copy_object(&key("a"), &key("b")).await.unwrap();
    assert_eq!(
        (missing.outcome, missing.unresolved),
        (CopyOutcome::SourceMissing, 1)
    );
}

#[tokio::test(start_paused = true)]
async fn a_delete_says_what_its_lost_attempts_left_open() {
    for (first, open) in beginnings() {
        let client = scripted(first, answer(204, &[], ""));
        let gone = client.delete_object(&key("k")).await.unwrap();
        assert_eq!(
            (gone.outcome, gone.unresolved),
            (DeleteOutcome::Deleted, open)
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_batch_names_the_keys_that_an_earlier_attempt_may_delete_again() {
    for (first, open) in beginnings() {
        let report = scripted(first, ok("<DeleteResult/>"))
            .delete_objects(&keys(3))
            .await
            .unwrap();
        assert_eq!(report.deleted, 3);
        let expected = if open > 0 { keys(3) } else { Vec::new() };
        assert_eq!(report.unsettled, expected, "{open}");
    }
    // Only of one key is it open what the first batch did.
    let trouble = "<DeleteResult><Error><Key>dir/000001</Key><Code>InternalError</Code></Error>\
                   </DeleteResult>";
    let report = scripted(vec![ok(trouble)], ok("<DeleteResult/>"))
        .delete_objects(&keys(3))
        .await
        .unwrap();
    assert_eq!(report.deleted, 3);
    assert_eq!(report.unsettled, keys(2)[1..]);

    let mut setup = Setup::new();
    setup.endpoint.provider_quirks = vec!["delete-objects-via-delete-object".parse().unwrap()];
    let (single, _) = setup.client(|_, attempt| {
        match attempt.number == 1 && attempt.request.path.ends_with("000002") {
            true => lost(),
            false => answer(204, &[], ""),
        }
    });
    let report = single.delete_objects(&keys(4)).await.unwrap();
    assert_eq!(
        (report.deleted, report.unsettled),
        (4, keys(3)[2..].to_vec())
    );
}

#[tokio::test(start_paused = true)]
async fn a_key_that_fails_after_an_open_attempt_stays_open() {
    let per_key = |code: &str| {
        ok(&format!(
            "<DeleteResult><Error><Key>dir/000000</Key><Code>{code}</Code></Error></DeleteResult>"
        ))
    };
    for first in [lost(), per_key("InternalError")] {
        let report = scripted(vec![first], per_key("AccessDenied"))
            .delete_objects(&keys(2))
            .await
            .unwrap();
        assert_eq!(report.failures.len(), 1);
        assert!(report.failures[0].unresolved, "the denial is the last word");
    }
    let report = scripted(vec![], per_key("AccessDenied"))
        .delete_objects(&keys(2))
        .await
        .unwrap();
    assert!(!report.failures[0].unresolved);

    // The request as such is denied in the second round.
    let report = scripted(vec![per_key("InternalError")], error(403, "AccessDenied"))
        .delete_objects(&keys(2))
        .await
        .unwrap();
    assert_eq!((report.deleted, report.failures.len()), (1, 1));
    assert!(report.failures[0].unresolved);
    assert!(report.unsettled.is_empty());
}

/// The task ends in the pause between two rounds.
#[tokio::test(start_paused = true)]
async fn an_abort_between_rounds_leaves_open_what_the_first_left_open() {
    let cancel = CancellationToken::new();
    let ends = cancel.clone();
    let (client, _) = client(move |_, _| {
        ends.cancel();
        ok("<DeleteResult><Error><Code>InternalError</Code></Error></DeleteResult>")
    });
    let failed = client
        .with_cancel(cancel)
        .delete_objects(&keys(2))
        .await
        .unwrap_err();
    assert!(
        failed.is_aborted() && failed.may_have_been_applied(),
        "{failed:?}"
    );
}
