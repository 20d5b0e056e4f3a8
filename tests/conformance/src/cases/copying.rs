//! CopyObject.

use anyhow::ensure;
use s3_client::CopyOutcome;

use crate::context::{Context, ensure_eq};

async fn copy(t: &Context, from: &str, to: &str) -> anyhow::Result<()> {
    let from = t.put(from, "copied").await?;
    let to = t.key(to)?;
    let outcome = t.client.copy_object(&from, &to).await?.outcome;
    ensure!(
        matches!(outcome, CopyOutcome::Copied),
        "copying {from} says {outcome:?}"
    );
    for key in [&from, &to] {
        ensure_eq!(
            t.read(key).await?.as_deref(),
            Some(&b"copied"[..]),
            "content of {key}"
        );
    }
    Ok(())
}

pub(super) async fn copies_keep_the_content(t: &Context) -> anyhow::Result<()> {
    copy(t, "from/object", "to/object").await?;
    ensure_eq!(t.names("").await?, ["from/object", "to/object"], "listing");
    Ok(())
}

pub(super) async fn copies_between_keys_with_colons(t: &Context) -> anyhow::Result<()> {
    let (from, to) = (
        "vm/100/2025-07-14T14:20:02Z/x.blob",
        "ct/7/2025-07-14T14:20:02Z/x.blob",
    );
    copy(t, from, to).await?;
    // A name encoded twice would contain a literal `%3A`.
    ensure_eq!(t.names("").await?, [to, from], "listing");
    Ok(())
}

pub(super) async fn a_copy_replaces(t: &Context) -> anyhow::Result<()> {
    t.put("target", "before").await?;
    copy(t, "source", "target").await
}

pub(super) async fn a_missing_source_is_told(t: &Context) -> anyhow::Result<()> {
    let (from, to) = (t.key("absent")?, t.key("target")?);
    let outcome = t.client.copy_object(&from, &to).await?.outcome;
    ensure!(
        matches!(outcome, CopyOutcome::SourceMissing),
        "copying nothing says {outcome:?}"
    );
    ensure!(t.read(&to).await?.is_none(), "there is a copy of nothing");
    Ok(())
}
