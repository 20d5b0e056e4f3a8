//! `gc-s3-latency`, `gc-s3-minio` and `gc-requests`: whole collections of a bucket.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use datastore::gc::GcReport;
use datastore::gc::shards::ShardCount;
use futures_util::future::{BoxFuture, try_join_all};
use s3_client::S3Client;
use s3_mock::{MockS3, Op};
use support::{MinioServer, mock_endpoint};

use crate::baseline::s3::Collected;
use crate::row::{Bench, Round, Row, Setup, Side, Target, Unit};
use crate::world::bucket::{Bucket, BucketStore, Content};
use crate::world::series::Series;

const BUCKET: &str = "bench";

/// Few snapshots: the index files are another row's matter.
const SERIES: Series = Series {
    groups: 10,
    snapshots: 4,
    changed_per_mille: 20,
};

/// What the figures of a page and of a delete request are injected with.
const LIST_LATENCY: Duration = Duration::from_millis(100);
const DELETE_LATENCY: Duration = Duration::from_secs(1);

/// Delete requests that the product keeps in flight.
const DELETES_IN_FLIGHT: u64 = 8;
/// Keys of a page of a listing, and of a delete request.
const PAGE: u64 = 1000;

/// A scripted server, and a client of it over loopback.
struct Scripted {
    mock: MockS3,
    client: S3Client,
}

impl Scripted {
    async fn start(setup: &Setup) -> Result<Self> {
        let mock = MockS3::builder().bucket(BUCKET).start().await?;
        let client = mock_endpoint(&mock, BUCKET)?.client(setup.env.clone())?;
        Ok(Self { mock, client })
    }

    async fn store(&self, setup: &Setup, name: &str, chunks: usize) -> Result<BucketStore> {
        let bucket = Bucket::Mock(self.mock.clone(), BUCKET.to_owned());
        let content = Content {
            series: SERIES,
            chunks: u64::try_from(chunks)?,
            object_bytes: 16,
        };
        BucketStore::create(setup, name, self.client.clone(), bucket, content).await
    }
}

/// A collection where the server takes its time.
pub struct Latency;

impl Row for Latency {
    fn id(&self) -> &'static str {
        "gc-s3-latency"
    }

    fn measures(&self) -> &'static str {
        "Whole collection, 200 k chunks, 10 % garbage, 100 ms per LIST and 1 s per delete request"
    }

    fn unit(&self) -> Unit {
        Unit::cost("s")
    }

    fn target(&self) -> Target {
        Target::Ratio(10.0)
    }

    fn text(&self) -> &'static str {
        include_str!("../../texts/gc-s3-latency.md")
    }

    fn prepare<'a>(&'a self, setup: &'a Setup) -> BoxFuture<'a, Result<Box<dyn Bench>>> {
        Box::pin(async move {
            let server = Scripted::start(setup).await?;
            let chunks = setup.size(200_000, 2_000);
            let mut stores = Vec::new();
            for number in 0..setup.runs {
                stores.push(
                    server
                        .store(setup, &format!("store{number}"), chunks)
                        .await?,
                );
            }
            let (list, delete) = if setup.quick {
                (Duration::from_millis(10), Duration::from_millis(10))
            } else {
                (LIST_LATENCY, DELETE_LATENCY)
            };
            server.mock.configure(|behaviour| {
                behaviour.set_latency(Op::ListObjects, list);
                behaviour.set_latency(Op::DeleteObjects, delete);
            });
            Ok(Box::new(LatencyBench {
                stores,
                details: Vec::new(),
                _server: server,
            }) as Box<dyn Bench>)
        })
    }
}

struct LatencyBench {
    /// One for each run.
    stores: Vec<BucketStore>,
    details: Vec<String>,
    _server: Scripted,
}

