//! Helpers of this crate's unit tests.

use std::path::PathBuf;

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
