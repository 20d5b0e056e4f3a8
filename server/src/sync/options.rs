//! What a sync is to do, whichever way it goes: of a job, or of a call.

use api_types::auth::Authid;
use api_types::names::DatastoreName;

use super::filter::GroupFilters;
use super::namespaces::Mapping;
use super::remote::rates::Rates;
use crate::config::jobs::Job as _;
use crate::config::sync::{SyncDirection, SyncJob};

/// The parameters of pulls, pushes and jobs.
#[derive(Clone, Debug)]
pub struct SyncOptions {
    /// The datastore here.
    pub store: DatastoreName,
    /// The other server; this one if absent.
    pub remote: Option<String>,
    /// The datastore there.
    pub remote_store: DatastoreName,
    /// Which namespaces, and what they are called at the other end.
    pub namespaces: Mapping,
    /// Whose groups, and by whose rights.
    pub owner: Authid,
    /// Remove what has vanished at the source.
    pub remove_vanished: bool,
    /// Which groups.
    pub filters: GroupFilters,
    /// Which snapshots.
    pub selection: Selection,
    /// Groups at once.
    pub worker_threads: usize,
    /// How fast the connections to the other server may be.
    pub rates: Rates,
}

/// Which snapshots of a group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Only so many of the newest.
    pub transfer_last: Option<usize>,
    /// Only encrypted ones.
    pub encrypted_only: bool,
    /// Only verified ones.
    pub verified_only: bool,
    /// Once more those that a verification here found damaged.
    pub resync_corrupt: bool,
}

impl SyncOptions {
    /// Those of a job.
    ///
    /// # Errors
    /// If a filter is no regular expression, or the namespaces are too deep; or if there is a key to
    /// encrypt with, since nothing that should be encrypted must leave in the clear.
    pub fn of(job: &SyncJob) -> anyhow::Result<Self> {
        if let Some(key) = &job.active_encryption_key {
            anyhow::bail!(
                "snapshots are pushed as they are, not encrypted with the key '{key}'; unset \
                 'active-encryption-key', or use 'encrypted-only'"
            );
        }
        let (here, there) = (job.ns(), job.remote_ns());
        let (source, target) = match job.direction() {
            SyncDirection::Pull => (there, here),
            SyncDirection::Push => (here, there),
        };
        Ok(Self {
            store: job.store.clone(),
            remote: job.remote.as_ref().map(ToString::to_string),
            remote_store: job.remote_store.clone(),
            namespaces: Mapping::new(source, target, job.max_depth)?,
            owner: job.owner(),
            remove_vanished: job.remove_vanished.unwrap_or_default(),
            filters: GroupFilters::parse(&job.group_filter)?,
            selection: Selection {
                transfer_last: job
                    .transfer_last
                    .map(|last| usize::try_from(last).unwrap_or(usize::MAX)),
                encrypted_only: job.encrypted_only.unwrap_or_default(),
                verified_only: job.verified_only.unwrap_or_default(),
                resync_corrupt: job.resync_corrupt.unwrap_or_default(),
            },
            worker_threads: job
                .worker_threads
                .map_or(1, |threads| usize::try_from(threads).unwrap_or(1)),
            rates: Rates {
                rate_in: job.rate_in,
                burst_in: job.burst_in,
                rate_out: job.rate_out,
                burst_out: job.burst_out,
            },
        })
    }

    /// The other end, as log lines name it.
    #[must_use]
    pub fn other_end(&self) -> String {
        let remote = self.remote.as_deref().unwrap_or("self");
        format!("{remote}/{}", self.remote_store)
    }

    /// What the task of a job works on, as upstream writes it into task ids.
    #[must_use]
    pub fn job_worker_id(job: &SyncJob) -> String {
        let remote = job.remote.as_ref().map_or("-", |remote| remote.as_str());
        let (there, here, ns) = (&job.remote_store, &job.store, job.ns());
        format!("{remote}:{there}:{here}:{ns}:{}", job.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Entity as _;

    fn job(more: &[(&str, &str)]) -> SyncJob {
        let mut properties = vec![("store", "here"), ("remote-store", "there")];
        properties.extend(more);
        let owned = properties
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value.to_owned()));
        SyncJob::from_section("sync", "nightly", &owned.collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn task_ids_are_upstreams() {
        let local = job(&[]);
        assert_eq!(SyncOptions::job_worker_id(&local), "-:there:here::nightly");
        let remote = job(&[("remote", "other"), ("ns", "a/b")]);
        let id = SyncOptions::job_worker_id(&remote);
        assert_eq!(id, "other:there:here:a/b:nightly");
    }

    #[test]
    fn a_push_maps_the_other_way() {
        let ns = [("remote", "other"), ("ns", "a"), ("remote-ns", "b")];
        let pull = SyncOptions::of(&job(&ns)).unwrap();
        let target = |options: &SyncOptions, ns: &str| {
            let mapped = options.namespaces.to_target(&ns.parse().unwrap());
            mapped.unwrap().to_string()
        };
        assert_eq!(target(&pull, "b/x"), "a/x");
        assert_eq!(pull.other_end(), "other/there");
        let [remote, here, there] = ns;
        let push = job(&[remote, here, there, ("sync-direction", "push")]);
        assert_eq!(target(&SyncOptions::of(&push).unwrap(), "a/x"), "b/x");
    }

    #[test]
    fn a_key_to_encrypt_with_is_refused_rather_than_ignored() {
        let push = job(&[
            ("remote", "other"),
            ("sync-direction", "push"),
            ("active-encryption-key", "key1"),
        ]);
        let error = SyncOptions::of(&push).unwrap_err().to_string();
        assert!(error.contains("key1"), "{error}");
    }

    #[test]
    fn a_filter_that_is_no_expression_is_refused() {
        let error = SyncOptions::of(&job(&[("group-filter", "regex:(")])).unwrap_err();
        assert!(format!("{error:#}").contains("regex:("), "{error:#}");
    }
}
