//! The data made by the real system: where it is, unpacking it, loading it into a bucket.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use s3_client::{ObjectKey, PutMode, S3Client};
use tempfile::TempDir;

/// The bucket directory in `bucket.tar.zst`.
const BUCKET: &str = "pbsbucket";

/// The folder with the fixtures: `COFFER_FIXTURES`, else `../shared/fixtures` beside the
/// workspace or beside any folder above it.
///
/// Without them the test says `SKIPPED: fixtures not found` and gets `None`; with
/// `COFFER_REQUIRE_FIXTURES=1` that is an error, so that a gate cannot pass by skipping.
pub fn fixtures_dir() -> anyhow::Result<Option<PathBuf>> {
    let found = match std::env::var_os("COFFER_FIXTURES").filter(|path| !path.is_empty()) {
        Some(path) => Some(PathBuf::from(path)),
        None => Path::new(env!("CARGO_MANIFEST_DIR"))
            .ancestors()
            .skip(2)
            .map(|dir| dir.join("../shared/fixtures"))
            .find(|dir| dir.is_dir()),
    };
    if let Some(dir) = found.filter(|dir| dir.is_dir()) {
        return Ok(Some(dir));
    }
    if std::env::var_os("COFFER_REQUIRE_FIXTURES").is_some_and(|value| value == "1") {
        bail!("fixtures not found, and COFFER_REQUIRE_FIXTURES=1; set COFFER_FIXTURES");
    }
    // Straight to the terminal's stream, where the test harness does not swallow it.
    use std::io::Write as _;
    let _ = writeln!(std::io::stderr(), "SKIPPED: fixtures not found");
    Ok(None)
}

/// Unpacks a `.tar.zst` with the system's tar, which keeps times, modes and links.
pub fn unpack(archive: &Path, into: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(into)?;
    let output = Command::new("tar")
        .args(["--zstd", "--xattrs", "-xpf"])
        .arg(archive)
        .arg("-C")
        .arg(into)
        .output()
        .context("cannot run tar")?;
    if !output.status.success() {
        let message = String::from_utf8_lossy(&output.stderr);
        bail!(
            "cannot unpack {} into {}: {message}",
            archive.display(),
            into.display()
        );
    }
    Ok(())
}

/// Unpacks one of the fixture archives (`bucket`, `datastore`, `input`) into a temporary folder.
pub fn unpack_fixture(fixtures: &Path, name: &str) -> anyhow::Result<TempDir> {
    let dir = tempfile::Builder::new()
        .prefix("coffer-fixture-")
        .tempdir()?;
    unpack(&fixtures.join(format!("{name}.tar.zst")), dir.path())?;
    Ok(dir)
}

/// Every object of the fixture bucket, by key.
pub fn bucket_objects(fixtures: &Path) -> anyhow::Result<Vec<(String, Bytes)>> {
    let dir = unpack_fixture(fixtures, "bucket")?;
    let root = dir.path().join(BUCKET);
    let mut objects = Vec::new();
    let mut open = vec![root.clone()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(&dir).with_context(|| format!("cannot read {}", dir.display()))? {
            let path = entry?.path();
            if path.is_dir() {
                open.push(path);
                continue;
            }
            let key = path
                .strip_prefix(&root)?
                .to_str()
                .context("a key is no UTF-8")?
                .to_owned();
            objects.push((key, fs::read(&path)?.into()));
        }
    }
    objects.sort();
    Ok(objects)
}

/// Loads the fixture bucket through a client; the number of objects.
pub async fn load_bucket(fixtures: &Path, client: &S3Client) -> anyhow::Result<usize> {
    let objects = bucket_objects(fixtures)?;
    let count = objects.len();
    for (key, body) in objects {
        client
            .put_object(&ObjectKey::new(key)?, body, PutMode::Replace)
            .await?;
    }
    Ok(count)
}
