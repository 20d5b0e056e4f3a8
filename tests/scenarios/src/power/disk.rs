//! What of a directory has reached the disk, and what a power failure may take back.

use std::collections::HashMap;
use std::io::{self, Seek};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use datastore::disk::{Observer, OpenFile, Operation};

use super::tree::{Change, Id, Identity, Tree};

/// What a power failure leaves of the changes that were not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// As a file system with a journal does it: names, lengths and attributes are as they were
    /// after some change, those before a sync at least; content is what was synced.
    Ordered {
        /// So many of the [changes](Disk::unsynced) have reached the disk.
        kept: usize,
        /// What stands where bytes were written that have not.
        lost: Lost,
    },
    /// Whatever POSIX allows: each name and each write by itself is there or not, a write also in
    /// part, as this seed says. Only what was synced is sure.
    Any {
        /// The choice.
        seed: u64,
    },
}

/// Content that was written and has not reached the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// Nothing: the file is as long as before.
    Length,
    /// Zeros, or what was there before.
    Bytes,
}

#[derive(Debug)]
struct Unsynced {
    change: Change,
    /// It was synced by itself, though not yet everything before it.
    synced: bool,
}

#[derive(Debug)]
struct State {
    /// What is on the disk for sure.
    durable: Tree,
    /// What processes see.
    now: Tree,
    /// What leads from the one to the other.
    changes: Vec<Unsynced>,
    /// So many of them are in the journal of an ordered file system for sure.
    journaled: usize,
    known: HashMap<Identity, Id>,
}

/// Watches a directory. It is the [`Observer`] of the process whose disk it is.
#[derive(Debug)]
pub struct Disk {
    root: PathBuf,
    state: Mutex<State>,
}

impl Disk {
    /// Begins to watch a directory; what is in it now is on the disk.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn watch(root: &Path) -> io::Result<Arc<Self>> {
        Ok(Arc::new(Self {
            root: root.to_path_buf(),
            state: Mutex::new(State::read(root)?),
        }))
    }

    /// The directory.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Number of changes that a power failure may take back.
    #[must_use]
    pub fn unsynced(&self) -> usize {
        self.state().changes.len()
    }

    /// Those of them, from the first on, that an [ordered](Loss::Ordered) file system keeps.
    #[must_use]
    pub fn journaled(&self) -> usize {
        self.state().journaled
    }

    /// What processes see, as one number.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        self.state().now.fingerprint()
    }

    /// What a power failure would leave, as one number.
    #[must_use]
    pub fn fingerprint_after(&self, loss: Loss) -> u64 {
        self.state().after(loss).fingerprint()
    }

    /// Cuts the power: makes the real directory what is left, and goes on watching it. Files that
    /// were not made through [`datastore::disk`] (locks) vanish. Nothing may be open.
    ///
    /// # Errors
    /// If the directory cannot be written.
    pub fn cut_power(&self, loss: Loss) -> io::Result<()> {
        let mut state = self.state();
        state.after(loss).write(&self.root)?;
        *state = State::read(&self.root)?;
        Ok(())
    }

    /// Makes another, empty directory what a power failure would leave of this one now.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn leave(&self, loss: Loss, to: &Path) -> io::Result<()> {
        self.state().after(loss).write(to)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn done(&self, operation: &Operation<'_>) -> Option<()> {
        let relative = |path: &Path| path.strip_prefix(&self.root).ok().map(Path::to_path_buf);
        let mut state = self.state();
        match *operation {
            Operation::CreateFile { path } => {
                let id = state.create(&relative(path)?, false)?;
                let metadata = path.symlink_metadata().ok()?;
                state.known.insert(identity(&metadata), id);
            }
            Operation::CreateDir { path } => {
                state.create(&relative(path)?, true)?;
            }
            Operation::Write {
                file,
                offset,
                bytes,
            } => {
                let id = state.id_of(file)?;
                // Wherever the position was before, or the end: it is behind the bytes now.
                let end = || (&mut &*file.file).stream_position().ok();
                let offset = match offset {
                    Some(offset) => offset,
                    None => end()?.checked_sub(u64::try_from(bytes.len()).ok()?)?,
                };
                let (offset, bytes) = (usize::try_from(offset).ok()?, bytes.to_vec());
                state.change(Change::Write { id, offset, bytes });
            }
            Operation::SetLen { file, len } => {
                let (id, len) = (state.id_of(file)?, usize::try_from(len).ok()?);
                state.change(Change::SetLen { id, len });
            }
            Operation::SetAttribute { path, attribute } => {
                let id = state.now.find(&relative(path)?)?;
                state.change(Change::Set { id, attribute });
            }
            Operation::Rename { from, to } => {
                let (from, to) = (relative(from)?, relative(to)?);
                let id = state.now.find(&from)?;
                let (from, to) = (state.place(&from)?, state.place(&to)?);
                state.change(Change::Rename { from, to, id });
            }
            Operation::HardLink { from, to } => {
                let id = state.now.find(&relative(from)?)?;
                let (dir, name) = state.place(&relative(to)?)?;
                state.change(Change::Link { dir, name, id });
            }
            Operation::RemoveFile { path } | Operation::RemoveDir { path } => {
                let (dir, name) = state.place(&relative(path)?)?;
                state.change(Change::Unlink { dir, name });
            }
            Operation::SyncFile { file } => {
                let id = state.id_of(file)?;
                state.synced(|change| change.is_within(id));
            }
            Operation::SyncDir { path } => {
                let id = state.now.find(&relative(path)?)?;
                state.synced(|change| change.names_in(id) || change.is_within(id));
            }
            Operation::SyncFileSystem { path } => {
                relative(path)?;
                state.durable = state.now.clone();
                state.changes.clear();
                state.journaled = 0;
            }
        }
        Some(())
    }
}

