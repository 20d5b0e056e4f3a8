//! A file that the command line names.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Opened as the command line is parsed, by whoever gives the command: later the tool may work as
/// another user ([`crate::privileges`]), who need not be able to read it. `-` is standard input.
#[derive(Clone, Debug)]
pub struct NamedFile {
    path: PathBuf,
    opened: Option<Arc<io::Result<File>>>,
}

impl From<OsString> for NamedFile {
    fn from(name: OsString) -> Self {
        let path = PathBuf::from(name);
        let opened = (path != Path::new("-")).then(|| Arc::new(File::open(&path)));
        Self { path, opened }
    }
}

impl NamedFile {
    /// What it was named.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its text, if it is no longer than `limit`; what comes after that is not read.
    pub fn read_up_to(&self, limit: u64) -> io::Result<String> {
        let mut text = String::new();
        match self.opened.as_deref() {
            None => io::stdin().take(limit).read_to_string(&mut text)?,
            Some(Ok(file)) => file.take(limit).read_to_string(&mut text)?,
            Some(Err(error)) => return Err(io::Error::new(error.kind(), error.to_string())),
        };
        Ok(text)
    }
}
