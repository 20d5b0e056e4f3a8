//! The result of a run: upstream's status and closing lines, and what we count beside them
//! (gc.md §6.2 P5, G12, G13).

use std::collections::BTreeMap;
use std::time::Duration;

use api_types::digest::Digest;
use api_types::human::ByteSize;
use api_types::names::SnapshotPath;
use api_types::status::{GarbageCollectionCacheStats, GarbageCollectionStatus};
use serde::Serialize;

use super::candidate::PendingReason;
use super::mark::{AffectedSnapshot, MarkCounts};
use super::merge::MergeCounts;
use super::price::{Price, PriceTable, RequestCounts};

/// Lines about single things in the log are no more than this; the report has all.
const MAX_LINES: usize = 50;

/// A number of objects and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// Objects.
    pub count: u64,
    /// Bytes.
    pub bytes: u64,
}

impl Tally {
    /// Counts one more.
    pub fn add(&mut self, bytes: u64) {
        self.merge(Self { count: 1, bytes });
    }

    /// Adds another tally.
    pub fn merge(&mut self, other: Self) {
        self.count = self.count.saturating_add(other.count);
        self.bytes = self.bytes.saturating_add(other.bytes);
    }
}

/// How long requests of one kind took.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Latencies {
    millis: Vec<u32>,
}

impl Latencies {
    /// Adds a request.
    pub fn add(&mut self, duration: Duration) {
        self.millis
            .push(u32::try_from(duration.as_millis()).unwrap_or(u32::MAX));
    }

    /// Adds those of another part of the run.
    pub fn merge(&mut self, other: &Self) {
        self.millis.extend_from_slice(&other.millis);
    }

    /// Median, 95th percentile and maximum in milliseconds.
    #[must_use]
    pub fn summary(&self) -> Option<LatencySummary> {
        let mut sorted = self.millis.clone();
        sorted.sort_unstable();
        let last = sorted.len().checked_sub(1)?;
        let at = |percent: usize| sorted[last * percent / 100];
        Some(LatencySummary {
            p50: at(50),
            p95: at(95),
            max: sorted[last],
        })
    }
}

/// Milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct LatencySummary {
    /// Half of the requests were faster.
    pub p50: u32,
    /// 95 % were faster.
    pub p95: u32,
    /// The slowest.
    pub max: u32,
}

/// A snapshot without manifest, and what only it holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct IncompleteSnapshot {
    /// Which one.
    pub snapshot: SnapshotPath,
    /// Whether it was handed to the cleanup journal.
    pub to_be_removed: bool,
}

/// Everything that a run found and did.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct GcReport {
    /// Upstream's fields.
    pub status: GarbageCollectionStatus,
    /// Nothing was deleted: `deleted` is what would have been.
    pub dry_run: bool,
    /// The listing, all shards.
    pub listing: MergeCounts,
    /// Garbage deleted.
    pub deleted: Tally,
    /// The bucket keeps versions: what was deleted is out of sight, its space is not freed.
    pub versioned: bool,
    /// Garbage left for later, by reason.
    pub pending: BTreeMap<PendingReason, Tally>,
    /// Chunks of a filesystem datastore that no index needs and that stay for now: there the access
    /// time says what is counted as pending, and that is not all of them.
    pub unmarked_left: u64,
    /// Garbage that the provider refuses to delete.
    pub retained: Tally,
    /// What the provider said, for the first few.
    pub refusals: Vec<String>,
    /// Garbage whose deletion is not confirmed.
    pub suspect: Tally,
    /// Garbage whose deletion failed otherwise.
    pub failed: Tally,
    /// Bad chunks deleted.
    pub removed_bad: Tally,
    /// Bad chunks kept.
    pub kept_bad: Tally,
    /// Marked chunks that are not in the bucket: confirmed ones, and those beyond the limit of
    /// confirmations.
    pub missing: u64,
    /// Confirmed ones (by HEAD).
    pub missing_confirmed: Vec<Digest>,
    /// Snapshots that reference them, by group, the newest first.
    pub affected: Vec<AffectedSnapshot>,
    /// Missing chunks that were uploaded again from the cache.
    pub healed: u64,
    /// Markers created for marked objects, after a HEAD.
    pub presence_created: u64,
    /// Marked objects left without a marker: the limit of a run was reached.
    pub presence_unknown: u64,
    /// Local files removed whose digest is neither marked nor in the bucket.
    pub local_removed: u64,
    /// Keys of indexes in the bucket that belong to nothing.
    pub orphan_metadata: Vec<String>,
    /// Snapshots without manifest.
    pub incomplete_snapshots: Vec<IncompleteSnapshot>,
    /// Requests by price class.
    pub requests: RequestCounts,
    /// Time of listing requests.
    pub list_latency: Option<LatencySummary>,
    /// Time of delete requests.
    pub delete_latency: Option<LatencySummary>,
    /// By the configured price table.
    pub price: Option<Price>,
    /// What went wrong; the run ends with an error if there is anything.
    pub errors: Vec<String>,
}

