//! `backup-*` and `restore-*`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use api_types::names::BackupDir;
use futures_util::future::BoxFuture;

use super::Loads;
use super::client::{self, Target as Snapshot};
use super::place::{Home, Place, Servers};
use crate::children::{Task, sink};
use crate::row::{Bench, Row, Setup, Side, Target, Unit};
use crate::world::cpu;
use crate::world::load::{Data, Load};
use crate::world::process::{self, Process};
use crate::world::steps::{Step, Steps, shares};

const SNAPSHOT: &str = "vm/100/2025-06-15T12:00:00Z";
/// More is not to be seen: each run moves 4 GiB, some of them several times.
const RUNS: usize = 3;

/// Which way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// To the server.
    Backup,
    /// From it: cold and warm.
    Restore,
}

/// A row.
pub struct Transfer {
    pub direction: Direction,
    pub home: Home,
    pub data: Data,
    pub(super) loads: Arc<Loads>,
}

impl Row for Transfer {
    fn id(&self) -> &'static str {
        match (self.direction, self.home, self.data) {
            (Direction::Backup, Home::Filesystem, Data::Random) => "backup-fs",
            (Direction::Backup, Home::Filesystem, Data::Text) => "backup-fs-zstd",
            (Direction::Backup, Home::Minio, Data::Random) => "backup-s3",
            (Direction::Backup, Home::Minio, Data::Text) => "backup-s3-zstd",
            (Direction::Restore, Home::Filesystem, Data::Random) => "restore-fs",
            (Direction::Restore, Home::Filesystem, Data::Text) => "restore-fs-zstd",
            (Direction::Restore, Home::Minio, Data::Random) => "restore-s3",
            (Direction::Restore, Home::Minio, Data::Text) => "restore-s3-zstd",
        }
    }

    fn measures(&self) -> &'static str {
        match (self.direction, self.home, self.data) {
            (Direction::Backup, Home::Filesystem, Data::Random) => {
                "Backup of 4 GiB of incompressible chunks into a directory, against the ceiling"
            }
            (Direction::Backup, Home::Filesystem, Data::Text) => {
                "Backup of 4 GiB of compressible chunks into a directory, against the ceiling"
            }
            (Direction::Backup, Home::Minio, Data::Random) => {
                "Backup of 4 GiB of incompressible chunks into MinIO, against the ceiling"
            }
            (Direction::Backup, Home::Minio, Data::Text) => {
                "Backup of 4 GiB of compressible chunks into MinIO, against the ceiling"
            }
            (Direction::Restore, Home::Filesystem, Data::Random) => {
                "Restore of 4 GiB of incompressible chunks from a directory, against the ceiling"
            }
            (Direction::Restore, Home::Filesystem, Data::Text) => {
                "Restore of 4 GiB of compressible chunks from a directory, against the ceiling"
            }
            (Direction::Restore, Home::Minio, Data::Random) => {
                "Restore of 4 GiB of incompressible chunks from MinIO, against the ceiling"
            }
            (Direction::Restore, Home::Minio, Data::Text) => {
                "Restore of 4 GiB of compressible chunks from MinIO, against the ceiling"
            }
        }
    }

    fn unit(&self) -> Unit {
        Unit::throughput("MiB/s")
    }

    fn target(&self) -> Target {
        Target::Ratio(0.8)
    }

    fn text(&self) -> &'static str {
        match (self.direction, self.home, self.data) {
            (Direction::Backup, Home::Filesystem, Data::Random) => {
                include_str!("../../../texts/backup-fs.md")
            }
            (Direction::Backup, Home::Filesystem, Data::Text) => {
                include_str!("../../../texts/backup-fs-zstd.md")
            }
            (Direction::Backup, Home::Minio, Data::Random) => {
                include_str!("../../../texts/backup-s3.md")
            }
            (Direction::Backup, Home::Minio, Data::Text) => {
                include_str!("../../../texts/backup-s3-zstd.md")
            }
            (Direction::Restore, Home::Filesystem, Data::Random) => {
                include_str!("../../../texts/restore-fs.md")
            }
            (Direction::Restore, Home::Filesystem, Data::Text) => {
                include_str!("../../../texts/restore-fs-zstd.md")
            }
            (Direction::Restore, Home::Minio, Data::Random) => {
                include_str!("../../../texts/restore-s3.md")
            }
            (Direction::Restore, Home::Minio, Data::Text) => {
                include_str!("../../../texts/restore-s3-zstd.md")
            }
        }
    }

    fn prepare<'a>(&'a self, setup: &'a Setup) -> BoxFuture<'a, Result<Box<dyn Bench>>> {
        Box::pin(async move {
            let load = self.loads.get(setup, self.data)?;
            let parent = setup.dir("place");
            std::fs::create_dir_all(&parent)?;
            let steps = Steps::measure(&load, &parent)?;
            let ceiling = Process::start(&Task::Sink(sink::Task {
                data: self.data,
                dir: parent.clone(),
            }))?;
            let mut bench = TransferBench {
                direction: self.direction,
                home: self.home,
                snapshot: SNAPSHOT.parse()?,
                steps,
                load,
                parent,
                ceiling,
                place: None,
                details: Vec::new(),
            };
            if self.direction == Direction::Restore {
                let place = Place::start(&bench.parent)?;
                client::back_up(
                    &bench.target(&place, true),
                    &bench.load,
                    0..bench.load.count(),
                )
                .await?;
                bench.place = Some(place);
            }
            Ok(Box::new(bench) as Box<dyn Bench>)
        })
    }
}

