//! Where one is in an archive, what is selected, and what the commands do.

use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use pxar::{Accessor, Body, Entry, Node, ReadAt, Step};

use super::command::Command;
use crate::cli::commands::catalog::{kind_of, shown};
use crate::cli::output::print;
use crate::cli::show::local_time;
use crate::dialogue::tell;
use crate::tree::extract::{ExtractOptions, extract_path};
use crate::tree::observer::{Observer, Problem};
use crate::tree::pattern::Pattern;

/// What comes after a command.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    Command,
    End,
}

/// An archive that is looked at.
pub(super) struct Session<A> {
    archive: Accessor<A>,
    /// The names that lead to the directory that is shown.
    directory: Vec<Vec<u8>>,
    /// As they were given, made absolute.
    selected: Vec<Pattern>,
}

impl<A: ReadAt> Session<A> {
    pub(super) fn new(archive: Accessor<A>) -> Self {
        Self {
            archive,
            directory: Vec::new(),
            selected: Vec::new(),
        }
    }

    /// The directory that is shown.
    pub(super) fn prompt(&self) -> String {
        let path = joined(&self.directory);
        let text = String::from_utf8_lossy(&path).replace(char::is_control, "?");
        format!("/{text}")
    }

    pub(super) fn perform(&mut self, command: &Command) -> Result<Next> {
        match command {
            Command::Exit => return Ok(Next::End),
            Command::Pwd => print(&self.prompt())?,
            Command::Cd { path } => self.go(path.as_deref().unwrap_or("/"))?,
            Command::Ls { path } => print(&self.list(path.as_deref().unwrap_or("."))?)?,
            Command::Stat { path } => print(&self.stat(path)?)?,
            Command::Find { pattern, select } => {
                let found = self.find(std::slice::from_ref(pattern), &self.directory)?;
                print(&lines(&found))?;
                if *select {
                    self.select(pattern.text());
                }
            }
            Command::Select { pattern } => {
                Pattern::parse(pattern.as_bytes())?;
                self.select(pattern.as_bytes());
            }
            Command::Deselect { pattern } => self.deselect(pattern.as_bytes())?,
            Command::ClearSelected => self.selected.clear(),
            Command::ListSelected { patterns: true } => {
                let patterns = self.selected.iter().map(|one| one.text().to_vec());
                print(&lines(&patterns.collect::<Vec<_>>()))?;
            }
            Command::ListSelected { patterns: false } => {
                print(&lines(&self.find(&self.selected, &[])?))?;
            }
            Command::Restore { target, pattern } => {
                self.restore(&self.directory, target, pattern.clone())?;
            }
            Command::RestoreSelected { target } => {
                ensure!(!self.selected.is_empty(), "nothing is selected");
                self.restore(&[], target, self.selected.clone())?;
            }
        }
        Ok(Next::Command)
    }

    fn go(&mut self, path: &str) -> Result<()> {
        let names = self.resolve(path);
        ensure!(
            self.entry(&names)?.is_directory(),
            "{path:?} is no directory"
        );
        self.directory = names;
        Ok(())
    }

    fn list(&self, path: &str) -> Result<String> {
        let entry = self.entry(&self.resolve(path))?;
        if !entry.is_directory() {
            return Ok(name_of(&entry));
        }
        let listing = self.archive.list(&entry)?;
        let children: Vec<_> = listing.collect::<Result<_, _>>()?;
        let mut names: Vec<_> = children.iter().map(name_of).collect();
        names.sort_unstable();
        Ok(names.join("\n"))
    }

