//! Patterns in order: the last one that fits decides.

use super::Pattern;

/// Patterns in order, some of them for what is below a directory only.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    rules: Vec<Rule>,
}

#[derive(Clone, Debug)]
struct Rule {
    /// Bytes of a path that lead to the directory, with the slash behind them.
    base: usize,
    pattern: Pattern,
}

impl Rules {
    /// Rules for all paths.
    pub fn new(patterns: impl IntoIterator<Item = Pattern>) -> Self {
        let mut rules = Self::default();
        for pattern in patterns {
            rules.push(b"", pattern);
        }
        rules
    }

    /// Adds a rule for what is below a directory.
    pub fn push(&mut self, directory: &[u8], pattern: Pattern) {
        let base = match directory.len() {
            0 => 0,
            len => len + 1,
        };
        self.rules.push(Rule { base, pattern });
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rules.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Forgets all but the first ones.
    pub fn truncate(&mut self, len: usize) {
        self.rules.truncate(len);
    }

    /// Whether a path is meant; none if no pattern says anything about it. It must be below the
    /// directories of all rules.
    #[must_use]
    pub fn verdict(&self, path: &[u8], directory: bool) -> Option<bool> {
        let mut latest_first = self.rules.iter().rev();
        let decides = latest_first.find(|rule| {
            let below = path.get(rule.base..).unwrap_or_default();
            rule.pattern.fits(below, directory)
        })?;
        Some(!decides.pattern.is_negated())
    }
}