impl Observer for Disk {
    fn before(&self, _operation: &Operation<'_>) -> io::Result<()> {
        Ok(())
    }

    fn after(&self, operation: &Operation<'_>, result: Result<(), &io::Error>) {
        if result.is_ok() {
            // Nothing comes of it for paths outside of the directory.
            let _ = self.done(operation);
        }
    }
}

impl State {
    fn read(root: &Path) -> io::Result<Self> {
        let (tree, known) = Tree::read(root)?;
        Ok(Self {
            durable: tree.clone(),
            now: tree,
            changes: Vec::new(),
            journaled: 0,
            known,
        })
    }

    fn id_of(&self, file: OpenFile<'_>) -> Option<Id> {
        let metadata = file.file.metadata().ok()?;
        self.known.get(&identity(&metadata)).copied()
    }

    fn place(&self, relative: &Path) -> Option<(Id, std::ffi::OsString)> {
        let dir = self.now.find(relative.parent()?)?;
        Some((dir, relative.file_name()?.to_owned()))
    }

    fn create(&mut self, relative: &Path, is_dir: bool) -> Option<Id> {
        let (dir, name) = self.place(relative)?;
        let id = self.now.create(is_dir);
        self.durable.allocate_like(&self.now);
        self.change(Change::Link { dir, name, id });
        Some(id)
    }

    fn change(&mut self, change: Change) {
        self.now.apply(&change);
        self.changes.push(Unsynced {
            change,
            synced: false,
        });
    }

    fn synced(&mut self, which: impl Fn(&Change) -> bool) {
        for unsynced in &mut self.changes {
            unsynced.synced |= which(&unsynced.change);
        }
        self.journaled = self.changes.len();
    }

    fn after(&self, loss: Loss) -> Tree {
        let mut tree = self.durable.clone();
        match loss {
            Loss::Ordered { kept, lost } => {
                let kept = kept.max(self.journaled);
                for (index, Unsynced { change, synced }) in self.changes.iter().enumerate() {
                    if *synced || (index < kept && !change.is_data()) {
                        tree.apply(change);
                    } else if index < kept && lost == Lost::Bytes {
                        tree.apply_length_of(change);
                    }
                }
            }
            Loss::Any { seed } => {
                let mut choice = Choice(seed);
                for Unsynced { change, synced } in &self.changes {
                    match (synced, choice.next(8), change.is_data()) {
                        (true, ..) | (false, 4.., _) => tree.apply(change),
                        (false, 0, true) => tree.apply_length_of(change),
                        (false, 1, true) => tree.apply_part_of(change, choice.next(40)),
                        (false, ..) => {}
                    }
                }
            }
        }
        tree
    }
}

fn identity(metadata: &std::fs::Metadata) -> Identity {
    (metadata.dev(), metadata.ino())
}

/// A sequence of choices (SplitMix64).
struct Choice(u64);

impl Choice {
    fn next(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % 1_000_000).unwrap_or(0) % below
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::io::Write;

    use datastore::disk::{self, DiskFile};

    use super::*;

