//! Which namespace of the source becomes which of the target (`jobs-and-sync.md` §7.1): the anchor
//! at the one end is replaced by that at the other.

use anyhow::{Context as _, Result, ensure};
use api_types::names::{BackupNamespace, MAX_NAMESPACE_DEPTH};

/// The anchors of a sync, and how far below them it goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    source: BackupNamespace,
    target: BackupNamespace,
    max_depth: Option<usize>,
}

impl Mapping {
    /// From `source` to `target`, so many levels below; all if absent.
    ///
    /// # Errors
    /// If a level would be too deep at either end.
    pub fn new(
        source: BackupNamespace,
        target: BackupNamespace,
        max_depth: Option<usize>,
    ) -> Result<Self> {
        for ns in [&source, &target] {
            let deepest = ns.depth() + max_depth.unwrap_or_default();
            ensure!(
                deepest <= MAX_NAMESPACE_DEPTH,
                "namespace '{ns}' and max-depth {} exceed the {MAX_NAMESPACE_DEPTH} levels of \
                 namespaces",
                max_depth.unwrap_or_default()
            );
        }
        Ok(Self {
            source,
            target,
            max_depth,
        })
    }

    /// Where the source begins.
    #[must_use]
    pub fn source(&self) -> &BackupNamespace {
        &self.source
    }

    /// Where the target begins.
    #[must_use]
    pub fn target(&self) -> &BackupNamespace {
        &self.target
    }

    /// Levels below; all if absent.
    #[must_use]
    pub fn max_depth(&self) -> Option<usize> {
        self.max_depth
    }

    /// Whether it is the root alone: what a server without namespaces has, too.
    #[must_use]
    pub fn is_root_alone(&self) -> bool {
        self.source.is_root() && self.max_depth == Some(0)
    }

    /// The namespaces of the source that are meant, of those it has: parents first, shorter names
    /// before longer ones.
    #[must_use]
    pub fn of_source(&self, mut found: Vec<BackupNamespace>) -> Vec<BackupNamespace> {
        let deepest = self.source.depth() + self.max_depth.unwrap_or(MAX_NAMESPACE_DEPTH);
        found.retain(|ns| self.source.contains(ns) && ns.depth() <= deepest);
        found.sort_by_key(|ns| (ns.to_string().len(), ns.clone()));
        found.dedup();
        found
    }

    /// What a namespace of the source is at the target.
    ///
    /// # Errors
    /// If it would be too deep or too long there, or is not below the source's anchor.
    pub fn to_target(&self, ns: &BackupNamespace) -> Result<BackupNamespace> {
        let failed = || {
            let (source, target) = (&self.source, &self.target);
            format!("failed to map namespace '{ns}' from '{source}' to '{target}'")
        };
        let below = ns.components().strip_prefix(self.source.components());
        let below = below
            .context("it is not below the source")
            .with_context(failed)?;
        let all = self.target.components().iter().chain(below).cloned();
        BackupNamespace::from_components(all).with_context(failed)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ns(text: &str) -> BackupNamespace {
        text.parse().unwrap()
    }

    #[test]
    fn the_anchor_is_replaced() {
        for (source, target, from, to) in [
            ("", "", "", ""),
            ("", "a", "", "a"),
            ("", "a", "b/c", "a/b/c"),
            ("x", "", "x/y", "y"),
            ("x/y", "z", "x/y", "z"),
        ] {
            let mapping = Mapping::new(ns(source), ns(target), None).unwrap();
            assert_eq!(mapping.to_target(&ns(from)).unwrap(), ns(to));
        }
        let mapping = Mapping::new(ns("x"), ns("a/b/c"), None).unwrap();
        assert!(mapping.to_target(&ns("other")).is_err());
        let error = mapping.to_target(&ns("x/1/2/3/4/5")).unwrap_err();
        assert!(format!("{error:#}").contains("7 levels"), "{error:#}");
    }

    #[test]
    fn both_ends_have_seven_levels() {
        assert!(Mapping::new(ns("a/b"), ns(""), Some(5)).is_ok());
        for (source, target) in [("a/b", ""), ("", "a/b")] {
            assert!(Mapping::new(ns(source), ns(target), Some(6)).is_err());
        }
    }

    #[test]
    fn depth_and_anchor_choose_and_parents_come_first() {
        let all = ["a/b/c", "b", "a", "", "a/b", "ab", "a"].map(ns).to_vec();
        let chosen = |source: &str, depth| {
            let mapping = Mapping::new(ns(source), ns(""), depth).unwrap();
            let chosen = mapping.of_source(all.clone());
            chosen.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(chosen("", Some(0)), [""]);
        assert_eq!(chosen("", Some(1)), ["", "a", "b", "ab"]);
        assert_eq!(chosen("a", None), ["a", "a/b", "a/b/c"]);
        assert_eq!(chosen("a", Some(1)), ["a", "a/b"]);
    }

    proptest! {
        #[test]
        fn what_is_mapped_there_is_mapped_back(
            source in "([a-c](/[a-c]){0,1})?",
            target in "([a-c](/[a-c]){0,1})?",
            below in "[a-c](/[a-c]){0,3}",
        ) {
            let there = Mapping::new(ns(&source), ns(&target), None).unwrap();
            let back = Mapping::new(ns(&target), ns(&source), None).unwrap();
            let from = ns(&if source.is_empty() { below } else { format!("{source}/{below}") });
            let to = there.to_target(&from).unwrap();
            prop_assert!(there.target().contains(&to));
            prop_assert_eq!(back.to_target(&to).unwrap(), from);
        }
    }
}