impl Bench for LatencyBench {
    fn run(&mut self, side: Side) -> BoxFuture<'_, Result<f64>> {
        Box::pin(async move {
            let store = self.stores.first().context("there is no store")?;
            store.soil().await?;
            match side {
                Side::Baseline => Ok(store.collect_baseline().await?.0),
                Side::Ours => {
                    let (seconds, report) = store.collect().await?;
                    self.details = describe(&report);
                    Ok(seconds)
                }
            }
        })
    }

    /// One run of the baseline is minutes of waiting: all of them wait side by side, each on a
    /// store of its own, and ours runs alone afterwards.
    fn rounds(&mut self, runs: usize) -> BoxFuture<'_, Result<Vec<Round>>> {
        Box::pin(async move {
            let stores = &self.stores[..runs.min(self.stores.len())];
            for store in stores {
                store.soil().await?;
            }
            let baselines = stores.iter().map(BucketStore::collect_baseline);
            let baselines = try_join_all(baselines).await?;
            let mut rounds = Vec::new();
            for (baseline, _) in baselines {
                let ours = self.run(Side::Ours).await?;
                rounds.push(Round { ours, baseline });
            }
            Ok(rounds)
        })
    }

    fn details(&self) -> Vec<String> {
        self.details.clone()
    }
}

/// Requests and how long they took.
fn describe(report: &GcReport) -> Vec<String> {
    let requests = &report.requests;
    let mut lines = vec![format!(
        "ours: {} LIST, {} delete requests",
        requests.list, requests.delete
    )];
    for (what, latency) in [
        ("LIST", report.list_latency),
        ("delete request", report.delete_latency),
    ] {
        if let Some(latency) = latency {
            lines.push(format!(
                "ours: a {what} took {} ms (median), {} ms (95 %), {} ms (longest)",
                latency.p50, latency.p95, latency.max
            ));
        }
    }
    lines
}

/// A collection against a real server.
pub struct Minio;

impl Row for Minio {
    fn id(&self) -> &'static str {
        "gc-s3-minio"
    }

    fn measures(&self) -> &'static str {
        "Whole collection against MinIO on loopback, 100 k small chunks, 10 % garbage"
    }

    fn unit(&self) -> Unit {
        Unit::cost("s")
    }

    fn target(&self) -> Target {
        Target::Ratio(3.0)
    }

    fn text(&self) -> &'static str {
        include_str!("../../texts/gc-s3-minio.md")
    }

    fn prepare<'a>(&'a self, setup: &'a Setup) -> BoxFuture<'a, Result<Box<dyn Bench>>> {
        Box::pin(async move {
            let server = MinioServer::start().await?;
            server.create_bucket(BUCKET)?;
            let client = server.endpoint(BUCKET).client(setup.env.clone())?;
            let content = Content {
                series: SERIES,
                chunks: u64::try_from(setup.size(100_000, 400))?,
                object_bytes: 64,
            };
            let store =
                BucketStore::create(setup, "store1", client, Bucket::Uploads, content).await?;
            Ok(Box::new(MinioBench {
                store,
                details: Vec::new(),
                _server: server,
            }) as Box<dyn Bench>)
        })
    }
}

struct MinioBench {
    store: BucketStore,
    details: Vec<String>,
    _server: MinioServer,
}

impl Bench for MinioBench {
    fn run(&mut self, side: Side) -> BoxFuture<'_, Result<f64>> {
        Box::pin(async move {
            self.store.soil().await?;
            match side {
                Side::Baseline => Ok(self.store.collect_baseline().await?.0),
                Side::Ours => {
                    let (seconds, report) = self.store.collect().await?;
                    self.details = describe(&report);
                    Ok(seconds)
                }
            }
        })
    }

    fn details(&self) -> Vec<String> {
        self.details.clone()
    }
}

/// How many requests a collection makes.
pub struct Requests;

impl Requests {
    const CHUNKS: u64 = 50_000;
    const QUICK_CHUNKS: u64 = 25_000;

    /// What `gc.md` §10 allows: pages of the chunks, one page more per shard, pages of the
    /// metadata; full batches, and one begun for each in flight.
    fn allowed(objects: u64, garbage: u64, metadata: u64) -> (u64, u64) {
        let shards = ShardCount::choose(None, objects - garbage).shards();
        let lists = objects / PAGE + shards + metadata.div_ceil(PAGE);
        (lists, garbage / PAGE + DELETES_IN_FLIGHT)
    }
}

