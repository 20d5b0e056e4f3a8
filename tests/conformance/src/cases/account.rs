//! ListBuckets, counters, clock and the probe.

use anyhow::{Context as _, ensure};
use s3_client::probe::{self, Severity};
use s3_client::{Operation, TaskKind};

use crate::context::{Context, ensure_eq};

pub(super) async fn the_bucket_is_listed(t: &Context) -> anyhow::Result<()> {
    let bucket = t.client.bucket().context("the target has no bucket")?;
    t.client.head_bucket().await?;
    // Asking for the buckets must work without knowing one.
    let client = t.changed(|options| {
        options.bucket = None;
        Ok(())
    })?;
    let buckets = client.list_buckets().await?;
    let found = buckets.iter().any(|info| info.name == bucket.as_str());
    ensure!(found, "{bucket} is not among {buckets:?}");
    Ok(())
}

pub(super) async fn counters_count_what_was_sent(t: &Context) -> anyhow::Result<()> {
    let before = t.client.counters();
    let key = t.put("object", "0123456789").await?;
    let verify = t.client.with_task(TaskKind::Verify);
    verify.get_object(&key).await?;
    verify.get_object(&key).await?;
    t.client.head_object(&key).await?;
    t.list((&t.dir).into(), None).await?;
    t.client.delete_object(&key).await?;
    let counted = t.client.counters().since(&before);
    for (operation, expected) in [
        (Operation::PutObject, 1),
        (Operation::GetObject, 2),
        (Operation::HeadObject, 1),
        (Operation::ListObjects, 1),
        (Operation::DeleteObject, 1),
    ] {
        ensure_eq!(
            counted.of(operation).attempts,
            expected,
            "attempts of {operation}"
        );
        ensure_eq!(counted.of(operation).retries, 0, "retries of {operation}");
    }
    let verified = t.client.counters_of(TaskKind::Verify);
    ensure_eq!(verified.total().attempts, 2, "attempts of verify");
    ensure_eq!(
        verified.of(Operation::GetObject).bytes_in,
        20,
        "bytes read by verify"
    );
    let seven = counted.upstream();
    ensure_eq!(
        (seven.get, seven.put, seven.head, seven.delete),
        (3, 1, 1, 1),
        "upstream's fields"
    );
    ensure_eq!(seven.uploaded, 10, "bytes uploaded");
    Ok(())
}

pub(super) async fn the_clock_offset_is_small(t: &Context) -> anyhow::Result<()> {
    t.client.head_bucket().await?;
    let offset = t.client.clock_offset().context("no offset is known")?;
    ensure!(
        offset.abs() < 5_000,
        "the server's clock is {offset} ms off"
    );
    Ok(())
}

pub(super) async fn the_quick_probe_passes(t: &Context) -> anyhow::Result<()> {
    probe::quick(&t.client, Some(&t.dir)).await?;
    ensure_eq!(
        t.names("").await?,
        Vec::<String>::new(),
        "what the probe leaves"
    );
    Ok(())
}

pub(super) async fn the_full_probe_recommends_what_is_set(t: &Context) -> anyhow::Result<()> {
    let report = probe::full(&t.client, Some(&t.dir)).await?;
    let set = &t.target.options.endpoint.provider_quirks;
    let unwanted: Vec<_> = report
        .recommended_quirks
        .iter()
        .filter(|quirk| !set.contains(quirk))
        .collect();
    ensure!(
        unwanted.is_empty(),
        "recommends {unwanted:?}: {:?}",
        report.findings
    );
    let idle: Vec<_> = set
        .iter()
        .filter(|quirk| !report.recommended_quirks.contains(quirk))
        .collect();
    ensure!(
        idle.is_empty(),
        "does not recommend {idle:?}, which is set: {:?}",
        report.findings
    );
    let worst = if set.is_empty() {
        Severity::Note
    } else {
        Severity::Warning
    };
    ensure!(report.worst() <= worst, "{:?}", report.findings);
    ensure_eq!(
        t.names("").await?,
        Vec::<String>::new(),
        "what the probe leaves"
    );
    Ok(())
}
