//! `acl.cfg`: `acl:<propagate>:<path>:<auth-ids>:<roles>`, a line an entry.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use api_types::access::{AclPath, Role};
use api_types::auth::Authid;

use super::{AclTree, Node};

/// A line that is not an entry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct AclSyntaxError {
    /// Counted from 1.
    pub line: usize,
    /// What is wrong with it.
    pub reason: String,
}

impl AclTree {
    /// Reads a whole file.
    pub fn parse(text: &str) -> Result<Self, AclSyntaxError> {
        let mut tree = Self::default();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() {
                continue;
            }
            tree.parse_line(line).map_err(|reason| AclSyntaxError {
                line: index + 1,
                reason,
            })?;
        }
        Ok(tree)
    }

    fn parse_line(&mut self, line: &str) -> Result<(), String> {
        let items: Vec<_> = line.split(':').collect();
        let [keyword, propagate, path, auth_ids, roles] = items.as_slice() else {
            return Err(format!(
                "expected 5 items between colons, not {}",
                items.len()
            ));
        };
        if *keyword != "acl" {
            return Err(format!("expected 'acl', not {keyword:?}"));
        }
        let propagate = match *propagate {
            "0" => false,
            "1" => true,
            other => return Err(format!("expected 0 or 1 for propagate, not {other:?}")),
        };
        let path: AclPath = path.parse().map_err(|error| format!("{error}"))?;
        let roles: Vec<Role> = parse_list(roles)?;
        let auth_ids: Vec<Authid> = parse_list(auth_ids)?;
        for auth_id in auth_ids {
            // The super-user's rights are not up for discussion.
            if auth_id == Authid::root() {
                continue;
            }
            for role in &roles {
                self.insert(&path, auth_id.clone(), *role, propagate);
            }
        }
        Ok(())
    }

    /// Writes a whole file: depth first in alphabetical order, users with the same roles on one
    /// line, what does not propagate first.
    #[must_use]
    pub fn write(&self) -> String {
        let mut text = String::new();
        self.root.visit(&mut Vec::new(), &mut |path, node| {
            for propagate in [false, true] {
                write_node(&mut text, path, node, propagate);
            }
        });
        text
    }
}

fn parse_list<T: std::str::FromStr<Err = api_types::ParseError>>(
    text: &str,
) -> Result<Vec<T>, String> {
    text.split(',')
        .map(|item| item.trim().parse().map_err(|error| format!("{error}")))
        .collect()
}

fn write_node(text: &mut String, path: &AclPath, node: &Node, propagate: bool) {
    let mut by_roles: BTreeMap<BTreeSet<&'static str>, Vec<String>> = BTreeMap::new();
    for (auth_id, roles) in &node.roles {
        let roles: BTreeSet<_> = roles
            .iter()
            .filter(|(_, also_below)| **also_below == propagate)
            .map(|(role, _)| role.as_str())
            .collect();
        if !roles.is_empty() && *auth_id != Authid::root() {
            by_roles.entry(roles).or_default().push(auth_id.to_string());
        }
    }
    for (roles, auth_ids) in by_roles {
        let roles = Vec::from_iter(roles).join(",");
        let auth_ids = auth_ids.join(",");
        let flag = u8::from(propagate);
        // Writing to a string does not fail.
        let _ = writeln!(text, "acl:{flag}:{path}:{auth_ids}:{roles}");
    }
}
