//! Helpers of this crate's unit tests.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// The folder `name` of the fixtures made by the real system, if it is there.
///
/// Without it the test says so and passes, except under `COFFER_REQUIRE_FIXTURES=1`.
pub fn fixtures(name: &str) -> Option<PathBuf> {
    let root = std::env::var_os("COFFER_FIXTURES").map_or_else(default_root, PathBuf::from);
    let folder = root.join(name);
    if folder.is_dir() {
        return Some(folder);
    }
    if std::env::var_os("COFFER_REQUIRE_FIXTURES").is_some_and(|value| value == "1") {
        panic!("fixtures are required but {} is missing", folder.display());
    }
    eprintln!("SKIPPED: no fixtures at {}", folder.display());
    None
}

fn default_root() -> PathBuf {
    let beside = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/fixtures");
    if beside.is_dir() {
        beside
    } else {
        PathBuf::from("/work/shared/fixtures")
    }
}

/// A file whose reading does not end until this is dropped, as on a disk that hangs: a pipe. Then it
/// is gone.
pub struct Hanging(PathBuf);

impl Hanging {
    pub fn at(path: PathBuf) -> Self {
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        Self(path)
    }
}

impl Drop for Hanging {
    fn drop(&mut self) {
        // Opened for both it waits for nobody, and whoever reads comes to its end.
        let mut both = std::fs::OpenOptions::new();
        let pipe = both.read(true).write(true).open(&self.0).unwrap();
        std::fs::remove_file(&self.0).unwrap();
        drop(pipe);
    }
}

/// What is in a tar or zip file, by name.
pub type Members = BTreeMap<String, Value>;

/// What python finds in a tar or zip file whose names begin with `prefix`. It is kept in `dir`.
/// Of names that are no UTF-8, the other bytes are escaped.
pub fn members(dir: &Path, kind: &str, content: &[u8], prefix: &str) -> Members {
    let file = dir.join("packed");
    std::fs::write(&file, content).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/operations/pack/members.py");
    let mut command = Command::new("python3");
    command.arg(script).args([kind.as_ref(), file.as_os_str()]);
    let output = command.arg(prefix).output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let members: BTreeMap<String, Value> = serde_json::from_slice(&output.stdout).unwrap();
    let named = members.into_iter().map(|(name, member)| {
        let name = hex::decode(name).unwrap();
        let name = String::from_utf8(name);
        (
            name.unwrap_or_else(|other| other.as_bytes().escape_ascii().to_string()),
            member,
        )
    });
    named.collect()
}
