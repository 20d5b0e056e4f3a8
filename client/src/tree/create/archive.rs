//! What was found into the archive, and into the catalog.

use std::collections::HashMap;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::Path;

use datastore::format::catalog::{CatalogKind, CatalogWriter};
use pxar::{Body, Encoder, Metadata, Stat, limits, mode};
use rustix::fs::{Mode, OFlags, open};

use super::content::Content;
use super::found::{Found, FoundFile, Identity, Inside, last_name};
use super::metadata::MetadataReader;
use super::sink::PayloadSink;
use super::walk::EXCLUDE_CLI;
use super::{CreateOptions, Summary};
use crate::tree::Error;
use crate::tree::observer::Problem;
use crate::tree::report::{Reporter, Tell as _};
use crate::tree::sys::xattr::Handle;

/// Writes what a walk finds.
pub struct Archiver<'a, W, P, C> {
    encoder: Encoder<W, P>,
    catalog: Option<&'a mut CatalogWriter<C>>,
    reporter: &'a Reporter<'a>,
    /// Where paths begin.
    root: OwnedFd,
    /// Files of several names.
    links: HashMap<Identity, Linked>,
    /// For files that were closed after they were found.
    reader: MetadataReader,
    /// The directories around what comes next, from one on that cannot be stored.
    lost: usize,
    summary: Summary,
}

/// A file of several names.
struct Linked {
    /// The first of them.
    path: Vec<u8>,
    /// Where that is in the archive, once it is.
    name_at: Option<u64>,
}

impl Linked {
    /// Whether links can lead there.
    fn is_target(&self) -> bool {
        self.path.len() <= limits::TARGET
    }
}

