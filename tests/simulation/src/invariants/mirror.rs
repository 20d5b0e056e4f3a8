//! The metadata in the bucket is the local tree, byte for byte, when nothing is going on.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, Result};
use bytes::Bytes;
use scenarios::{BUCKET, STORE};

use crate::bucket::MANIFEST;
use crate::sim::Sim;

use super::Violation;

/// Where the local tree of the metadata begins.
const TOPS: [&str; 4] = ["ct", "host", "ns", "vm"];
/// Stands for a namespace's directory in the bucket.
const NAMESPACE_MARKER: &str = ".namespace";

/// In the name of a file that was being written when its process ended.
const TEMPORARY: &str = ".tmp_";

/// Files by their paths.
type Files = BTreeMap<String, Bytes>;

/// Compares both.
pub fn equal(sim: &Sim, base: &Path) -> Result<Result<(), Violation>> {
    let (local, remote) = (local(base)?, objects(sim)?);
    let excused = half_committed(sim, &local);
    let is_excused = |path: &str| {
        excused
            .iter()
            .any(|dir| path.starts_with(&format!("{dir}/")))
    };
    let core = sim.core();
    let is_cut = |path: &str| {
        let is_left = core.bucket.cut.contains(path) || path.contains(TEMPORARY);
        !core.strict && is_left
    };
    let wrong = compare(&local, &remote);
    let mut wrong = wrong.filter(|(path, _)| !is_excused(path) && !is_cut(path));
    Ok(match wrong.next() {
        None => Ok(()),
        Some((path, how)) => Err(Violation::new("mirror", format!("{path} {how}"))),
    })
}

/// Paths that are not the same in the bucket and on the disk.
pub fn differing(sim: &Sim, base: &Path) -> Result<Vec<String>> {
    let (local, remote) = (local(base)?, objects(sim)?);
    let differing = compare(&local, &remote);
    Ok(differing.map(|(path, _)| path.to_owned()).collect())
}

fn compare<'a>(
    local: &'a Files,
    remote: &'a Files,
) -> impl Iterator<Item = (&'a str, &'static str)> {
    let paths: BTreeSet<&String> = local.keys().chain(remote.keys()).collect();
    paths.into_iter().filter_map(|path| {
        let how = match (local.get(path), remote.get(path)) {
            (Some(here), Some(there)) if here == there => return None,
            (Some(_), Some(_)) => "is another in the bucket than here",
            (Some(_), None) => "is here and not in the bucket",
            (None, _) => "is in the bucket and not here",
        };
        Some((path.as_str(), how))
    })
}

/// The local indexes of all snapshots that have a manifest.
pub fn finished_indexes(base: &Path) -> Result<Files> {
    let mut files = local(base)?;
    let manifests = files.keys().filter_map(|path| path.strip_suffix(MANIFEST));
    let finished: BTreeSet<String> = manifests.map(str::to_owned).collect();
    files.retain(|path, _| {
        let directory = path.trim_end_matches(|letter| letter != '/');
        path.ends_with(".didx") && finished.contains(directory)
    });
    Ok(files)
}

fn local(base: &Path) -> Result<Files> {
    let mut files = Files::new();
    for top in TOPS {
        gather(base, &base.join(top), &mut files)?;
    }
    Ok(files)
}

fn objects(sim: &Sim) -> Result<Files> {
    let prefix = format!("{STORE}/.cnt/");
    let read = |key: String| {
        let body = sim.mock.get(BUCKET, &key).context("it was just listed")?;
        Ok((key[prefix.len()..].to_owned(), body))
    };
    sim.mock
        .keys(BUCKET, &prefix)
        .into_iter()
        .map(read)
        .collect()
}

/// Snapshots that are finished in the bucket and not here, since the process ended in between, before
/// their client was told anything: kept, with the advice to rebuild the local state.
pub fn half_committed_now(sim: &Sim, base: &Path) -> Result<BTreeSet<String>> {
    Ok(half_committed(sim, &local(base)?))
}

fn half_committed(sim: &Sim, local: &Files) -> BTreeSet<String> {
    let core = sim.core();
    let snapshots = core.book.snapshots.iter().filter(|it| !it.acknowledged);
    let half = snapshots.filter(|snapshot| {
        let manifest = format!("{}/{MANIFEST}", snapshot.relative);
        let there = sim.mock.get(BUCKET, &format!("{STORE}/.cnt/{manifest}"));
        there.is_some() && !local.contains_key(&manifest)
    });
    half.map(|snapshot| snapshot.relative.clone()).collect()
}

/// All files below a directory, with what stands for namespaces.
fn gather(base: &Path, directory: &Path, files: &mut Files) -> Result<()> {
    let Ok(entries) = std::fs::read_dir(directory) else {
        return Ok(());
    };
    let is_ns = directory.file_name().is_some_and(|name| name == "ns");
    for entry in entries {
        let path = entry?.path();
        let relative = path.strip_prefix(base)?.to_string_lossy().into_owned();
        if path.is_dir() {
            if is_ns {
                files.insert(format!("{relative}/{NAMESPACE_MARKER}"), Bytes::new());
            }
            gather(base, &path, files)?;
        } else {
            let body = std::fs::read(&path)
                .with_context(|| format!("unable to read {}", path.display()))?;
            files.insert(relative, body.into());
        }
    }
    Ok(())
}
