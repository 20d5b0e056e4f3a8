//! Key patterns: exact text with `*` for any run of characters (slashes too) and `?` for one.

use std::fmt;

/// A pattern over whole keys.
#[derive(Clone, PartialEq, Eq)]
pub struct Pattern(Box<str>);

impl Pattern {
    /// Makes a pattern from its text.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// Whether `key` as a whole fits.
    #[must_use]
    pub fn matches(&self, key: &str) -> bool {
        let (pattern, key) = (self.0.as_bytes(), key.as_bytes());
        let (mut p, mut k) = (0, 0);
        // Where the last star was, and up to where it has eaten.
        let mut star: Option<(usize, usize)> = None;
        while k < key.len() {
            if p < pattern.len() && pattern[p] == b'*' {
                star = Some((p, k));
                p += 1;
            } else if p < pattern.len() && (pattern[p] == b'?' || pattern[p] == key[k]) {
                p += 1;
                k += 1;
            } else if let Some((at, eaten)) = star {
                star = Some((at, eaten + 1));
                p = at + 1;
                k = eaten + 1;
            } else {
                return false;
            }
        }
        pattern[p..].iter().all(|&rest| rest == b'*')
    }
}

impl From<&str> for Pattern {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl From<&String> for Pattern {
    fn from(text: &String) -> Self {
        Self::new(text)
    }
}

impl From<String> for Pattern {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::Pattern;

    #[test]
    fn stars_cross_slashes_and_text_is_exact() {
        let fits = |pattern: &str, key: &str| Pattern::new(pattern).matches(key);
        assert!(fits("a/b", "a/b"));
        assert!(!fits("a/b", "a/bc"));
        assert!(fits("a/*", "a/b/c"));
        assert!(fits("*.chunks*ff", "store/.chunks/00ff/00ff"));
        assert!(!fits("*.chunks*ff", "store/.chunks/00ff/00fe"));
        assert!(fits("a?c", "abc"));
        assert!(!fits("a?c", "ac"));
        assert!(fits("*", ""));
        assert!(!fits("", "a"));
    }
}
