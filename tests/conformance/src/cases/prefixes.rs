//! Recursive removal.

use anyhow::ensure;
use s3_client::DeleteFilter;

use crate::context::{Context, ensure_eq};

const SNAPSHOT: [&str; 3] = [
    "vm/1/owner",
    "vm/1/2025-07-14T14:20:02Z/a",
    "vm/1/2025-07-14T14:20:02Z/b",
];

/// Removes `vm/1/`, which must leave `kept`.
async fn remove_group(t: &Context, kept: &[&str]) -> anyhow::Result<()> {
    t.put_all(kept).await?;
    t.put_all(&SNAPSHOT).await?;
    let report = t
        .client
        .delete_prefix(&t.dir.child("vm/1")?, DeleteFilter::Everything)
        .await?;
    ensure!(report.is_complete(), "{:?}", report.failures);
    ensure_eq!(report.deleted, 3, "deleted");
    ensure_eq!(t.names("").await?, kept, "what is left");
    Ok(())
}

pub(super) async fn removal_stays_below_the_prefix(t: &Context) -> anyhow::Result<()> {
    remove_group(
        t,
        &["vm/1-old/owner", "vm/10/owner", "vm/10/x", "vm/2/owner"],
    )
    .await
}

pub(super) async fn removal_keeps_the_object_with_the_prefix_as_name(
    t: &Context,
) -> anyhow::Result<()> {
    remove_group(t, &["vm/1", "vm/10/owner"]).await
}

pub(super) async fn protected_directories_are_kept(t: &Context) -> anyhow::Result<()> {
    let (old, new) = ("2025-07-14T14:20:02Z", "2025-07-15T14:20:02Z");
    let kept = [
        format!("a/vm/1/{old}/.protected"),
        format!("a/vm/1/{old}/index.json.blob"),
        "a/vm/1/notes".to_owned(),
        "a/vm/1/owner".to_owned(),
    ];
    let removed = [
        format!("a/vm/1/{new}/index.json.blob"),
        format!("a/vm/10/{old}/index.json.blob"),
        "a/vm/10/owner".to_owned(),
        "a/vm/notes".to_owned(),
    ];
    for name in kept.iter().chain(&removed) {
        t.put(name, "").await?;
    }
    let report = t
        .client
        .delete_prefix(&t.dir.child("a")?, DeleteFilter::SkipProtected)
        .await?;
    ensure!(report.is_complete(), "{:?}", report.failures);
    ensure_eq!(t.names("").await?, kept, "what is left");
    Ok(())
}
