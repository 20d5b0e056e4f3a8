//! GetObject and HeadObject.

use anyhow::{Context as _, ensure};

use crate::context::{Context, ensure_eq};

pub(super) async fn absent_objects_are_none(t: &Context) -> anyhow::Result<()> {
    let key = t.key("absent")?;
    ensure!(
        t.client.head_object(&key).await?.is_none(),
        "head finds something"
    );
    ensure!(
        t.client.get_object(&key).await?.is_none(),
        "get finds something"
    );
    ensure!(
        t.client.get_object_range(&key, 0..1).await?.is_none(),
        "a range finds something"
    );
    Ok(())
}

pub(super) async fn ranges(t: &Context) -> anyhow::Result<()> {
    let key = t.put("object", "0123456789").await?;
    for (range, expected) in [
        (0..1, "0"),
        (3..7, "3456"),
        (9..10, "9"),
        (0..10, "0123456789"),
        (8..100, "89"),
    ] {
        let part = t
            .client
            .get_object_range(&key, range.clone())
            .await?
            .context("absent")?;
        ensure_eq!(part.body, expected, "bytes {range:?}");
    }
    Ok(())
}

pub(super) async fn a_range_past_the_end_is_an_error(t: &Context) -> anyhow::Result<()> {
    let key = t.put("object", "0123456789").await?;
    let result = t.client.get_object_range(&key, 10..20).await;
    ensure!(result.is_err(), "bytes 10-19 of 10 give {result:?}");
    Ok(())
}

pub(super) async fn head_tells_size_and_time(t: &Context) -> anyhow::Result<()> {
    let key = t.put("object", "0123456789").await?;
    let head = t
        .client
        .head_object(&key)
        .await?
        .context("the object is absent")?;
    ensure_eq!(head.size, 10, "size");
    let modified = head.last_modified.context("no last-modified")?;
    let age = t.target.env.unix_millis() - modified;
    ensure!(
        (-300_000..300_000).contains(&age),
        "the object is {age} ms old"
    );
    let object = t
        .client
        .get_object(&key)
        .await?
        .context("the object is absent")?;
    ensure_eq!(object.head.etag, head.etag, "etag of get and head");
    Ok(())
}
