//! Which paths are meant: `--exclude`, `.pxarexclude`, `--pattern`.

use std::fmt;

/// A pattern as in `gitignore(5)`: `*`, `?`, `[a-z]` within one name, `**` across names. A slash in
/// front binds it to the root (or the directory of its file), one behind it to directories.
#[derive(Clone, Debug)]
pub struct Pattern {
    text: Vec<u8>,
}

/// Why a text is no pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// Nothing is in it.
    #[error("it is empty")]
    Empty,
    /// A NUL is in it.
    #[error("it has a NUL")]
    Nul,
}

impl Pattern {
    /// Reads a pattern; with `!` in front it takes back what an earlier one matched.
    ///
    /// # Errors
    /// If it is none.
    pub fn parse(text: &[u8]) -> Result<Self, Invalid> {
        Ok(Self {
            text: text.to_vec(),
        })
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.text.escape_ascii().fmt(f)
    }
}
