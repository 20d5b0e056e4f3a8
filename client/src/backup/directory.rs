//! Directories: an archive in one part with its part of the catalog, or in two parts.

use std::cell::Cell;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result, anyhow, ensure};
use api_types::names::{ArchiveName, BackupDir};
use datastore::format::FileInfo;
use datastore::format::catalog::CatalogWriter;
use datastore::format::index::{AnyIndexReader, IndexFile as _};

use super::run::Backup;
use super::spec::Spec;
use super::text;
use crate::session::chunked::ChunkedStream;
use crate::session::task::Task;
use crate::session::upload::{both, pair, reason};
use crate::session::{
    IndexKind, Progress, ReaderSession, Report, SMALL_CACHE, Uploaded, split_names,
};
use crate::tree::chunker::{ChunkSize, Chunker, PayloadChunker};
use crate::tree::create::{Previous, PreviousChunk, Summary, create_split, create_unified};
use crate::tree::observer::{Observer, Problem};

type Stream = ChunkedStream<Chunker>;

/// The catalog, which all archives in one part have together.
pub(super) struct Catalog {
    writer: CatalogWriter<Stream>,
    done: Task<Result<Uploaded>>,
}

/// Tells the user of single files.
struct Problems {
    report: Arc<dyn Report>,
    /// Of files in use, which are stored as they were when they were reached, what only costs time,
    /// and what the user does not mind.
    harmless: Cell<u64>,
    /// Whether attributes may be missing that are too large, `--skip-e2big-xattr`.
    skip_large_attributes: bool,
}

impl Problems {
    fn new(report: &Arc<dyn Report>, skip_large_attributes: bool) -> Self {
        Self {
            report: Arc::clone(report),
            harmless: Cell::default(),
            skip_large_attributes,
        }
    }

    /// How many files are missing or not as they should be.
    fn count(&self, summary: &Summary) -> u64 {
        summary.problems.saturating_sub(self.harmless.get())
    }
}

impl Observer for Problems {
    fn problem(&self, path: &Path, problem: &Problem) {
        let path = path.as_os_str().as_encoded_bytes().escape_ascii();
        let harmless = match problem {
            // What a machine at work does all the time, or a script would never see a success.
            Problem::Grew { .. } | Problem::Changed | Problem::Vanished => true,
            // All of it is read instead.
            Problem::Previous { .. } => true,
            Problem::LargeAttributes => self.skip_large_attributes,
            _ => false,
        };
        let hint = match problem {
            Problem::LargeAttributes if !harmless => {
                "; give --skip-e2big-xattr if they may be missing"
            }
            _ => "",
        };
        self.report.warn(&format!("'{path}': {problem}{hint}"));
        if harmless {
            self.harmless.update(|count| count + 1);
        }
    }
}

