//! `/readyz`: whether the server can do its work: its configuration can be read, each datastore that is
//! not under maintenance, nor on a removable device that is not there, can be opened, and its bucket answers.
//!
//! Everybody may ask, as often as they like, so the answer is found out by one for all: it is good for
//! `FRESH`, a look that is under way is waited for, not longer than `PATIENCE`, and a disk that
//! hangs costs one thread however many ask.

use std::sync::Arc;
use std::time::Duration;

use api_types::datastore::{DatastoreConfig, Operation};
use api_types::names::DatastoreName;
use futures_util::stream::{self, StreamExt as _};
use s3_client::TaskKind;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::daemon::Server;
use crate::datastores::mounted::{NOT_MOUNTED, mount_status};
use crate::s3::bucket_answers;

/// For how long an answer is given again: a look costs a request for each bucket.
const FRESH: Duration = Duration::from_secs(10);
/// How long a look may take before the server counts as not ready.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a bucket may take.
const BUCKET_PATIENCE: Duration = Duration::from_secs(3);
/// Datastores that are looked at together.
const AT_ONCE: usize = 16;

/// What was found out.
#[derive(Debug, Default)]
pub struct Readiness {
    seen: watch::Sender<Seen>,
}

#[derive(Clone, Debug, Default)]
struct Seen {
    looking: bool,
    last: Option<(Instant, Result<(), String>)>,
}

impl Readiness {
    /// Whether the server can do its work, by a look that is a few seconds old at most.
    ///
    /// # Errors
    /// What keeps it from that, in one line.
    pub async fn ask(&self, server: &Arc<Server>) -> Result<(), String> {
        // This is known without a look.
        if server.shutdown.is_cancelled() {
            return Err("shutting down".into());
        }
        let mut seen = self.seen.subscribe();
        let begun = server.env.now();
        let is_fresh = |seen: &Seen| {
            let since = |at: &Instant| begun.saturating_duration_since(*at);
            matches!(&seen.last, Some((at, _)) if since(at) < FRESH)
        };
        let mine = self.seen.send_if_modified(|seen| {
            let mine = !seen.looking && !is_fresh(seen);
            seen.looking |= mine;
            mine
        });
        if mine {
            // Apart from this request, whose client may go away.
            let look = Look(self.seen.clone());
            let server = Arc::clone(server);
            tokio::spawn(async move { look.run(&server).await });
        }
        tokio::select! {
            biased;
            seen = seen.wait_for(is_fresh) => match seen.ok().and_then(|seen| seen.last.clone()) {
                Some((_, answer)) => answer,
                None => Err("nobody looks".into()),
            },
            () = server.env.sleep(PATIENCE) => {
                Err(format!("no answer within {} s", PATIENCE.as_secs()))
            }
        }
    }
}

/// A look that is under way; when dropped, it is not.
struct Look(watch::Sender<Seen>);

impl Look {
    async fn run(self, server: &Arc<Server>) {
        let answer = look(server).await;
        let at = server.env.now();
        self.0.send_modify(|seen| seen.last = Some((at, answer)));
    }
}

impl Drop for Look {
    fn drop(&mut self) {
        self.0.send_modify(|seen| seen.looking = false);
    }
}

async fn look(server: &Arc<Server>) -> Result<(), String> {
    let looked = Arc::clone(server);
    let stores = server.env.blocking(move || configuration(&looked)).await?;
    let looks = stores.into_iter().map(|name| datastore(server, name));
    let mut looks = stream::iter(looks).buffer_unordered(AT_ONCE);
    while let Some(answer) = looks.next().await {
        answer?;
    }
    Ok(())
}

/// The datastores that should be usable.
fn configuration(server: &Server) -> Result<Vec<DatastoreName>, String> {
    let failed = |error: crate::config::ConfigError| error.to_string();
    let stores = server.config.datastores().load().map_err(failed)?;
    server.config.s3_endpoints().load().map_err(failed)?;
    server.access.current_users().map_err(failed)?;
    server.access.current_acl().map_err(failed)?;
    let usable = |store: &DatastoreConfig| {
        store.maintenance_mode.is_none() && mount_status(store) != NOT_MOUNTED
    };
    let usable = stores.entries.into_iter().filter(usable);
    Ok(usable.map(|store| store.name).collect())
}

