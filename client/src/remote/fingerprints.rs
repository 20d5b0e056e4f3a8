//! Fingerprints that the user accepted, a line `SERVER FINGERPRINT` each.
//!
//! A server at the usual port is under its host alone, others are under `host:port`.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use api_types::digest::Fingerprint;

use super::dirs::{Dirs, lock, write_private};
use super::repository::{DEFAULT_PORT, Repository};

/// The file with the fingerprints.
#[derive(Clone, Debug)]
pub(super) struct KnownServers {
    path: Option<PathBuf>,
}

impl KnownServers {
    pub(super) fn new(dirs: &Dirs) -> Self {
        let path = dirs.config.as_ref().map(|dir| dir.join("fingerprints"));
        Self { path }
    }

    /// What was accepted for this server. A file that cannot be read knows nothing.
    pub(super) fn get(&self, repository: &Repository) -> Option<Fingerprint> {
        let text = std::fs::read_to_string(self.path.as_ref()?).ok()?;
        let name = name_of(repository);
        let found = text
            .lines()
            .rev()
            .find_map(|line| line.split_once(' ').filter(|(server, _)| *server == name));
        found?.1.trim().parse().ok()
    }

    /// Remembers the fingerprint of this server, and no other of it.
    pub(super) fn put(&self, repository: &Repository, fingerprint: &Fingerprint) -> Result<()> {
        let path = self.path.as_ref().context("there is no home directory")?;
        // Held until the end: of two who change it at once, neither forgets the other's server.
        let _lock = lock(path).with_context(|| format!("failed to lock {path:?}"))?;
        let old = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(error).with_context(|| format!("failed to read {path:?}")),
        };
        let name = name_of(repository);
        let mut lines: Vec<_> = old
            .lines()
            .filter(|line| line.split(' ').next() != Some(&name))
            .map(str::to_owned)
            .collect();
        lines.push(format!("{name} {fingerprint}"));
        let text = lines.join("\n") + "\n";
        write_private(path, text.as_bytes()).with_context(|| format!("failed to write {path:?}"))
    }
}

fn name_of(repository: &Repository) -> String {
    if repository.port() == DEFAULT_PORT {
        repository.host().to_owned()
    } else {
        repository.server()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_word_on_each_server_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let known = KnownServers::new(&Dirs {
            config: Some(dir.path().join("a/b")),
            runtime: None,
        });
        let usual: Repository = "host:main".parse().unwrap();
        let other: Repository = "host:99:main".parse().unwrap();
        let [one, two, three] = [1, 2, 3].map(|n| Fingerprint::from_bytes([n; 32]));
        assert_eq!(known.get(&usual), None);
        known.put(&usual, &one).unwrap();
        known.put(&other, &two).unwrap();
        known.put(&usual, &three).unwrap();
        assert_eq!(known.get(&usual), Some(three));
        assert_eq!(known.get(&other), Some(two));
        let path = dir.path().join("a/b/fingerprints");
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().count(), 2, "{text}");
        std::fs::write(path, "host nonsense\nand more\n").unwrap();
        assert_eq!(known.get(&usual), None);
    }

    /// Each would write what it has read without the others' lines.
    #[test]
    fn none_of_many_at_once_is_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let dirs = Dirs {
            config: Some(dir.path().to_owned()),
            runtime: None,
        };
        let server = |n: u8| format!("host-{n}:main").parse::<Repository>().unwrap();
        let accept = |n: u8| {
            let fingerprint = Fingerprint::from_bytes([n; 32]);
            KnownServers::new(&dirs).put(&server(n), &fingerprint)
        };
        std::thread::scope(|scope| {
            for first in 0..8 {
                scope.spawn(move || {
                    for n in 0..25 {
                        accept(25 * first + n).unwrap();
                    }
                });
            }
        });
        let known = KnownServers::new(&dirs);
        for n in 0..200 {
            let fingerprint = Fingerprint::from_bytes([n; 32]);
            assert_eq!(known.get(&server(n)), Some(fingerprint), "{n}");
        }
    }
}