struct TransferBench {
    direction: Direction,
    home: Home,
    snapshot: BackupDir,
    steps: Steps,
    load: Arc<Load>,
    parent: PathBuf,
    ceiling: Process,
    /// What is restored from.
    place: Option<Place>,
    details: Vec<String>,
}

/// Whether chunks are at hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cache {
    Cold,
    Warm,
}

impl TransferBench {
    fn target<'a>(&'a self, place: &'a Place, no_cache: bool) -> Snapshot<'a> {
        Snapshot {
            rest: &place.rest,
            store: self.home.store(),
            dir: &self.snapshot,
            no_cache,
        }
    }

    fn mebibytes(&self) -> f64 {
        self.load.bytes() as f64 / f64::from(1 << 20)
    }

    fn rate(&self, duration: Duration) -> f64 {
        self.mebibytes() / duration.as_secs_f64()
    }

    fn per_gib(&self, duration: Duration) -> f64 {
        duration.as_secs_f64() * 1024.0 / self.mebibytes()
    }

    async fn ceiling(&mut self) -> Result<f64> {
        let id = self.ceiling.id();
        let port: u16 = self.ceiling.first_line().parse()?;
        let (server, ours) = (process::used(id)?, cpu::used()?);
        let took = match self.direction {
            Direction::Backup => client::send_all(port, &self.load).await?,
            Direction::Restore => client::receive_all(port, self.load.count()).await?,
        };
        let server = process::used(id)?.since(server);
        let ours = cpu::used()? - ours;
        self.details.push(format!(
            "ceiling: {:.0} MiB/s; processor seconds per GiB: server {:.2}, client {:.2}",
            self.rate(took),
            self.per_gib(server.total()),
            self.per_gib(ours)
        ));
        Ok(self.rate(took))
    }

    async fn back_up(&mut self) -> Result<f64> {
        let place = Place::start(&self.parent)?;
        place.settle();
        let (before, ours) = (place.used()?, cpu::used()?);
        let took = client::back_up(
            &self.target(&place, false),
            &self.load,
            0..self.load.count(),
        )
        .await?;
        let used = place.used()?.since(before);
        let ours = cpu::used()? - ours;
        let total = took.upload + took.finish;
        self.describe("", took.upload, used, ours, &self.backup_steps());
        self.details.push(format!(
            "with the finish, {:.1} s, which waits for the disk: {:.0} MiB/s; peak memory of the \
             daemon {} MiB",
            took.finish.as_secs_f64(),
            self.rate(total),
            place.peak_memory()? >> 20
        ));
        Ok(self.rate(took.upload))
    }