impl GcReport {
    /// The accounting identities (G12): what was listed is live, a candidate, bad or unknown, and
    /// each candidate has one outcome.
    #[must_use]
    pub fn adds_up(&self) -> bool {
        let pending: u64 = self.pending.values().map(|tally| tally.count).sum();
        let outcomes = self.deleted.count
            + pending
            + self.retained.count
            + self.suspect.count
            + self.failed.count;
        let bad = self.removed_bad.count + self.kept_bad.count;
        self.listing.adds_up() && self.listing.candidates == outcomes && self.listing.bad == bad
    }

    /// Garbage that stays for whatever reason.
    #[must_use]
    pub fn left(&self) -> Tally {
        let mut left = Tally::default();
        for tally in self
            .pending
            .values()
            .chain([&self.retained, &self.suspect, &self.failed])
        {
            left.merge(*tally);
        }
        left
    }

    /// Counts garbage that stays.
    pub fn add_pending(&mut self, reason: PendingReason, bytes: u64) {
        self.pending.entry(reason).or_default().add(bytes);
    }

    /// Fills upstream's fields of an S3 run from our counts. `marked` is the number of different
    /// digests: its cache is our set, a hit is a digest that was in it already.
    pub fn fill_status(&mut self, upid: Option<String>, mark: &MarkCounts, marked: u64) {
        let left = self.left();
        self.status = GarbageCollectionStatus {
            upid,
            index_file_count: mark.index_files,
            index_data_bytes: mark.data_bytes,
            disk_bytes: self.listing.live_bytes.saturating_add(self.kept_bad.bytes),
            disk_chunks: self.listing.live,
            removed_bytes: self.deleted.bytes.saturating_add(self.removed_bad.bytes),
            removed_chunks: self.deleted.count,
            pending_bytes: left.bytes,
            pending_chunks: left.count,
            removed_bad: self.removed_bad.count,
            still_bad: self.kept_bad.count,
            cache_stats: Some(GarbageCollectionCacheStats {
                hits: mark.references.saturating_sub(marked),
                misses: marked,
            }),
        };
        if self.dry_run {
            self.remove_nothing();
        }
    }

    /// Turns the status into that of a dry run: what would have gone is pending.
    pub fn remove_nothing(&mut self) {
        let status = &mut self.status;
        status.pending_bytes = status.pending_bytes.saturating_add(status.removed_bytes);
        status.pending_chunks = status.pending_chunks.saturating_add(status.removed_chunks);
        status.still_bad = status.still_bad.saturating_add(status.removed_bad);
        (
            status.removed_bytes,
            status.removed_chunks,
            status.removed_bad,
        ) = (0, 0, 0);
    }

