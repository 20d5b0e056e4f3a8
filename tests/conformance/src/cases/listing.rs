//! ListObjectsV2.

use anyhow::{Context as _, ensure};
use s3_client::{CopyOutcome, ListOptions, ListedObject, PageOrder};

use crate::context::{Context, ensure_eq};

fn keys(objects: &[ListedObject]) -> Vec<&str> {
    objects.iter().map(|object| object.key.as_str()).collect()
}

pub(super) async fn pages_are_in_order_and_complete(t: &Context) -> anyhow::Result<()> {
    let names: Vec<String> = (0..23).map(|n| format!("{:02}/k{n:02}", n % 4)).collect();
    for name in &names {
        t.put(name, name).await?;
    }
    let mut expected: Vec<String> = names
        .iter()
        .map(|name| format!("{}{name}", t.dir))
        .collect();
    expected.sort();
    for page in [1, 2, 5, 23, 24, 1000] {
        let objects = t.list((&t.dir).into(), Some(page)).await?;
        ensure_eq!(keys(&objects), expected, "listing in pages of {page}");
    }
    let options = ListOptions {
        max_keys: Some(2),
        ..ListOptions::default()
    };
    let mut listing = t.client.list(&t.dir, options);
    let mut pages = 0;
    while let Some(page) = listing.next_page().await {
        let page = page?;
        ensure!(
            page.objects.len() <= 2,
            "a page of {} keys",
            page.objects.len()
        );
        ensure!(
            matches!(page.order, PageOrder::Sorted),
            "page {pages} is {:?}",
            page.order
        );
        pages += 1;
    }
    ensure!(
        (12..=13).contains(&pages),
        "23 keys come in {pages} pages of two"
    );
    Ok(())
}

async fn only_object(t: &Context) -> anyhow::Result<ListedObject> {
    let mut objects = t.list((&t.dir).into(), None).await?;
    ensure_eq!(objects.len(), 1, "objects listed");
    objects.pop().context("nothing is listed")
}

pub(super) async fn a_listing_has_size_and_time(t: &Context) -> anyhow::Result<()> {
    let key = t.put("object", "0123456789").await?;
    let object = only_object(t).await?;
    ensure_eq!((&object.key, object.size), (&key, 10), "object");
    let head = t
        .client
        .head_object(&key)
        .await?
        .context("the object is absent")?;
    let (listed, seen) = (object.last_modified, head.last_modified);
    let (listed, seen) = (
        listed.context("no time listed")?,
        seen.context("no time in head")?,
    );
    // Headers have no fraction.
    ensure!(
        (listed - seen).abs() < 1000,
        "modified at {listed} by list, {seen} by head"
    );
    Ok(())
}

pub(super) async fn a_listing_has_etags(t: &Context) -> anyhow::Result<()> {
    let key = t.put("object", "0123456789").await?;
    let head = t
        .client
        .head_object(&key)
        .await?
        .context("the object is absent")?;
    ensure!(head.etag.is_some(), "head has no etag");
    ensure_eq!(
        only_object(t).await?.etag,
        head.etag,
        "etag of list and head"
    );
    Ok(())
}

pub(super) async fn an_absent_prefix_lists_nothing(t: &Context) -> anyhow::Result<()> {
    ensure!(
        t.list((&t.dir).into(), None).await?.is_empty(),
        "something is listed"
    );
    Ok(())
}

pub(super) async fn prefixes_are_string_prefixes(t: &Context) -> anyhow::Result<()> {
    let names = ["a-b", "a.b/x", "a/x", "a/y/z", "a1/x", "b"];
    t.put_all(&names).await?;
    ensure_eq!(t.names("").await?, names, "everything, in byte order");
    ensure_eq!(t.names("a").await?, &names[..5], "string prefix a");
    let below = t.list(t.dir.child("a")?.into(), None).await?;
    let below: Vec<&str> = below
        .iter()
        .filter_map(|o| o.key.relative_to(&t.dir))
        .collect();
    ensure_eq!(below, ["a/x", "a/y/z"], "directory prefix a/");
    Ok(())
}

pub(super) async fn an_object_may_have_the_name_of_a_directory(t: &Context) -> anyhow::Result<()> {
    let names = ["a", "a-b", "a/x", "a/x/y"];
    t.put_all(&names).await?;
    ensure_eq!(t.names("").await?, names, "everything, in byte order");
    ensure_eq!(t.names("a/").await?, &names[2..], "string prefix a/");
    Ok(())
}

pub(super) async fn shards_split_a_prefix(t: &Context) -> anyhow::Result<()> {
    let chunk = |start: &str| format!(".chunks/{start}00/{start}{}", "0".repeat(60));
    let mut expected = Vec::new();
    for start in ["00", "0a", "0f", "a0", "ff"] {
        let name = chunk(start);
        t.put(&name, "").await?;
        expected.push(name);
    }
    let mut found = Vec::new();
    for digit in "0123456789abcdef".chars() {
        found.extend(t.names(&format!(".chunks/{digit}")).await?);
    }
    ensure_eq!(found, expected, "sum of the shards");
    ensure_eq!(t.names(".chunks/0a").await?, [chunk("0a")], "one shard");
    Ok(())
}

pub(super) async fn odd_keys_survive_every_operation(t: &Context) -> anyhow::Result<()> {
    let names = [
        "colon:2025-07-14T14:20:02Z",
        "plus+blank and%percent",
        "encoded%3Alook%2Falike",
        "amp&lt<gt>",
        "quote\"apostrophe'",
        "umlaut-ü-ሴ-😀",
        "query?fragment#equals=semicolon;comma,",
        "paren(s)[b]{c}!$*@^`|~",
    ];
    for name in names {
        let key = t
            .put(name, name)
            .await
            .with_context(|| format!("put {name}"))?;
        ensure_eq!(
            t.read(&key).await?.as_deref(),
            Some(name.as_bytes()),
            "content of {name}"
        );
        let copy = t.key(&format!("copy/{name}"))?;
        let outcome = t.client.copy_object(&key, &copy).await?.outcome;
        ensure!(
            matches!(outcome, CopyOutcome::Copied),
            "copying {name} says {outcome:?}"
        );
        ensure_eq!(
            t.read(&copy).await?.as_deref(),
            Some(name.as_bytes()),
            "copy of {name}"
        );
        t.client.delete_object(&copy).await?;
        ensure!(
            t.read(&copy).await?.is_none(),
            "the copy of {name} is still there"
        );
    }
    let mut sorted = names.map(str::to_owned);
    sorted.sort();
    ensure_eq!(t.names("").await?, sorted, "listing");
    let keys: Vec<_> = names
        .iter()
        .map(|name| t.key(name))
        .collect::<Result<_, _>>()?;
    let report = t.client.delete_objects(&keys).await?;
    ensure!(report.is_complete(), "cannot delete: {:?}", report.failures);
    ensure!(
        t.names("").await?.is_empty(),
        "left: {:?}",
        t.names("").await?
    );
    Ok(())
}
