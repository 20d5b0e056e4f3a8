//! What a crash must not leave for ever.

use anyhow::{Result, ensure};
use datastore::store::state_dir::StateDir;
use scenarios::{BUCKET, STORE, Server};

use crate::{Place, Stage};

/// Our own files that are there between two pieces of work.
const STATE: [&str; 8] = [
    "bad-chunks",
    "cleanup",
    "delete-journal",
    "first-seen",
    "gc-history",
    "generation",
    "mark-cache",
    "removals",
];

/// No temporary file, no half-made directory, no open record, no object without a reason.
pub(crate) fn check(stage: &Stage, server: &Server) -> Result<()> {
    let mut odd = Vec::new();
    for path in scenarios::tree(server.store.base())? {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let temporary = name.contains(".tmp_") || name.starts_with(".tmp-");
        let state = path
            .strip_prefix(".x-coffer")
            .is_ok_and(|inside| inside.components().count() == 1);
        let in_trash = path.parent().is_some_and(|dir| dir.ends_with(".trash"));
        if temporary || in_trash || (state && !STATE.contains(&&*name)) {
            odd.push(path);
        }
    }
    ensure!(odd.is_empty(), "left on the disk: {odd:?}");
    if stage.place() == Place::Directory {
        return Ok(());
    }
    let state = StateDir::of(server.store.base());
    for journal in std::fs::read_dir(state.cleanup_journals())
        .into_iter()
        .flatten()
    {
        let cleanup = std::fs::read_to_string(journal?.path())?;
        ensure!(cleanup.is_empty(), "left in the cleanup journal: {cleanup}");
    }
    let root = format!("{STORE}/.cnt/");
    let keys = stage.world.mock.keys(BUCKET, &root);
    let unfinished: Vec<&String> = keys
        .iter()
        .filter(|key| {
            let (dir, name) = key.rsplit_once('/').unwrap_or_default();
            let of_snapshot = [".blob", ".didx", ".fidx"]
                .iter()
                .any(|e| name.ends_with(e));
            of_snapshot && !keys.contains(&format!("{dir}/index.json.blob"))
        })
        .collect();
    ensure!(unfinished.is_empty(), "left in the bucket: {unfinished:?}");
    Ok(())
}
