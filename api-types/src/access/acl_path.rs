//! Paths that access rights are given on (`auth.md` §8.2).

use std::borrow::Cow;

use crate::macros::string_id;
use crate::names::{MAX_NAMESPACE_DEPTH, check_safe_id};

/// Most characters of a path.
const MAX_LEN: usize = 128;

string_id! {
    /// `/`, or `/` and a safe id, repeated; at most 128 characters.
    ///
    /// That a path can be written does not mean that there can be anything at it: see
    /// [`is_known`](AclPath::is_known).
    AclPath, "acl path", check
}

fn check(text: &str) -> Result<(), Cow<'static, str>> {
    if text.len() > MAX_LEN {
        return Err(format!("longer than {MAX_LEN} characters").into());
    }
    let components = text.strip_prefix('/').ok_or("does not begin with '/'")?;
    if components.is_empty() {
        return Ok(());
    }
    components.split('/').try_for_each(check_safe_id)
}

impl AclPath {
    /// The names between the slashes; none for `/`.
    pub fn components(&self) -> impl Iterator<Item = &str> {
        self.as_str().split('/').filter(|name| !name.is_empty())
    }

    /// Whether access rights may be given on it: whether the server ever looks at such a path.
    #[must_use]
    pub fn is_known(&self) -> bool {
        let components: Vec<_> = self.components().collect();
        match components.as_slice() {
            [] | ["access" | "datastore" | "remote" | "system" | "tape"] => true,
            ["access", rest @ ..] => matches!(
                rest,
                ["acl" | "users" | "domains" | "openid"] | ["openid", _]
            ),
            ["datastore", _store, namespace @ ..] => is_namespace(namespace),
            ["remote", _remote] => true,
            ["remote", _remote, _store, namespace @ ..] => is_namespace(namespace),
            ["system", rest @ ..] => is_system(rest),
            ["tape", rest @ ..] => matches!(
                rest,
                ["device" | "pool" | "job"] | ["device" | "pool" | "job", _]
            ),
            _ => false,
        }
    }
}

fn is_namespace(components: &[&str]) -> bool {
    components.len() <= MAX_NAMESPACE_DEPTH
}

fn is_system(components: &[&str]) -> bool {
    matches!(
        components,
        ["certificates"
            | "disks"
            | "log"
            | "notifications"
            | "status"
            | "tasks"
            | "time"
            | "services"
            | "network"
            | "s3-endpoint"
            | "encryption-keys"]
            | ["services" | "s3-endpoint" | "encryption-keys", _]
            | ["network", "dns" | "interfaces"]
            | ["network", "interfaces", _]
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(text: &str) -> bool {
        text.parse::<AclPath>().unwrap().is_known()
    }

    #[test]
    fn what_can_be_written() {
        for good in ["/", "/datastore", "/datastore/a.b/c-d/_e", "/no/such/thing"] {
            assert_eq!(good.parse::<AclPath>().unwrap().as_str(), good);
        }
        let long = format!("/{}", "x".repeat(128));
        for bad in [
            "",
            "datastore",
            "//",
            "/a/",
            "/a//b",
            "/-a",
            "/a b",
            "/.",
            "/a/..",
            &long,
        ] {
            assert!(bad.parse::<AclPath>().is_err(), "{bad:?}");
        }
        assert_eq!("/".parse::<AclPath>().unwrap().components().count(), 0);
    }

    #[test]
    fn what_there_can_be() {
        for path in [
            "/",
            "/access/openid/endpoint",
            "/datastore/s1/a/b/c/d/e/f/g",
            "/remote/r/s/a/b/c/d/e/f/g",
            "/system/network/interfaces/eth0",
            "/system/s3-endpoint/minio",
            "/tape/job/x",
        ] {
            assert!(known(path), "{path}");
        }
        for path in [
            "/nothing",
            "/access/nothing",
            "/access/users/x",
            "/datastore/s1/a/b/c/d/e/f/g/h",
            "/remote/r/s/a/b/c/d/e/f/g/h",
            "/system/network/interfaces/eth0/x",
            "/system/tasks/x",
            "/tape/x",
        ] {
            assert!(!known(path), "{path}");
        }
    }
}
