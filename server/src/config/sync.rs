//! `sync.cfg`: what is copied from and to other datastores (`jobs-and-sync.md` §7).

use std::fmt;
use std::str::FromStr;

use api_types::ParseError;
use api_types::auth::Authid;
use api_types::datastore::Operation;
use api_types::human::ByteSize;
use api_types::names::{
    BackupGroup, BackupNamespace, BackupType, DatastoreName, MAX_NAMESPACE_DEPTH,
};
use api_types::property::{PropertyReader, PropertyWriter};
use serde::{Serialize, Serializer};

use super::Entity;
use super::jobs::{Job, check_id, check_schedule};
use crate::jobs::state::JobType;

const MAX_THREADS: u32 = 32;

/// Which way snapshots go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SyncDirection {
    /// Here.
    #[default]
    Pull,
    /// There.
    Push,
}

impl SyncDirection {
    /// What the datastore here is opened for.
    #[must_use]
    pub const fn operation(self) -> Operation {
        match self {
            Self::Pull => Operation::Write,
            Self::Push => Operation::Read,
        }
    }
}

impl FromStr for SyncDirection {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        match text {
            "pull" => Ok(Self::Pull),
            "push" => Ok(Self::Push),
            _ => Err(ParseError::new(
                "sync direction",
                text,
                "must be 'pull' or 'push'",
            )),
        }
    }
}

impl fmt::Display for SyncDirection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pull => "pull",
            Self::Push => "push",
        })
    }
}

/// Which groups are meant: `[include:|exclude:]type:vm`, `group:vm/100`, `regex:…`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupFilter(String);

