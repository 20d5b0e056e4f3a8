//! A whole restore.

use std::path::Path;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use api_types::names::{ArchiveName, ArchiveType};
use datastore::env::Env;
use pxar::ReadAt as _;

use super::options::{Options, Target};
use super::{files, raw};
use crate::backup::text;
use crate::remote::Remote;
use crate::session::progress::per_second;
use crate::session::{CACHE, Limiter, Progress, PxarArchive, ReaderSession, Report};

/// How long a thread that writes may take to end.
const GRACE: Duration = Duration::from_secs(2);

/// What came of a restore.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Bytes of the archive, or of the files that were wanted of it.
    pub bytes: u64,
    /// Files that could not be restored as they were; each was reported.
    pub problems: u64,
}

/// A restore under way.
struct Restore<'a> {
    options: &'a Options,
    reader: ReaderSession,
    report: Arc<dyn Report>,
    env: &'a Env,
}

/// Ends a thread that reads, and waits for it: it removes the file that it has not finished.
struct Stop<'a> {
    reader: &'a ReaderSession,
    /// Disconnected when the thread has ended.
    ended: mpsc::Receiver<()>,
}

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.reader.cancel();
        // It may hang on what it writes to.
        let _ = self.ended.recv_timeout(GRACE);
    }
}

/// Restores an archive.
pub async fn run(
    remote: &Remote,
    options: &Options,
    report: Arc<dyn Report>,
    env: &Env,
) -> Result<Outcome> {
    options.check()?;
    if let (Some(key), Some(source)) = (&options.key, &options.key_source) {
        report.info(&format!("Using encryption key from '{source}'.."));
        report.info(&format!("Fingerprint: {}", key.fingerprint().short_id()));
    }
    let limiter = options
        .rate
        .map(|rate| Limiter::new(env, rate, options.burst));
    let (ns, dir, key) = (&options.ns, &options.dir, options.key.clone());
    let reader = ReaderSession::open(remote, ns, dir, key, limiter, CACHE, env).await?;
    if let Some(warning) = reader.warning() {
        report.warn(&warning);
    }
    let restore = Restore {
        options,
        reader,
        report,
        env,
    };
    let done = restore.archive().await;
    done.with_context(|| {
        let name = options.archive.client_name();
        format!("failed to restore {name} to {}", options.target)
    })
}

