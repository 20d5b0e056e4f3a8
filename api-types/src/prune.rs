//! How many snapshots to keep.

use serde::{Deserialize, Serialize};

use crate::ParseError;
use crate::property::{PropertyReader, PropertyWriter};

/// The keep rules of a prune, in the order in which they apply. A rule that is absent keeps
/// nothing; without any rule nothing is removed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct KeepOptions {
    /// The newest snapshots.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_last: Option<u64>,
    /// The newest snapshot of each of that many hours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_hourly: Option<u64>,
    /// Likewise of days.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_daily: Option<u64>,
    /// Likewise of ISO weeks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_weekly: Option<u64>,
    /// Likewise of months.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_monthly: Option<u64>,
    /// Likewise of years.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_yearly: Option<u64>,
}

impl KeepOptions {
    /// The rules by name, in the order in which they apply.
    #[must_use]
    pub const fn rules(&self) -> [(&'static str, Option<u64>); 6] {
        [
            ("keep-last", self.keep_last),
            ("keep-hourly", self.keep_hourly),
            ("keep-daily", self.keep_daily),
            ("keep-weekly", self.keep_weekly),
            ("keep-monthly", self.keep_monthly),
            ("keep-yearly", self.keep_yearly),
        ]
    }

    /// Whether any rule has a positive count. If none has, a prune removes nothing.
    #[must_use]
    pub fn keeps_something(&self) -> bool {
        self.rules()
            .iter()
            .any(|(_, count)| count.is_some_and(|count| count > 0))
    }

    /// Takes the rules out of an entity's properties.
    pub fn take(reader: &mut PropertyReader) -> Result<Self, ParseError> {
        let mut count = |key| reader.take_number(key, 1..=u64::MAX);
        Ok(Self {
            keep_last: count("keep-last")?,
            keep_hourly: count("keep-hourly")?,
            keep_daily: count("keep-daily")?,
            keep_weekly: count("keep-weekly")?,
            keep_monthly: count("keep-monthly")?,
            keep_yearly: count("keep-yearly")?,
        })
    }

    /// Adds the rules to an entity's properties.
    pub fn put(&self, writer: &mut PropertyWriter) {
        for (key, count) in self.rules() {
            writer.push_opt(key, count.as_ref());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_has_upstream_names_and_only_what_is_set() {
        let keep = KeepOptions {
            keep_last: Some(3),
            keep_yearly: Some(1),
            ..Default::default()
        };
        let json = serde_json::to_string(&keep).unwrap();
        assert_eq!(json, r#"{"keep-last":3,"keep-yearly":1}"#);
        assert_eq!(serde_json::from_str::<KeepOptions>(&json).unwrap(), keep);
    }

    #[test]
    fn no_positive_count_keeps_everything() {
        assert!(!KeepOptions::default().keeps_something());
        assert!(
            !KeepOptions {
                keep_last: Some(0),
                ..Default::default()
            }
            .keeps_something()
        );
        assert!(
            KeepOptions {
                keep_daily: Some(1),
                ..Default::default()
            }
            .keeps_something()
        );
    }

    #[test]
    fn counts_in_a_file_begin_at_one() {
        for bad in ["0", "-1", "x", "", "18446744073709551616"] {
            let list = [("keep-last".to_owned(), bad.to_owned())];
            let mut reader = PropertyReader::new("prune job", "p1", &list);
            assert!(KeepOptions::take(&mut reader).is_err(), "{bad:?}");
        }
    }
}
