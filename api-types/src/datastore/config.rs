//! The configuration entity of one datastore.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::{DatastoreBackend, DatastoreTuning, MaintenanceMode, NotificationThresholds};
use crate::ParseError;
use crate::auth::Userid;
use crate::macros::string_id;
use crate::names::DatastoreName;
use crate::property::{PropertyReader, PropertyWriter};
use crate::prune::KeepOptions;
use crate::text::{SingleLine, check_line};

const WHAT: &str = "datastore";

fn check_path(text: &str) -> Result<(), Cow<'static, str>> {
    if text.is_empty() {
        return Err("must not be empty".into());
    }
    check_line(text)?;
    if text.split('/').any(|part| part == "..") {
        return Err("must not contain '..'".into());
    }
    if text.split('/').all(|part| matches!(part, "" | ".")) {
        return Err("must not be the root directory".into());
    }
    Ok(())
}

string_id! {
    /// Directory of a datastore: absolute, or relative to a removable device.
    DatastorePath, "datastore path", check_path
}

impl DatastorePath {
    /// Whether the path begins at the root.
    #[must_use]
    pub fn is_absolute(&self) -> bool {
        self.as_str().starts_with('/')
    }

    /// Whether one of the two lies in the other, or both are the same. Compared by components.
    #[must_use]
    pub fn is_nested_with(&self, other: &Self) -> bool {
        let mut ours = self.components();
        let mut theirs = other.components();
        loop {
            match (ours.next(), theirs.next()) {
                (Some(a), Some(b)) if a == b => {}
                (Some(_), Some(_)) => return false,
                (None, _) | (_, None) => return true,
            }
        }
    }

    fn components(&self) -> impl Iterator<Item = &str> {
        self.as_str()
            .split('/')
            .filter(|part| !matches!(*part, "" | "."))
    }
}

/// One section `datastore` of the configuration.
///
/// What we do not act on is kept as it was read. What is not set is not written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct DatastoreConfig {
    /// Name of the datastore, also its prefix in the bucket.
    pub name: DatastoreName,
    /// Where it is, or where its cache is.
    pub path: DatastorePath,
    /// What the operator says about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<SingleLine>,
    /// When garbage is collected (calendar event).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gc_schedule: Option<SingleLine>,
    /// Whether garbage is collected before a removable device is detached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gc_on_unmount: Option<bool>,
    /// Obsolete: when to prune.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prune_schedule: Option<SingleLine>,
    /// Obsolete: what to keep.
    #[serde(flatten)]
    pub keep: KeepOptions,
    /// Whether each new snapshot is verified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verify_new: Option<bool>,
    /// Whom to notify.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notify_user: Option<Userid>,
    /// What to notify about (property string).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notify: Option<SingleLine>,
    /// How to notify.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notification_mode: Option<SingleLine>,
    /// Knobs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tuning: Option<DatastoreTuning>,
    /// What may be done with it at present.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maintenance_mode: Option<MaintenanceMode>,
    /// File system UUID of a removable device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backing_device: Option<SingleLine>,
    /// Where the chunks are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend: Option<DatastoreBackend>,
    /// Limits on the S3 request counters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notification_thresholds: Option<NotificationThresholds>,
    /// When these counters begin anew (calendar event).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counter_reset_schedule: Option<SingleLine>,
}

impl DatastoreConfig {
    /// Type of the section in the file.
    pub const SECTION_TYPE: &'static str = "datastore";

    /// A datastore with nothing optional set.
    #[must_use]
    pub fn new(name: DatastoreName, path: DatastorePath) -> Self {
        Self {
            name,
            path,
            comment: None,
            gc_schedule: None,
            gc_on_unmount: None,
            prune_schedule: None,
            keep: KeepOptions::default(),
            verify_new: None,
            notify_user: None,
            notify: None,
            notification_mode: None,
            tuning: None,
            maintenance_mode: None,
            backing_device: None,
            backend: None,
            notification_thresholds: None,
            counter_reset_schedule: None,
        }
    }

