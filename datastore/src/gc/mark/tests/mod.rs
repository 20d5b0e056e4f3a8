use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use api_types::digest::Digest;
use bytes::Bytes;

use super::*;
use crate::env::Env;
use crate::format::dynamic_index::DynamicIndexWriter;
use crate::format::index::IndexIdentity;
use crate::gc::error::GcError;
use crate::locks::move_journal::MoveJournal;
use crate::task::{RecordingTask, TaskContext};

const T1: &str = "2024-01-01T00:00:00Z";
const T2: &str = "2024-01-02T00:00:00Z";

fn digest(number: u8) -> Digest {
    Digest::from_bytes([number; 32])
}

/// A store on disk that a mark runs over, and the changes that others make meanwhile.
struct Store {
    dir: tempfile::TempDir,
    env: Env,
}

impl Store {
    fn new() -> Self {
        let dir = support::scratch().unwrap();
        std::fs::create_dir(dir.path().join("store")).unwrap();
        std::fs::create_dir(dir.path().join("run")).unwrap();
        Self {
            dir,
            env: Env::seeded(1, 1_700_000_000),
        }
    }

    fn base(&self) -> PathBuf {
        self.dir.path().join("store")
    }

    fn path(&self, relative: &str) -> PathBuf {
        self.base().join(relative)
    }

    fn journal(&self) -> MoveJournal {
        MoveJournal::new(&self.dir.path().join("run"), self.env.clone())
    }

    fn mkdir(&self, relative: &str) {
        std::fs::create_dir_all(self.path(relative)).unwrap();
    }

    fn remove(&self, relative: &str) {
        let path = self.path(relative);
        if path.is_dir() {
            std::fs::remove_dir_all(path).unwrap();
        } else {
            std::fs::remove_file(path).unwrap();
        }
    }

    fn rename(&self, from: &str, to: &str) {
        self.mkdir(Path::new(to).parent().unwrap().to_str().unwrap());
        std::fs::rename(self.path(from), self.path(to)).unwrap();
    }

    /// Writes an index as a session does, replacing an older one.
    fn index(&self, relative: &str, digests: &[u8]) {
        let path = self.path(relative);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let mut writer = DynamicIndexWriter::create(&path, IndexIdentity::new(&self.env)).unwrap();
        for (position, number) in digests.iter().enumerate() {
            let start = u64::try_from(position).unwrap() * 1000;
            writer.add_chunk(start, 1000, &digest(*number)).unwrap();
        }
        writer.close().unwrap().commit().unwrap();
    }

    fn options(&self) -> MarkOptions {
        MarkOptions {
            base: self.base(),
            spill_dir: self.dir.path().join("spill"),
            memory_limit: 1 << 20,
            cache_dir: self.dir.path().join("cache"),
            full: false,
            cache_limit: u64::MAX,
            threads: 1,
            skip_unreadable: Vec::new(),
        }
    }
}

/// A host whose pins are files, and that remembers when it was told to be quiet.
#[derive(Default)]
struct Host {
    pins: Mutex<Vec<PathBuf>>,
    opened: Mutex<Vec<(PathBuf, File)>>,
    quiet: AtomicBool,
}

impl Host {
    fn pin(&self, path: PathBuf) {
        self.opened
            .lock()
            .unwrap()
            .push((path.clone(), File::open(&path).unwrap()));
        self.pins.lock().unwrap().push(path);
    }
}

impl MarkHost for Host {
    fn pins(&self) -> GcResult<Vec<PinnedIndex>> {
        let copy = |(path, file): &(PathBuf, File)| PinnedIndex {
            path: path.clone(),
            kind: ArchiveType::DynamicIndex,
            file: file.try_clone().unwrap(),
        };
        Ok(self.opened.lock().unwrap().iter().map(copy).collect())
    }

    fn hold_epoch(&self) -> BoxFuture<'_, GcResult<EpochGuard>> {
        self.quiet.store(true, Ordering::SeqCst);
        Box::pin(async { Ok(Box::new(()) as EpochGuard) })
    }
}

/// Runs `action` at each step, with the number of the step.
struct Script<F>(AtomicUsize, F);

impl<F: Fn(usize, MarkStep<'_>) + Send + Sync> MarkObserver for Script<F> {
    fn at(&self, step: MarkStep<'_>) {
        self.1(self.0.fetch_add(1, Ordering::SeqCst), step);
    }
}

type Action<'a> = Box<dyn Fn(usize, MarkStep<'_>) + Send + Sync + 'a>;

struct Run {
    store: Arc<Store>,
    host: Arc<Host>,
    task: Arc<RecordingTask>,
    options: MarkOptions,
}

impl Run {
    fn new(store: Store) -> Self {
        Self {
            options: store.options(),
            store: Arc::new(store),
            host: Arc::default(),
            task: Arc::new(RecordingTask::new()),
        }
    }

    async fn marker(&self, action: Action<'static>) -> GcResult<Marker> {
        let task: Arc<dyn TaskContext> = Arc::<RecordingTask>::clone(&self.task);
        let host: Arc<dyn MarkHost> = Arc::<Host>::clone(&self.host);
        Marker::new(self.options.clone(), host, task)
            .with_observer(Arc::new(Script(AtomicUsize::new(0), action)))
            .run(&self.store.env, &self.store.journal())
            .await
    }

    async fn mark_while(&self, action: Action<'static>) -> GcResult<Marked> {
        self.marker(action).await?.finish()
    }

    async fn mark(&self) -> GcResult<Marked> {
        self.mark_while(Box::new(|_, _| {})).await
    }
}

fn marked_numbers(marked: &Marked) -> BTreeSet<u8> {
    marked
        .set
        .iter()
        .map(|digest| digest.unwrap().as_bytes()[0])
        .collect()
}

mod interleavings;
mod outcome;