impl Backup<'_> {
    /// An archive in one part.
    pub(super) async fn unified(&mut self, spec: &Spec) -> Result<()> {
        let mut catalog = match self.catalog.take() {
            Some(catalog) => catalog,
            None => self.new_catalog().await?,
        };
        let name = spec.name().clone();
        self.learn(&name).await;
        let progress = self.progress(&name);
        let upload = self.session.upload(&name, IndexKind::Dynamic, &progress);
        let (upload, size) = (upload.await?, self.options.chunk_size);
        let mut stream = ChunkedStream::new(Chunker::new(size), size, upload.sink);
        let (root, options) = (spec.source().to_owned(), self.options.tree.clone());
        let observer = Problems::new(&self.report, self.options.skip_large_attributes);
        let mut writer = catalog.writer;
        let produced = self.env.blocking(move || {
            writer.start_directory(name.as_str().as_bytes())?;
            let part = Some(&mut writer);
            let summary = create_unified(&root, &options, &mut stream, part, &observer)?;
            writer.end_directory()?;
            stream.finish()?;
            anyhow::Ok((observer.count(&summary), writer))
        });
        let mut done = upload.done;
        let uploaded = async {
            tokio::select! {
                uploaded = &mut done => match uploaded {
                    Ok(uploaded) => Ok(uploaded),
                    Err(error) => Err(reason(error, &mut catalog.done).await),
                },
                early = &mut catalog.done => Err(match early {
                    Ok(_) => anyhow!("the catalog ended before its archives"),
                    Err(error) => reason(error, &mut done).await,
                }),
            }
        };
        let work = both(produced, uploaded);
        let ((problems, writer), uploaded) = self.during(&progress, work).await?;
        catalog.writer = writer;
        self.catalog = Some(catalog);
        self.problems += problems;
        self.add(spec.name().client_name(), &uploaded)
    }

    async fn new_catalog(&self) -> Result<Catalog> {
        let name: ArchiveName = ArchiveName::CATALOG.parse()?;
        let progress = Progress::new(name.client_name(), None);
        let upload = self.session.upload(&name, IndexKind::Dynamic, &progress);
        let (upload, size) = (upload.await?, ChunkSize::CATALOG);
        let stream = ChunkedStream::new(Chunker::new(size), size, upload.sink);
        // Its first bytes do not make a chunk: nothing blocks here.
        Ok(Catalog {
            writer: CatalogWriter::new(stream)?,
            done: upload.done,
        })
    }

    /// Ends the catalog, if there is one.
    pub(super) async fn finish_catalog(&mut self) -> Result<()> {
        let Some(catalog) = self.catalog.take() else {
            return Ok(());
        };
        let Catalog { writer, done } = catalog;
        let produced = self.env.blocking(move || {
            writer.finish()?.finish()?;
            anyhow::Ok(())
        });
        let ((), uploaded) = both(produced, done).await?;
        self.manifest.add_file(uploaded.info)?;
        let size = text::bytes(uploaded.statistics.size);
        self.report
            .info(&format!("Uploaded backup catalog ({size})"));
        Ok(())
    }

    /// An archive in two parts; with `reuse`, what is unchanged since the last one is not read.
    pub(super) async fn split(&mut self, spec: &Spec, reuse: bool) -> Result<()> {
        let (metadata, payload) = split_names(spec.name())?;
        // Held until the archive is there: it serves the old one.
        let previous = match reuse {
            true => self.previous(&metadata, &payload).await,
            false => None,
        };
        self.learn(&metadata).await;
        if previous.is_none() {
            self.learn(&payload).await;
        }
        let reused = previous.is_some();
        let progress = self.progress(&payload);
        let session = &self.session;
        let first = session
            .upload(&metadata, IndexKind::Dynamic, &progress)
            .await?;
        let second = session
            .upload(&payload, IndexKind::Dynamic, &progress)
            .await?;
        let size = self.options.chunk_size;
        let mut tree = ChunkedStream::new(Chunker::new(size), size, first.sink);
        let mut contents = ChunkedStream::new(PayloadChunker::new(size), size, second.sink);
        let (root, options) = (spec.source().to_owned(), self.options.tree.clone());
        let observer = Problems::new(&self.report, self.options.skip_large_attributes);
        let produced = self.env.blocking(move || {
            let (tree_out, contents_out) = (&mut tree, &mut contents);
            let summary =
                create_split(&root, &options, tree_out, contents_out, previous, &observer)?;
            tree.finish()?;
            contents.finish()?;
            anyhow::Ok((observer.count(&summary), summary))
        });
        let work = both(produced, pair(first.done, second.done));
        let ((problems, summary), (tree, contents)) = self.during(&progress, work).await?;
        self.problems += problems;
        if reused {
            self.tell_reuse(&summary);
        }
        self.add(metadata.client_name(), &tree)?;
        if summary.reuse.chunks > 0 {
            let Summary { reuse, .. } = &summary;
            let (bytes, chunks) = (text::bytes(reuse.chunk_bytes), reuse.chunks);
            self.report.info(&format!(
                "{}: reused {bytes} from previous snapshot for unchanged files ({chunks} chunks)",
                payload.client_name()
            ));
        }
        self.add(payload.client_name(), &contents)
    }

    fn tell_reuse(&self, summary: &Summary) {
        let files = summary.files + summary.hard_links;
        for line in text::reuse(&summary.reuse, files, summary.hard_links) {
            self.report.info(&line);
        }
    }

    /// The last backup's archive, if it is there and can be part of this one.
    async fn previous(&self, metadata: &ArchiveName, payload: &ArchiveName) -> Option<Previous> {
        let manifest = self.previous.as_ref()?;
        let mut found = Vec::new();
        for name in [metadata, payload] {
            match manifest.lookup_file(name.as_str()) {
                Some(file) if self.session.can_reuse(file) => found.push(file),
                Some(_) => self.report.info(&format!(
                    "{name} of the last backup has another encryption mode, all files are read"
                )),
                None => self.report.info(&format!(
                    "Previous manifest does not contain an archive called '{name}', skipping \
                     download.."
                )),
            }
        }
        let [tree, contents] = found[..] else {
            return None;
        };
        let open = async {
            let dir = manifest.backup_dir();
            let tree = self.old_tree(&dir, tree).await?;
            let payload = self.session.previous_index(contents).await?;
            anyhow::Ok(Previous {
                metadata: tree,
                payload: chunks(&payload)?,
            })
        };
        match open.await {
            Ok(previous) => {
                self.report.info(&format!(
                    "Using previous index as metadata reference for '{metadata}'"
                ));
                Some(previous)
            }
            Err(error) => {
                self.report.warn(&format!(
                    "the last backup cannot be used to find unchanged files, all are read: {error:#}"
                ));
                None
            }
        }
    }

    /// The tree of the last backup: the very file that its manifest lists, which was checked. Another
    /// session may give another manifest.
    async fn old_tree(
        &self,
        dir: &BackupDir,
        file: &FileInfo,
    ) -> Result<Arc<dyn pxar::ReadAt + Send + Sync>> {
        let key = self.options.protection.crypt.key();
        let (remote, ns) = (self.remote, &self.options.ns);
        let reader =
            ReaderSession::open(remote, ns, dir, key, None, SMALL_CACHE, &self.env).await?;
        let name = &file.filename;
        self.session.trusts(reader.manifest())?;
        ensure!(
            reader.file(name)? == file,
            "the server gives another manifest of {dir} than before, with another {name}"
        );
        Ok(Arc::new(reader.archive(name).await?))
    }
}