    /// Where the chunks are, the file system if nothing is said.
    #[must_use]
    pub fn backend(&self) -> DatastoreBackend {
        self.backend.clone().unwrap_or_default()
    }

    /// Knobs, the defaults if nothing is said.
    #[must_use]
    pub fn tuning(&self) -> DatastoreTuning {
        self.tuning.clone().unwrap_or_default()
    }

    /// Where it is in the file system: removable ones are below a mount point of their own.
    #[must_use]
    pub fn absolute_path(&self) -> String {
        if self.backing_device.is_some() {
            format!("/mnt/datastore/{}", self.name)
        } else {
            self.path.as_str().to_owned()
        }
    }

    /// Checks what concerns more than one field.
    pub fn validate(&self) -> Result<(), ParseError> {
        let error = |reason: &'static str| Err(ParseError::new(WHAT, self.name.as_str(), reason));
        if self.backing_device.is_none() && !self.path.is_absolute() {
            return error("the path must be absolute");
        }
        if self.backing_device.is_some()
            && self.backend.as_ref().is_some_and(DatastoreBackend::is_s3)
        {
            return error("a removable device cannot hold the cache of a bucket");
        }
        Ok(())
    }

    /// Reads the properties of a section.
    pub fn from_properties(
        name: &str,
        properties: &[(String, String)],
    ) -> Result<Self, ParseError> {
        let mut reader = PropertyReader::new(WHAT, name, properties);
        let config = Self {
            name: name.parse()?,
            path: reader.require("path")?,
            comment: reader.take("comment")?,
            gc_schedule: reader.take("gc-schedule")?,
            gc_on_unmount: reader.take_bool("gc-on-unmount")?,
            prune_schedule: reader.take("prune-schedule")?,
            keep: KeepOptions::take(&mut reader)?,
            verify_new: reader.take_bool("verify-new")?,
            notify_user: reader.take("notify-user")?,
            notify: reader.take("notify")?,
            notification_mode: reader.take("notification-mode")?,
            tuning: reader.take("tuning")?,
            maintenance_mode: reader.take("maintenance-mode")?,
            backing_device: reader.take("backing-device")?,
            backend: reader.take("backend")?,
            notification_thresholds: reader.take("notification-thresholds")?,
            counter_reset_schedule: reader.take("counter-reset-schedule")?,
        };
        reader.finish()?;
        config.validate()?;
        Ok(config)
    }

    /// The properties of the section, ordered by key.
    #[must_use]
    pub fn to_properties(&self) -> Vec<(String, String)> {
        let mut writer = PropertyWriter::default();
        writer.push("path", &self.path);
        writer.push_opt("comment", self.comment.as_ref());
        writer.push_opt("gc-schedule", self.gc_schedule.as_ref());
        writer.push_opt("gc-on-unmount", self.gc_on_unmount.as_ref());
        writer.push_opt("prune-schedule", self.prune_schedule.as_ref());
        self.keep.put(&mut writer);
        writer.push_opt("verify-new", self.verify_new.as_ref());
        writer.push_opt("notify-user", self.notify_user.as_ref());
        writer.push_opt("notify", self.notify.as_ref());
        writer.push_opt("notification-mode", self.notification_mode.as_ref());
        writer.push_opt("tuning", self.tuning.as_ref());
        writer.push_opt("maintenance-mode", self.maintenance_mode.as_ref());
        writer.push_opt("backing-device", self.backing_device.as_ref());
        writer.push_opt("backend", self.backend.as_ref());
        writer.push_opt(
            "notification-thresholds",
            self.notification_thresholds.as_ref(),
        );
        writer.push_opt(
            "counter-reset-schedule",
            self.counter_reset_schedule.as_ref(),
        );
        writer.into_sorted()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
        list.iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect()
    }

    fn read(list: &[(&str, &str)]) -> Result<DatastoreConfig, ParseError> {
        DatastoreConfig::from_properties("s3store", &pairs(list))
    }

