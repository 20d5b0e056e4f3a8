//! Who may do what where: the tree of access rights (`auth.md` §8.3, §10.5).
//!
//! Rights are roles, given on paths to users and tokens. The nearest node on the way down that has
//! roles for someone replaces what came from above; it is not added to it.

mod file;

use std::collections::BTreeMap;

use api_types::access::{AclPath, Privileges, Role};
use api_types::auth::Authid;

pub use file::AclSyntaxError;

/// Roles of one user or token on one path, each with whether it also counts below.
type Roles = BTreeMap<Role, bool>;

/// The tree of access rights.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AclTree {
    root: Node,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Node {
    roles: BTreeMap<Authid, Roles>,
    children: BTreeMap<Box<str>, Node>,
}

/// One entry of the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AclEntry {
    /// Where.
    pub path: AclPath,
    /// Who.
    pub auth_id: Authid,
    /// What.
    pub role: Role,
    /// Whether it also counts below the path.
    pub propagate: bool,
}

/// What someone may do at a path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Granted {
    /// At the path itself.
    pub here: Privileges,
    /// At the path and, unless something else is said there, below it.
    pub below: Privileges,
}

impl Granted {
    const ALL: Self = Self {
        here: Privileges::ALL,
        below: Privileges::ALL,
    };

    fn intersect(self, other: Self) -> Self {
        Self {
            here: self.here & other.here,
            below: self.below & other.below,
        }
    }
}

impl AclTree {
    /// Gives a role. `NoAccess` takes all other roles of that user on that path, any other role
    /// takes `NoAccess`.
    pub fn insert(&mut self, path: &AclPath, auth_id: Authid, role: Role, propagate: bool) {
        let node = path.components().fold(&mut self.root, |node, name| {
            node.children.entry(name.into()).or_default()
        });
        let roles = node.roles.entry(auth_id).or_default();
        if role == Role::NoAccess {
            roles.clear();
        } else {
            roles.remove(&Role::NoAccess);
        }
        roles.insert(role, propagate);
    }

    /// Takes a role; says whether it was there.
    pub fn remove(&mut self, path: &AclPath, auth_id: &Authid, role: Role) -> bool {
        let Some(node) = self.node_mut(path) else {
            return false;
        };
        let Some(roles) = node.roles.get_mut(auth_id) else {
            return false;
        };
        let removed = roles.remove(&role).is_some();
        if roles.is_empty() {
            node.roles.remove(auth_id);
        }
        removed
    }

    /// Takes everything that this user or token was given anywhere.
    pub fn remove_auth_id(&mut self, auth_id: &Authid) {
        self.root.for_each_mut(&mut |node| {
            node.roles.remove(auth_id);
        });
    }

    /// Takes everything that was given at `path` and below.
    pub fn remove_below(&mut self, path: &AclPath) {
        if let Some(node) = self.node_mut(path) {
            *node = Node::default();
        }
    }

    /// All entries, depth first, in alphabetical order.
    #[must_use]
    pub fn entries(&self) -> Vec<AclEntry> {
        let mut entries = Vec::new();
        self.root.visit(&mut Vec::new(), &mut |path, node| {
            for (auth_id, roles) in &node.roles {
                entries.extend(roles.iter().map(|(role, propagate)| AclEntry {
                    path: path.clone(),
                    auth_id: auth_id.clone(),
                    role: *role,
                    propagate: *propagate,
                }));
            }
        });
        entries
    }

    /// What `auth_id` may do at `path`.
    ///
    /// A token may do what both it and its user may: it inherits nothing from its user.
    #[must_use]
    pub fn granted(&self, auth_id: &Authid, path: &[&str]) -> Granted {
        if auth_id.token.is_some() {
            let user = Authid::from(auth_id.user.clone());
            return self.own(auth_id, path).intersect(self.granted(&user, path));
        }
        if auth_id.user.is_root() {
            return Granted::ALL;
        }
        self.own(auth_id, path)
    }

    /// Whether `auth_id` has one of `wanted` at `path` for what lies below, or somewhere below it.
    #[must_use]
    pub fn has_any_below(&self, auth_id: &Authid, path: &[&str], wanted: Privileges) -> bool {
        if self.granted(auth_id, path).below.has_any(wanted) {
            return true;
        }
        let Some(start) = self.node(path) else {
            return false;
        };
        let mut found = false;
        let mut names: Vec<Box<str>> = path.iter().map(|name| Box::from(*name)).collect();
        start.visit_names(&mut names, &mut |names, node| {
            if !found && node.roles.contains_key(auth_id) {
                let names: Vec<&str> = names.iter().map(AsRef::as_ref).collect();
                found = self.granted(auth_id, &names).here.has_any(wanted);
            }
        });
        found
    }