impl FromStr for GroupFilter {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let error = |reason: String| ParseError::new("group filter", text, reason);
        let filter = text
            .strip_prefix("include:")
            .or_else(|| text.strip_prefix("exclude:"))
            .unwrap_or(text);
        match filter.split_once(':') {
            Some(("type", ty)) => ty
                .parse::<BackupType>()
                .map(|_| ())
                .map_err(|e| error(e.reason.into_owned()))?,
            Some(("group", group)) => group
                .parse::<BackupGroup>()
                .map(|_| ())
                .map_err(|e| error(e.reason.into_owned()))?,
            Some(("regex", pattern)) if !pattern.is_empty() => {}
            _ => {
                let forms = "must be 'type:', 'group:' or 'regex:' with a value";
                return Err(error(forms.into()));
            }
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for GroupFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for GroupFilter {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

/// A text that names something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct SafeName(String);

impl SafeName {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for SafeName {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        // The rule of datastore names is that of all names of entries.
        text.parse::<DatastoreName>().map(|_| Self(text.to_owned()))
    }
}

impl fmt::Display for SafeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A section `sync`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct SyncJob {
    /// Its name.
    pub id: String,
    /// The datastore here.
    pub store: DatastoreName,
    /// The namespace here; the root if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ns: Option<BackupNamespace>,
    /// Whose groups; root's if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<Authid>,
    /// The other server; this one if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remote: Option<SafeName>,
    /// The datastore there.
    pub remote_store: DatastoreName,
    /// The namespace there; the root if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remote_ns: Option<BackupNamespace>,
    /// Remove what has vanished at the source.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remove_vanished: Option<bool>,
    /// Levels of namespaces below; all if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_depth: Option<usize>,
    /// Comment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// When it is to run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schedule: Option<String>,
    /// Which groups; all if there are none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub group_filter: Vec<GroupFilter>,
    /// Bytes per second to receive.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_in: Option<ByteSize>,
    /// At once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub burst_in: Option<ByteSize>,
    /// Bytes per second to send.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_out: Option<ByteSize>,
    /// At once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub burst_out: Option<ByteSize>,
    /// Only so many of the newest snapshots of each group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transfer_last: Option<u64>,
    /// Fetch anew what a verification found damaged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resync_corrupt: Option<bool>,
    /// Only encrypted snapshots.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encrypted_only: Option<bool>,
    /// Only verified snapshots.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verified_only: Option<bool>,
    /// Run when the datastore's device appears.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_on_mount: Option<bool>,
    /// Detach the device afterwards.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unmount_on_done: Option<bool>,
    /// Which way; here if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sync_direction: Option<SyncDirection>,
    /// Groups at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worker_threads: Option<u32>,
    /// Key to encrypt with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub active_encryption_key: Option<SafeName>,
    /// Keys to decrypt with.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub associated_key: Vec<SafeName>,
}

impl SyncJob {
    /// Which way.
    #[must_use]
    pub fn direction(&self) -> SyncDirection {
        self.sync_direction.unwrap_or_default()
    }

    /// Whose groups.
    #[must_use]
    pub fn owner(&self) -> Authid {
        self.owner.clone().unwrap_or_else(Authid::root)
    }

    /// The namespace there.
    #[must_use]
    pub fn remote_ns(&self) -> BackupNamespace {
        self.remote_ns.clone().unwrap_or_default()
    }

    /// Refuses what contradicts itself.
    fn check(&self) -> Result<(), String> {
        let depth = self.max_depth.unwrap_or_default();
        let deepest = self.ns().depth().max(self.remote_ns().depth()) + depth;
        let is_push = self.direction() == SyncDirection::Push;
        let problem = if is_push && self.remote.is_none() {
            "push jobs need a remote"
        } else if is_push && self.resync_corrupt == Some(true) {
            "push jobs do not support resync-corrupt option"
        } else if !is_push && self.active_encryption_key.is_some() {
            "only push jobs have an active encryption key"
        } else if self.remote.is_none() && self.remote_store == self.store {
            "source and target datastore can't be the same"
        } else if self.unmount_on_done == Some(true) && self.run_on_mount != Some(true) {
            "unmount-on-done requires run-on-mount"
        } else if deepest > MAX_NAMESPACE_DEPTH {
            "namespace and max-depth exceed the depth of namespaces"
        } else {
            return Ok(());
        };
        Err(problem.to_owned())
    }
}

impl Entity for SyncJob {
    const FILE: &'static str = "sync";
    const TYPES: &'static [&'static str] = &["sync"];
    const SECRET: bool = false;

    fn id(&self) -> &str {
        &self.id
    }

    fn section_type(&self) -> &'static str {
        "sync"
    }

    fn from_section(
        _section_type: &str,
        id: &str,
        properties: &[(String, String)],
    ) -> Result<Self, String> {
        let read = || {
            let mut reader = PropertyReader::new("sync job", id, properties);
            let job = Self {
                id: id.to_owned(),
                store: reader.require("store")?,
                ns: reader.take("ns")?,
                owner: reader.take("owner")?,
                remote: reader.take("remote")?,
                remote_store: reader.require("remote-store")?,
                remote_ns: reader.take("remote-ns")?,
                remove_vanished: reader.take_bool("remove-vanished")?,
                max_depth: reader.take_number("max-depth", 0..=MAX_NAMESPACE_DEPTH)?,
                comment: reader.take_text("comment")?,
                schedule: reader.take_text("schedule")?,
                group_filter: reader.take_all("group-filter")?,
                rate_in: reader.take("rate-in")?,
                burst_in: reader.take("burst-in")?,
                rate_out: reader.take("rate-out")?,
                burst_out: reader.take("burst-out")?,
                transfer_last: reader.take_number("transfer-last", 1..=u64::MAX)?,
                resync_corrupt: reader.take_bool("resync-corrupt")?,
                encrypted_only: reader.take_bool("encrypted-only")?,
                verified_only: reader.take_bool("verified-only")?,
                run_on_mount: reader.take_bool("run-on-mount")?,
                unmount_on_done: reader.take_bool("unmount-on-done")?,
                sync_direction: reader.take("sync-direction")?,
                worker_threads: reader.take_number("worker-threads", 1..=MAX_THREADS)?,
                active_encryption_key: reader.take("active-encryption-key")?,
                associated_key: reader.take_all("associated-key")?,
            };
            reader.finish()?;
            Ok(job)
        };
        check_id(id)?;
        let job: Self = read().map_err(|error: ParseError| error.to_string())?;
        job.schedule.as_deref().map_or(Ok(()), check_schedule)?;
        job.check()?;
        Ok(job)
    }

    fn to_section(&self) -> Vec<(String, String)> {
        let mut writer = PropertyWriter::default();
        writer.push("store", &self.store);
        writer.push_opt("ns", self.ns.as_ref());
        writer.push_opt("owner", self.owner.as_ref());
        writer.push_opt("remote", self.remote.as_ref());
        writer.push("remote-store", &self.remote_store);
        writer.push_opt("remote-ns", self.remote_ns.as_ref());
        writer.push_opt("remove-vanished", self.remove_vanished.as_ref());
        writer.push_opt("max-depth", self.max_depth.as_ref());
        writer.push_opt("comment", self.comment.as_ref());
        writer.push_opt("schedule", self.schedule.as_ref());
        for filter in &self.group_filter {
            writer.push("group-filter", filter);
        }
        writer.push_opt("rate-in", self.rate_in.as_ref());
        writer.push_opt("burst-in", self.burst_in.as_ref());
        writer.push_opt("rate-out", self.rate_out.as_ref());
        writer.push_opt("burst-out", self.burst_out.as_ref());
        writer.push_opt("transfer-last", self.transfer_last.as_ref());
        writer.push_opt("resync-corrupt", self.resync_corrupt.as_ref());
        writer.push_opt("encrypted-only", self.encrypted_only.as_ref());
        writer.push_opt("verified-only", self.verified_only.as_ref());
        writer.push_opt("run-on-mount", self.run_on_mount.as_ref());
        writer.push_opt("unmount-on-done", self.unmount_on_done.as_ref());
        writer.push_opt("sync-direction", self.sync_direction.as_ref());
        writer.push_opt("worker-threads", self.worker_threads.as_ref());
        writer.push_opt("active-encryption-key", self.active_encryption_key.as_ref());
        for key in &self.associated_key {
            writer.push("associated-key", key);
        }
        writer.into_sorted()
    }

    fn nothing_to_remove(id: &str) -> String {
        format!("job '{id}' does not exist.")
    }
}

impl Job for SyncJob {
    const TYPE: JobType = JobType::Sync;

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

