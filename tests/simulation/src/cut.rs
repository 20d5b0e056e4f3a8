//! Changes of the metadata that the end of a process has cut off between the bucket and the disk.
//!
//! Whatever is committed is in the cleanup journal while it changes, so the next process completes or
//! undoes that. What a backup or a sync that is under way writes is not: the files of an unfinished
//! snapshot may be in the bucket only, or, when the power fails, be other ones here, until they are
//! cleared away. The comparison leaves such paths out, unless a run is to be
//! [strict](crate::run::Conduct::strict).
//!
//! A change that is applied when its sender expects it no more stays in the bucket until its sender
//! looks at the path again, from the cleanup journal on its disk. A server that takes the prefix over
//! before that has neither the journal nor any way to tell the older value from the newer one
//! (ADR 29): what was told of such a path is forgotten then.

use std::path::Path;

use anyhow::Result;

use crate::bucket::{ProcId, split};
use crate::invariants::live::is_owner;
use crate::invariants::mirror;
use crate::sim::{Core, Sim};

/// Directory of the store's own files.
const STATE_DIR: &str = ".x-coffer";

impl Sim {
    /// Processes have just ended, and nothing of them is left: notes what they have not completed.
    pub fn note_cut(&self) -> Result<()> {
        let Some(disk) = self.youngest_disk(None) else {
            return Ok(());
        };
        let base = self.core().disks[disk].base.clone();
        let differing = mirror::differing(self, &base)?;
        let mut core = self.core();
        for path in differing {
            let by = core.bucket.last_by.get(&path).copied();
            let is_cut = by.is_some_and(|by| is_gone(&core, by)) && is_unfinished(&core, &path);
            if is_cut && !is_journaled(&base, &path) {
                core.bucket.cut.insert(path);
            }
        }
        Ok(())
    }
}

/// Whether it belongs to a snapshot that nobody was told is finished.
fn is_unfinished(core: &Core, path: &str) -> bool {
    let index = core.book.find(split(path).0);
    index.is_some_and(|index| !core.book.snapshots[index].acknowledged)
}

fn is_gone(core: &Core, proc: ProcId) -> bool {
    let proc = core.procs.get(crate::machine::index(proc));
    proc.is_none_or(|proc| !proc.is_alive())
}

/// A change of these paths was applied in the bucket.
pub fn applied(core: &mut Core, paths: Vec<String>, by: Option<ProcId>) {
    let Some(by) = by else { return };
    // Nobody will look at what a former owner of the prefix changes.
    let is_foreign = !is_owner(core, by);
    let gone = is_gone(core, by);
    for path in paths {
        let journaled = || {
            let mut disks = core.disks.iter().filter(|disk| !disk.retired);
            disks.any(|disk| is_journaled(&disk.base, &path))
        };
        let is_cut = gone && is_unfinished(core, &path) && !journaled();
        match is_foreign || is_cut {
            true => core.bucket.cut.insert(path.clone()),
            false => core.bucket.cut.remove(&path),
        };
        core.bucket.last_by.insert(path, by);
    }
}

/// Changes of these paths were applied: remembers those whose sender expected them no more.
pub fn came_late(core: &mut Core, paths: &[String], is_late: bool, by: Option<ProcId>) {
    for path in paths {
        if !is_late {
            core.bucket.stale.remove(path);
        } else if by.is_some_and(|by| is_owner(core, by)) {
            core.bucket.stale.insert(path.clone());
        } else {
            core.book.disown(path);
        }
    }
}

/// Another server has taken the prefix over.
pub fn taken_over(core: &mut Core) {
    for path in std::mem::take(&mut core.bucket.stale) {
        core.book.disown(&path);
        core.bucket.cut.insert(path);
    }
}

/// Whether a cleanup journal names the path.
pub fn is_journaled(base: &Path, path: &str) -> bool {
    let Ok(entries) = std::fs::read_dir(base.join(STATE_DIR)) else {
        return false;
    };
    entries.flatten().any(|entry| {
        let name = entry.file_name().to_string_lossy().into_owned();
        let texts = match entry.path().is_dir() {
            true => files_of(&entry.path()),
            false => vec![entry.path()],
        };
        let names = |file: &Path| {
            let text = std::fs::read_to_string(file).unwrap_or_default();
            text.lines().any(|line| line == path)
        };
        name.contains("cleanup") && texts.iter().any(|file| names(file))
    })
}

fn files_of(directory: &Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(directory).into_iter().flatten();
    entries.flatten().map(|entry| entry.path()).collect()
}