    /// What follows upstream's closing lines in the log, where it has something to say.
    #[must_use]
    pub fn detail_lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for (reason, tally) in &self.pending {
            lines.push(format!(
                "Pending ({}): {}",
                reason.as_str(),
                describe(*tally)
            ));
        }
        let kinds = [
            ("Retained", self.retained),
            ("Suspect", self.suspect),
            ("Failed", self.failed),
        ];
        for (what, tally) in kinds {
            if tally.count > 0 {
                lines.push(format!("{what}: {}", describe(tally)));
            }
        }
        if self.listing.unknown > 0 {
            lines.push(format!(
                "Unknown objects left alone: {} (e.g. {})",
                self.listing.unknown,
                self.listing.unknown_samples.join(", ")
            ));
        }
        let counted = [
            ("Healed chunks", self.healed),
            ("Markers created", self.presence_created),
            (
                "Chunks without marker (rebuild presence by a refresh)",
                self.presence_unknown,
            ),
            ("Local files of vanished chunks removed", self.local_removed),
            (
                "Orphan metadata objects",
                u64::try_from(self.orphan_metadata.len()).unwrap_or(0),
            ),
        ];
        let shown = counted.iter().filter(|(_, count)| *count > 0);
        lines.extend(shown.map(|(what, count)| format!("{what}: {count}")));
        lines.extend(
            self.incomplete_snapshots
                .iter()
                .take(MAX_LINES)
                .map(|incomplete| {
                    let end = if incomplete.to_be_removed {
                        ", to be removed"
                    } else {
                        ""
                    };
                    format!("Incomplete snapshot: {}{end}", incomplete.snapshot)
                }),
        );
        lines.extend(self.request_lines());
        lines
    }

    /// The warning that deleting has freed nothing.
    #[must_use]
    pub fn versions_line(&self) -> Option<String> {
        let kept = self.deleted.count.saturating_add(self.removed_bad.count);
        (self.versioned && kept > 0).then(|| {
            format!(
                "the bucket is versioned: the space of {} is not freed until a lifecycle rule \
                 removes old versions",
                describe(self.deleted)
            )
        })
    }

    /// Warnings about missing chunks, one per snapshot.
    #[must_use]
    pub fn missing_lines(&self) -> Vec<String> {
        if self.missing == 0 {
            return Vec::new();
        }
        let mut lines = vec![format!(
            "{} referenced chunks are missing in the bucket ({} confirmed); the next backup \
             uploads them again if it still has them",
            self.missing,
            self.missing_confirmed.len()
        )];
        lines.extend(self.affected.iter().take(MAX_LINES).map(|affected| {
            let place = match (&affected.snapshot, affected.indexes.first()) {
                (Some(snapshot), _) => snapshot.to_string(),
                (None, Some(index)) => index.display().to_string(),
                (None, None) => "an index outside of the expected layout".to_owned(),
            };
            format!(
                "snapshot {place} references {} missing chunks",
                affected.missing
            )
        }));
        if let Some(more) = self
            .affected
            .len()
            .checked_sub(MAX_LINES)
            .filter(|more| *more > 0)
        {
            lines.push(format!("and {more} more snapshots"));
        }
        lines
    }

    /// What a dry run would have done, and what that would cost and save.
    #[must_use]
    pub fn dry_run_lines(&self, prices: &PriceTable) -> Vec<String> {
        let batches = self.deleted.count.div_ceil(1000);
        let deletes = RequestCounts {
            delete: batches,
            ..RequestCounts::default()
        };
        vec![
            "Dry run: nothing was deleted".to_owned(),
            format!("Would delete: {}", describe(self.deleted)),
            format!("Would delete bad chunks: {}", describe(self.removed_bad)),
            format!(
                "Would send: {batches} delete requests ({})",
                prices.requests(&deletes)
            ),
            format!("This run's requests: {}", prices.requests(&self.requests)),
            format!(
                "Would save per month: {}",
                prices.storage_per_month(self.deleted.bytes)
            ),
        ]
    }

    fn request_lines(&self) -> Vec<String> {
        let requests = &self.requests;
        if requests.total() == 0 {
            return Vec::new();
        }
        let mut lines = vec![format!(
            "Requests: {} list, {} read, {} write, {} delete; {} received",
            requests.list,
            requests.read,
            requests.write,
            requests.delete,
            ByteSize::from_bytes(requests.downloaded_bytes)
        )];
        for (what, latency) in [("List", self.list_latency), ("Delete", self.delete_latency)] {
            if let Some(LatencySummary { p50, p95, max }) = latency {
                lines.push(format!(
                    "{what} requests took: median {p50} ms, 95 % {p95} ms, most {max} ms"
                ));
            }
        }
        lines.extend(
            self.price
                .as_ref()
                .map(|price| format!("Price of the requests: {price}")),
        );
        lines
    }
}

/// Upstream's last lines of a garbage collection.
#[must_use]
pub fn closing_lines(status: &GarbageCollectionStatus) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(GarbageCollectionCacheStats { hits, misses }) = status.cache_stats {
        let ratio = percent(hits, hits.saturating_add(misses));
        lines.push(format!(
            "Chunk cache: hits {hits}, misses {misses} (hit ratio {ratio:.2}%)"
        ));
    }
    lines.push(format!(
        "Removed garbage: {}",
        ByteSize::from_bytes(status.removed_bytes)
    ));
    lines.push(format!("Removed chunks: {}", status.removed_chunks));
    if status.pending_bytes > 0 {
        let bytes = ByteSize::from_bytes(status.pending_bytes);
        lines.push(format!(
            "Pending removals: {bytes} (in {} chunks)",
            status.pending_chunks
        ));
    }
    if status.removed_bad > 0 {
        lines.push(format!("Removed bad chunks: {}", status.removed_bad));
    }
    if status.still_bad > 0 {
        lines.push(format!("Leftover bad chunks: {}", status.still_bad));
    }
    let original = ByteSize::from_bytes(status.index_data_bytes);
    lines.push(format!("Original data usage: {original}"));
    if status.index_data_bytes > 0 {
        let ratio = percent(status.disk_bytes, status.index_data_bytes);
        let bytes = ByteSize::from_bytes(status.disk_bytes);
        lines.push(format!("On-Disk usage: {bytes} ({ratio:.2}%)"));
    }
    lines.push(format!("On-Disk chunks: {}", status.disk_chunks));
    lines.push(format!(
        "Deduplication factor: {:.2}",
        status.deduplication_factor()
    ));
    if let Some(average) = status.disk_bytes.checked_div(status.disk_chunks) {
        lines.push(format!(
            "Average chunk size: {}",
            ByteSize::from_bytes(average)
        ));
    }
    lines
}

fn describe(tally: Tally) -> String {
    format!(
        "{} (in {} chunks)",
        ByteSize::from_bytes(tally.bytes),
        tally.count
    )
}

fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        0.0
    } else {
        part as f64 * 100.0 / whole as f64
    }
}

#[cfg(test)]
mod tests;