    fn stat(&self, path: &str) -> Result<String> {
        let names = self.resolve(path);
        let entry = self.entry(&names)?;
        let (inode, link) = match &entry.node {
            Node::Inode(inode) => ((**inode).clone(), None),
            Node::Hardlink(link) => (self.archive.follow(link)?, Some(link.path.clone())),
        };
        let stat = inode.metadata.stat;
        let mut text = String::new();
        writeln!(
            text,
            "  File: {}",
            shown(&[b"/", &joined(&names)[..]].concat())
        )?;
        if let Some(path) = link {
            writeln!(text, "  Hard link to: {}", shown(&path))?;
        }
        let kind = match &inode.body {
            Body::Directory => "directory".to_owned(),
            Body::File(payload) => format!("regular file, {} bytes", payload.size),
            Body::Symlink(target) => format!("symbolic link to {}", shown(target)),
            Body::BlockDevice(device) => {
                format!("block device {}:{}", device.major, device.minor)
            }
            Body::CharDevice(device) => {
                format!("character device {}:{}", device.major, device.minor)
            }
            Body::Fifo => "fifo".to_owned(),
            Body::Socket => "socket".to_owned(),
        };
        writeln!(text, "  Type: {kind}")?;
        writeln!(
            text,
            "Access: {:04o}  Uid: {}  Gid: {}",
            stat.permissions(),
            stat.uid,
            stat.gid
        )?;
        write!(text, "Modify: {}", local_time(stat.mtime.secs))?;
        Ok(text)
    }

    /// The paths below a directory that any of the patterns fits.
    fn find(&self, patterns: &[Pattern], below: &[Vec<u8>]) -> Result<Vec<Vec<u8>>> {
        let directory = self.entry(below)?;
        let mut walk = self.archive.walk(&directory)?;
        let prefix = match joined(below) {
            path if path.is_empty() => b"/".to_vec(),
            path => [b"/", &path[..], b"/"].concat(),
        };
        let mut found = Vec::new();
        while let Some(step) = walk.step()? {
            let Step::Enter(node) = step else { continue };
            let path = walk.path();
            let is_directory = kind_of(&node).0 == 'd';
            if !path.is_empty() && patterns.iter().any(|one| one.fits(path, is_directory)) {
                found.push([&prefix[..], path].concat());
            }
        }
        Ok(found)
    }

    /// Selects; what is bound to the directory that is shown, from the root on.
    fn select(&mut self, pattern: &[u8]) {
        if let Ok(pattern) = Pattern::parse(&self.absolute(pattern)) {
            self.selected.push(pattern);
        }
    }

    fn deselect(&mut self, pattern: &[u8]) -> Result<()> {
        let absolute = self.absolute(pattern);
        let before = self.selected.len();
        let same = |one: &Pattern| one.text() == absolute || one.text() == pattern;
        self.selected.retain(|one| !same(one));
        ensure!(
            self.selected.len() < before,
            "{} is not selected",
            shown(pattern)
        );
        Ok(())
    }

    fn absolute(&self, pattern: &[u8]) -> Vec<u8> {
        if pattern.starts_with(b"/") || self.directory.is_empty() {
            return pattern.to_vec();
        }
        // Without a slash it fits at any depth, here as elsewhere.
        let anywhere: &[u8] = match pattern.contains(&b'/') {
            true => b"/",
            false => b"/**/",
        };
        [b"/", &joined(&self.directory)[..], anywhere, pattern].concat()
    }

    fn restore(&self, from: &[Vec<u8>], target: &Path, patterns: Vec<Pattern>) -> Result<()> {
        let path = joined(from);
        let path = Path::new(std::ffi::OsStr::from_bytes(&path));
        let options = ExtractOptions {
            patterns,
            ..ExtractOptions::default()
        };
        let done = extract_path(&self.archive, path, target, &options, &Problems)
            .with_context(|| format!("failed to restore to {target:?}"))?;
        tell(format_args!(
            "Restored {} files, {} bytes.",
            done.entries, done.bytes
        ));
        if done.problems > 0 {
            bail!("{} files could not be restored as they were", done.problems);
        }
        Ok(())
    }

    /// The names of a path, without leaving the archive.
    fn resolve(&self, path: &str) -> Vec<Vec<u8>> {
        let mut names = match path.starts_with('/') {
            true => Vec::new(),
            false => self.directory.clone(),
        };
        for name in path.split('/') {
            match name {
                "" | "." => {}
                ".." => {
                    names.pop();
                }
                name => names.push(name.as_bytes().to_vec()),
            }
        }
        names
    }

    fn entry(&self, names: &[Vec<u8>]) -> Result<Entry> {
        let entry = self.archive.lookup(names.iter().map(Vec::as_slice))?;
        entry.with_context(|| format!("nothing is at /{}", String::from_utf8_lossy(&joined(names))))
    }
}

/// Tells of single files.
struct Problems;

