//! Listings over a synthetic server: completeness, order, shards, memory.
#![allow(clippy::unwrap_used)] // also in the helpers of tests

mod common;

use common::{client, ok};
use s3_client::transport::Attempt;
use s3_client::{
    DeleteFilter, DirPrefix, IncompleteReason, ListError, ListOptions, ListPrefix, Operation,
    PageOrder, ShardItem, TaskKind,
};

fn parameter(attempt: &Attempt, name: &str) -> Option<String> {
    let target = attempt.request.target();
    let (_, query) = target.split_once('?')?;
    let value = query
        .split('&')
        .find_map(|pair| pair.strip_prefix(&format!("{name}=")))?;
    Some(value.replace("%2F", "/"))
}

/// A bucket of `count` keys `prefix/0000000…` that exists only as a formula.
fn synthetic(count: usize) -> impl Fn(usize, &Attempt) -> common::Answer + Send + Sync {
    move |_, attempt| {
        let prefix = parameter(attempt, "prefix").unwrap_or_default();
        let start: usize =
            parameter(attempt, "continuation-token").map_or(0, |token| token.parse().unwrap());
        let end = (start + 1000).min(count);
        let mut xml = String::from("<ListBucketResult>");
        for n in start..end {
            xml.push_str(&format!(
                "<Contents><Key>{prefix}{n:058}</Key><Size>{n}</Size>\
                 <LastModified>2025-07-14T14:20:02.000Z</LastModified>\
                 <ETag>&#34;74f3b4f2f0b11989aa0cb21ac399eddd&#34;</ETag></Contents>"
            ));
        }
        if end < count {
            xml.push_str(&format!(
                "<IsTruncated>true</IsTruncated><NextContinuationToken>{end}</NextContinuationToken>"
            ));
        }
        xml.push_str("</ListBucketResult>");
        ok(&xml)
    }
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_million_keys_need_no_memory() {
    // Memory is a process' own: the other tests of this file would be counted too.
    if std::env::var_os("LISTING_ALONE").is_none() {
        let status = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "a_million_keys_need_no_memory"])
            .env("LISTING_ALONE", "1")
            .status()
            .unwrap();
        assert!(status.success());
        return;
    }
    let setup = common::Setup {
        latency: std::time::Duration::ZERO,
        ..common::Setup::new()
    };
    let (client, _) = setup.client(synthetic(1_000_000));
    let before = resident_kib();
    let client = client.with_task(TaskKind::Gc);
    let mut listing = client.list(
        DirPrefix::new("store/.chunks").unwrap(),
        ListOptions::default(),
    );
    let (mut keys, mut bytes, mut peak) = (0_u64, 0_u64, 0);
    while let Some(page) = listing.next_page().await {
        let page = page.unwrap();
        assert_eq!(page.order, PageOrder::Sorted);
        for object in page.objects {
            keys += 1;
            bytes += object.size;
        }
        if keys % 100_000 == 0 {
            peak = peak.max(resident_kib());
        }
    }
    assert_eq!((keys, bytes), (1_000_000, 999_999 * 500_000));
    assert!(
        peak.saturating_sub(before) < 50 * 1024,
        "grew by {} KiB",
        peak - before
    );
    assert_eq!(
        client
            .counters_of(TaskKind::Gc)
            .of(Operation::ListObjects)
            .attempts,
        1000
    );
}

#[tokio::test]
async fn shards_are_listed_side_by_side_each_in_order() {
    let (client, server) = client(synthetic(2500));
    let prefix = DirPrefix::new("store/.chunks").unwrap();
    let prefixes: Vec<ListPrefix> = (0..16)
        .map(|n| prefix.string_prefix(&format!("{n:x}")))
        .collect();
    let mut listing = client.list_sharded(prefixes, 4);
    let (mut seen, mut ended) = (vec![0; 16], 0);
    while let Some(event) = listing.next().await {
        match event.item {
            ShardItem::Page(page) => {
                assert!(
                    page.objects[0]
                        .key
                        .as_str()
                        .starts_with(&format!("store/.chunks/{:x}", event.shard))
                );
                assert_eq!(page.objects[0].size, seen[event.shard]);
                seen[event.shard] += u64::try_from(page.objects.len()).unwrap();
            }
            ShardItem::End => ended += 1,
            ShardItem::Failed(error) => panic!("{error}"),
        }
    }
    assert_eq!((seen, ended, server.count()), (vec![2500; 16], 16, 48));
}

