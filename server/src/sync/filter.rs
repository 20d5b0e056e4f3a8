//! Which groups are meant (`jobs-and-sync.md` §7.1): any of the inclusions, if there are some, and
//! none of the exclusions.

use anyhow::{Context as _, Result};
use api_types::names::{BackupGroup, BackupType};
use regex::Regex;

use crate::config::sync::GroupFilter;

/// The filters of a sync, ready to be asked.
#[derive(Clone, Debug, Default)]
pub struct GroupFilters {
    include: Vec<Matcher>,
    exclude: Vec<Matcher>,
}

#[derive(Clone, Debug)]
enum Matcher {
    Type(BackupType),
    Group(BackupGroup),
    Expression(Regex),
}

impl GroupFilters {
    /// Reads them.
    ///
    /// # Errors
    /// If one of them is not what a filter must be.
    pub fn parse(filters: &[GroupFilter]) -> Result<Self> {
        let mut all = Self::default();
        for filter in filters {
            let text = filter.to_string();
            let (list, rest) = match text.strip_prefix("exclude:") {
                Some(rest) => (&mut all.exclude, rest),
                None => (
                    &mut all.include,
                    text.strip_prefix("include:").unwrap_or(&text),
                ),
            };
            let matcher = Matcher::parse(rest);
            list.push(matcher.with_context(|| format!("invalid group filter '{text}'"))?);
        }
        Ok(all)
    }

    /// Whether a group passes.
    #[must_use]
    pub fn pass(&self, group: &BackupGroup) -> bool {
        let any = |matchers: &[Matcher]| matchers.iter().any(|matcher| matcher.is_met(group));
        (self.include.is_empty() || any(&self.include)) && !any(&self.exclude)
    }
}

impl Matcher {
    fn parse(text: &str) -> Result<Self> {
        let (kind, value) = text.split_once(':').context("it has no kind")?;
        Ok(match kind {
            "type" => Self::Type(value.parse()?),
            "group" => Self::Group(value.parse()?),
            "regex" => Self::Expression(Regex::new(value)?),
            _ => anyhow::bail!("'{kind}' is none of 'type', 'group' and 'regex'"),
        })
    }

    fn is_met(&self, group: &BackupGroup) -> bool {
        match self {
            Self::Type(ty) => group.ty == *ty,
            Self::Group(other) => group == other,
            Self::Expression(expression) => expression.is_match(&group.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_inclusion_and_no_exclusion() {
        let groups = ["ct/100", "host/a", "vm/100", "vm/101"];
        for (filters, passing) in [
            (&[][..], &groups[..]),
            (&["type:vm"], &["vm/100", "vm/101"]),
            (&["include:type:vm", "group:host/a"], &groups[1..]),
            (&["exclude:type:vm"], &["ct/100", "host/a"]),
            (&["type:vm", "exclude:group:vm/100"], &["vm/101"]),
            (&["regex:/100$"], &["ct/100", "vm/100"]),
            (
                &["regex:^[cv]", "exclude:regex:1$", "exclude:type:ct"],
                &["vm/100"],
            ),
            (&["group:vm/1"], &[]),
        ] {
            let parsed: Vec<GroupFilter> = filters.iter().map(|f| f.parse().unwrap()).collect();
            let all = GroupFilters::parse(&parsed).unwrap();
            let pass = |group: &&str| all.pass(&group.parse().unwrap());
            let passed: Vec<&str> = groups.iter().copied().filter(|g| pass(g)).collect();
            assert_eq!(passed, passing, "{filters:?}");
        }
    }
}
