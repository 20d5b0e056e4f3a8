//! `prune-job`, `remote`, `sync-job`, `traffic-control`, `verify-job`: what the entries are.

use super::entries::CliEntity;
use crate::api::config::{jobs, remotes, sync, traffic};
use crate::config::jobs::{Job, PruneJob, VerifyJob};
use crate::config::remotes::{Remote, RemotePassword};
use crate::config::sync::SyncJob;
use crate::config::traffic::TrafficRule;
use crate::config::{Config, ConfigError, ConfigFile};
use crate::jobs::state::JobType;
use crate::rest::endpoint::Param;

impl CliEntity for PruneJob {
    const ABOUT: &'static str = "Removing by the clock the snapshots that no rule keeps";
    const ID: &'static str = "id";
    const NEW: &'static [Param] = &jobs::NEW_PRUNE;
    const CHANGED: &'static [Param] = &jobs::CHANGED_PRUNE;
    const COLUMNS: &'static [&'static str] = &[
        "id",
        "disable",
        "store",
        "ns",
        "schedule",
        "keep-last",
        "keep-hourly",
        "keep-daily",
        "keep-weekly",
        "keep-monthly",
        "keep-yearly",
        "comment",
    ];
    const JOB: Option<JobType> = Some(Self::TYPE);

    fn file(config: &Config) -> &ConfigFile<Self> {
        config.prune_jobs()
    }

    fn runs_at(&self) -> Option<&str> {
        self.schedule()
    }

    fn check(&self, config: &Config) -> Result<(), ConfigError> {
        config.check_datastore(&self.store)
    }
}

impl CliEntity for Remote {
    const ABOUT: &'static str = "Other servers";
    const ID: &'static str = "name";
    const NEW: &'static [Param] = &remotes::CREATE;
    const CHANGED: &'static [Param] = &remotes::UPDATE;
    const FROM_FILE: Option<(&'static str, &'static str)> = Some(("password", "password-file"));
    const COLUMNS: &'static [&'static str] = &["name", "host", "auth-id", "fingerprint", "comment"];

    fn file(config: &Config) -> &ConfigFile<Self> {
        config.remotes()
    }

    fn encode_secret(plain: &str) -> String {
        RemotePassword::encode(plain)
    }

    async fn remove(config: &Config, id: &str, digest: Option<&str>) -> anyhow::Result<()> {
        Ok(config.remove_remote(id, digest).await?)
    }
}

impl CliEntity for SyncJob {
    const ABOUT: &'static str = "Copying from and to other datastores";
    const ID: &'static str = "id";
    const NEW: &'static [Param] = &sync::CREATE;
    const CHANGED: &'static [Param] = &sync::UPDATE;
    const COLUMNS: &'static [&'static str] = &[
        "id",
        "sync-direction",
        "store",
        "ns",
        "remote",
        "remote-store",
        "schedule",
        "comment",
    ];
    const JOB: Option<JobType> = Some(Self::TYPE);

    fn file(config: &Config) -> &ConfigFile<Self> {
        config.sync_jobs()
    }

    fn runs_at(&self) -> Option<&str> {
        self.schedule()
    }

    fn check(&self, config: &Config) -> Result<(), ConfigError> {
        config.check_sync_job(self)
    }
}

impl CliEntity for TrafficRule {
    const ABOUT: &'static str = "How fast connections may be";
    const ID: &'static str = "name";
    const NEW: &'static [Param] = &traffic::CREATE;
    const CHANGED: &'static [Param] = &traffic::UPDATE;
    const COLUMNS: &'static [&'static str] = &[
        "name",
        "network",
        "rate-in",
        "rate-out",
        "timeframe",
        "users",
        "comment",
    ];

    fn file(config: &Config) -> &ConfigFile<Self> {
        config.traffic_rules()
    }
}

impl CliEntity for VerifyJob {
    const ABOUT: &'static str = "Checking by the clock that what the snapshots promise is there";
    const ID: &'static str = "id";
    const NEW: &'static [Param] = &jobs::NEW_VERIFY;
    const CHANGED: &'static [Param] = &jobs::CHANGED_VERIFY;
    const COLUMNS: &'static [&'static str] = &[
        "id",
        "store",
        "ns",
        "schedule",
        "ignore-verified",
        "outdated-after",
        "comment",
    ];
    const JOB: Option<JobType> = Some(Self::TYPE);

    fn file(config: &Config) -> &ConfigFile<Self> {
        config.verify_jobs()
    }

    fn runs_at(&self) -> Option<&str> {
        self.schedule()
    }

    fn check(&self, config: &Config) -> Result<(), ConfigError> {
        config.check_datastore(&self.store)
    }
}
