//! One shard: its listing, merged page by page with the marks and the local directory.

use std::sync::Arc;

use api_types::digest::Digest;
use s3_client::{ListOptions, ListPage};

use crate::backend::s3::S3Backend;
use crate::chunk_store::EntryKind;
use crate::error::{Error, Result};
use crate::gc::GcResult;
use crate::gc::error::GcError;
use crate::gc::merge::{
    ListingEnd, MarkSetShard, MergeCounts, MergeEvent, ObjectFacts, ShardMerge,
};
use crate::gc::report::Latencies;
use crate::gc::shards::ShardPrefix;

use super::Sweep;
use super::condemn::Candidate;

type LocalDigests = Box<dyn Iterator<Item = GcResult<Digest>> + Send>;
type Merge = ShardMerge<MarkSetShard, LocalDigests>;

/// What a completely listed shard hands over.
#[derive(Debug, Default)]
pub(super) struct ShardOutput {
    pub counts: MergeCounts,
    /// Objects to be judged.
    pub candidates: Vec<Candidate>,
    /// Marked and listed, without a local file.
    pub presence_unknown: Vec<Digest>,
    /// Marked and not listed.
    pub marked_absent: Vec<Digest>,
    pub stale_local_removed: u64,
    /// Chunks whose payload was put back after a late delete, with their objects listed.
    pub rescued_listed: Vec<Digest>,
    /// Of the requests for its pages.
    pub list_latencies: Latencies,
}

/// Lists and merges one shard. An incomplete listing is an error: nothing of the shard is deleted,
/// healed or reported missing then ◆.
pub(super) async fn sweep_shard(sweep: Sweep, prefix: ShardPrefix) -> Result<ShardOutput> {
    let backend = Arc::clone(&sweep.backend);
    let chunks = backend.keys.chunks()?;
    let mut listing = sweep.client.list(
        backend.keys.chunk_shard(&prefix.to_string())?,
        ListOptions {
            without_tags: true,
            ..ListOptions::default()
        },
    );
    let local: LocalDigests = Box::new(LocalChunks::new(&sweep, prefix));
    let mut merge = Merge::new(prefix, MarkSetShard::new(&sweep.marks, prefix), local);
    let mut output = ShardOutput::default();
    while let Some(page) = listing.next_page().await {
        let page = page.map_err(|error| {
            Error::Refused(format!(
                "listing of chunks '{prefix}' is incomplete: {error}"
            ))
        })?;
        output.list_latencies.add(page.took);
        let (chunks, sweep) = (chunks.clone(), sweep.clone());
        (merge, output) = backend
            .env
            .background(move || -> Result<_> {
                let mut events = Vec::new();
                push_page(&mut merge, &chunks, &page, &mut events)?;
                sort_events(&sweep.backend, events, &mut output);
                Ok((merge, output))
            })
            .await?;
    }
    let sweep_end = sweep.clone();
    // It removes local files: not without a share of the process lock, should the run be aborted ◆.
    backend
        .blocking(move || {
            let mut events = Vec::new();
            let counts = merge.finish(ListingEnd::Complete, &mut events)?;
            let stale = sort_events(&sweep_end.backend, events, &mut output);
            output.counts = counts;
            output.stale_local_removed = sweep_end.drop_stale(&stale)?;
            for digest in &output.rescued_listed {
                sweep_end.backend.seen_in_listing(digest);
            }
            Ok(output)
        })
        .await
}

fn push_page(
    merge: &mut Merge,
    chunks: &s3_client::DirPrefix,
    page: &ListPage,
    events: &mut Vec<MergeEvent>,
) -> Result<()> {
    let list_date = page.server_date.map(|seconds| seconds.saturating_mul(1000));
    for object in &page.objects {
        let relative = object
            .key
            .relative_to(chunks)
            .unwrap_or_else(|| object.key.as_str());
        let facts = ObjectFacts {
            size: object.size,
            last_modified: object.last_modified,
            list_date,
        };
        merge.push(relative, facts, events)?;
    }
    Ok(())
}

/// Sorts events into the shard's output; returns local files without object and mark.
fn sort_events(
    backend: &S3Backend,
    events: Vec<MergeEvent>,
    output: &mut ShardOutput,
) -> Vec<Digest> {
    let mut stale = Vec::new();
    for event in events {
        match event {
            MergeEvent::Live {
                digest,
                local: true,
                ..
            } => {
                if backend.is_rescued(&digest) {
                    output.rescued_listed.push(digest);
                }
            }
            MergeEvent::Live {
                digest,
                local: false,
                ..
            } => output.presence_unknown.push(digest),
            MergeEvent::Candidate { digest, object, .. } => {
                output.candidates.push(Candidate::chunk(digest, object));
            }
            MergeEvent::Bad {
                digest,
                number,
                object,
                marked,
                good_listed,
            } => {
                output
                    .candidates
                    .push(Candidate::bad(digest, number, object, marked, good_listed));
            }
            MergeEvent::MarkedAbsent { digest, .. } => output.marked_absent.push(digest),
            MergeEvent::LocalOnly { digest } => stale.push(digest),
        }
    }
    stale
}

/// The digests with a local chunk file in a shard, ascending; clears upstream's `.using` marks and
/// what interrupted inserts left on the way.
struct LocalChunks {
    sweep: Sweep,
    /// Until the first look.
    range: Option<std::ops::RangeInclusive<u16>>,
    directories: std::vec::IntoIter<u16>,
    current: std::vec::IntoIter<Digest>,
}

impl LocalChunks {
    fn new(sweep: &Sweep, prefix: ShardPrefix) -> Self {
        Self {
            sweep: sweep.clone(),
            range: Some(prefix.directories()),
            directories: Vec::new().into_iter(),
            current: Vec::new().into_iter(),
        }
    }

    fn read_directory(&self, directory: u16) -> GcResult<Vec<Digest>> {
        let local = &self.sweep.backend.local;
        let listing = local
            .list_prefix(directory)
            .map_err(|error| GcError::Host(error.to_string()))?;
        let mut digests = Vec::new();
        for entry in listing.entries {
            match (entry.kind, entry.digest) {
                (EntryKind::Chunk, Some(digest)) => digests.push(digest),
                (EntryKind::Using, Some(digest)) if !self.sweep.rules.dry_run => {
                    local
                        .remove_using(&digest)
                        .map_err(|e| GcError::Host(e.to_string()))?;
                }
                (EntryKind::Temporary, _) if !self.sweep.rules.dry_run => {
                    let now = self.sweep.backend.env.unix_secs();
                    local
                        .remove_abandoned(directory, &entry, now)
                        .map_err(|e| GcError::Host(e.to_string()))?;
                }
                _ => {}
            }
        }
        Ok(digests)
    }
}

impl Iterator for LocalChunks {
    type Item = GcResult<Digest>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(range) = self.range.take() {
            match self.sweep.backend.local.prefixes(range) {
                Ok(directories) => self.directories = directories.into_iter(),
                Err(error) => return Some(Err(GcError::Host(error.to_string()))),
            }
        }
        loop {
            if let Some(digest) = self.current.next() {
                return Some(Ok(digest));
            }
            let directory = self.directories.next()?;
            match self.read_directory(directory) {
                Ok(digests) => self.current = digests.into_iter(),
                Err(error) => return Some(Err(error)),
            }
        }
    }
}
