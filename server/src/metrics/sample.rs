//! One look at the machine and the datastores.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use api_types::datastore::{DatastoreConfig, Operation};
use api_types::names::DatastoreName;
use futures_util::future;
use futures_util::stream::{self, StreamExt as _};
use s3_client::UpstreamStatistics;
use tokio::time::Instant;

use super::live::{DataPoint, MetricKind};
use super::sources::{Disk, Network};
use crate::api::nodes::machine::{Ticks, parse_loadavg, parse_memory};
use crate::daemon::Server;
use crate::datastores::mounted::{NOT_MOUNTED, mount_status};
use crate::datastores::space::DiskSpace;

/// The machine's series, in the order of its file.
pub const HOST_SERIES: &[&str] = &[
    "cpu",
    "iowait",
    "memtotal",
    "memused",
    "swaptotal",
    "swapused",
    "netin",
    "netout",
    "loadavg",
    "total",
    "used",
    "read_ios",
    "read_bytes",
    "write_ios",
    "write_bytes",
    "io_ticks",
];

/// A datastore's series, in the order of its file; those of S3 stay empty elsewhere.
pub const DATASTORE_SERIES: &[&str] = &[
    "total",
    "available",
    "used",
    "read_ios",
    "read_bytes",
    "write_ios",
    "write_bytes",
    "io_ticks",
    "s3/uploaded",
    "s3/downloaded",
    "s3/total/uploaded",
    "s3/total/downloaded",
    "s3/total/get",
    "s3/total/put",
    "s3/total/post",
    "s3/total/head",
    "s3/total/delete",
];

/// What was seen at one time.
#[derive(Debug)]
pub struct Sample {
    /// When, seconds since the epoch.
    pub time: i64,
    /// The machine, and the datastores that can be looked at.
    pub objects: Vec<Object>,
}

/// What was seen of one thing.
#[derive(Debug)]
pub struct Object {
    /// Which datastore; `None` for the machine.
    pub datastore: Option<DatastoreName>,
    /// In the order of its series.
    pub series: Vec<Option<f64>>,
    /// For those who ask for what is going on.
    pub points: Vec<DataPoint>,
}

/// What grows: rates are differences to the last look.
#[derive(Debug)]
pub struct Previous {
    at: Instant,
    ticks: Option<Ticks>,
    counters: BTreeMap<(Option<DatastoreName>, &'static str), u64>,
}

/// A datastore that was looked at.
struct Target {
    name: DatastoreName,
    space: DiskSpace,
    disk: Option<Disk>,
    s3: Option<UpstreamStatistics>,
}

/// Datastores that are looked at together.
const AT_ONCE: usize = 16;

impl Sample {
    /// Looks. Without a look before there are no rates.
    pub async fn take(server: &Arc<Server>, previous: Option<Previous>) -> (Self, Previous) {
        let targets = targets(server).await;
        let time = server.env.unix_secs();
        let look = Look {
            time,
            previous,
            now: Previous {
                at: server.env.now(),
                ticks: None,
                counters: BTreeMap::new(),
            },
        };
        server.env.blocking(move || look.everything(targets)).await
    }
}

/// The datastores that may be read and are there: one that is not has no use of zero, and one whose
/// disk hangs keeps no figures of others back.
async fn targets(server: &Arc<Server>) -> Vec<Target> {
    let Ok(content) = server.config.datastores().load() else {
        return Vec::new();
    };
    let is_readable = |config: &DatastoreConfig| {
        let mode = config.maintenance_mode.as_ref();
        mode.is_none_or(|mode| mode.allows(Operation::Read))
    };
    let entries = content.entries.into_iter().filter(is_readable);
    let looks = stream::iter(entries.map(|config| target(server, config)));
    looks
        .buffered(AT_ONCE)
        .filter_map(future::ready)
        .collect()
        .await
}

async fn target(server: &Server, config: DatastoreConfig) -> Option<Target> {
    let s3 = match server.stores.client(&config) {
        Ok(Some(client)) => Some(client.counters().upstream()),
        _ => None,
    };
    let (name, env) = (config.name.clone(), server.env.clone());
    let look = move || {
        if mount_status(&config) == NOT_MOUNTED {
            return None;
        }
        let path = PathBuf::from(config.absolute_path());
        Some((DiskSpace::of(&path).ok()?, Disk::of(&path)))
    };
    let looked = server
        .stores
        .in_time(&name, async move { env.blocking(look).await });
    let (space, disk) = looked.await.ok()??;
    Some(Target {
        name,
        space,
        disk,
        s3,
    })
}

/// A look under way.
struct Look {
    time: i64,
    previous: Option<Previous>,
    now: Previous,
}

impl Look {
    fn everything(mut self, targets: Vec<Target>) -> (Sample, Previous) {
        let mut objects = vec![self.host()];
        objects.extend(targets.into_iter().map(|target| self.datastore(target)));
        let sample = Sample {
            time: self.time,
            objects,
        };
        (sample, self.now)
    }

    /// Remembers a counter; how much it has grown per second since the last look.
    #[allow(clippy::cast_precision_loss)]
    fn rate(&mut self, of: Option<&DatastoreName>, name: &'static str, value: u64) -> Option<f64> {
        let key = (of.cloned(), name);
        self.now.counters.insert(key.clone(), value);
        let previous = self.previous.as_ref()?;
        let grown = value.checked_sub(*previous.counters.get(&key)?)?;
        let seconds = self.now.at.saturating_duration_since(previous.at);
        let seconds = seconds.as_secs_f64();
        (seconds > 0.0).then(|| grown as f64 / seconds)
    }

