//! Against the scripted server over real sockets: listings and deletions of many objects.
#![allow(clippy::unwrap_used)] // also in the helpers of tests

mod common;

use common::live::{BUCKET, behaving, client, client_with, server};
use common::{key, keys};
use s3_client::{
    DeleteFilter, DirPrefix, KeyOutcome, ListError, ListOptions, PageOrder, PutMode, S3Client,
};
use s3_mock::behaviour::{KeyError, ListField, ListOrder, TokenMode};
use s3_mock::{Action, Fault, MockS3, Op};

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
