//! `coffer-server --dev` as a process.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tempfile::TempDir;

/// A running daemon with the datastores `dev`, on a bucket, and `local`, on a directory. Killed on
/// drop.
pub struct Daemon {
    process: Child,
    pub port: u16,
    pub password: String,
    pub fingerprint: String,
}

/// A daemon and all that it keeps.
pub struct World {
    pub daemon: Daemon,
    dir: TempDir,
}

/// Both kinds of datastores.
pub const STORES: [&str; 2] = ["dev", "local"];

impl Drop for Daemon {
    fn drop(&mut self) {
        self.kill();
    }
}

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

impl Daemon {
    fn start(dir: &Path) -> Self {
        let mut command = Command::new(program());
        for variable in [
            "DIR",
            "CONFIG_DIR",
            "STATE_DIR",
            "LOG_DIR",
            "RUN_DIR",
            "LISTEN",
        ] {
            command.env_remove(format!("COFFER_{variable}"));
        }
        let mut process = command
            .env_remove("NOTIFY_SOCKET")
            .env("COFFER_LOG", "warn")
            .args(["--shutdown-time", "5", "--dev"])
            .arg(dir)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        assert!(line.starts_with("ready: . "), "{line:?}");
        let text = std::fs::read_to_string(dir.join("env")).unwrap();
        let value = |name: &str| {
            let start = format!("export {name}='");
            let line = text.lines().find_map(|line| line.strip_prefix(&start));
            line.unwrap().trim_end_matches('\'').to_owned()
        };
        let repository = value("PBS_REPOSITORY");
        let port = repository.split(':').nth(1).unwrap();
        Self {
            process,
            port: port.parse().unwrap(),
            password: value("PBS_PASSWORD"),
            fingerprint: value("PBS_FINGERPRINT"),
        }
    }

    /// Ends it like a power failure.
    pub fn kill(&mut self) {
        // Both fail only when the process is gone already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl World {
    /// A new one.
    pub fn new() -> Self {
        Self::with(|_| ())
    }

    /// A new one, in whose directory something is there before it starts.
    pub fn with(prepare: impl FnOnce(&Path)) -> Self {
        // The 65536 directories of a datastore take minutes on a busy disk.
        let memory = tempfile::tempdir_in("/dev/shm");
        let dir = memory.or_else(|_| tempfile::tempdir()).unwrap();
        prepare(dir.path());
        Self {
            daemon: Daemon::start(dir.path()),
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
        self.daemon = Daemon::start(self.dir.path());
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