impl Observer for Problems {
    fn problem(&self, path: &Path, problem: &Problem) {
        tell(format_args!(
            "Warning: {}: {problem}",
            shown(path.as_os_str().as_bytes())
        ));
    }
}

fn joined(names: &[Vec<u8>]) -> Vec<u8> {
    names.join(&b'/')
}

fn lines(paths: &[Vec<u8>]) -> String {
    let lines = paths.iter().map(|path| {
        let text = String::from_utf8_lossy(path);
        text.replace(char::is_control, "?")
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// As `ls -p` has it.
fn name_of(entry: &Entry) -> String {
    let name = String::from_utf8_lossy(&entry.name).replace(char::is_control, "?");
    match entry.is_directory() {
        true => format!("{name}/"),
        false => name,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use pxar::{Encoder, Metadata, Stat, mode};

    use super::*;

    /// `etc/{a.conf,sub/b.conf}`, `home/x`.
    fn archive() -> Vec<u8> {
        let metadata = |kind: u64| Metadata {
            stat: Stat {
                mode: kind | 0o644,
                ..Stat::default()
            },
            ..Metadata::default()
        };
        let (directory, file) = (metadata(mode::DIRECTORY), metadata(mode::FILE));
        let mut encoder = Encoder::unified(Vec::new(), &directory).unwrap();
        let content = b"12345";
        let add = |encoder: &mut Encoder<Vec<u8>>, name: &[u8]| {
            encoder.file(name, &file, 5, &mut &content[..]).unwrap();
        };
        encoder.enter(b"etc", &directory).unwrap();
        add(&mut encoder, b"a.conf");
        encoder.enter(b"sub", &directory).unwrap();
        add(&mut encoder, b"b.conf");
        encoder.leave().unwrap();
        encoder.leave().unwrap();
        encoder.enter(b"home", &directory).unwrap();
        add(&mut encoder, b"x");
        encoder.leave().unwrap();
        encoder.finish().unwrap().0
    }

    fn session() -> Session<Arc<[u8]>> {
        Session::new(Accessor::open(archive().into(), None).unwrap())
    }

    fn perform<A: ReadAt>(session: &mut Session<A>, line: &str) -> Result<Next> {
        session.perform(&Command::parse(line)?)
    }

    #[test]
    fn one_walks_within_the_archive() {
        let mut session = session();
        assert_eq!(session.list(".").unwrap(), "etc/\nhome/");
        perform(&mut session, "cd etc/../etc/sub").unwrap();
        assert_eq!(session.prompt(), "/etc/sub");
        assert_eq!(session.list("..").unwrap(), "a.conf\nsub/");
        assert_eq!(session.list("b.conf").unwrap(), "b.conf");
        perform(&mut session, "cd ../../../..").unwrap();
        assert_eq!(session.prompt(), "/");
        let stat = session.stat("/etc/a.conf").unwrap();
        assert!(stat.contains("regular file, 5 bytes"), "{stat}");
        assert!(stat.contains("Access: 0644"), "{stat}");
        for line in ["cd etc/a.conf", "cd nowhere", "ls nowhere", "stat nowhere"] {
            assert!(perform(&mut session, line).is_err(), "{line}");
        }
        assert_eq!(perform(&mut session, "exit").unwrap(), Next::End);
    }

    #[test]
    fn what_is_selected_is_found_from_the_root() {
        let mut session = session();
        let selected = |session: &Session<Arc<[u8]>>| {
            let found = session.find(&session.selected, &[]).unwrap();
            lines(&found)
        };
        perform(&mut session, "select *.conf").unwrap();
        assert_eq!(selected(&session), "/etc/a.conf\n/etc/sub/b.conf");
        perform(&mut session, "clear-selected").unwrap();
        perform(&mut session, "cd etc/sub").unwrap();
        perform(&mut session, "select *.conf").unwrap();
        assert_eq!(selected(&session), "/etc/sub/b.conf");
        perform(&mut session, "select /home/x").unwrap();
        assert_eq!(selected(&session), "/etc/sub/b.conf\n/home/x");
        perform(&mut session, "deselect *.conf").unwrap();
        assert_eq!(selected(&session), "/home/x");
        assert!(perform(&mut session, "deselect *.conf").is_err());
        perform(&mut session, "clear-selected").unwrap();
        assert!(perform(&mut session, "restore-selected /nowhere").is_err());
    }
}
