//! What a collection costs in memory (`gc.md` §9, T60), in a process of its own: others' memory
//! would be counted too. `make bench` has the fifty million; here it is shown that nothing grows
//! with the number of listed objects, and that the marks go to disk.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result, ensure};
use api_types::datastore::DatastoreTuning;
use api_types::digest::Digest;
use bytes::Bytes;
use datastore::chunk_store::PrefixDirs;
use datastore::file_time::FileTime;
use datastore::format::dynamic_index::DynamicIndexWriter;
use datastore::format::index::IndexIdentity;
use datastore::gc::GcOptions;
use datastore::store::create::CreateOptions;
use datastore::store::{BackendOptions, DataStore, StoreOptions};
use datastore::task::{RecordingTask, SilentTask};
use futures_util::future::BoxFuture;
use s3_client::transport::{Attempt, Response, Transport, TransportError};
use s3_client::{Operation, S3Client};
use scenarios::{AFTER_GRACE, BUCKET, START, STORE, World};

const PAGE: usize = 1000;
/// Indexes are read one after the other, each whole.
const PER_INDEX: usize = 10_000;

/// Bytes that a chunk may cost beyond what every collection costs; its mark has 32.
const BYTES_PER_CHUNK: usize = 16;

/// The `n`th of `count` digests, ascending, in 256 directories.
fn digest(n: usize, count: usize) -> Digest {
    let mut bytes = [0; 32];
    bytes[1] = u8::try_from(n * 256 / count).unwrap_or(u8::MAX);
    bytes[2..10].copy_from_slice(&n.to_be_bytes());
    Digest::from_bytes(bytes)
}

/// Answers listings of chunks by itself: objects that no server has to keep.
struct Endless {
    server: support::MemoryTransport,
    count: usize,
    pages: AtomicUsize,
}

impl Endless {
    fn page(&self, first: usize) -> String {
        let end = (first + PAGE).min(self.count);
        let mut xml = format!("<ListBucketResult><Name>{BUCKET}</Name>");
        for n in first..end {
            let hex = digest(n, self.count).to_hex();
            let _ = write!(
                xml,
                "<Contents><Key>{STORE}/.chunks/{}/{hex}</Key><Size>100</Size>\
                 <LastModified>2025-01-01T00:00:00.000Z</LastModified></Contents>",
                &hex[..4]
            );
        }
        let more = end < self.count;
        let _ = write!(xml, "<IsTruncated>{more}</IsTruncated>");
        if more {
            let _ = write!(xml, "<NextContinuationToken>{end}</NextContinuationToken>");
        }
        xml + "</ListBucketResult>"
    }
}

impl Transport for Endless {
    fn send(&self, attempt: Attempt) -> BoxFuture<'_, Result<Response, TransportError>> {
        let target = attempt.request.target();
        let of_chunks = target.contains(".chunks");
        if attempt.request.operation != Operation::ListObjects || !of_chunks {
            return self.server.send(attempt);
        }
        self.pages.fetch_add(1, Ordering::SeqCst);
        let query: BTreeMap<&str, &str> = target
            .split(['?', '&'])
            .filter_map(|part| part.split_once('='))
            .collect();
        let token = query.get("continuation-token");
        let first = token.and_then(|token| token.parse().ok()).unwrap_or(0);
        // All digests begin with a zero: the other shards are empty.
        let prefix = query.get("prefix").copied().unwrap_or_default();
        let first = match prefix.ends_with("chunks%2F0") || prefix.ends_with("chunks%2F") {
            true => first,
            false => self.count,
        };
        let body = Bytes::from(self.page(first));
        Box::pin(async move {
            Ok(Response {
                status: 200,
                headers: std::iter::empty().collect(),
                body,
                received_at: None,
            })
        })
    }
}

/// Kibibytes by that line of `/proc/self/status`.
fn memory(line: &str) -> Result<usize> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let found = status.lines().find(|l| l.starts_with(line));
    let number = found.and_then(|line| line.split_whitespace().nth(1));
    Ok(number.context("no such line")?.parse()?)
}

/// The most memory of the process since its beginning, in bytes, after a collection that lists so
/// many chunks, all of them marked and present.
async fn collect(count: usize) -> Result<usize> {
    let world = World::empty(1).await?;
    let transport = Arc::new(Endless {
        server: support::MemoryTransport::new(&world.mock, world.env.clone()),
        count,
        pages: AtomicUsize::new(0),
    });
    let endpoint = support::mock_endpoint(&world.mock, BUCKET)?.options()?;
    let client = S3Client::with_transport(endpoint, world.env.clone(), transport.clone())?;
    let options = StoreOptions {
        backend: BackendOptions::S3 {
            client,
            max_cache_bytes: None,
        },
        tuning: DatastoreTuning {
            list_concurrency: Some(1),
            ..DatastoreTuning::default()
        },
        ..world.options("cache")?
    };
    // Created on an empty bucket; the chunks come afterwards.
    drop(
        DataStore::create(
            world.options("cache")?,
            CreateOptions {
                prefix_dirs: PrefixDirs::OnDemand,
                ..CreateOptions::default()
            },
            &SilentTask::new(),
        )
        .await?,
    );
    let store = DataStore::open(options)?;
    for n in 0..count {
        let old = FileTime::from_secs(START);
        store.chunks().create_marker(&digest(n, count), old)?;
    }
    let odd = store.base().join("by-hand");
    std::fs::create_dir(&odd)?;
    for first in (0..count).step_by(PER_INDEX) {
        let path = odd.join(format!("{first}.didx"));
        let mut writer = DynamicIndexWriter::create(&path, IndexIdentity::new(&world.env))?;
        for n in first..(first + PER_INDEX).min(count) {
            let start = u64::try_from(n - first)? * 100;
            writer.add_chunk(start, 100, &digest(n, count))?;
        }
        writer.close()?.commit()?;
    }
    world.pass(AFTER_GRACE).await;
    let options = GcOptions {
        mark_memory: 256 << 10,
        ..GcOptions::default()
    };
    let task = Arc::new(RecordingTask::new());
    let report = store.garbage_collection(task, options).await?;
    let all = u64::try_from(count)?;
    ensure!(report.adds_up() && report.deleted.count == 0 && report.missing == 0);
    ensure!((report.listing.listed, report.listing.live) == (all, all));
    ensure!(transport.pages.load(Ordering::SeqCst) >= count / PAGE);
    Ok(memory("VmHWM:")? * 1024)
}

/// T60, the suite's form.
#[tokio::test(start_paused = true)]
async fn t60_a_listing_costs_no_memory_per_object() -> Result<()> {
    if std::env::var_os("COLLECTION_ALONE").is_none() {
        let status = std::process::Command::new(std::env::current_exe()?)
            .args(["--exact", "t60_a_listing_costs_no_memory_per_object"])
            .env("COLLECTION_ALONE", "1")
            .status()?;
        ensure!(status.success(), "too much memory");
        return Ok(());
    }
    let (few, many) = (20_000, 160_000);
    collect(few).await?;
    let before = collect(few).await?;
    let after = collect(many).await?;
    let grown = after.saturating_sub(before);
    ensure!(
        grown < (many - few) * BYTES_PER_CHUNK,
        "{grown} bytes for {} chunks more",
        many - few
    );
    Ok(())
}