    fn job(pairs: &[(&str, &str)]) -> Result<SyncJob, String> {
        let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        let mut all: Vec<(String, String)> = pairs.iter().map(owned).collect();
        for (key, value) in [("store", "store1"), ("remote-store", "store2")] {
            if !pairs.iter().any(|(other, _)| *other == key) {
                all.push((key.into(), value.into()));
            }
        }
        SyncJob::from_section("sync", "nightly", &all)
    }

    #[test]
    fn jobs_read_back_what_they_write() {
        let full = job(&[
            ("remote", "other"),
            ("ns", "a/b"),
            ("group-filter", "type:vm"),
            ("group-filter", "exclude:group:vm/100"),
            ("group-filter", "include:regex:^vm/1.*"),
            ("rate-in", "10 MiB"),
            ("schedule", "daily"),
            ("sync-direction", "push"),
            ("transfer-last", "3"),
            ("owner", "a@pbs!t"),
        ])
        .unwrap();
        let again = SyncJob::from_section("sync", "nightly", &full.to_section());
        assert_eq!(again.as_ref(), Ok(&full));
        let shown = serde_json::to_value(&full).unwrap();
        assert_eq!(shown["group-filter"][1], "exclude:group:vm/100");
        assert_eq!(shown["transfer-last"], 3);
        assert_eq!(shown.get("encrypted-only"), None);
        assert!(job(&[]).is_ok(), "from a datastore here");
    }

    #[test]
    fn contradictions_are_refused() {
        for bad in [
            &[("remote-store", "store1")][..],
            &[("sync-direction", "push")],
            &[
                ("sync-direction", "push"),
                ("remote", "other"),
                ("resync-corrupt", "true"),
            ],
            &[("active-encryption-key", "key1")],
            &[("unmount-on-done", "true")],
            &[("ns", "a/b/c"), ("max-depth", "5")],
            &[("group-filter", "vm/100")],
            &[("group-filter", "type:tape")],
            &[("schedule", "sometimes")],
            &[("worker-threads", "33")],
            &[("transfer-last", "0")],
        ] {
            assert!(job(bad).is_err(), "{bad:?}");
        }
    }
}
