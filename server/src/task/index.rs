//! The task index: `active` (running tasks), `archive` (finished ones) and its rotated copies.
//!
//! A line is `<UPID>` while the task runs, `<UPID> <end time, 8 hex digits> <status>` when it has
//! ended. Whoever changes a file holds `.active.lock`. A task is appended to the archive before it
//! leaves `active`: a crash in between shows it twice, which readers sort out, never not at all.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use api_types::status::TaskListItem;
use api_types::upid::Upid;
use nix::fcntl::{Flock, FlockArg};
use s3_client::env::Env;

use super::backwards::LinesBackwards;
use super::end::TaskEnd;
use super::log_file::read_end;
use super::own::OwnTasks;
use super::process::Process;
use crate::config::node::NodeFile;
use crate::config::replace_file;
use crate::paths::create_dir;

/// Name of the rotated file `n` (1 is the youngest); upstream compresses from the second on.
const COMPRESSED_FROM: u32 = 2;
/// No index file comes near it; bounds what a damaged one can do.
const MAX_INDEX_SIZE: u64 = 64 * 1024 * 1024;

/// Places in a line where an entry may begin.
const MAX_GLUED: usize = 4;

/// Rotated files at most, if it is their age that decides.
const MAX_FILES: u32 = 1000;
const DAY: i64 = 24 * 3600;

/// When the archive is rotated and how much of it is kept.
#[derive(Clone, Copy, Debug)]
pub struct Rotation {
    /// The archive is rotated once it is larger.
    pub max_size: u64,
    /// Rotated files that are kept; logs of the tasks in a dropped one are removed.
    pub keep_files: u32,
}

impl Default for Rotation {
    fn default() -> Self {
        Self {
            max_size: 512 * 1024,
            keep_files: 20,
        }
    }
}

/// A task in the index.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct IndexEntry {
    /// The task.
    pub upid: Upid,
    /// How it ended; none while it runs.
    pub end: Option<TaskEnd>,
}

impl IndexEntry {
    /// Reads a line; none if it is not one of an index.
    ///
    /// A writer that broke off in the middle of a line may have left that before the entry: what
    /// was there of the other one is not read.
    #[must_use]
    pub fn parse(line: &str) -> Option<Self> {
        let glued = || {
            let starts = line.match_indices("UPID:").map(|(start, _)| start);
            let mut inner = starts.filter(|start| *start > 0).take(MAX_GLUED);
            inner.find_map(|start| Self::parse_whole(line.get(start..)?))
        };
        Self::parse_whole(line).or_else(glued)
    }

    fn parse_whole(line: &str) -> Option<Self> {
        let mut words = line.trim_end().splitn(3, ' ');
        let upid = words.next()?.parse().ok()?;
        let Some(endtime) = words.next() else {
            return Some(Self { upid, end: None });
        };
        if endtime.len() > 16 || !endtime.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        let endtime = i64::from_str_radix(endtime, 16).ok()?;
        let status = words.next()?.parse().ok()?;
        Some(Self {
            upid,
            end: Some(TaskEnd { endtime, status }),
        })
    }

    /// The task as the API lists it.
    #[must_use]
    pub fn into_item(self) -> TaskListItem {
        TaskListItem::new(self.upid, self.end.map(|end| (end.endtime, end.status)))
    }

    fn to_line(&self) -> String {
        match &self.end {
            None => format!("{}\n", self.upid),
            Some(TaskEnd { endtime, status }) => format!("{} {endtime:08X} {status}\n", self.upid),
        }
    }
}

/// The process that runs (or ran) a task.
#[must_use]
pub fn process_of(upid: &Upid) -> Process {
    Process {
        pid: upid.pid(),
        pstart: upid.pstart(),
    }
}

/// The directory `tasks` of the log directory.
#[derive(Clone, Debug)]
pub struct TaskIndex {
    dir: PathBuf,
    rotation: Rotation,
    own: OwnTasks,
    /// Where it may say for how many days ended tasks are kept, and what day it is.
    node: Option<(NodeFile, Env)>,
}

impl TaskIndex {
    /// The index in `dir`; nothing is created yet.
    #[must_use]
    pub fn new(dir: PathBuf, rotation: Rotation, own: OwnTasks) -> Self {
        Self {
            dir,
            rotation,
            own,
            node: None,
        }
    }

    /// Whose tasks are kept for as long as the settings of the node say, if they do.
    #[must_use]
    pub fn with_age_limit(self, node: NodeFile, env: Env) -> Self {
        Self {
            node: Some((node, env)),
            ..self
        }
    }

