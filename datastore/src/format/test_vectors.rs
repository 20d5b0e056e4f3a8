//! Loads `spec/test-vectors.json`; tests without it are skipped and say so.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The vectors by name.
pub struct TestVectors(BTreeMap<String, String>);

impl TestVectors {
    /// The bytes of one vector.
    pub fn bytes(&self, name: &str) -> Vec<u8> {
        let text = self
            .0
            .get(name)
            .unwrap_or_else(|| panic!("no test vector '{name}'"));
        hex::decode(text).expect("test vectors are hex")
    }
}

/// The vectors, or `None` if the folder beside the workspace is missing.
pub fn load() -> Option<TestVectors> {
    let text = read_shared("spec/test-vectors.json")?;
    Some(TestVectors(
        serde_json::from_slice(&text).expect("test vectors are a JSON object"),
    ))
}

/// A file below the shared folder, or `None` (after saying so) if it is missing.
///
/// The folder lies beside the workspace; worktrees lie one level deeper.
pub fn read_shared(relative: &str) -> Option<Vec<u8>> {
    let manifest_dir = Path::new(env!("CARGO_MANIFEST_DIR"));
    let candidates: [PathBuf; 2] = [
        manifest_dir.join("../../shared"),
        manifest_dir.join("../../../shared"),
    ];
    for shared in candidates {
        let path = shared.join(relative);
        if path.exists() {
            return Some(std::fs::read(&path).expect("shared file is readable"));
        }
    }
    assert!(
        std::env::var_os("COFFER_REQUIRE_FIXTURES").is_none_or(|v| v != "1"),
        "shared/{relative} is missing and COFFER_REQUIRE_FIXTURES=1"
    );
    println!("SKIPPED: shared/{relative} is missing");
    None
}
