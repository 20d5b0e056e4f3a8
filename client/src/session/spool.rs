//! Downloads that may be large, in memory only while they are small.

use std::fs::File;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use datastore::env::Env;
use tokio::io::AsyncWriteExt as _;

/// What is kept in memory: the index of 400 GB in chunks of 4 MiB.
const SMALL: usize = 4 << 20;

/// A download as it grows.
#[derive(Debug)]
pub(super) struct Spool {
    env: Env,
    memory: Vec<u8>,
    file: Option<tokio::fs::File>,
}

/// A download.
#[derive(Debug)]
pub(super) enum Spooled {
    Memory(Bytes),
    /// Without a name.
    File(File),
}

impl Spool {
    /// Nothing yet.
    pub(super) fn new(env: &Env) -> Self {
        Self {
            env: env.clone(),
            memory: Vec::new(),
            file: None,
        }
    }

    /// Takes what comes next.
    pub(super) async fn push(&mut self, bytes: &[u8]) -> Result<()> {
        if self.memory.len() + bytes.len() > SMALL {
            self.pass_on().await?;
        }
        self.memory.extend_from_slice(bytes);
        Ok(())
    }

    /// That was all.
    pub(super) async fn finish(mut self) -> Result<Spooled> {
        if self.file.is_some() {
            self.pass_on().await?;
        }
        match self.file {
            None => Ok(Spooled::Memory(self.memory.into())),
            Some(mut file) => {
                file.flush().await.with_context(full)?;
                Ok(Spooled::File(file.into_std().await))
            }
        }
    }

    /// Writes what is in memory to the file.
    async fn pass_on(&mut self) -> Result<()> {
        let mut file = match self.file.take() {
            Some(file) => file,
            None => {
                let file = self.env.blocking(tempfile::tempfile).await;
                tokio::fs::File::from_std(file.with_context(full)?)
            }
        };
        file.write_all(&self.memory).await.with_context(full)?;
        self.memory.clear();
        self.file = Some(file);
        Ok(())
    }
}

fn full() -> String {
    let dir = std::env::temp_dir();
    format!(
        "failed to write a temporary file of an index in {}; TMPDIR names another place",
        dir.display()
    )
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt as _;

    use super::*;

    #[tokio::test]
    async fn what_is_large_is_in_a_file() {
        for (length, in_file) in [
            (0, false),
            (SMALL, false),
            (SMALL + 1, true),
            (SMALL * 3, true),
        ] {
            let content: Vec<u8> = (0..=250).cycle().take(length).collect();
            let mut spool = Spool::new(&Env::system());
            for piece in content.chunks(100_000) {
                spool.push(piece).await.unwrap();
                assert!(spool.memory.capacity() <= 2 * SMALL);
            }
            let found = match spool.finish().await.unwrap() {
                Spooled::Memory(bytes) => {
                    assert!(!in_file);
                    bytes.to_vec()
                }
                Spooled::File(file) => {
                    assert!(in_file);
                    let mut found = vec![0; length + 1];
                    let count = file.read_at(&mut found, 0).unwrap();
                    found.truncate(count);
                    found
                }
            };
            assert!(found == content, "{length}");
        }
    }
}
