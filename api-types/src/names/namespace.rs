//! Namespaces: a tree of at most seven levels above the groups.

use std::fmt;
use std::str::FromStr;

use super::NamespaceComponent;
use crate::ParseError;
use crate::macros::serde_as_string;

/// Most levels below the root.
pub const MAX_NAMESPACE_DEPTH: usize = 7;
/// Limit on the text, where each component counts with one separator.
pub const MAX_NAMESPACE_LEN: usize = 256;

const WHAT: &str = "namespace";

/// A namespace, printed as `a/b` (the root prints as nothing) and stored below `ns/a/ns/b`.
///
/// Ordered component by component, so that a parent comes right before its children.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BackupNamespace(Vec<NamespaceComponent>);

impl BackupNamespace {
    /// The namespace without a name, in which every datastore begins.
    #[must_use]
    pub const fn root() -> Self {
        Self(Vec::new())
    }

    /// Builds a namespace from its levels, outermost first.
    pub fn from_components(
        components: impl IntoIterator<Item = NamespaceComponent>,
    ) -> Result<Self, ParseError> {
        components
            .into_iter()
            .try_fold(Self::root(), |ns, component| ns.join(component))
    }

    /// Whether this is the root.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The levels, outermost first.
    #[must_use]
    pub fn components(&self) -> &[NamespaceComponent] {
        &self.0
    }

    /// Number of levels, 0 for the root.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.0.len()
    }

    /// The namespace that holds this one, none for the root.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        let (_, parents) = self.0.split_last()?;
        Some(Self(parents.to_vec()))
    }

    /// Whether this namespace is `other` or lies anywhere above it.
    #[must_use]
    pub fn contains(&self, other: &Self) -> bool {
        other.0.starts_with(&self.0)
    }

    /// The child of that name, unless that would be too deep or too long.
    pub fn join(&self, component: NamespaceComponent) -> Result<Self, ParseError> {
        let error = |reason: String| {
            ParseError::new(WHAT, &format!("{self}/{}", component.as_str()), reason)
        };
        if self.0.len() >= MAX_NAMESPACE_DEPTH {
            return Err(error(format!("deeper than {MAX_NAMESPACE_DEPTH} levels")));
        }
        let len_so_far: usize = self.0.iter().map(|c| c.as_str().len() + 1).sum();
        if len_so_far + component.as_str().len() + 1 > MAX_NAMESPACE_LEN {
            return Err(error(format!("longer than {MAX_NAMESPACE_LEN} characters")));
        }
        let mut components = self.0.clone();
        components.push(component);
        Ok(Self(components))
    }

    /// Path relative to the datastore: `ns/a/ns/b`, empty for the root.
    #[must_use]
    pub fn path(&self) -> String {
        let levels: Vec<String> = self
            .0
            .iter()
            .map(|c| format!("ns/{}", c.as_str()))
            .collect();
        levels.join("/")
    }

    /// `relative` (a group or snapshot path) below this namespace's path.
    #[must_use]
    pub fn path_of(&self, relative: &str) -> String {
        if self.is_root() {
            relative.to_owned()
        } else {
            format!("{}/{relative}", self.path())
        }
    }

    /// Reads what [`Self::path`] prints.
    pub fn parse_path(path: &str) -> Result<Self, ParseError> {
        let (ns, rest) = Self::split_path(path)?;
        if rest.is_empty() {
            return Ok(ns);
        }
        Err(ParseError::new(
            "namespace path",
            path,
            "expected the form ns/a/ns/b",
        ))
    }

    /// Takes the leading `ns/NAME` pairs off a path; what is left is a group or snapshot path.
    pub(super) fn split_path(path: &str) -> Result<(Self, &str), ParseError> {
        let mut ns = Self::root();
        let mut rest = path;
        while let Some(after) = rest.strip_prefix("ns/") {
            let (name, tail) = match after.split_once('/') {
                Some((_, "")) => {
                    return Err(ParseError::new("namespace path", path, "ends with a '/'"));
                }
                Some((name, tail)) => (name, tail),
                None => (after, ""),
            };
            ns = ns.join(name.parse()?)?;
            rest = tail;
        }
        Ok((ns, rest))
    }
}

