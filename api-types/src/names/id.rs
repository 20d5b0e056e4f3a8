//! Safe ids: `[A-Za-z0-9_][A-Za-z0-9._-]*`, the alphabet of everything that becomes a path
//! component.

use std::borrow::Cow;
use std::cmp::Ordering;

use crate::macros::{string_id, string_id_traits};

/// A name longer than this cannot be a directory entry on any file system we store to.
pub(crate) const MAX_FILE_NAME_LEN: usize = 255;

type Reason = Cow<'static, str>;

/// The safe-id rule alone, up to the length of a file name.
pub(crate) fn check_safe_id(text: &str) -> Result<(), Reason> {
    check_safe_id_len(text, 1, MAX_FILE_NAME_LEN)
}

/// The safe-id rule with limits on the length.
pub(crate) fn check_safe_id_len(text: &str, min: usize, max: usize) -> Result<(), Reason> {
    let Some(first) = text.bytes().next() else {
        return Err("must not be empty".into());
    };
    if !(first.is_ascii_alphanumeric() || first == b'_') {
        return Err("must begin with a letter, a digit or '_'".into());
    }
    if let Some(bad) = text
        .chars()
        .find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')))
    {
        let reason =
            format!("character {bad:?} is not allowed, only letters, digits, '.', '_' and '-'");
        return Err(reason.into());
    }
    if !(min..=max).contains(&text.len()) {
        return Err(format!(
            "must have {min} to {max} characters, this has {}",
            text.len()
        )
        .into());
    }
    Ok(())
}

fn check_section_id(text: &str) -> Result<(), Reason> {
    check_safe_id_len(text, 3, 32)
}

string_id! {
    /// Name of a datastore: a safe id of 3 to 32 characters.
    DatastoreName, "datastore name", check_section_id
}

string_id! {
    /// Id of an S3 endpoint in the configuration: a safe id of 3 to 32 characters.
    EndpointId, "s3 endpoint id", check_section_id
}

string_id! {
    /// One level of a namespace.
    NamespaceComponent, "namespace component", check_safe_id
}

impl NamespaceComponent {
    /// Longest component that a new namespace may get; existing longer ones stay readable.
    pub const MAX_NEW_LEN: usize = 32;
}

/// Id of a backup group within its type, a guest's number or a host's name.
///
/// Ordered as in listings: numbers by value and before all others, the rest bytewise.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct BackupId(Box<str>);

impl BackupId {
    /// The checked text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

string_id_traits!(BackupId, "backup id", check_safe_id);

impl Ord for BackupId {
    fn cmp(&self, other: &Self) -> Ordering {
        let by_kind = match (self.0.parse::<u64>(), other.0.parse::<u64>()) {
            (Ok(a), Ok(b)) => a.cmp(&b),
            (Ok(_), Err(_)) => Ordering::Less,
            (Err(_), Ok(_)) => Ordering::Greater,
            (Err(_), Err(_)) => Ordering::Equal,
        };
        // "100" and "0100" are different groups: the text decides what the value leaves open.
        by_kind.then_with(|| self.0.cmp(&other.0))
    }
}

impl PartialOrd for BackupId {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn safe_ids_follow_the_regular_expression() {
        for good in [
            "a",
            "_",
            "0",
            "a.b",
            "a..b",
            "vm-100",
            "A_b-c.",
            &"x".repeat(255),
        ] {
            assert!(good.parse::<BackupId>().is_ok(), "{good:?}");
        }
        for bad in [
            "",
            ".",
            "..",
            ".a",
            "-a",
            "a/b",
            "a b",
            "a\n",
            "a\0",
            "ä",
            "a:b",
            "a\\b",
            &"x".repeat(256),
        ] {
            assert!(bad.parse::<BackupId>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn datastore_names_have_3_to_32_characters() {
        for good in ["abc", "s3store", &"x".repeat(32)] {
            assert!(good.parse::<DatastoreName>().is_ok(), "{good:?}");
            assert!(good.parse::<EndpointId>().is_ok(), "{good:?}");
        }
        for bad in ["", "ab", &"x".repeat(33)] {
            assert!(bad.parse::<DatastoreName>().is_err(), "{bad:?}");
            assert!(bad.parse::<EndpointId>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_error_names_value_and_rule() {
        let error = "a/b".parse::<BackupId>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "invalid backup id \"a/b\": character '/' is not allowed, only letters, digits, '.', '_' and '-'"
        );
    }

    #[test]
    fn numeric_ids_sort_by_value_before_all_others() {
        let mut ids: Vec<BackupId> = [
            "web",
            "100",
            "99",
            "0100",
            "Web",
            "18446744073709551616",
            "_",
        ]
        .iter()
        .map(|id| id.parse().unwrap())
        .collect();
        ids.sort();
        let sorted: Vec<&str> = ids.iter().map(BackupId::as_str).collect();
        // The sixth does not fit into 64 bits and so counts as text.
        assert_eq!(
            sorted,
            [
                "99",
                "0100",
                "100",
                "18446744073709551616",
                "Web",
                "_",
                "web"
            ]
        );
    }
}