impl<'a, W: Write, P: PayloadSink, C: Write> Archiver<'a, W, P, C> {
    pub fn new(
        encoder: Encoder<W, P>,
        catalog: Option<&'a mut CatalogWriter<C>>,
        root: &Path,
        reporter: &'a Reporter<'a>,
    ) -> Result<Self, Error> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = open(root, flags, Mode::empty()).map_err(|error| Error::Io {
            action: "open",
            path: root.to_path_buf(),
            source: error.into(),
        })?;
        let summary = Summary {
            directories: 1,
            ..Summary::default()
        };
        Ok(Self {
            encoder,
            catalog,
            reporter,
            root,
            links: HashMap::new(),
            reader: MetadataReader::new(),
            lost: 0,
            summary,
        })
    }

    /// What was stored so far.
    pub fn summary(&mut self) -> &mut Summary {
        &mut self.summary
    }

    /// Where the next byte of the payload goes.
    pub fn payload_position(&self) -> u64 {
        self.encoder.payload_position().unwrap_or_default()
    }

    /// The payload, and how to skip what it gets from elsewhere.
    pub fn encoder(&mut self) -> &mut Encoder<W, P> {
        &mut self.encoder
    }

    /// Whether this is a further name of a file that was found before.
    pub fn is_further_name(&mut self, file: &FoundFile) -> bool {
        if !file.linked {
            return false;
        }
        let first = self.links.entry(file.identity).or_insert_with(|| Linked {
            path: file.path.clone(),
            name_at: None,
        });
        first.path != file.path && first.is_target()
    }

    /// Stores what was found. `reused` says where in the payload the content of a file is already.
    pub fn store(&mut self, found: Found, reused: Option<u64>) -> Result<(), Error> {
        if self.lost > 0 {
            match found {
                Found::Enter { .. } => self.lost += 1,
                Found::Leave => self.lost -= 1,
                Found::Other { .. } | Found::File(_) => {}
            }
            return Ok(());
        }
        match found {
            Found::Enter { path, metadata } => {
                let name = last_name(&path);
                let entered = self.encoder.enter(name, &metadata);
                if !self.is_stored(&path, entered)? {
                    self.lost = 1;
                    return Ok(());
                }
                self.summary.directories += 1;
                if let Some(catalog) = &mut self.catalog {
                    catalog.start_directory(name)?;
                }
                Ok(())
            }
            Found::Leave => {
                self.encoder.leave()?;
                if let Some(catalog) = &mut self.catalog {
                    catalog.end_directory()?;
                }
                Ok(())
            }
            Found::Other {
                path,
                metadata,
                body,
            } => {
                let name = last_name(&path);
                let added = self.encoder.special(name, &metadata, &body);
                if !self.is_stored(&path, added)? {
                    return Ok(());
                }
                self.summary.others += 1;
                self.list(name, kind(&body))
            }
            Found::File(file) => self.file(file, reused),
        }
    }

    /// Whether something was stored; what the archive cannot hold is reported, and left out.
    fn is_stored(&self, path: &[u8], added: Result<(), pxar::Error>) -> Result<bool, Error> {
        match added {
            Ok(()) => Ok(true),
            Err(pxar::Error::Refused { why }) => {
                self.reporter.problem(path, Problem::Unfit { why });
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn file(&mut self, mut file: FoundFile, reused: Option<u64>) -> Result<(), Error> {
        if file.linked
            && let Some(first) = self.links.get(&file.identity).filter(|it| it.is_target())
            && let Some(target) = first.name_at
        {
            let name = file.name();
            let added = self.encoder.hard_link(name, &first.path, target);
            if !self.is_stored(&file.path, added)? {
                return Ok(());
            }
            self.summary.hard_links += 1;
            return self.list(name, CatalogKind::Hardlink);
        }
        let name_at = match reused {
            Some(offset) => self.reused_file(&file, offset)?,
            None => match self.content(&mut file) {
                Ok(content) => self.read_file(&file, content)?,
                Err(problem) => {
                    self.reporter.problem(&file.path, problem);
                    None
                }
            },
        };
        let Some(name_at) = name_at else {
            return Ok(());
        };
        self.summary.files += 1;
        self.summary.bytes += file.size;
        if file.linked {
            let path = file.path.clone();
            let name_at = Some(name_at);
            self.links.insert(file.identity, Linked { path, name_at });
        }
        let mtime = file.metadata.stat.mtime.secs;
        let size = file.size;
        self.list(file.name(), CatalogKind::File { size, mtime })
    }

    /// Stores a file whose content is in the payload; where its name is, if it was stored.
    fn reused_file(&mut self, file: &FoundFile, offset: u64) -> Result<Option<u64>, Error> {
        let added = self
            .encoder
            .reused_file(file.name(), &file.metadata, offset, file.size);
        let name_at = added.as_ref().ok().map(|written| written.name_at);
        if self.is_stored(&file.path, added.map(drop))? {
            let reuse = &mut self.summary.reuse;
            (reuse.files, reuse.bytes) = (reuse.files + 1, reuse.bytes + file.size);
        }
        Ok(name_at)
    }

    /// What is in a file. If it is not open any more, that is the file which has its name now.
    fn content(&mut self, file: &mut FoundFile) -> Result<Inside, Problem> {
        if let Some(content) = file.content.take() {
            return Ok(content);
        }
        let (content, stat) = file.parent.read(&self.root, &file.path)?;
        let (path, told, reporter) = (&file.path, &file.told, self.reporter);
        let mut problem = |problem: Problem| {
            if !told.contains(&problem.to_string()) {
                reporter.problem(path, problem);
            }
        };
        let metadata = self.reader.read(Handle::new(&content), &stat, &mut problem);
        *file.metadata = metadata;
        file.size = u64::try_from(stat.st_size).unwrap_or_default();
        file.identity = Identity::of(&stat);
        file.linked = stat.st_nlink > 1;
        Ok(Inside::Open(content))
    }

    /// Stores a file with its content; where its name is, if it was stored.
    fn read_file(&mut self, file: &FoundFile, inside: Inside) -> Result<Option<u64>, Error> {
        if let Some(position) = self.encoder.payload_position()
            && let Some(payload) = self.encoder.payload_mut()
        {
            payload.suggest_boundary(position);
        }
        let (name, metadata) = (file.name(), &file.metadata);
        let (written, content) = match inside {
            Inside::Read(bytes) => (
                self.encoder.file(name, metadata, file.size, &bytes[..]),
                None,
            ),
            Inside::Open(content) => {
                let mut content = Content::new(content, file);
                let written = self.encoder.file(name, metadata, file.size, &mut content);
                (written, Some(content))
            }
        };
        let (missing, name_at) = match written {
            Ok(written) => (written.missing, written.name_at),
            Err(pxar::Error::Content { source }) => {
                let action = "read all of it, so it is not in the backup";
                self.reporter
                    .problem(&file.path, Problem::Io { action, source });
                return Ok(None);
            }
            Err(error) => {
                self.is_stored(&file.path, Err(error))?;
                return Ok(None);
            }
        };
        let reuse = &mut self.summary.reuse;
        (reuse.read_files, reuse.read_bytes) = (reuse.read_files + 1, reuse.read_bytes + file.size);
        if let Some(problem) = content.and_then(|it| it.problem(missing)) {
            self.reporter.problem(&file.path, problem);
        }
        Ok(Some(name_at))
    }

    fn list(&mut self, name: &[u8], kind: CatalogKind) -> Result<(), Error> {
        if let Some(catalog) = &mut self.catalog {
            catalog.add(name, kind)?;
        }
        Ok(())
    }

    /// Notes the patterns of the command line, as archives in one part do.
    pub fn note_patterns(&mut self, options: &CreateOptions) -> Result<(), Error> {
        let Some(patterns) = pattern_lines(options) else {
            return Ok(());
        };
        let metadata = Metadata {
            stat: Stat {
                mode: mode::FILE | 0o600,
                uid: rustix::process::geteuid().as_raw(),
                gid: rustix::process::getegid().as_raw(),
                ..Stat::default()
            },
            ..Metadata::default()
        };
        let size = patterns.len() as u64;
        self.encoder
            .file(EXCLUDE_CLI, &metadata, size, &patterns[..])?;
        self.list(EXCLUDE_CLI, CatalogKind::File { size, mtime: 0 })
    }

    /// Ends the archive.
    pub fn finish(mut self) -> Result<Summary, Error> {
        self.encoder.finish()?;
        self.summary.problems = self.reporter.problems();
        Ok(self.summary)
    }
}

/// The patterns of the command line, one a line; none if there are none.
pub fn pattern_lines(options: &CreateOptions) -> Option<Vec<u8>> {
    let mut lines = Vec::new();
    for pattern in &options.exclude {
        lines.extend_from_slice(pattern.text());
        lines.push(b'\n');
    }
    (!lines.is_empty()).then_some(lines)
}

fn kind(body: &Body) -> CatalogKind {
    match body {
        Body::BlockDevice(_) => CatalogKind::BlockDevice,
        Body::CharDevice(_) => CatalogKind::CharDevice,
        Body::Fifo => CatalogKind::Fifo,
        Body::Socket => CatalogKind::Socket,
        Body::Symlink(_) | Body::Directory | Body::File(_) => CatalogKind::Symlink,
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use datastore::format::catalog::CatalogWriter;
    use pxar::Accessor;
    use rustix::fs::fstat;

    use super::*;
    use crate::tree::create::parent::{Directory, Parent};
    use crate::tree::create::sink::{ReusedChunk, Unified};
    use crate::tree::observer::Observer;

    #[derive(Default)]
    struct Notes(std::cell::RefCell<Vec<(PathBuf, String)>>);

    impl Observer for Notes {
        fn problem(&self, path: &Path, problem: &Problem) {
            let note = (path.to_path_buf(), problem.to_string());
            self.0.borrow_mut().push(note);
        }
    }

    struct Payload(Vec<u8>);

    impl Write for Payload {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    impl PayloadSink for Payload {
        fn suggest_boundary(&mut self, _position: u64) {}

        fn inject(&mut self, _chunks: &[ReusedChunk]) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn metadata(mode: u64) -> Metadata {
        let stat = Stat {
            mode,
            ..Stat::default()
        };
        Metadata {
            stat,
            ..Metadata::default()
        }
    }

    fn file(name: &str, content: &Path) -> FoundFile {
        let directory = open("/", OFlags::PATH, Mode::empty()).unwrap();
        let stat = fstat(&directory).unwrap();
        let directory = Directory::new(directory, &stat);
        let content = open(content, OFlags::RDONLY, Mode::empty()).unwrap();
        FoundFile {
            path: name.into(),
            parent: Parent::closed(&directory),
            metadata: Box::new(metadata(mode::FILE)),
            size: 100,
            identity: Identity::of(&fstat(&content).unwrap()),
            linked: false,
            content: Some(Inside::Open(content)),
            previous: None,
            told: Vec::new(),
        }
    }

    fn found(name: &str, content: &Path) -> Found {
        Found::File(file(name, content))
    }

    /// A removed file's inode soon has another file in it, which is no further name of the first.
    #[test]
    fn an_inode_is_not_enough_to_be_one_file() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("f");
        std::fs::write(&path, [1; 100]).unwrap();
        let first = rustix::fs::stat(&path).unwrap();
        let changes: [fn(&mut rustix::fs::Stat); 4] = [
            |_| (),
            |stat| stat.st_size += 1,
            |stat| stat.st_mtime -= 1,
            |stat| stat.st_ctime_nsec ^= 1,
        ];
        for (number, change) in changes.iter().enumerate() {
            let mut archive = Vec::new();
            let notes = Notes::default();
            let reporter = Reporter::new(&notes);
            let none = None::<&mut CatalogWriter<Vec<u8>>>;
            let directory = metadata(mode::DIRECTORY);
            let encoder = Encoder::unified(Unified(&mut archive), &directory).unwrap();
            let mut archiver = Archiver::new(encoder, none, root.path(), &reporter).unwrap();
            let mut second = first;
            change(&mut second);
            for (name, stat) in [("a", &first), ("b", &second)] {
                let mut file = file(name, &path);
                file.identity = Identity::of(stat);
                file.linked = true;
                archiver.store(Found::File(file), None).unwrap();
            }
            let summary = archiver.finish().unwrap();
            let links = u64::from(number == 0);
            assert_eq!((summary.files, summary.hard_links), (2 - links, links));
        }
    }

    /// A directory instead of a file refuses to be read, as a bad disk does.
    #[test]
    fn what_cannot_be_read_is_left_out() {
        let root = tempfile::tempdir().unwrap();
        let good = root.path().join("good");
        std::fs::write(&good, [1; 100]).unwrap();
        let short = root.path().join("short");
        std::fs::write(&short, [1; 50]).unwrap();
        let directory = metadata(mode::DIRECTORY);
        let all = [("a", root.path()), ("b", &good), ("c", &short)];
        let none = None::<&mut CatalogWriter<Vec<u8>>>;

        let (notes, mut archive, mut payload) = (Notes::default(), Vec::new(), Payload(Vec::new()));
        let reporter = Reporter::new(&notes);
        let encoder = Encoder::split(&mut archive, &mut payload, None, &directory).unwrap();
        let mut archiver = Archiver::new(encoder, none, root.path(), &reporter).unwrap();
        for (name, content) in all {
            archiver.store(found(name, content), None).unwrap();
        }
        assert_eq!(archiver.finish().unwrap().files, 2);
        let accessor = Accessor::open(&archive[..], Some(&payload.0[..])).unwrap();
        let names = |accessor: &Accessor<&[u8]>| -> Vec<Vec<u8>> {
            let root = accessor.root().unwrap();
            let entries = accessor.list(&root).unwrap();
            entries.map(|it| it.unwrap().name).collect()
        };
        assert_eq!(names(&accessor), [b"b", b"c"]);
        let told = notes.0.take();
        assert!(told[0].1.contains("not in the backup"), "{told:?}");

        let (notes, mut archive) = (Notes::default(), Vec::new());
        let reporter = Reporter::new(&notes);
        let none = None::<&mut CatalogWriter<Vec<u8>>>;
        let encoder = Encoder::unified(Unified(&mut archive), &directory).unwrap();
        let mut archiver = Archiver::new(encoder, none, root.path(), &reporter).unwrap();
        for (name, content) in all {
            archiver.store(found(name, content), None).unwrap();
        }
        archiver.finish().unwrap();
        let accessor = Accessor::open(&archive[..], None).unwrap();
        assert_eq!(names(&accessor), [b"b", b"c"]);
    }
}