impl Row for Requests {
    fn id(&self) -> &'static str {
        "gc-requests"
    }

    fn measures(&self) -> &'static str {
        "LIST and delete requests of a collection, 50 k chunks, 10 % garbage; none per live chunk"
    }

    fn unit(&self) -> Unit {
        Unit::cost("requests")
    }

    fn target(&self) -> Target {
        // As the issue has it; the parts are checked one by one when it is measured.
        let garbage = Self::CHUNKS / 10;
        let metadata = 2 * SERIES.groups * SERIES.snapshots;
        let (lists, deletes) = Self::allowed(Self::CHUNKS, garbage, metadata);
        #[allow(clippy::cast_precision_loss, reason = "a hundred requests")]
        Target::AtMost((lists + deletes) as f64)
    }

    fn text(&self) -> &'static str {
        include_str!("../../texts/gc-requests.md")
    }

    fn prepare<'a>(&'a self, setup: &'a Setup) -> BoxFuture<'a, Result<Box<dyn Bench>>> {
        Box::pin(async move {
            let server = Scripted::start(setup).await?;
            let chunks = if setup.quick {
                Self::QUICK_CHUNKS
            } else {
                Self::CHUNKS
            };
            let store = server
                .store(setup, "store1", usize::try_from(chunks)?)
                .await?;
            Ok(Box::new(RequestsBench {
                store,
                server,
                details: Vec::new(),
            }) as Box<dyn Bench>)
        })
    }
}

struct RequestsBench {
    store: BucketStore,
    server: Scripted,
    details: Vec<String>,
}

impl RequestsBench {
    /// Counts what reaches the server, and holds it against the bound.
    async fn count_ours(&mut self) -> Result<f64> {
        let (_, report) = self.store.collect().await?;
        let counters = self.server.mock.counters();
        let (lists, deletes) = (counters.of(Op::ListObjects), counters.of(Op::DeleteObjects));
        let written = self.store.written;
        let metadata = 2 * written.indexes;
        let (most_lists, most_deletes) =
            Requests::allowed(self.store.objects(), self.store.garbage(), metadata);
        ensure!(
            lists <= most_lists,
            "{lists} LIST requests, allowed are {most_lists}"
        );
        ensure!(
            deletes <= most_deletes,
            "{deletes} delete requests, allowed are {most_deletes}"
        );
        let single = [Op::HeadObject, Op::DeleteObject, Op::CopyObject];
        for op in single {
            let count = counters.of(op);
            ensure!(
                count == 0,
                "{count} requests of kind {op:?}, allowed are none"
            );
        }
        // Of the store, not of chunks: in-use marker, and the epoch for each delete request.
        let (gets, puts) = (counters.of(Op::GetObject), counters.of(Op::PutObject));
        ensure!(
            gets <= 4 && puts <= 1 + deletes,
            "{gets} GET and {puts} PUT requests"
        );
        ensure!(report.requests.list == lists && report.requests.delete == deletes);
        self.details = vec![
            format!(
                "ours: {lists} LIST (allowed {most_lists}), {deletes} delete requests (allowed {most_deletes})"
            ),
            format!(
                "ours beside them: {gets} GET, {puts} PUT, 1 HEAD of the bucket; none per chunk"
            ),
        ];
        Ok(float(lists + deletes))
    }

    async fn count_baseline(&mut self) -> Result<f64> {
        let (_, collected): (f64, Collected) = self.store.collect_baseline().await?;
        let counters = self.server.mock.counters();
        let deletes = counters.of(Op::DeleteObjects);
        ensure!(deletes == collected.delete_requests);
        Ok(float(counters.of(Op::ListObjects) + deletes))
    }
}

impl Bench for RequestsBench {
    fn run(&mut self, side: Side) -> BoxFuture<'_, Result<f64>> {
        Box::pin(async move {
            self.store.soil().await?;
            self.server.mock.reset_counters();
            match side {
                Side::Ours => self.count_ours().await,
                Side::Baseline => self.count_baseline().await,
            }
        })
    }

    fn details(&self) -> Vec<String> {
        self.details.clone()
    }
}

fn float(count: u64) -> f64 {
    count as f64
}