    fn backup_steps(&self) -> Vec<Step> {
        let Steps { tls, sha256, .. } = self.steps;
        let mut steps = vec![("TLS", tls), ("SHA-256", sha256)];
        steps.extend(self.decompression());
        steps.push(("CRC", self.steps.crc));
        steps.push(("disk", self.steps.write));
        if self.home == Home::Minio {
            steps.push(("S3 (SHA-256 and MD5 of the object)", self.steps.object));
        }
        steps
    }

    fn decompression(&self) -> Option<Step> {
        (self.load.data() == Data::Text).then_some(("zstd", self.steps.zstd))
    }

    async fn restore(&mut self) -> Result<f64> {
        let mut sum = Duration::ZERO;
        for cache in [Cache::Cold, Cache::Warm] {
            let mut place = self.place.take().context("nothing to restore from")?;
            if cache == Cache::Cold {
                if self.home == Home::Minio {
                    place = place.restart()?;
                }
                place.cool()?;
            }
            let (before, ours) = (place.used()?, cpu::used()?);
            let took = client::restore(&self.target(&place, false)).await?;
            let used = place.used()?.since(before);
            let ours = cpu::used()? - ours;
            let name = match cache {
                Cache::Cold => "cold: ",
                Cache::Warm => "warm: ",
            };
            self.describe(name, took, used, ours, &self.restore_steps(cache));
            self.details.push(format!(
                "{name}peak memory of the daemon {} MiB",
                place.peak_memory()? >> 20
            ));
            sum += took;
            self.place = Some(place);
        }
        Ok(2.0 * self.rate(sum))
    }

    fn restore_steps(&self, cache: Cache) -> Vec<Step> {
        let Steps { tls, crc, .. } = self.steps;
        let mut steps = vec![("TLS", tls), ("CRC", crc)];
        if self.home == Home::Minio && cache == Cache::Cold {
            steps.push(("SHA-256", self.steps.sha256));
            steps.extend(self.decompression());
            steps.push(("disk", self.steps.write));
        } else {
            steps.push(("disk", self.steps.read));
        }
        steps
    }

    fn describe(
        &mut self,
        name: &str,
        took: Duration,
        used: Servers,
        ours: Duration,
        steps: &[Step],
    ) {
        let daemon = self.per_gib(used.daemon.total());
        let mut line = format!(
            "{name}{:.0} MiB/s; processor seconds per GiB: daemon {daemon:.2} ({:.2} of it in the \
             kernel), client {:.2}",
            self.rate(took),
            self.per_gib(used.daemon.system),
            self.per_gib(ours)
        );
        if self.home == Home::Minio {
            line += &format!(", MinIO {:.2}", self.per_gib(used.minio.total()));
        }
        self.details.push(line);
        let line = format!("{name}of the daemon's: {}", shares(steps, daemon));
        self.details.push(line);
    }
}

impl Bench for TransferBench {
    fn run(&mut self, side: Side) -> BoxFuture<'_, Result<f64>> {
        Box::pin(async move {
            match (side, self.direction) {
                (Side::Baseline, _) => {
                    self.details.clear();
                    self.ceiling().await
                }
                (Side::Ours, Direction::Backup) => self.back_up().await,
                (Side::Ours, Direction::Restore) => self.restore().await,
            }
        })
    }

    fn rounds(&mut self, runs: usize) -> BoxFuture<'_, Result<Vec<crate::row::Round>>> {
        Box::pin(async move {
            let mut rounds = Vec::new();
            for _ in 0..runs.min(RUNS) {
                let baseline = self.run(Side::Baseline).await?;
                let ours = self.run(Side::Ours).await?;
                rounds.push(crate::row::Round { ours, baseline });
            }
            Ok(rounds)
        })
    }

    fn details(&self) -> Vec<String> {
        self.details.clone()
    }
}