#[tokio::test]
async fn a_shard_that_fails_does_not_stop_the_others() {
    let (client, _) = client(|_, attempt| {
        if parameter(attempt, "prefix").as_deref() == Some("b") {
            return common::error(403, "AccessDenied");
        }
        ok("<ListBucketResult/>")
    });
    let prefixes = ["a", "b", "c"].map(ListPrefix::new).to_vec();
    let mut listing = client.list_sharded(prefixes, 2);
    let (mut ended, mut failed) = (Vec::new(), Vec::new());
    while let Some(event) = listing.next().await {
        match event.item {
            ShardItem::End => ended.push(event.shard),
            ShardItem::Failed(_) => failed.push(event.shard),
            ShardItem::Page(page) => assert!(page.objects.is_empty()),
        }
    }
    ended.sort_unstable();
    assert_eq!((ended, failed), (vec![0, 2], vec![1]));
}

#[tokio::test]
async fn a_listing_whose_task_died_does_not_pass_for_a_complete_one() {
    let dying = || {
        client(|index, _| {
            assert!(index == 0, "the death of the task");
            ok("<ListBucketResult><IsTruncated>true</IsTruncated>\
                <NextContinuationToken>1</NextContinuationToken></ListBucketResult>")
        })
        .0
    };
    let interrupted = |error: &ListError| {
        let ListError::Incomplete { reason, .. } = error else {
            panic!("{error}")
        };
        assert_eq!(*reason, IncompleteReason::Interrupted);
    };
    let mut listing = dying().list(ListPrefix::everything(), ListOptions::default());
    listing.next_page().await.unwrap().unwrap();
    interrupted(&listing.next_page().await.unwrap().unwrap_err());
    assert!(listing.next_page().await.is_none());

    let mut sharded = dying().list_sharded(vec![ListPrefix::everything()], 1);
    assert!(matches!(
        sharded.next().await.unwrap().item,
        ShardItem::Page(_)
    ));
    let ShardItem::Failed(error) = sharded.next().await.unwrap().item else {
        panic!("the shard did not fail")
    };
    interrupted(&error);
    assert!(sharded.next().await.is_none());
}

#[tokio::test]
async fn a_listing_that_cannot_be_completed_is_an_error() {
    for pages in [
        ["<IsTruncated>true</IsTruncated>"; 2],
        ["<IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken>"; 2],
    ] {
        let (client, _) = client(move |index, _| {
            ok(&format!(
                "<ListBucketResult>{}</ListBucketResult>",
                pages[index % 2]
            ))
        });
        let mut listing = client.list(ListPrefix::everything(), ListOptions::default());
        let error = loop {
            match listing.next_page().await.unwrap() {
                Ok(_) => {}
                Err(error) => break error,
            }
        };
        assert!(matches!(error, ListError::Incomplete { .. }), "{error}");
        assert!(listing.next_page().await.is_none());
    }
}

#[tokio::test]
async fn optional_parameters_are_sent_when_asked_for() {
    let (client, server) = client(|_, _| ok("<ListBucketResult/>"));
    let options = ListOptions {
        max_keys: Some(5000),
        delimiter: Some("/".into()),
        start_after: Some("k".into()),
        prefetch: false,
        ..ListOptions::default()
    };
    let mut listing = client.list(ListPrefix::new("p/q"), options);
    listing.next_page().await.unwrap().unwrap();
    assert!(listing.next_page().await.is_none());
    assert_eq!(
        server.seen()[0].target,
        "/pbs-bucket/?delimiter=%2F&list-type=2&max-keys=1000&prefix=p%2Fq&start-after=k"
    );
}

#[tokio::test]
async fn a_prefix_delete_never_touches_a_foreign_key() {
    let (client, server) = client(|_, _| {
        ok(
            "<ListBucketResult><Contents><Key>store2/x</Key><Size>1</Size></Contents>\
            </ListBucketResult>",
        )
    });
    let dir = DirPrefix::new("store").unwrap();
    assert!(
        client
            .delete_prefix(&dir, DeleteFilter::Everything)
            .await
            .is_err()
    );
    assert!(server.seen().iter().all(|request| request.method == "GET"));
}