impl FromStr for BackupNamespace {
    type Err = ParseError;

    /// Reads `a/b`; the empty string is the root.
    fn from_str(text: &str) -> Result<Self, ParseError> {
        if text.is_empty() {
            return Ok(Self::root());
        }
        // The length is checked first, so that a text of megabytes is not taken apart.
        if text.len() >= MAX_NAMESPACE_LEN {
            return Err(ParseError::new(
                WHAT,
                text,
                format!("longer than {MAX_NAMESPACE_LEN} characters"),
            ));
        }
        text.split('/').try_fold(Self::root(), |ns, name| {
            let component: NamespaceComponent = name
                .parse()
                .map_err(|e: ParseError| ParseError::new(WHAT, text, e.reason))?;
            ns.join(component)
        })
    }
}

impl fmt::Display for BackupNamespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.0.iter().map(NamespaceComponent::as_str).collect();
        f.pad(&names.join("/"))
    }
}

impl fmt::Debug for BackupNamespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BackupNamespace({:?})", self.to_string())
    }
}

serde_as_string!(BackupNamespace, "a namespace");

#[cfg(test)]
mod tests {
    use super::*;

    fn ns(text: &str) -> BackupNamespace {
        text.parse().unwrap()
    }

    #[test]
    fn text_and_path_forms() {
        for (text, path, depth) in [
            ("", "", 0),
            ("a", "ns/a", 1),
            ("a/b", "ns/a/ns/b", 2),
            ("ns/ns", "ns/ns/ns/ns", 2),
        ] {
            assert_eq!(ns(text).to_string(), text);
            assert_eq!(ns(text).path(), path);
            assert_eq!(ns(text).depth(), depth);
            assert_eq!(BackupNamespace::parse_path(path).unwrap(), ns(text));
        }
        assert_eq!(ns("a").path_of("vm/100"), "ns/a/vm/100");
        assert_eq!(ns("").path_of("vm/100"), "vm/100");
    }

    #[test]
    fn family() {
        assert_eq!(ns("a/b").parent(), Some(ns("a")));
        assert_eq!(ns("a").parent(), Some(BackupNamespace::root()));
        assert_eq!(ns("").parent(), None);
        assert!(ns("").contains(&ns("a/b")));
        assert!(ns("a").contains(&ns("a/b")));
        assert!(ns("a").contains(&ns("a")));
        assert!(!ns("a").contains(&ns("ab")));
        assert!(!ns("a/b").contains(&ns("a")));
    }

    #[test]
    fn seven_levels_and_no_more() {
        assert_eq!(ns("1/2/3/4/5/6/7").depth(), 7);
        assert!("1/2/3/4/5/6/7/8".parse::<BackupNamespace>().is_err());
        assert!(BackupNamespace::parse_path(&"ns/a/".repeat(8)).is_err());
        assert!(ns("1/2/3/4/5/6/7").join("8".parse().unwrap()).is_err());
    }

    #[test]
    fn length_counts_a_separator_for_each_component() {
        let most = format!("{}/{}", "a".repeat(127), "b".repeat(127));
        assert_eq!(most.len(), 255);
        assert_eq!(ns(&most).to_string(), most);
        assert!(format!("{most}b").parse::<BackupNamespace>().is_err());
        assert!("x".repeat(1_000_000).parse::<BackupNamespace>().is_err());
    }

    #[test]
    fn malformed_ones_are_refused() {
        for bad in [
            "/", "/a", "a/", "a//b", ".", "..", "a/..", "a/.b", "a b", "a\0",
        ] {
            assert!(bad.parse::<BackupNamespace>().is_err(), "{bad:?}");
        }
        for bad in [
            "a", "ns", "ns/", "/ns/a", "ns/a/", "ns/a/b", "ns/a/ns", "ns//a", "ns/..",
        ] {
            assert!(BackupNamespace::parse_path(bad).is_err(), "{bad:?}");
        }
    }
}