    /// What ended before goes when the archive is rotated.
    fn oldest_kept(&self) -> Option<i64> {
        let (node, env) = self.node.as_ref()?;
        // With settings that cannot be read it is rotated as without.
        let (config, _) = node.load().ok()?;
        let days: i64 = config.get("task-log-max-days")?.parse().ok()?;
        Some(env.unix_secs().saturating_sub(days.saturating_mul(DAY)))
    }

    /// The log file of a task.
    #[must_use]
    pub fn log_path(&self, upid: &Upid) -> PathBuf {
        self.dir.join(upid.log_subdir()).join(upid.to_string())
    }

    /// Creates the directory for the log of a task.
    pub fn create_log_dir(&self, upid: &Upid) -> Result<()> {
        create_dir(&self.dir.join(upid.log_subdir()), 0o750)
    }

    /// Adds a task that is about to run; settles those whose process has died.
    pub fn register(&self, upid: &Upid) -> Result<()> {
        self.change(|running| {
            running.push(IndexEntry {
                upid: upid.clone(),
                end: None,
            });
        })
    }

    /// Moves a task that has ended to the archive, which is rotated when it has grown too large.
    pub fn finish(&self, upid: &Upid, end: &TaskEnd) -> Result<()> {
        self.change(|running| {
            running.retain(|entry| entry.upid != *upid);
            running.push(IndexEntry {
                upid: upid.clone(),
                end: Some(end.clone()),
            });
        })
    }

    fn change(&self, change: impl FnOnce(&mut Vec<IndexEntry>)) -> Result<()> {
        create_dir(&self.dir, 0o750)?;
        let _lock = self.lock()?;
        let mut entries = self.read_active()?;
        change(&mut entries);
        let (ended, running): (Vec<_>, Vec<_>) = entries
            .into_iter()
            .map(|entry| self.settle(entry))
            .partition(|e| e.end.is_some());
        if !ended.is_empty() {
            self.append_to_archive(&ended)?;
        }
        let text: String = running.iter().map(IndexEntry::to_line).collect();
        let active = self.dir.join("active");
        replace_file(&active, text.as_bytes(), 0o640)
            .with_context(|| format!("failed to write the task index {}", active.display()))?;
        if !ended.is_empty() {
            self.rotate_if_large()?;
        }
        Ok(())
    }

    /// A task without process has ended: its log says how.
    fn settle(&self, mut entry: IndexEntry) -> IndexEntry {
        if entry.end.is_none() && !self.own.may_run(&entry.upid) {
            let kept = self.own.kept_end(&entry.upid);
            let read = || read_end(&self.log_path(&entry.upid), entry.upid.starttime());
            entry.end = Some(kept.unwrap_or_else(read));
        }
        entry
    }

