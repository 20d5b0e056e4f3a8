//! `prune.cfg` and `verification.cfg`: what is pruned and verified by the clock.

use api_types::ParseError;
use api_types::names::{BackupNamespace, DatastoreName, MAX_NAMESPACE_DEPTH};
use api_types::property::{PropertyReader, PropertyWriter};
use api_types::prune::KeepOptions;
use serde::{Deserialize, Serialize};

use super::Entity;
use crate::jobs::calendar::CalendarEvent;
use crate::jobs::state::JobType;

const MAX_THREADS: u32 = 32;

/// What jobs of all kinds have.
pub trait Job: Entity + Clone + Serialize {
    /// Their kind.
    const TYPE: JobType;

    /// The datastore that it works on.
    fn store(&self) -> &DatastoreName;
    /// The namespace where it begins.
    fn ns(&self) -> BackupNamespace;
    /// When it runs by itself, if it does.
    fn schedule(&self) -> Option<&str>;

    /// Whether it can do nothing without this datastore.
    fn uses(&self, store: &DatastoreName) -> bool {
        self.store() == store
    }
}

/// A section `prune` of `prune.cfg`.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct PruneJob {
    /// Its name.
    pub id: String,
    /// The datastore.
    pub store: DatastoreName,
    /// When it runs.
    pub schedule: String,
    /// Whether it rests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disable: Option<bool>,
    /// Comment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// Where it begins; the root if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ns: Option<BackupNamespace>,
    /// Levels of namespaces below; all if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_depth: Option<usize>,
    /// What to keep.
    #[serde(flatten)]
    pub keep: KeepOptions,
}

/// A section `verification` of `verification.cfg`.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct VerifyJob {
    /// Its name.
    pub id: String,
    /// The datastore.
    pub store: DatastoreName,
    /// Whether to skip what has been verified; yes if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ignore_verified: Option<bool>,
    /// But not if that was more than so many days ago.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outdated_after: Option<i64>,
    /// Comment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// When it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<String>,
    /// Where it begins; the root if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ns: Option<BackupNamespace>,
    /// Levels of namespaces below; all if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_depth: Option<usize>,
    /// Chunks read at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_threads: Option<u32>,
    /// Chunks checked at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verify_threads: Option<u32>,
}

pub(super) fn check_id(id: &str) -> Result<String, String> {
    // The rule of datastore names is that of all names of entries.
    id.parse::<DatastoreName>()
        .map(|_| id.to_owned())
        .map_err(|error| format!("invalid job id \"{id}\": {}", error.reason))
}

pub(super) fn check_schedule(text: &str) -> Result<(), String> {
    text.parse::<CalendarEvent>()
        .map(|_| ())
        .map_err(|error| error.to_string())
}

impl Entity for PruneJob {
    const FILE: &'static str = "prune";
    const TYPES: &'static [&'static str] = &["prune"];
    const SECRET: bool = false;

    fn id(&self) -> &str {
        &self.id
    }

    fn section_type(&self) -> &'static str {
        "prune"
    }

    fn from_section(
        _section_type: &str,
        id: &str,
        properties: &[(String, String)],
    ) -> Result<Self, String> {
        let read = || {
            let mut reader = PropertyReader::new("prune job", id, properties);
            let job = Self {
                id: id.to_owned(),
                store: reader.require("store")?,
                schedule: reader
                    .take_text("schedule")?
                    .ok_or_else(|| reader.error("the property 'schedule' is missing"))?,
                disable: reader.take_bool("disable")?,
                comment: reader.take_text("comment")?,
                ns: reader.take("ns")?,
                max_depth: reader.take_number("max-depth", 0..=MAX_NAMESPACE_DEPTH)?,
                keep: KeepOptions::take(&mut reader)?,
            };
            reader.finish()?;
            Ok(job)
        };
        check_id(id)?;
        let job: Self = read().map_err(|error: ParseError| error.to_string())?;
        check_schedule(&job.schedule)?;
        Ok(job)
    }

    fn to_section(&self) -> Vec<(String, String)> {
        let mut writer = PropertyWriter::default();
        writer.push("store", &self.store);
        writer.push("schedule", &self.schedule);
        writer.push_opt("disable", self.disable.as_ref());
        writer.push_opt("comment", self.comment.as_ref());
        writer.push_opt("ns", self.ns.as_ref());
        writer.push_opt("max-depth", self.max_depth.as_ref());
        self.keep.put(&mut writer);
        writer.into_sorted()
    }

    fn nothing_to_remove(id: &str) -> String {
        format!("job '{id}' does not exist.")
    }
}

impl Job for PruneJob {
    const TYPE: JobType = JobType::Prune;

    fn store(&self) -> &DatastoreName {
        &self.store
    }

    fn ns(&self) -> BackupNamespace {
        self.ns.clone().unwrap_or_default()
    }

    fn schedule(&self) -> Option<&str> {
        Some(&self.schedule)
            .filter(|_| self.disable != Some(true))
            .map(String::as_str)
    }
}