    /// Rates of the disk that holds `path`, in the order of all series.
    fn disk_rates(&mut self, of: Option<&DatastoreName>, disk: Option<Disk>) -> [Option<f64>; 5] {
        let Some(disk) = disk else { return [None; 5] };
        // The share of the time in which it was busy.
        let busy = self.rate(of, "io_ticks", disk.io_ticks);
        [
            self.rate(of, "read_ios", disk.read_ios),
            self.rate(of, "read_bytes", disk.read_bytes),
            self.rate(of, "write_ios", disk.write_ios),
            self.rate(of, "write_bytes", disk.write_bytes),
            busy.map(|milliseconds| milliseconds / 1000.0),
        ]
    }

    #[allow(clippy::cast_precision_loss)]
    fn host(&mut self) -> Object {
        let read = |path: &str| std::fs::read_to_string(path).ok();
        let ticks = read("/proc/stat").and_then(|text| Ticks::parse(&text));
        let before = self.previous.as_ref().and_then(|previous| previous.ticks);
        let load = ticks
            .zip(before)
            .map(|(now, before)| now.load_since(&before));
        self.now.ticks = ticks;
        let memory = read("/proc/meminfo").map(|text| parse_memory(&text));
        let averages = read("/proc/loadavg").map(|text| parse_loadavg(&text));
        let network = Network::now().ok();
        let (root, disk) = (DiskSpace::of(Path::new("/")).ok(), Disk::of(Path::new("/")));

        let cpu = load.map(|(cpu, _)| cpu);
        let wait = load.map(|(_, wait)| wait);
        let memory = memory.map(|(memory, swap)| {
            [memory.total, memory.used, swap.total, swap.used].map(|bytes| bytes as f64)
        });
        let of_memory = |index: usize| memory.map(|figures| figures[index]);
        let rates = self.disk_rates(None, disk);
        let net_in = network.and_then(|net| self.rate(None, "netin", net.received));
        let net_out = network.and_then(|net| self.rate(None, "netout", net.sent));
        let total = root.map(|space| space.total as f64);
        let used = root.map(|space| space.used as f64);
        let mut series = vec![cpu, wait];
        series.extend((0..4).map(of_memory));
        series.extend([net_in, net_out, averages.map(|loads| loads[0]), total, used]);
        series.extend(rates);

        let mut points = Points::new("host".to_owned(), self.time);
        points.gauge("cpu_current", cpu);
        points.gauge("cpu_iowait", wait);
        for (index, name) in ["cpu_avg1", "cpu_avg5", "cpu_avg15"]
            .into_iter()
            .enumerate()
        {
            points.gauge(name, averages.map(|loads| loads[index]));
        }
        let names = ["mem_total", "mem_used", "swap_total", "swap_used"];
        for (index, name) in names.into_iter().enumerate() {
            points.gauge(name, of_memory(index));
        }
        points.derive("net_in", network.map(|net| net.received));
        points.derive("net_out", network.map(|net| net.sent));
        points.space(root, disk);
        Object {
            datastore: None,
            series,
            points: points.list,
        }
    }

    #[allow(clippy::cast_precision_loss)]
    fn datastore(&mut self, target: Target) -> Object {
        let Target {
            name,
            space,
            disk,
            s3,
        } = target;
        let mut series: Vec<Option<f64>> = [space.total, space.avail, space.used]
            .map(|bytes| Some(bytes as f64))
            .to_vec();
        series.extend(self.disk_rates(Some(&name), disk));
        let mut points = Points::new(format!("datastore/{name}"), self.time);
        points.space(Some(space), disk);
        match s3 {
            None => series.extend([None; 9]),
            Some(made) => {
                series.push(self.rate(Some(&name), "s3/uploaded", made.uploaded));
                series.push(self.rate(Some(&name), "s3/downloaded", made.downloaded));
                let totals = [
                    made.uploaded,
                    made.downloaded,
                    made.get,
                    made.put,
                    made.post,
                    made.head,
                    made.delete,
                ];
                series.extend(totals.map(|total| Some(total as f64)));
                points.id = format!("datastore/{name}/s3");
                points.derive("uploaded", Some(made.uploaded));
                points.derive("downloaded", Some(made.downloaded));
            }
        }
        Object {
            datastore: Some(name),
            series,
            points: points.list,
        }
    }
}

/// Figures being put together.
struct Points {
    id: String,
    time: i64,
    list: Vec<DataPoint>,
}

impl Points {
    fn new(id: String, time: i64) -> Self {
        Self {
            id,
            time,
            list: Vec::new(),
        }
    }

    fn add(&mut self, metric: &'static str, kind: MetricKind, value: Option<f64>) {
        self.list.extend(value.map(|value| DataPoint {
            id: self.id.clone(),
            metric,
            timestamp: self.time,
            kind,
            value,
        }));
    }

    fn gauge(&mut self, metric: &'static str, value: Option<f64>) {
        self.add(metric, MetricKind::Gauge, value);
    }

    #[allow(clippy::cast_precision_loss)]
    fn derive(&mut self, metric: &'static str, value: Option<u64>) {
        self.add(metric, MetricKind::Derive, value.map(|value| value as f64));
    }

    #[allow(clippy::cast_precision_loss)]
    fn space(&mut self, space: Option<DiskSpace>, disk: Option<Disk>) {
        if let Some(space) = space {
            self.gauge("disk_total", Some(space.total as f64));
            self.gauge("disk_used", Some(space.used as f64));
            self.gauge("disk_available", Some(space.avail as f64));
        }
        self.derive("disk_read", disk.map(|disk| disk.read_bytes));
        self.derive("disk_write", disk.map(|disk| disk.write_bytes));
    }
}
