//! Tickets kept between invocations: a JSON file of servers, users, tickets.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use super::dirs::{Dirs, lock, write_private};
use super::repository::Repository;

/// The server takes a ticket for 7200 s; it is not begun with what ends in a minute.
const USABLE_SECS: i64 = 7140;

/// Proof of a login.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Ticket {
    pub(super) ticket: String,
    /// For requests that change something.
    pub(super) token: String,
    /// When it was given, by the clock of this machine.
    pub(super) timestamp: i64,
}

impl std::fmt::Debug for Ticket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Ticket of {}", self.timestamp)
    }
}

type Content = BTreeMap<String, BTreeMap<String, Ticket>>;

/// The file with the tickets.
#[derive(Clone, Debug)]
pub(super) struct TicketCache {
    path: Option<PathBuf>,
}

impl TicketCache {
    pub(super) fn new(dirs: &Dirs) -> Self {
        let path = dirs.runtime.as_ref().map(|dir| dir.join("tickets"));
        Self { path }
    }

    /// A ticket that is good for a while. A file that cannot be read has none.
    pub(super) fn get(&self, repository: &Repository, now: i64) -> Option<Ticket> {
        let mut content = self.read();
        let user = repository.user().to_string();
        let ticket = content.get_mut(&repository.server())?.remove(&user)?;
        usable(&ticket, now).then_some(ticket)
    }

    /// Keeps a ticket, and drops those that are over.
    pub(super) fn put(&self, repository: &Repository, ticket: Ticket, now: i64) -> Result<()> {
        self.change(now, |content| {
            let users = content.entry(repository.server()).or_default();
            users.insert(repository.user().to_string(), ticket);
        })
    }

    /// Forgets a login.
    pub(super) fn remove(&self, repository: &Repository, now: i64) -> Result<()> {
        if !self.path.as_ref().is_some_and(|path| path.exists()) {
            return Ok(());
        }
        self.change(now, |content| {
            if let Some(users) = content.get_mut(&repository.server()) {
                users.remove(&repository.user().to_string());
            }
        })
    }

    fn change(&self, now: i64, change: impl FnOnce(&mut Content)) -> Result<()> {
        let path = self.path.as_ref();
        let path = path.context("there is no runtime directory: XDG_RUNTIME_DIR is not set")?;
        // Held until the end: of two who change it at once, neither forgets the other's ticket.
        let _lock = lock(path).with_context(|| format!("failed to lock {path:?}"))?;
        let mut content = self.read();
        change(&mut content);
        for users in content.values_mut() {
            users.retain(|_, ticket| usable(ticket, now));
        }
        content.retain(|_, users| !users.is_empty());
        let json = serde_json::to_vec(&content)?;
        write_private(path, &json).with_context(|| format!("failed to write {path:?}"))
    }

    fn read(&self) -> Content {
        let text = self.path.as_ref().and_then(|path| std::fs::read(path).ok());
        let content = text.and_then(|text| serde_json::from_slice(&text).ok());
        content.unwrap_or_default()
    }
}

fn usable(ticket: &Ticket, now: i64) -> bool {
    (-300..USABLE_SECS).contains(&now.saturating_sub(ticket.timestamp))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn tickets_are_kept_for_two_hours_and_by_their_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let cache = TicketCache::new(&Dirs {
            config: None,
            runtime: Some(dir.path().join("coffer-client")),
        });
        let one: Repository = "a@pbs@host:main".parse().unwrap();
        let two: Repository = "b@pbs@host:main".parse().unwrap();
        let ticket = Ticket {
            ticket: "PBS:x".into(),
            token: "csrf".into(),
            timestamp: 1000,
        };
        cache.remove(&one, 1000).unwrap();
        cache.put(&one, ticket.clone(), 1000).unwrap();
        assert_eq!(cache.get(&one, 8139), Some(ticket.clone()));
        assert_eq!(cache.get(&one, 8140), None);
        assert_eq!(cache.get(&two, 1000), None);
        let path = dir.path().join("coffer-client/tickets");
        let mode = |path: &std::path::Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o600);
        assert_eq!(mode(path.parent().unwrap()), 0o700);
        cache.put(&two, ticket.clone(), 1000).unwrap();
        cache.remove(&one, 1000).unwrap();
        assert_eq!(cache.get(&one, 1000), None);
        assert_eq!(cache.get(&two, 1000), Some(ticket.clone()));
        std::fs::write(&path, "nonsense").unwrap();
        assert_eq!(cache.get(&two, 1000), None);
        assert!(!format!("{ticket:?}").contains("PBS"));
    }
}
