//! DeleteObject and DeleteObjects.

use anyhow::ensure;
use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use s3_client::{KeyOutcome, ObjectKey, PutMode};

use crate::context::{Context, ensure_eq};

pub(super) async fn deleting_is_idempotent(t: &Context) -> anyhow::Result<()> {
    let key = t.put("object", "x").await?;
    t.client.delete_object(&key).await?;
    ensure!(t.read(&key).await?.is_none(), "the object is still there");
    t.client.delete_object(&key).await?;
    Ok(())
}

pub(super) async fn no_keys_no_request(t: &Context) -> anyhow::Result<()> {
    let before = t.client.counters().total().attempts;
    let report = t.client.delete_objects(&[]).await?;
    ensure!(report.is_complete(), "{:?}", report.failures);
    ensure_eq!(t.client.counters().total().attempts, before, "requests");
    Ok(())
}

pub(super) async fn batches_count_missing_keys_as_deleted(t: &Context) -> anyhow::Result<()> {
    let (first, second) = (t.put("first", "x").await?, t.put("second", "x").await?);
    let keys = [first.clone(), t.key("missing")?];
    let report = t.client.delete_objects(&keys).await?;
    ensure!(report.is_complete(), "{:?}", report.failures);
    ensure!(t.read(&first).await?.is_none(), "the first is still there");
    ensure!(t.read(&second).await?.is_some(), "the second is gone");
    Ok(())
}

async fn put_many(t: &Context, count: usize) -> anyhow::Result<Vec<ObjectKey>> {
    let keys: Vec<ObjectKey> = (0..count)
        .map(|n| t.key(&format!("k{n:05}")))
        .collect::<Result<_, _>>()?;
    stream::iter(&keys)
        .map(|key| t.client.put_object(key, Bytes::new(), PutMode::Replace))
        .buffer_unordered(16)
        .try_for_each(|_| async { Ok(()) })
        .await?;
    Ok(keys)
}

pub(super) async fn a_thousand_and_one_keys(t: &Context) -> anyhow::Result<()> {
    let keys = put_many(t, 1001).await?;
    let listed = t.list((&t.dir).into(), None).await?;
    ensure!(
        listed.iter().map(|object| &object.key).eq(&keys),
        "{} keys listed",
        listed.len()
    );
    let report = t.client.delete_objects(&keys).await?;
    ensure!(report.is_complete(), "{} errors", report.failures.len());
    ensure!(
        t.list((&t.dir).into(), None).await?.is_empty(),
        "keys are left"
    );
    Ok(())
}

pub(super) async fn one_attempt_tells_each_key(t: &Context) -> anyhow::Result<()> {
    let keys = [t.put("there", "x").await?, t.key("missing")?];
    let attempt = t.client.delete_objects_attempt(&keys).await;
    let deleted = attempt
        .outcomes
        .iter()
        .filter(|o| matches!(o, KeyOutcome::Deleted))
        .count();
    ensure!(deleted == 2, "outcomes: {:?}", attempt.outcomes);
    ensure!(
        t.read(&keys[0]).await?.is_none(),
        "the object is still there"
    );
    Ok(())
}
