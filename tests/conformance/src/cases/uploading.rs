//! PutObject.

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use futures_util::future::join_all;
use openssl::hash::{MessageDigest, hash};
use s3_client::{PutMode, PutOutcome};

use crate::context::{Context, ensure_eq};

fn is_created(outcome: &PutOutcome) -> bool {
    matches!(outcome, PutOutcome::Created { .. })
}

pub(super) async fn create_only_keeps_the_first(t: &Context) -> anyhow::Result<()> {
    let key = t.key("object")?;
    let put = async |body: &'static str| {
        t.client
            .put_object(
                &key,
                Bytes::from_static(body.as_bytes()),
                PutMode::CreateOnly,
            )
            .await
            .map(|answer| answer.outcome)
    };
    let first = put("first").await?;
    ensure!(is_created(&first), "the first put says {first:?}");
    let second = put("second").await?;
    ensure!(
        matches!(second, PutOutcome::AlreadyExists),
        "the second put says {second:?}"
    );
    ensure_eq!(
        t.read(&key).await?.as_deref(),
        Some(&b"first"[..]),
        "content"
    );
    t.client.delete_object(&key).await?;
    let third = put("third").await?;
    ensure!(is_created(&third), "a put after the delete says {third:?}");
    Ok(())
}

pub(super) async fn create_only_race_has_one_winner(t: &Context) -> anyhow::Result<()> {
    let key = t.key("object")?;
    let bodies: Vec<Bytes> = (0..8).map(|n| Bytes::from(format!("writer {n}"))).collect();
    let puts = bodies
        .iter()
        .map(|body| t.client.put_object(&key, body.clone(), PutMode::CreateOnly));
    let answers = join_all(puts).await.into_iter();
    let outcomes: Vec<PutOutcome> = answers
        .map(|answer| Ok(answer?.outcome))
        .collect::<anyhow::Result<_>>()?;
    let found = t.read(&key).await?.context("the object is absent")?;
    let winner = bodies
        .iter()
        .position(|body| *body == found)
        .context("mixed content")?;
    ensure!(
        is_created(&outcomes[winner]),
        "the winner got {:?}",
        outcomes[winner]
    );
    let created = outcomes
        .iter()
        .filter(|outcome| is_created(outcome))
        .count();
    ensure_eq!(
        created,
        1,
        "writers that believe to have created the object"
    );
    Ok(())
}

pub(super) async fn replace_overwrites(t: &Context) -> anyhow::Result<()> {
    let key = t.put("object", "old").await?;
    t.put("object", "new and longer").await?;
    ensure_eq!(
        t.read(&key).await?.as_deref(),
        Some(&b"new and longer"[..]),
        "content"
    );
    Ok(())
}

pub(super) async fn an_empty_object_is_an_object(t: &Context) -> anyhow::Result<()> {
    let key = t.put("empty", "").await?;
    ensure_eq!(t.read(&key).await?.as_deref(), Some(&b""[..]), "content");
    let head = t
        .client
        .head_object(&key)
        .await?
        .context("the object is absent")?;
    ensure_eq!(head.size, 0, "size");
    Ok(())
}

pub(super) async fn a_large_object_comes_back_whole(t: &Context) -> anyhow::Result<()> {
    let key = t.key("large")?;
    // 9 MiB and a bit, not a repetition of anything small.
    let body: Bytes = (0..9_437_219_u32)
        .map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()[0])
        .collect();
    t.client
        .put_object(&key, body.clone(), PutMode::Replace)
        .await?;
    let found = t.read(&key).await?.context("the object is absent")?;
    ensure!(
        found == body,
        "the content differs ({} of {} bytes)",
        found.len(),
        body.len()
    );
    Ok(())
}

pub(super) async fn the_etag_is_the_md5_sum(t: &Context) -> anyhow::Result<()> {
    let key = t.key("object")?;
    let outcome = t
        .client
        .put_object(&key, Bytes::from_static(b"some content"), PutMode::Replace)
        .await?
        .outcome;
    let (PutOutcome::Created { etag, .. } | PutOutcome::Replaced { etag, .. }) = outcome else {
        anyhow::bail!("the put says {outcome:?}");
    };
    let expected = hex::encode(hash(MessageDigest::md5(), b"some content")?);
    let plain = |etag: Option<String>| etag.map(|etag| etag.trim_matches('"').to_owned());
    let expected = Some(expected);
    ensure_eq!(
        plain(etag.map(|etag| etag.to_string())),
        expected,
        "etag of the put"
    );
    let head = t
        .client
        .head_object(&key)
        .await?
        .context("the object is absent")?;
    ensure_eq!(
        plain(head.etag.map(|etag| etag.to_string())),
        expected,
        "etag of the head"
    );
    Ok(())
}

pub(super) async fn a_key_may_have_1024_bytes(t: &Context) -> anyhow::Result<()> {
    let used = t.dir.as_str().len();
    // Servers on file systems limit each component to 255 bytes.
    let mut name: String = "0123456789abcdef0123456789abcdef/".repeat(40);
    name.truncate(1024 - used);
    let name = name.trim_end_matches('/').to_owned();
    let name = format!("{name}{}", "x".repeat(1024 - used - name.len()));
    let key = t.put(&name, "long").await?;
    ensure_eq!(key.as_str().len(), 1024, "length");
    ensure_eq!(
        t.read(&key).await?.as_deref(),
        Some(&b"long"[..]),
        "content"
    );
    ensure_eq!(t.names("").await?, [name], "listing");
    ensure!(
        t.key(&format!("{}x", &key.as_str()[used..])).is_err(),
        "1025 bytes are accepted"
    );
    Ok(())
}