    /// A place at or below `path` where `auth_id` has none of `wanted`, if there is one.
    #[must_use]
    pub fn lacking_below(
        &self,
        auth_id: &Authid,
        path: &[&str],
        wanted: Privileges,
    ) -> Option<Vec<Box<str>>> {
        let user = Authid::from(auth_id.user.clone());
        let lacks = |names: &[Box<str>]| {
            let mut names: Vec<&str> = names.iter().map(AsRef::as_ref).collect();
            let here = self.granted(auth_id, &names).here;
            // What counts at a child about which nothing is said: no node has an empty name.
            names.push("");
            let child = self.granted(auth_id, &names).here;
            !here.has_any(wanted) || !child.has_any(wanted)
        };
        let mut names: Vec<Box<str>> = path.iter().map(|name| Box::from(*name)).collect();
        if lacks(&names) {
            return Some(names);
        }
        let mut found = None;
        self.node(path)?
            .visit_names(&mut names, &mut |names, node| {
                let says = node.roles.contains_key(auth_id) || node.roles.contains_key(&user);
                if found.is_none() && says && lacks(names) {
                    found = Some(names.to_vec());
                }
            });
        found
    }

    /// By the entries of this very user or token.
    fn own(&self, auth_id: &Authid, path: &[&str]) -> Granted {
        let mut node = &self.root;
        let mut roles = node.roles_at(auth_id, path.is_empty());
        for (index, name) in path.iter().enumerate() {
            let Some(child) = node.children.get(*name) else {
                break;
            };
            node = child;
            let here = node.roles_at(auth_id, index + 1 == path.len());
            if !here.is_empty() {
                roles = here;
            }
        }
        let union = |wanted: &dyn Fn(bool) -> bool| {
            roles
                .iter()
                .filter(|(_, propagate)| wanted(*propagate))
                .fold(Privileges::NONE, |all, (role, _)| all | role.privileges())
        };
        Granted {
            here: union(&|_| true),
            below: union(&|propagate| propagate),
        }
    }

    fn node(&self, path: &[&str]) -> Option<&Node> {
        path.iter()
            .try_fold(&self.root, |node, name| node.children.get(*name))
    }

    fn node_mut(&mut self, path: &AclPath) -> Option<&mut Node> {
        path.components()
            .try_fold(&mut self.root, |node, name| node.children.get_mut(name))
    }
}

impl Node {
    /// The roles that count here: all at the path asked for, on the way to it those that
    /// propagate. `NoAccess` among them stands alone.
    fn roles_at(&self, auth_id: &Authid, leaf: bool) -> Vec<(Role, bool)> {
        let Some(roles) = self.roles.get(auth_id) else {
            return Vec::new();
        };
        let mut taken: Vec<_> = roles
            .iter()
            .map(|(role, propagate)| (*role, *propagate))
            .filter(|(_, propagate)| leaf || *propagate)
            .collect();
        if taken.iter().any(|(role, _)| *role == Role::NoAccess) {
            taken.retain(|(role, _)| *role == Role::NoAccess);
        }
        taken
    }

    fn for_each_mut(&mut self, change: &mut impl FnMut(&mut Self)) {
        change(self);
        for child in self.children.values_mut() {
            child.for_each_mut(change);
        }
    }

    /// Calls `look` for this node and all below, with their paths.
    fn visit(&self, names: &mut Vec<Box<str>>, look: &mut impl FnMut(&AclPath, &Self)) {
        self.visit_names(names, &mut |names, node| {
            // Every name came from a path, so that this is one.
            if let Ok(path) = format!("/{}", names.join("/")).parse() {
                look(&path, node);
            }
        });
    }

    fn visit_names(&self, names: &mut Vec<Box<str>>, look: &mut impl FnMut(&[Box<str>], &Self)) {
        look(names, self);
        for (name, child) in &self.children {
            names.push(name.clone());
            child.visit_names(names, look);
            names.pop();
        }
    }
}

#[cfg(test)]
mod tests;