impl Restore<'_> {
    async fn archive(&self) -> Result<Outcome> {
        let name = &self.options.archive;
        let is_files = self.options.is_files();
        match (name.archive_type(), &self.options.target) {
            (Some(ArchiveType::Blob), _) => self.blob(name).await,
            (Some(_), Target::Path(path)) if is_files => self.files(name, path).await,
            (Some(_), Target::Stdout) if is_files => match self.options.paths.first() {
                Some(path) => self.one_file(name, path).await,
                None => self.one_stream(name).await,
            },
            (Some(_), _) => self.stream(name).await,
            (None, _) => bail!("'{name}' is not the name of an archive"),
        }
    }

    /// A whole archive of files as one stream, whether it is one or in two parts.
    async fn one_stream(&self, name: &ArchiveName) -> Result<Outcome> {
        let archive = self.reader.pxar(name).await?;
        self.prelude(&archive).await?;
        if archive.payload.is_none() {
            return self.stream(name).await;
        }
        let size = files::size(&archive);
        let progress = Progress::new(name.client_name(), Some(size));
        let archive = archive.counted(&progress);
        let target = self.options.target.clone();
        let write = move || raw::write_unified(&archive, &target);
        let ((), duration) = self.during(&progress, write).await?;
        self.tell(size, duration);
        Ok(Outcome {
            bytes: size,
            problems: 0,
        })
    }

    async fn blob(&self, name: &ArchiveName) -> Result<Outcome> {
        let content = match name.as_str() {
            ArchiveName::MANIFEST => self.reader.manifest().to_json_pretty()?,
            ArchiveName::CLIENT_LOG => self.reader.client_log().await?,
            _ => self.reader.blob(name).await?,
        };
        let bytes = content.len() as u64;
        let (target, overwrite) = self.output();
        let write = move || raw::write_bytes(&content, &target, overwrite);
        self.env.blocking(write).await?;
        Ok(Outcome { bytes, problems: 0 })
    }

    async fn stream(&self, name: &ArchiveName) -> Result<Outcome> {
        let archive = self.reader.archive(name).await?;
        let size = archive.size();
        let progress = Progress::new(name.client_name(), Some(size));
        let archive = archive.streaming().counted(&progress);
        let (target, overwrite) = self.output();
        let write = move || raw::write_archive(&archive, &target, overwrite);
        let done = self.during(&progress, write).await?;
        self.tell(size, done.1);
        Ok(Outcome {
            bytes: size,
            problems: 0,
        })
    }

    /// The content of one file of an archive.
    async fn one_file(&self, name: &ArchiveName, path: &Path) -> Result<Outcome> {
        let archive = self.reader.pxar(name).await?;
        self.prelude(&archive).await?;
        let progress = Progress::new(name.client_name(), None);
        let archive = archive.counted(&progress);
        let (target, path) = (self.options.target.clone(), path.to_owned());
        let write = move || raw::write_file(&archive, &path, &target);
        let (bytes, duration) = self.during(&progress, write).await?;
        self.tell(bytes, duration);
        Ok(Outcome { bytes, problems: 0 })
    }

    /// What was noted in front of the tree, if that is wanted.
    async fn prelude(&self, archive: &PxarArchive) -> Result<()> {
        let Some(target) = self.options.prelude.clone() else {
            return Ok(());
        };
        let (archive, overwrite) = (archive.clone(), self.options.extract.overwrite.files);
        let write = move || {
            let Some(prelude) = archive.prelude()? else {
                return Ok(false);
            };
            raw::write_bytes(&prelude, &target, overwrite).map(|()| true)
        };
        let written = self.env.blocking(write).await;
        if !written.context("failed to restore the prelude")? {
            self.report.warn(
                "the archive has no prelude: only archives in two parts that were made with \
                 --exclude have one",
            );
        }
        Ok(())
    }

    async fn files(&self, name: &ArchiveName, target: &Path) -> Result<Outcome> {
        let archive = self.reader.pxar(name).await?;
        self.prelude(&archive).await?;
        let size = files::size(&archive);
        let progress = Progress::new(name.client_name(), Some(size));
        let archive = archive.counted(&progress);
        let (options, report) = (self.options.clone(), Arc::clone(&self.report));
        let whole = options.paths.is_empty() && options.extract.patterns.is_empty();
        let target = target.to_owned();
        let work = move || files::restore(&archive, &options, &target, report);
        let (summary, duration) = self.during(&progress, work).await?;
        let bytes = if whole { size } else { summary.bytes };
        self.tell(bytes, duration);
        Ok(Outcome {
            bytes,
            problems: summary.problems,
        })
    }

    /// Where a file goes, and whether one that is there may be overwritten.
    fn output(&self) -> (Target, bool) {
        let overwrite = self.options.extract.overwrite.files;
        (self.options.target.clone(), overwrite)
    }

    /// Reports progress while a thread works; gives how long it did, too.
    async fn during<T: Send + 'static>(
        &self,
        progress: &Progress,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<(T, Duration)> {
        let start = self.env.now();
        let (running, ended) = mpsc::channel::<()>();
        let work = move || {
            let _running = running;
            work()
        };
        // Not before what it has left half done is removed, whoever drops this.
        let _stop = Stop {
            reader: &self.reader,
            ended,
        };
        let work = self.env.blocking(work);
        let done = progress.during(self.env, &*self.report, work).await?;
        Ok((done, self.env.now() - start))
    }

    fn tell(&self, bytes: u64, duration: Duration) {
        let time = match duration.as_millis() {
            ..100 => "<0.1".to_owned(),
            _ => format!("{:.1}", duration.as_secs_f64()),
        };
        self.report.info(&format!(
            "restore complete ({} processed in {time}s, average {}/s)",
            text::bytes(bytes),
            text::bytes(per_second(bytes, duration))
        ));
    }
}
