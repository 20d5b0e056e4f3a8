//! `coffer-server --dev` as a process.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use support::{DevDaemon, dev_command};
use tempfile::TempDir;

/// A daemon and all that it keeps.
pub struct World {
    pub daemon: DevDaemon,
    dir: TempDir,
}

/// Both kinds of datastores.
pub const STORES: [&str; 2] = ["dev", "local"];

/// The server's program: `cargo test --workspace` builds it beside the client's.
fn program() -> PathBuf {
    let path = match std::env::var_os("COFFER_SERVER_BIN") {
        Some(path) => PathBuf::from(path),
        None => Path::new(env!("CARGO_BIN_EXE_coffer-client")).with_file_name("coffer-server"),
    };
    assert!(
        path.is_file(),
        "these tests need the server: there is no {}; build it by `cargo build --workspace`, or \
         set COFFER_SERVER_BIN",
        path.display()
    );
    path
}

fn start(dir: &Path) -> DevDaemon {
    DevDaemon::start(&mut dev_command(&program(), dir), dir).unwrap()
}

impl World {
    /// A new one.
    pub fn new() -> Self {
        Self::with(|_| ())
    }

    /// A new one, in whose directory something is there before it starts.
    pub fn with(prepare: impl FnOnce(&Path)) -> Self {
        let dir = support::scratch().unwrap();
        prepare(dir.path());
        Self {
            daemon: start(dir.path()),
            dir,
        }
    }

    /// One for all tests that leave it as it is, while there are any.
    pub fn shared() -> Arc<Self> {
        static SHARED: Mutex<Weak<World>> = Mutex::new(Weak::new());
        // A test that fails to start it says so; others try again.
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let world = Arc::new(Self::new());
            *shared = Arc::downgrade(&world);
            world
        })
    }

    /// Starts the daemon again, on another port.
    pub fn restart(&mut self) {
        self.daemon.kill();
        self.daemon = start(self.dir.path());
    }

    /// Where all is.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The directory of a datastore on a directory.
    pub fn store(&self) -> PathBuf {
        self.dir().join("datastores/local")
    }
}