    #[test]
    fn sections_of_the_real_system_are_written_back_the_same() {
        for list in [
            &[("path", "/srv/data/store1")][..],
            &[
                ("backend", "type=s3,client=s3peer,bucket=pbsbucket"),
                ("path", "/srv/data/s3cache"),
            ],
        ] {
            assert_eq!(read(list).unwrap().to_properties(), pairs(list));
        }
    }

    #[test]
    fn every_field_is_written_and_read() {
        let list = [
            ("backend", "type=filesystem"),
            ("backing-device", "8e1b9a4c-1111-2222-3333-444455556666"),
            ("comment", "the big one, \"really\""),
            ("counter-reset-schedule", "monthly"),
            ("gc-on-unmount", "true"),
            ("gc-schedule", "daily"),
            ("keep-daily", "7"),
            ("keep-hourly", "1"),
            ("keep-last", "3"),
            ("keep-monthly", "12"),
            ("keep-weekly", "4"),
            ("keep-yearly", "2"),
            ("maintenance-mode", "type=offline,message=disk%20swap"),
            ("notification-mode", "notification-system"),
            ("notification-thresholds", "s3-put=5"),
            ("notify", "gc=never"),
            ("notify-user", "root@pam"),
            ("path", "pool/store"),
            ("prune-schedule", "weekly"),
            ("tuning", "sync-level=file"),
            ("verify-new", "false"),
        ];
        let config = read(&list).unwrap();
        assert_eq!(config.to_properties(), pairs(&list));
        assert_eq!(config.absolute_path(), "/mnt/datastore/s3store");
        let json = serde_json::to_value(&config).unwrap();
        assert_eq!(json["keep-last"], 3);
        assert_eq!(json["tuning"], "sync-level=file");
        assert_eq!(
            serde_json::from_value::<DatastoreConfig>(json).unwrap(),
            config
        );
    }

    #[test]
    fn json_holds_only_what_is_set() {
        let config = read(&[("path", "/a")]).unwrap();
        let json = serde_json::to_string(&config).unwrap();
        assert_eq!(json, r#"{"name":"s3store","path":"/a"}"#);
        assert_eq!(
            serde_json::from_str::<DatastoreConfig>(&json).unwrap(),
            config
        );
    }

    #[test]
    fn bad_sections_are_refused_with_the_name_of_the_property() {
        for (list, expected) in [
            (&[][..], "the property 'path' is missing"),
            (&[("path", "a/b")][..], "the path must be absolute"),
            (&[("path", "/")], "must not be the root directory"),
            (&[("path", "/a/../b")], "must not contain '..'"),
            (
                &[("path", "/a"), ("path", "/b")],
                "the property 'path' occurs twice",
            ),
            (
                &[("path", "/a"), ("color", "red")],
                "there is no property 'color'",
            ),
            (&[("path", "/a"), ("tuning", "x=1")], "property 'tuning': "),
            (
                &[("path", "/a"), ("verify-new", "?")],
                "property 'verify-new': expected true or false",
            ),
            (
                &[
                    ("path", "a"),
                    ("backing-device", "x"),
                    ("backend", "s3,client=abc,bucket=abc"),
                ],
                "a removable device cannot hold",
            ),
        ] {
            let error = read(list).unwrap_err().to_string();
            assert!(
                error.starts_with("invalid datastore \"s3store\": "),
                "{error}"
            );
            assert!(error.contains(expected), "{error}");
        }
        assert!(DatastoreConfig::from_properties("a/b", &pairs(&[("path", "/a")])).is_err());
    }

    #[test]
    fn nesting_is_judged_by_components() {
        let path = |text: &str| text.parse::<DatastorePath>().unwrap();
        for (a, b, nested) in [
            ("/a/b", "/a/b", true),
            ("/a/b", "/a/b/c", true),
            ("/a/b/c", "/a/b/", true),
            ("/a//b/.", "/a/b", true),
            ("/a/b", "/a/bc", false),
            ("/a/b", "/a/c", false),
        ] {
            assert_eq!(path(a).is_nested_with(&path(b)), nested, "{a} {b}");
            assert_eq!(path(b).is_nested_with(&path(a)), nested, "{a} {b}");
        }
    }
}