impl Entity for VerifyJob {
    const FILE: &'static str = "verification";
    const TYPES: &'static [&'static str] = &["verification"];
    const SECRET: bool = false;

    fn id(&self) -> &str {
        &self.id
    }

    fn section_type(&self) -> &'static str {
        "verification"
    }

    fn from_section(
        _section_type: &str,
        id: &str,
        properties: &[(String, String)],
    ) -> Result<Self, String> {
        let read = || {
            let mut reader = PropertyReader::new("verify job", id, properties);
            let job = Self {
                id: id.to_owned(),
                store: reader.require("store")?,
                ignore_verified: reader.take_bool("ignore-verified")?,
                outdated_after: reader.take_number("outdated-after", 0..=i64::MAX)?,
                comment: reader.take_text("comment")?,
                schedule: reader.take_text("schedule")?,
                ns: reader.take("ns")?,
                max_depth: reader.take_number("max-depth", 0..=MAX_NAMESPACE_DEPTH)?,
                read_threads: reader.take_number("read-threads", 1..=MAX_THREADS)?,
                verify_threads: reader.take_number("verify-threads", 1..=MAX_THREADS)?,
            };
            reader.finish()?;
            Ok(job)
        };
        check_id(id)?;
        let job: Self = read().map_err(|error: ParseError| error.to_string())?;
        job.schedule.as_deref().map_or(Ok(()), check_schedule)?;
        Ok(job)
    }

    fn to_section(&self) -> Vec<(String, String)> {
        let mut writer = PropertyWriter::default();
        writer.push("store", &self.store);
        writer.push_opt("ignore-verified", self.ignore_verified.as_ref());
        writer.push_opt("outdated-after", self.outdated_after.as_ref());
        writer.push_opt("comment", self.comment.as_ref());
        writer.push_opt("schedule", self.schedule.as_ref());
        writer.push_opt("ns", self.ns.as_ref());
        writer.push_opt("max-depth", self.max_depth.as_ref());
        writer.push_opt("read-threads", self.read_threads.as_ref());
        writer.push_opt("verify-threads", self.verify_threads.as_ref());
        writer.into_sorted()
    }

    fn nothing_to_remove(id: &str) -> String {
        format!("job '{id}' does not exist.")
    }
}

impl Job for VerifyJob {
    const TYPE: JobType = JobType::Verify;

    fn store(&self) -> &DatastoreName {
        &self.store
    }

    fn ns(&self) -> BackupNamespace {
        self.ns.clone().unwrap_or_default()
    }

    fn schedule(&self) -> Option<&str> {
        self.schedule.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ConfigFile;

    fn load<T: Entity>(text: &str) -> Result<Vec<T>, String> {
        let dir = support::scratch().unwrap();
        std::fs::write(dir.path().join(format!("{}.cfg", T::FILE)), text).unwrap();
        let file = ConfigFile::<T>::new(dir.path(), s3_client::env::Env::system());
        file.load()
            .map(|content| content.entries)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn prune_jobs_read_back_what_they_write() {
        let text = "prune: nightly\n\tdisable false\n\tkeep-last 3\n\tkeep-weekly 2\n\t\
                    max-depth 1\n\tns a/b\n\tschedule mon..fri 22:00\n\tstore store1\n";
        let jobs = load::<PruneJob>(text).unwrap();
        let job = &jobs[0];
        assert_eq!(job.keep.keep_weekly, Some(2));
        assert_eq!(job.schedule(), Some("mon..fri 22:00"));
        let again = PruneJob::from_section("prune", "nightly", &job.to_section()).unwrap();
        assert_eq!(again, *job);
        assert_eq!(
            serde_json::to_value(job).unwrap(),
            serde_json::json!({
                "id": "nightly", "store": "store1", "schedule": "mon..fri 22:00",
                "disable": false, "ns": "a/b", "max-depth": 1, "keep-last": 3, "keep-weekly": 2
            })
        );
        let resting = PruneJob {
            disable: Some(true),
            ..job.clone()
        };
        assert_eq!(resting.schedule(), None);
    }

    #[test]
    fn verify_jobs_read_back_what_they_write() {
        let text = "verification: all\n\tignore-verified true\n\toutdated-after 30\n\t\
                    read-threads 2\n\tschedule daily\n\tstore store1\n\tverify-threads 8\n";
        let jobs = load::<VerifyJob>(text).unwrap();
        let again = VerifyJob::from_section("verification", "all", &jobs[0].to_section());
        assert_eq!(again.as_ref(), Ok(&jobs[0]));
        assert_eq!(jobs[0].outdated_after, Some(30));
    }

    #[test]
    fn bad_jobs_are_refused() {
        for text in [
            "prune: nightly\n\tstore store1\n",
            "prune: nightly\n\tschedule daily\n",
            "prune: nightly\n\tschedule sometimes\n\tstore store1\n",
            "prune: nightly\n\tkeep-last 0\n\tschedule daily\n\tstore store1\n",
            "prune: nightly\n\tmax-depth 8\n\tschedule daily\n\tstore store1\n",
            "prune: x\n\tschedule daily\n\tstore store1\n",
            "prune: nightly\n\tother 1\n\tschedule daily\n\tstore store1\n",
        ] {
            assert!(load::<PruneJob>(text).is_err(), "{text}");
        }
        for text in [
            "verification: all\n",
            "verification: all\n\tstore store1\n\tread-threads 33\n",
            "verification: all\n\tstore store1\n\tschedule 99:99\n",
        ] {
            assert!(load::<VerifyJob>(text).is_err(), "{text}");
        }
    }
}
