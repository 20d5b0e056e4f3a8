//! How long anybody waits for a datastore's disk: one that hangs, as network file systems do, must
//! hold up nobody who has to do with others too.
//!
//! A system call on such a disk cannot be taken back, and has a thread to itself until it returns. So
//! of each datastore one piece of work is done at a time, whoever has stopped waiting for it; and
//! once it is known to take too long, nobody else waits at all.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use api_types::names::DatastoreName;
use s3_client::env::Env;
use tokio::sync::OwnedMutexGuard;
use tokio::time::Instant;

/// How long. It takes no more than a moment, unless there is much to put in order after a crash.
pub const LIMIT: Duration = Duration::from_secs(10);

/// What waits for disks.
#[derive(Debug)]
pub(super) struct Patience {
    env: Env,
    limit: Option<Duration>,
    turns: Mutex<HashMap<DatastoreName, Arc<Turn>>>,
}

/// Whose turn it is with a datastore.
#[derive(Debug, Default)]
struct Turn {
    place: Arc<tokio::sync::Mutex<()>>,
    /// Since when somebody has it.
    begun: Mutex<Option<Instant>>,
}

/// Work under way; when dropped it is not.
struct Working {
    turn: Arc<Turn>,
    _place: OwnedMutexGuard<()>,
}

impl Patience {
    /// Without a limit: there is nobody else who could be held up.
    pub(super) fn endless(env: Env) -> Self {
        Self {
            env,
            limit: None,
            turns: Mutex::default(),
        }
    }

    /// With [`LIMIT`].
    pub(super) fn limited(self) -> Self {
        Self {
            limit: Some(LIMIT),
            ..self
        }
    }

    /// Does what looks at the disk of a datastore. If that takes too long it goes on, and its result
    /// is dropped.
    pub(super) async fn wait<T: Send + 'static>(
        &self,
        name: &DatastoreName,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T> {
        let Some(limit) = self.limit else {
            return self.wait_long(name, work).await;
        };
        if !self.turn(name).hangs(&self.env, limit) {
            tokio::select! {
                biased;
                done = self.wait_long(name, work) => return done,
                () = self.env.sleep(limit) => {}
            }
        }
        bail!(
            "datastore '{name}' has not answered for more than {} s; see whether its file system \
             can be reached",
            limit.as_secs()
        )
    }

    /// The same for who waits for this datastore alone, however long it takes.
    pub(super) async fn wait_long<T: Send + 'static>(
        &self,
        name: &DatastoreName,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T> {
        let working = Working::begin(self.turn(name), &self.env).await;
        let task = tokio::spawn(async move {
            let _working = working;
            work.await
        });
        task.await
            .with_context(|| format!("failed to look at datastore '{name}'"))
    }

    fn turn(&self, name: &DatastoreName) -> Arc<Turn> {
        Arc::clone(lock(&self.turns).entry(name.clone()).or_default())
    }
}

impl Turn {
    /// Whether the work under way has taken too long already.
    fn hangs(&self, env: &Env, limit: Duration) -> bool {
        let since = |begun: Instant| env.now().saturating_duration_since(begun);
        lock(&self.begun).is_some_and(|begun| since(begun) >= limit)
    }
}

impl Working {
    async fn begin(turn: Arc<Turn>, env: &Env) -> Self {
        let place = Arc::clone(&turn.place).lock_owned().await;
        *lock(&turn.begun) = Some(env.now());
        Self {
            turn,
            _place: place,
        }
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        *lock(&self.turn.begun) = None;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each change is complete before anything can panic.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::Notify;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_hangs_is_waited_for_once() {
        let env = Env::system();
        let patience = Patience::endless(env.clone()).limited();
        let (one, other) = ("one".parse().unwrap(), "other".parse().unwrap());
        let begun = Arc::new(AtomicUsize::new(0));
        let answers = Arc::new(Notify::new());
        let hanging = || {
            let (begun, answers) = (Arc::clone(&begun), Arc::clone(&answers));
            async move {
                begun.fetch_add(1, Ordering::SeqCst);
                answers.notified().await;
            }
        };
        let (start, took) = (env.now(), || env.now());
        // As many as come before it is known.
        let (first, second) = tokio::join!(
            patience.wait(&one, hanging()),
            patience.wait(&one, hanging()),
        );
        let text = first.unwrap_err().to_string();
        assert!(text.contains("datastore 'one' has not answered"), "{text}");
        assert!(second.is_err());
        assert_eq!(took() - start, LIMIT);
        for _ in 0..100 {
            assert!(patience.wait(&one, hanging()).await.is_err());
        }
        assert_eq!(took() - start, LIMIT, "it is known");
        assert_eq!(begun.load(Ordering::SeqCst), 1, "one thread hangs");
        assert_eq!(patience.wait(&other, async { 7 }).await.unwrap(), 7);

        // It answers again. Who has the time has waited.
        let waiting = patience.wait_long(&one, async { 8 });
        answers.notify_one();
        assert_eq!(waiting.await.unwrap(), 8);
        assert_eq!(patience.wait(&one, async { 9 }).await.unwrap(), 9);
    }

    #[tokio::test]
    async fn a_failure_lets_others_have_their_turn() {
        let patience = Patience::endless(Env::system());
        let name = "one".parse().unwrap();
        let failed = patience.wait(&name, async { panic!("oh no") }).await;
        let error: Result<()> = failed;
        assert!(error.is_err());
        assert_eq!(patience.wait(&name, async { 7 }).await.unwrap(), 7);
    }
}