    fn lock(&self) -> Result<Flock<File>> {
        let path = self.dir.join(".active.lock");
        let error = || format!("failed to lock the task index {}", path.display());
        let file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o660)
            .open(&path)
            .with_context(error)?;
        // Held for a few small writes only, so there is nothing to wait for long.
        Flock::lock(file, FlockArg::LockExclusive)
            .map_err(|(_, errno)| io::Error::from(errno))
            .with_context(error)
    }

    fn read_active(&self) -> Result<Vec<IndexEntry>> {
        let path = self.dir.join("active");
        let text = match File::open(&path).and_then(read_text) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => {
                return Err(error)
                    .with_context(|| format!("failed to read the task index {}", path.display()));
            }
        };
        Ok(text.lines().filter_map(IndexEntry::parse).collect())
    }

    fn append_to_archive(&self, ended: &[IndexEntry]) -> Result<()> {
        let path = self.dir.join("archive");
        let text: String = ended.iter().map(IndexEntry::to_line).collect();
        OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o640)
            .open(&path)
            .and_then(|mut file| append_lines(&mut file, &text))
            .with_context(|| format!("failed to write the task archive {}", path.display()))
    }

    fn rotate_if_large(&self) -> Result<()> {
        let archive = self.dir.join("archive");
        let size = std::fs::metadata(&archive).map_or(0, |metadata| metadata.len());
        if size <= self.rotation.max_size {
            return Ok(());
        }
        self.rotate().context("failed to rotate the task archive")
    }

    fn rotate(&self) -> Result<()> {
        let oldest = self.oldest_kept();
        let keep = oldest.map_or(self.rotation.keep_files, |_| MAX_FILES);
        for n in (1..=MAX_FILES).rev() {
            let Some(from) = self.rotated(n) else {
                continue;
            };
            let is_old = oldest.is_some_and(|oldest| newest_end(&from) < oldest);
            if n >= keep || is_old {
                self.remove_logs(&from)?;
                remove_if_there(&from)?;
                continue;
            }
            let to = self.dir.join(format!("archive.{}.zst", n + 1));
            if is_compressed(&from) {
                rename(&from, &to)?;
            } else if n + 1 >= COMPRESSED_FROM {
                let error = || format!("failed to compress {}", from.display());
                let content = std::fs::read(&from).with_context(error)?;
                let packed = zstd::bulk::compress(&content, 0).with_context(error)?;
                replace_file(&to, &packed, 0o640).with_context(error)?;
                remove_if_there(&from)?;
            }
        }
        rename(&self.dir.join("archive"), &self.dir.join("archive.1"))
    }

    /// The rotated file `n`, whichever form it has.
    fn rotated(&self, n: u32) -> Option<PathBuf> {
        ["", ".zst"]
            .map(|extension| self.dir.join(format!("archive.{n}{extension}")))
            .into_iter()
            .find(|path| path.is_file())
    }

    fn remove_logs(&self, archive: &Path) -> Result<()> {
        // An unreadable archive names no logs; it goes all the same.
        let text = read_archive(archive).unwrap_or_default();
        for entry in text.lines().filter_map(IndexEntry::parse) {
            remove_if_there(&self.log_path(&entry.upid))?;
        }
        Ok(())
    }

    /// Every task once, the running ones first, then the others by their end, newest first.
    ///
    /// The archives are read from their ends, as far as the iterator gets: whoever wants the newest
    /// tasks pays for them and not for all that ever ran.
    pub fn entries(&self) -> Result<impl Iterator<Item = IndexEntry> + use<>> {
        // No lock, so that a listing works without write permission: `active` is replaced
        // atomically, and it is read first, so a task that ends meanwhile shows in both.
        let mut first: Vec<_> = self
            .read_active()?
            .into_iter()
            .map(|entry| self.settle(entry))
            .collect();
        first.sort_by_key(|entry| {
            let end = entry.end.as_ref().map_or(i64::MAX, |end| end.endtime);
            std::cmp::Reverse((end, entry.upid.starttime(), entry.upid.task_id()))
        });

        let index = self.clone();
        let keep = self.rotation.keep_files;
        // A crash may leave a gap among the few that are always kept.
        let rotated = (1..=MAX_FILES)
            .map(move |n| (n, index.rotated(n)))
            .take_while(move |(n, path)| *n <= keep || path.is_some())
            .filter_map(|(_, path)| path);
        let archives = std::iter::once(self.dir.join("archive")).chain(rotated);
        let archived = archives
            .flat_map(|path| lines_backwards(&path))
            .filter_map(|line| IndexEntry::parse(&line))
            // An id alone is a line that broke off: its task is still in `active`.
            .filter(|entry| entry.end.is_some());
        let mut seen = HashSet::new();
        Ok(first
            .into_iter()
            .chain(archived)
            .filter(move |entry| seen.insert(entry.upid.clone())))
    }
}

/// Appends lines to a file whose last one may have been left unfinished.
fn append_lines(file: &mut File, text: &str) -> io::Result<()> {
    let length = file.metadata()?.len();
    let mut last = [b'\n'];
    if length > 0 {
        file.read_exact_at(&mut last, length - 1)?;
    }
    let begun = if last == [b'\n'] { "" } else { "\n" };
    let written = file.write_all(format!("{begun}{text}").as_bytes());
    if written.is_err() {
        // Best without any part of a line; if this fails, too, the next one starts a new line.
        let _ = file.set_len(length);
    }
    written
}

/// When the last task ended that an archive has.
fn newest_end(path: &Path) -> i64 {
    let text = read_archive(path).unwrap_or_default();
    let entries = text.lines().filter_map(IndexEntry::parse);
    let ends = entries.filter_map(|entry| Some(entry.end?.endtime));
    ends.max().unwrap_or(i64::MAX)
}

fn is_compressed(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "zst")
}

/// The lines of an archive, the last one first. One that cannot be read has none.
fn lines_backwards(path: &Path) -> Box<dyn Iterator<Item = String> + Send> {
    if is_compressed(path) {
        // Unpacked from the beginning, so as a whole; it was small enough to be packed as one.
        let text = read_archive(path).unwrap_or_default();
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        return Box::new(lines.into_iter().rev());
    }
    match File::open(path).and_then(LinesBackwards::new) {
        Ok(lines) => Box::new(lines),
        Err(_) => Box::new(std::iter::empty()),
    }
}

fn read_archive(path: &Path) -> io::Result<String> {
    let file = File::open(path)?;
    if is_compressed(path) {
        read_text(zstd::Decoder::new(file)?)
    } else {
        read_text(file)
    }
}

fn read_text(reader: impl Read) -> io::Result<String> {
    let mut bytes = Vec::new();
    reader.take(MAX_INDEX_SIZE).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn rename(from: &Path, to: &Path) -> Result<()> {
    std::fs::rename(from, to)
        .with_context(|| format!("failed to rename {} to {}", from.display(), to.display()))
}

fn remove_if_there(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("failed to remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
