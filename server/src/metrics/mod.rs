//! Figures over time: how the machine and the datastores do (`rest-api.md` §7, `jobs-and-sync.md`
//! §10, ADR 15).
//!
//! | module | what |
//! |---|---|
//! | [`sources`] | what the kernel tells about network and disks |
//! | [`sample`] | one look at everything |
//! | [`live`] | the samples of the last half hour, in memory |
//! | [`series`] | a file with a figure's course over an hour to a decade |
//! | [`chart`] | which part of it a chart shows |
//! | [`forecast`] | when a datastore will be full |
//!
//! One task samples every ten seconds ([`run_sampler`]). Nothing depends on these figures: what
//! cannot be read is left out, what cannot be written is in the log.

pub mod chart;
pub mod forecast;
pub mod live;
pub mod sample;
pub mod series;
pub mod sources;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use api_types::names::DatastoreName;

use crate::daemon::Server;
use crate::paths::{Paths, create_dir};
use live::Live;
use sample::{Previous, Sample};
use series::SeriesFile;

/// Between two samples.
const INTERVAL: Duration = Duration::from_secs(10);
const DIR_MODE: u32 = 0o750;
/// What the files of datastores begin with; the machine's is called `host`.
const DATASTORE_PREFIX: &str = "datastore-";

/// The figures of an installation.
#[derive(Debug)]
pub struct Metrics {
    dir: PathBuf,
    live: Mutex<Live>,
    previous: Mutex<Option<Previous>>,
}

impl Metrics {
    /// Of the installation with these directories; nothing is read yet.
    #[must_use]
    pub fn new(paths: &Paths) -> Self {
        Self {
            dir: paths.state.join("metrics"),
            live: Mutex::default(),
            previous: Mutex::default(),
        }
    }

    /// The samples of the last half hour.
    pub fn live(&self) -> MutexGuard<'_, Live> {
        // A push is complete before anything can panic.
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The course of the machine's figures.
    #[must_use]
    pub fn host(&self) -> SeriesFile {
        SeriesFile::new(self.dir.join("host"), sample::HOST_SERIES)
    }

    /// The course of a datastore's figures.
    #[must_use]
    pub fn datastore(&self, name: &DatastoreName) -> SeriesFile {
        let file = format!("{DATASTORE_PREFIX}{name}");
        SeriesFile::new(self.dir.join(file), sample::DATASTORE_SERIES)
    }

    /// Takes a sample and keeps it.
    pub async fn sample(&self, server: &Arc<Server>) {
        let previous = self.take_previous();
        let (sample, now) = Sample::take(server, previous).await;
        let files: Vec<_> = sample
            .objects
            .iter()
            .map(|object| {
                let file = match &object.datastore {
                    None => self.host(),
                    Some(name) => self.datastore(name),
                };
                (file, object.series.clone())
            })
            .collect();
        let (dir, time) = (self.dir.clone(), sample.time);
        let written = server.env.blocking(move || {
            create_dir(&dir, DIR_MODE)?;
            for (file, values) in files {
                file.update(time, &values)?;
            }
            anyhow::Ok(())
        });
        if let Err(error) = written.await {
            tracing::warn!("figures are not kept: {error:#}");
        }
        self.live().push(sample);
        *self.previous.lock().unwrap_or_else(PoisonError::into_inner) = Some(now);
    }

    fn take_previous(&self) -> Option<Previous> {
        let mut previous = self.previous.lock().unwrap_or_else(PoisonError::into_inner);
        previous.take()
    }

    /// Removes the figures of datastores that are no more.
    fn forget_others(&self, known: &BTreeSet<String>) {
        let Ok(entries) = self.dir.read_dir() else {
            return;
        };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let of_store = name.to_str().and_then(|n| n.strip_prefix(DATASTORE_PREFIX));
            if of_store.is_some_and(|store| !known.contains(store))
                && let Err(error) = std::fs::remove_file(entry.path())
            {
                tracing::warn!("unable to remove {}: {error}", entry.path().display());
            }
        }
    }
}

/// Samples until the daemon is to end.
pub async fn run_sampler(server: Arc<Server>) {
    if let Ok(content) = server.config.datastores().load() {
        let names = content.entries.iter().map(|config| config.name.to_string());
        server.metrics.forget_others(&names.collect());
    }
    loop {
        server.metrics.sample(&server).await;
        tokio::select! {
            () = server.shutdown.cancelled() => return,
            () = server.env.sleep(INTERVAL) => {}
        }
    }
}