async fn datastore(server: &Arc<Server>, name: DatastoreName) -> Result<(), String> {
    let failed = |reason: &dyn std::fmt::Display| format!("datastore '{name}': {reason}");
    let opened = server.stores.open(&name, Operation::Read).await;
    let opened = opened.map_err(|error| failed(&format_args!("{error:#}")))?;
    let cancel = CancellationToken::new();
    let Some(client) = opened.client(TaskKind::Check, &cancel) else {
        return Ok(());
    };
    let answers = bucket_answers(&client, &server.env, BUCKET_PATIENCE).await;
    answers.map_err(|reason| failed(&reason))
}

#[cfg(test)]
mod tests {
    use s3_client::env::Env;
    use tokio::task::JoinHandle;

    use super::*;
    use crate::paths::Paths;
    use crate::s3::S3Options;
    use crate::testing::Hanging;

    fn server(dir: &tempfile::TempDir) -> Arc<Server> {
        Server::open(
            Paths::below(dir.path()),
            &S3Options::default(),
            Env::system(),
        )
        .unwrap()
    }

    /// As many as ask at once.
    fn ask(server: &Arc<Server>, count: usize) -> Vec<JoinHandle<Result<(), String>>> {
        let one = || {
            let server = Arc::clone(server);
            tokio::spawn(async move { server.readiness.ask(&server).await })
        };
        (0..count).map(|_| one()).collect()
    }

    #[tokio::test]
    async fn a_device_that_is_not_there_is_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let server = server(&dir);
        let file = dir.path().join("config/datastore.cfg");
        let away = "datastore: away\n\tpath backup\n\tbacking-device 0a0b0c0d-no-such-device\n";
        std::fs::write(&file, away).unwrap();
        server.readiness.ask(&server).await.unwrap();
        let name = "away".parse().unwrap();
        let refused = server.stores.open(&name, Operation::Read).await;
        let text = "datastore 'away' is not mounted";
        assert_eq!(refused.unwrap_err().to_string(), text);
    }

    #[tokio::test]
    async fn an_answer_is_good_for_a_moment() {
        let dir = tempfile::tempdir().unwrap();
        let server = server(&dir);
        let file = dir.path().join("config/datastore.cfg");
        let one = async || server.readiness.ask(&server).await;
        one().await.unwrap();
        std::fs::write(&file, "nonsense").unwrap();
        one().await.unwrap();
        tokio::time::pause();
        tokio::time::advance(FRESH).await;
        assert!(one().await.unwrap_err().contains("datastore.cfg"));
        std::fs::remove_file(&file).unwrap();
        assert!(one().await.is_err());
        tokio::time::advance(FRESH).await;
        one().await.unwrap();
        server.shutdown.cancel();
        assert_eq!(one().await, Err("shutting down".to_owned()));
    }

    /// With a disk that hangs nobody waits for long, and one looks, whoever goes away.
    #[tokio::test]
    async fn a_look_that_does_not_end_is_one_for_all() {
        let dir = tempfile::tempdir().unwrap();
        let server = server(&dir);
        let file = dir.path().join("config/datastore.cfg");
        let hanging = Hanging::at(file);
        tokio::time::pause();
        let mut seen = server.readiness.seen.subscribe();
        for first in ask(&server, 1) {
            tokio::task::yield_now().await;
            first.abort();
        }
        assert!(seen.wait_for(|seen| seen.looking).await.is_ok());
        let waiting = ask(&server, 50);
        tokio::task::yield_now().await;
        tokio::time::advance(2 * PATIENCE).await;
        for asked in waiting {
            let error = asked.await.unwrap().unwrap_err();
            assert!(error.contains("within 5 s"), "{error}");
        }
        assert!(!seen.has_changed().unwrap(), "another one looked");
        // The disk is there again.
        drop(hanging);
        seen.wait_for(|seen| !seen.looking).await.unwrap();
        for asked in ask(&server, 50) {
            asked.await.unwrap().unwrap();
        }
    }
}
