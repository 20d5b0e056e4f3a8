//! `memory-8-sessions`: what the daemon has resident while eight clients do their worst.

use std::path::PathBuf;

use anyhow::{Result, bail, ensure};
use api_types::names::BackupDir;
use futures_util::future::{BoxFuture, try_join_all};

use super::client::{self, Target as Snapshot};
use super::place::{Home, Place};
use crate::row::{Bench, Round, Row, Setup, Side, Target, Unit};
use crate::world::load::{Data, Load};

const SESSIONS: usize = 8;
/// Of each session: more than all that may be in memory at once.
const CHUNKS: usize = 64;
const QUICK_CHUNKS: usize = 2;
/// MiB that are allowed.
const ALLOWED: f64 = 512.0;

/// The row.
pub struct Memory;

impl Row for Memory {
    fn id(&self) -> &'static str {
        "memory-8-sessions"
    }

    fn measures(&self) -> &'static str {
        "Peak memory of the daemon: 8 backups at once, then 8 restores, into and from both homes"
    }

    fn unit(&self) -> Unit {
        Unit::cost("MiB")
    }

    fn target(&self) -> Target {
        Target::AtMost(ALLOWED)
    }

    fn text(&self) -> &'static str {
        include_str!("../../../texts/memory-8-sessions.md")
    }

    fn prepare<'a>(&'a self, setup: &'a Setup) -> BoxFuture<'a, Result<Box<dyn Bench>>> {
        Box::pin(async move {
            let chunks = SESSIONS * setup.size(CHUNKS, QUICK_CHUNKS);
            Ok(Box::new(MemoryBench {
                loads: [
                    Load::new(Data::Random, chunks)?,
                    Load::new(Data::Text, chunks)?,
                ],
                parent: setup.dir("place"),
                details: Vec::new(),
            }) as Box<dyn Bench>)
        })
    }
}

struct MemoryBench {
    loads: [Load; 2],
    parent: PathBuf,
    details: Vec<String>,
}

impl MemoryBench {
    /// Each time a daemon of its own: the peak of one must not hide that of another. Gives the
    /// peaks when idle, and at work.
    async fn measure(&mut self, home: Home, load: usize) -> Result<(f64, f64)> {
        let load = &self.loads[load];
        let place = Place::start(&self.parent)?;
        let idle = mebibytes(&place)?;
        let dirs = (0..SESSIONS)
            .map(|number| Ok(format!("vm/{number}/2025-06-15T12:00:00Z").parse()?))
            .collect::<Result<Vec<BackupDir>>>()?;
        let each = load.count() / SESSIONS;
        try_join_all(dirs.iter().enumerate().map(async |(number, dir)| {
            let chunks = number * each..(number + 1) * each;
            client::back_up(&snapshot(&place, home, dir), load, chunks).await
        }))
        .await?;
        let written = mebibytes(&place)?;
        let place = place.restart()?;
        try_join_all(
            dirs.iter()
                .map(async |dir| client::restore(&snapshot(&place, home, dir)).await),
        )
        .await?;
        let read = mebibytes(&place)?;
        self.details.push(format!(
            "{home:?}, {:?}: 8 backups {written:.0} MiB, 8 restores {read:.0} MiB, idle {idle:.0} MiB",
            load.data()
        ));
        Ok((idle, written.max(read)))
    }
}

fn snapshot<'a>(place: &'a Place, home: Home, dir: &'a BackupDir) -> Snapshot<'a> {
    Snapshot {
        rest: &place.rest,
        store: home.store(),
        dir,
        no_cache: true,
    }
}

fn mebibytes(place: &Place) -> Result<f64> {
    Ok(place.peak_memory()? as f64 / f64::from(1 << 20))
}

impl Bench for MemoryBench {
    fn run(&mut self, _: Side) -> BoxFuture<'_, Result<f64>> {
        Box::pin(async { bail!("this row has no sides") })
    }

    /// One round: the worst of all.
    fn rounds(&mut self, _: usize) -> BoxFuture<'_, Result<Vec<Round>>> {
        Box::pin(async move {
            let (mut baseline, mut ours) = (f64::MAX, 0.0_f64);
            for home in [Home::Filesystem, Home::Minio] {
                for load in 0..self.loads.len() {
                    let (idle, peak) = self.measure(home, load).await?;
                    baseline = baseline.min(idle);
                    ours = ours.max(peak);
                }
            }
            ensure!(
                ours < ALLOWED,
                "{ours:.0} MiB are more than {ALLOWED:.0}: {:?}",
                self.details
            );
            Ok(vec![Round { ours, baseline }])
        })
    }

    fn details(&self) -> Vec<String> {
        self.details.clone()
    }
}
