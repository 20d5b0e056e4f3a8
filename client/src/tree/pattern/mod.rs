//! Which paths are meant: `--exclude`, `.pxarexclude`, `--pattern`.

mod glob;
mod rules;
#[cfg(test)]
mod tests;

use std::fmt;

use glob::Glob;
pub use rules::Rules;

/// A pattern as in `gitignore(5)`: `*`, `?`, `[a-z]` within one name, `**` for any names. A slash in
/// front binds it to the root (or the directory of its file), one behind it to directories; without
/// the first it fits at any depth.
#[derive(Clone, Debug)]
pub struct Pattern {
    text: Vec<u8>,
    negated: bool,
    directories_only: bool,
    names: Vec<Name>,
}

/// What one name, or several, must be like.
#[derive(Clone, Debug)]
enum Name {
    /// One name.
    One(Glob),
    /// Any names, or none.
    Any,
}

/// Why a text is no pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// Nothing is in it.
    #[error("it is empty")]
    Empty,
    /// A NUL is in it.
    #[error("it has a NUL")]
    Nul,
    /// A bracket without its end.
    #[error("a bracket is not closed; write \\[ for a bracket itself")]
    Bracket,
    /// A backslash with nothing behind it.
    #[error("a backslash at its end; write \\\\ for a backslash itself")]
    Backslash,
}

impl Pattern {
    /// Reads a pattern; with `!` in front it takes back what an earlier one matched.
    ///
    /// # Errors
    /// If it is none.
    pub fn parse(text: &[u8]) -> Result<Self, Invalid> {
        if text.contains(&0) {
            return Err(Invalid::Nul);
        }
        let unsigned = text.strip_prefix(b"!");
        let body = unsigned.unwrap_or(text);
        let unanchored = body.strip_prefix(b"/");
        let path = unanchored.unwrap_or(body);
        let undirected = path.strip_suffix(b"/");
        let path = undirected.unwrap_or(path);
        let mut names = Vec::new();
        if unanchored.is_none() {
            names.push(Name::Any);
        }
        let mut rest = path.split(|byte| *byte == b'/').peekable();
        while let Some(name) = rest.next() {
            match name {
                b"" if path.is_empty() => return Err(Invalid::Empty),
                b"" => {}
                // All that is in a directory, not that itself.
                b"**" if rest.peek().is_none() => {
                    names.push(Name::One(Glob::parse(b"*")?));
                    names.push(Name::Any);
                }
                b"**" => names.push(Name::Any),
                name => names.push(Name::One(Glob::parse(name)?)),
            }
        }
        Ok(Self {
            text: text.to_vec(),
            negated: unsigned.is_some(),
            directories_only: undirected.is_some(),
            names,
        })
    }

    /// The patterns of a file, one a line, without comments; lines that are none with the reason.
    pub fn parse_lines(
        text: &[u8],
    ) -> impl Iterator<Item = Result<Self, (String, Invalid)>> + use<'_> {
        text.split(|byte| *byte == b'\n').filter_map(|line| {
            let line = trim_end(line);
            if line.is_empty() || line.starts_with(b"#") {
                return None;
            }
            let invalid = |why| (line.escape_ascii().to_string(), why);
            Some(Self::parse(line).map_err(invalid))
        })
    }

    /// As it was read.
    #[must_use]
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// Whether it takes back what others match.
    #[must_use]
    pub fn is_negated(&self) -> bool {
        self.negated
    }

    /// Whether it fits a path of names joined by slashes.
    #[must_use]
    pub fn fits(&self, path: &[u8], directory: bool) -> bool {
        if self.directories_only && !directory {
            return false;
        }
        let mut names = path.split(|byte| *byte == b'/');
        let mut patterns = self.names.as_slice();
        // Where to go on if what follows the last `Any` does not fit.
        let mut retry: Option<(&[Name], std::slice::Split<'_, u8, _>)> = None;
        loop {
            if let [Name::Any, rest @ ..] = patterns {
                patterns = rest;
                retry = Some((patterns, names.clone()));
                continue;
            }
            let fits = match (patterns, names.next()) {
                ([], None) => return true,
                ([Name::One(glob), rest @ ..], Some(name)) if glob.fits(name) => {
                    patterns = rest;
                    true
                }
                _ => false,
            };
            if !fits {
                // One more name for that `Any`.
                let Some((after, from)) = &mut retry else {
                    return false;
                };
                if from.next().is_none() {
                    return false;
                }
                patterns = after;
                names = from.clone();
            }
        }
    }
}

/// Without blanks at the end, unless they are escaped.
fn trim_end(mut line: &[u8]) -> &[u8] {
    while let [rest @ .., b' ' | b'\t' | b'\r'] = line {
        if rest.ends_with(b"\\") {
            break;
        }
        line = rest;
    }
    line
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.text.escape_ascii().fmt(f)
    }
}
