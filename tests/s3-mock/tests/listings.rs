//! Listings, right and wrong.

mod common;

use std::time::Duration;

use common::{Ask, BUCKET, Got, list, server};
use s3_mock::MockS3;
use s3_mock::behaviour::{ListField, ListOrder, TokenMode};

fn preload(server: &MockS3, keys: &[&'static str]) {
    for key in keys {
        server.put(BUCKET, key, *key);
    }
}

/// Follows tokens for at most ten pages; the keys of each page.
async fn pages(server: &MockS3, first: impl Fn() -> Ask) -> Vec<Vec<String>> {
    let mut pages = Vec::new();
    let mut token: Option<String> = None;
    while pages.len() < 10 {
        let ask = match &token {
            Some(token) => first().query("continuation-token", token),
            None => first(),
        };
        let got = ask.ok(server).await;
        assert_eq!(got.status, 200, "{got:?}");
        pages.push(got.elements("Key"));
        token = got.elements("NextContinuationToken").first().cloned();
        if token.is_none() {
            break;
        }
    }
    pages
}

fn flat(pages: &[Vec<String>]) -> Vec<&str> {
    pages.iter().flatten().map(String::as_str).collect()
}

#[tokio::test]
async fn pages_in_key_order() {
    let server = server().await;
    preload(&server, &["a/1", "a/2", "a/3", "a1/1", "b/1"]);
    let by_two = || list().query("max-keys", "2").query("prefix", "a");
    assert_eq!(
        pages(&server, by_two).await,
        [vec!["a/1", "a/2"], vec!["a/3", "a1/1"]]
    );
    let below = || list().query("prefix", "a/");
    assert_eq!(flat(&pages(&server, below).await), ["a/1", "a/2", "a/3"]);
    let after = || list().query("start-after", "a/2");
    assert_eq!(flat(&pages(&server, after).await), ["a/3", "a1/1", "b/1"]);
    let none = list().query("prefix", "zzz").ok(&server).await;
    assert_eq!(none.elements("IsTruncated"), ["false"]);
    let missing = Ask::new("GET", "/nope/")
        .query("list-type", "2")
        .ok(&server)
        .await;
    assert_eq!(missing.code(), "NoSuchBucket");
    let bad = list().query("continuation-token", "x").ok(&server).await;
    assert_eq!(bad.status, 400);
}

#[tokio::test]
async fn delimiters_fold_into_common_prefixes() {
    let server = server().await;
    preload(&server, &["a/1", "a/2", "b", "c/d/1", "c/e"]);
    let prefixes = |got: &Got| got.elements("Prefix")[1..].to_vec();
    let got = list().query("delimiter", "/").ok(&server).await;
    assert_eq!(
        (prefixes(&got), got.elements("Key")),
        (vec!["a/".to_owned(), "c/".to_owned()], vec!["b".to_owned()])
    );
    let first = list()
        .query("delimiter", "/")
        .query("max-keys", "1")
        .ok(&server)
        .await;
    assert_eq!(prefixes(&first), ["a/"]);
    let token = &first.elements("NextContinuationToken")[0];
    let second = list()
        .query("delimiter", "/")
        .query("continuation-token", token)
        .ok(&server)
        .await;
    assert_eq!(
        (prefixes(&second), second.elements("Key")),
        (vec!["c/".to_owned()], vec!["b".to_owned()])
    );
}

#[tokio::test]
async fn awkward_keys_are_escaped() {
    let server = server().await;
    preload(&server, &["a&b<c>\"'ü :"]);
    assert_eq!(
        list().ok(&server).await.elements("Key"),
        ["a&amp;b&lt;c&gt;&quot;&#39;ü :"]
    );
    let encoded = list().query("encoding-type", "url").ok(&server).await;
    assert_eq!(encoded.elements("Key"), ["a%26b%3Cc%3E%22%27%C3%BC%20%3A"]);
}

#[tokio::test]
async fn missing_fields() {
    let server = server().await;
    preload(&server, &["a"]);
    server.configure(|b| {
        b.list.omit.extend([
            ListField::IsTruncated,
            ListField::ETag,
            ListField::LastModified,
            ListField::Name,
        ]);
    });
    let text = list().ok(&server).await.text();
    for name in ["IsTruncated", "ETag", "LastModified", "<Name>"] {
        assert!(!text.contains(name), "{name} in {text}");
    }
    server.configure(|b| {
        b.list.omit.clear();
        b.list.numeric_entities = true;
        b.list.whole_seconds = true;
    });
    let got = list().ok(&server).await;
    assert!(got.elements("ETag")[0].starts_with("&#34;"));
    assert!(!got.elements("LastModified")[0].contains('.'));
}

#[tokio::test]
async fn broken_tokens() {
    let server = server().await;
    preload(&server, &["a", "b", "c", "d", "e"]);
    server.configure(|b| {
        b.list.page_size = 2;
        b.list.tokens = TokenMode::Repeats { from_page: 1 };
    });
    let got = pages(&server, list).await;
    assert_eq!((got.len(), &got[1], &got[9]), (10, &got[2], &got[1]));
    server.configure(|b| b.list.tokens = TokenMode::Repeats { from_page: 0 });
    assert_eq!(pages(&server, list).await[9], ["a", "b"]);
    server.configure(|b| b.list.tokens = TokenMode::Missing { from_page: 0 });
    let got = list().ok(&server).await;
    assert_eq!(got.elements("IsTruncated"), ["true"]);
    assert!(got.elements("NextContinuationToken").is_empty());
    server.configure(|b| b.list.tokens = TokenMode::Overlap);
    assert_eq!(
        flat(&pages(&server, list).await),
        ["a", "b", "b", "c", "c", "d", "d", "e"]
    );
    server.configure(|b| {
        b.list.tokens = TokenMode::LastKey;
        b.list.cut_after_pages = Some(2);
    });
    assert_eq!(flat(&pages(&server, list).await), ["a", "b", "c", "d"]);
}

#[tokio::test]
async fn offset_tokens_skip_keys_when_keys_go() {
    let server = server().await;
    preload(&server, &["a", "b", "c", "d"]);
    server.configure(|b| {
        b.list.page_size = 2;
        b.list.tokens = TokenMode::Offset;
    });
    let first = list().ok(&server).await;
    assert_eq!(first.elements("Key"), ["a", "b"]);
    server.delete(BUCKET, "a");
    let token = &first.elements("NextContinuationToken")[0];
    let second = list().query("continuation-token", token).ok(&server).await;
    assert_eq!(second.elements("Key"), ["d"]);
}

#[tokio::test]
async fn orders_and_hidden_keys() {
    let server = server().await;
    preload(&server, &["a", "b", "c", "d"]);
    server.configure(|b| {
        b.list.page_size = 2;
        b.list.order = ListOrder::ReversedPages;
    });
    assert_eq!(flat(&pages(&server, list).await), ["b", "a", "d", "c"]);
    server.configure(|b| b.list.order = ListOrder::Hashed);
    let got = pages(&server, list).await;
    let mut hashed = flat(&got);
    assert_ne!(hashed, ["a", "b", "c", "d"]);
    hashed.sort_unstable();
    assert_eq!(hashed, ["a", "b", "c", "d"]);
    server.configure(|b| {
        b.list.order = ListOrder::Sorted;
        b.list.hidden.push("b".into());
        b.list.start_after_skips_one = true;
    });
    assert_eq!(flat(&pages(&server, list).await), ["a", "c", "d"]);
    assert_eq!(
        flat(&pages(&server, || list().query("start-after", "a")).await),
        ["d"]
    );
}

#[tokio::test(start_paused = true)]
async fn stale_views() {
    let server = server().await;
    preload(&server, &["old"]);
    tokio::time::advance(Duration::from_secs(60)).await;
    server.configure(|b| {
        b.list.stale = Duration::from_secs(30);
        b.stale_reads = Duration::from_secs(10);
    });
    server.put(BUCKET, "new", "");
    server.delete(BUCKET, "old");
    let listed = async || {
        list()
            .send_over(&server, server.connect())
            .await
            .unwrap()
            .elements("Key")
    };
    let read = async |key: &str| {
        Ask::key("HEAD", key)
            .send_over(&server, server.connect())
            .await
            .unwrap()
            .status
    };
    assert_eq!(listed().await, ["old"]);
    assert_eq!((read("old").await, read("new").await), (200, 404));
    tokio::time::advance(Duration::from_secs(11)).await;
    assert_eq!((read("old").await, read("new").await), (404, 200));
    assert_eq!(listed().await, ["old"]);
    tokio::time::advance(Duration::from_secs(20)).await;
    assert_eq!(listed().await, ["new"]);
}

#[tokio::test]
async fn a_chosen_last_modified_is_listed() {
    let server = server().await;
    server.put_at(BUCKET, "k", "", 1_369_353_600_007);
    let got = list().ok(&server).await;
    assert_eq!(got.elements("LastModified"), ["2013-05-24T00:00:00.007Z"]);
    assert!(server.set_last_modified(BUCKET, "k", 0));
    let head = Ask::key("HEAD", "k").ok(&server).await;
    assert_eq!(
        head.header("last-modified"),
        "Thu, 01 Jan 1970 00:00:00 GMT"
    );
}