fn chunks(index: &AnyIndexReader) -> Result<Vec<PreviousChunk>> {
    let entry = |entry: Result<datastore::format::ChunkReadInfo, _>| {
        let entry = entry.context("a bad index of the last backup")?;
        Ok(PreviousChunk {
            end: entry.range.end,
            digest: entry.digest,
        })
    };
    index.entries().map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::Status;

    #[derive(Debug)]
    struct Nobody;

    impl Report for Nobody {
        fn info(&self, _: &str) {}
        fn warn(&self, _: &str) {}
        fn progress(&self, _: &Status) {}
        fn finished(&self) {}
    }

    #[test]
    fn files_in_use_make_no_backup_incomplete() {
        let report: Arc<dyn Report> = Arc::new(Nobody);
        let observer = Problems::new(&report, false);
        let summary = Summary {
            problems: 3,
            ..Summary::default()
        };
        let missing = Problem::Shrank { missing: 1 };
        for problem in [Problem::Grew { size: 1 }, Problem::Vanished, missing] {
            observer.problem(Path::new("a"), &problem);
        }
        assert_eq!(observer.count(&summary), 1);
        // A mount that is out of reach takes all below it along.
        let stale = Problem::Io {
            action: "open",
            source: rustix::io::Errno::STALE.into(),
        };
        let observer = Problems::new(&report, false);
        observer.problem(Path::new("a"), &stale);
        assert_eq!(observer.count(&summary), 3);
    }

    /// It takes longer, and nothing is missing.
    #[test]
    fn a_previous_archive_that_cannot_be_read_makes_no_backup_incomplete() {
        let report: Arc<dyn Report> = Arc::new(Nobody);
        let observer = Problems::new(&report, false);
        let source = pxar::Error::NoPayload;
        observer.problem(Path::new(""), &Problem::Previous { source });
        let summary = Summary {
            problems: 1,
            ..Summary::default()
        };
        assert_eq!(observer.count(&summary), 0);
    }

    #[test]
    fn attributes_may_be_missing_only_if_that_is_wanted() {
        let report: Arc<dyn Report> = Arc::new(Nobody);
        let summary = Summary {
            problems: 1,
            ..Summary::default()
        };
        for (skip, problems) in [(true, 0), (false, 1)] {
            let observer = Problems::new(&report, skip);
            observer.problem(Path::new("a"), &Problem::LargeAttributes);
            assert_eq!(observer.count(&summary), problems);
        }
    }
}