    fn content(root: &Path) -> String {
        let names = crate::tree(root).expect("a directory");
        let texts = names.iter().map(|name| {
            let path = root.join(name);
            let text = std::fs::read_to_string(&path).unwrap_or_else(|_| "/".into());
            format!("{}={}", name.display(), text.replace('\0', "0"))
        });
        texts.collect::<Vec<_>>().join(" ")
    }

    /// Works in a fresh directory and tells what the failures leave of it.
    fn left(work: impl Fn(&Path), losses: &[Loss]) -> Vec<String> {
        let after = |loss: &Loss| {
            let dir = support::scratch().expect("a directory");
            std::fs::write(dir.path().join("old"), "old").expect("a file");
            let disk = Disk::watch(dir.path()).expect("readable");
            let observation = disk::observe(disk.clone());
            work(dir.path());
            drop(observation);
            let model = support::scratch().expect("a directory");
            disk.state().now.write(model.path()).expect("writable");
            assert_eq!(content(model.path()), content(dir.path()));
            disk.cut_power(*loss).expect("writable");
            content(dir.path())
        };
        losses.iter().map(after).collect()
    }

    fn ordered(kept: usize) -> Loss {
        let lost = Lost::Length;
        Loss::Ordered { kept, lost }
    }

    const ZEROS: Loss = Loss::Ordered {
        kept: usize::MAX,
        lost: Lost::Bytes,
    };

    fn replace(root: &Path, sync_file: bool, sync_dir: bool) {
        let temp = root.join("t");
        let mut file = DiskFile::create_new(&temp, 0o644).expect("created");
        file.write_all(b"new").expect("written");
        if sync_file {
            file.sync_all().expect("synced");
        }
        disk::rename(&temp, &root.join("old")).expect("renamed");
        if sync_dir {
            disk::sync_dir(root).expect("synced");
        }
    }

    #[test]
    fn a_replaced_file_is_old_new_or_empty_as_far_as_it_was_synced() {
        let losses = [ordered(0), ordered(2), ordered(9), ZEROS];
        let lazy = left(|root| replace(root, false, false), &losses);
        assert_eq!(lazy, ["old=old", "old=old t=", "old=", "old=000"]);
        let half = left(|root| replace(root, true, false), &losses);
        assert_eq!(
            half,
            ["old=old t=new", "old=old t=new", "old=new", "old=new"]
        );
        let synced = left(|root| replace(root, true, true), &losses);
        assert_eq!(synced, ["old=new"; 4]);
    }

    #[test]
    fn a_whole_file_system_can_be_synced() {
        let work = |root: &Path| {
            replace(root, false, false);
            disk::create_dir(&root.join("d"), 0o755).expect("created");
            disk::sync_file_system(root).expect("synced");
            disk::remove_dir_all(&root.join("d")).expect("removed");
        };
        let seen = left(work, &[ordered(0), ordered(1), Loss::Any { seed: 0 }]);
        assert_eq!(seen[..2], ["d=/ old=new", "old=new"]);
    }

    /// Appended and overwritten bytes go to their places.
    #[test]
    fn writes_are_lost_each_by_itself() {
        let work = |root: &Path| {
            let mut file = DiskFile::append(&root.join("old")).expect("opened");
            file.write_all(b"12").expect("written");
            file.write_all(b"34").expect("written");
        };
        let losses: Vec<_> = (0..200).map(|seed| Loss::Any { seed }).collect();
        let seen: BTreeSet<String> = left(work, &losses).into_iter().collect();
        for possible in [
            "old=old",
            "old=old1234",
            "old=old12",
            "old=old0034",
            "old=old00",
        ] {
            assert!(seen.contains(possible), "{possible} in {seen:?}");
        }
        let sync = |root: &Path| {
            work(root);
            let file = DiskFile::append(&root.join("old")).expect("opened");
            file.sync_data().expect("synced");
        };
        assert_eq!(left(sync, &losses), vec!["old=old1234"; 200]);
    }

    /// Any subset of names may be there, but what was synced is.
    #[test]
    fn names_are_lost_each_by_itself() {
        let work = |root: &Path| {
            for name in ["a", "b"] {
                disk::create_dir(&root.join(name), 0o755).expect("created");
            }
        };
        let losses: Vec<_> = (0..50).map(|seed| Loss::Any { seed }).collect();
        let seen: BTreeSet<String> = left(work, &losses).into_iter().collect();
        let all = ["a=/ b=/ old=old", "a=/ old=old", "b=/ old=old", "old=old"];
        assert_eq!(seen, all.map(String::from).into());
    }
}
