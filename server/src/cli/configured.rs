//! `remote`, `sync-job`, `traffic-control`: what the entries are.

use super::Session;
use super::entries::CliEntity;
use crate::api::config::{remotes, sync, traffic};
use crate::config::jobs::Job as _;
use crate::config::remotes::{Remote, RemotePassword};
use crate::config::sync::SyncJob;
use crate::config::traffic::TrafficRule;
use crate::config::{Config, ConfigError, ConfigFile};
use crate::rest::endpoint::Param;

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

    fn file(config: &Config) -> &ConfigFile<Self> {
        config.sync_jobs()
    }

    fn scheduled(session: &Session, id: &str) -> anyhow::Result<()> {
        session.jobs().touch(Self::TYPE, id)
    }

    fn forget(session: &Session, id: &str) -> anyhow::Result<()> {
        session.jobs().remove(Self::TYPE, id)
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
