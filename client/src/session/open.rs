//! Opening sessions.

use anyhow::Result;
use api_types::names::{BackupDir, BackupNamespace};

use super::connection::Connection;
use crate::remote::Remote;

/// The parameters of any session.
pub(super) fn query(
    remote: &Remote,
    ns: &BackupNamespace,
    dir: &BackupDir,
) -> Vec<(&'static str, String)> {
    let mut query = vec![
        ("backup-id", dir.group.id.to_string()),
        ("backup-time", dir.time.secs().to_string()),
        ("backup-type", dir.group.ty.to_string()),
        ("debug", "false".to_owned()),
        ("store", remote.repository().store().to_string()),
    ];
    if !ns.is_root() {
        query.push(("ns", ns.to_string()));
    }
    query
}

/// Upgrades a connection; [`Remote`] tries again where the server is not reached.
pub(super) async fn connect(
    remote: &Remote,
    path: &str,
    protocol: &str,
    query: Vec<(&'static str, String)>,
) -> Result<Connection> {
    let query: Vec<_> = query
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    let requests = remote.upgrade(path, &query, protocol).await?;
    Ok(Connection::new(requests))
}
