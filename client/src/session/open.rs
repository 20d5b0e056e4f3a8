//! Opening sessions.

use std::time::Duration;

use anyhow::Result;
use api_types::names::{BackupDir, BackupNamespace};
use datastore::env::Env;

use super::connection::Connection;
use crate::remote::Remote;

/// Pauses before further attempts.
const PAUSES: [Duration; 3] = [
    Duration::from_secs(1),
    Duration::from_secs(3),
    Duration::from_secs(9),
];

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

/// Upgrades a connection; tries again where the server was not reached, not where it refused.
pub(super) async fn connect(
    remote: &Remote,
    path: &str,
    protocol: &str,
    query: Vec<(&'static str, String)>,
    env: &Env,
) -> Result<Connection> {
    let query: Vec<_> = query
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    let mut pauses = PAUSES.iter();
    loop {
        let error = match remote.upgrade(path, &query, protocol).await {
            Ok(requests) => return Ok(Connection::new(requests)),
            Err(error) => error,
        };
        match pauses.next().filter(|_| unreachable(&error)) {
            Some(pause) => env.sleep(*pause + env.jitter(*pause)).await,
            None => return Err(error),
        }
    }
}

/// Whether no answer came.
fn unreachable(error: &anyhow::Error) -> bool {
    error
        .chain()
        .any(|cause| cause.is::<std::io::Error>() || cause.is::<hyper::Error>())
}
