//! The session: its beginning, its states, its ends (`backup-protocol.md` §2.2, §2.3, §3.7).

use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, Result, anyhow, bail};
use api_types::auth::Authid;
use api_types::names::{BackupDir, BackupNamespace};
use datastore::Error;
use datastore::backend::s3::insert::Payload;
use datastore::format::DataBlob;
use datastore::locks::LockFile;
use datastore::session::{SessionOptions, WriterSession};
use datastore::store::DataStore;
use datastore::task::{Aborted, TaskContext};
use hyper::StatusCode;
use s3_client::TaskKind;
use s3_client::env::Env;
use tokio::sync::{RwLock, RwLockReadGuard, Semaphore};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::super::endpoint::{Endpoint, Session};
use super::super::intake::Intake;
use super::super::memory::Memory;
use super::writers::Writers;
use crate::rest::error::RestError;

/// Chunks that are decoded, checked and stored at once.
const INSERTS: usize = 32;
/// The group that benchmarks, and nothing else, write to.
const BENCHMARK: &str = "host/benchmark";

/// What a client wants to back up, and how.
#[derive(Clone, Debug)]
pub struct BackupOptions {
    /// The namespace.
    pub ns: BackupNamespace,
    /// The snapshot that is to come into being.
    pub dir: BackupDir,
    /// Who makes it.
    pub auth_id: Authid,
    /// Every request is logged.
    pub debug: bool,
    /// Nothing is to be kept.
    pub benchmark: bool,
    /// Chunks that go to a bucket are not to be kept on disk as well.
    pub no_cache: bool,
    /// The snapshot is to be verified when it is finished.
    pub verify: bool,
}

/// A session that is open, before it is a task.
#[derive(Debug)]
pub struct Opened {
    store: Arc<DataStore>,
    options: BackupOptions,
    session: WriterSession,
    cancel: CancellationToken,
}

/// A running backup.
pub struct Backup {
    pub(super) store: Arc<DataStore>,
    pub(super) task: Arc<dyn TaskContext>,
    pub(super) options: BackupOptions,
    pub(super) intake: Arc<Intake>,
    pub(super) inserts: Semaphore,
    /// The manifest, as uploaded: it is written when the backup is finished, not before.
    pub(super) manifest: Mutex<Option<DataBlob>>,
    /// The lock of the finished snapshot, for its verification.
    pub(super) for_verify: Mutex<Option<LockFile>>,
    writers: Mutex<Writers>,
    previous: Option<BackupDir>,
    /// Held for reading by requests, for writing by the ends of the session: these see no request
    /// under way.
    pub(super) state: RwLock<State>,
    /// Stops requests to the bucket.
    cancel: CancellationToken,
}

/// How far the session is.
#[derive(Debug)]
pub(super) enum State {
    Active(Box<WriterSession>),
    Finished,
    /// The connection is gone.
    Ended,
}

impl Backup {
    /// Opens a session: everything that is to be checked is checked, the group and the new snapshot
    /// are locked.
    pub async fn open(store: Arc<DataStore>, options: BackupOptions) -> Result<Opened, RestError> {
        let exists = store.snapshots().namespace_exists(&options.ns);
        if !exists.map_err(|error| refused(&error.into()))? {
            return Err(RestError::new(StatusCode::NOT_FOUND, "namespace not found"));
        }
        let group = &options.dir.group;
        match (group.to_string() == BENCHMARK, options.benchmark) {
            (true, false) => {
                return Err(RestError::bad_request(
                    "unable to run benchmark without --benchmark flags",
                ));
            }
            (false, true) => {
                return Err(RestError::bad_request(format!(
                    "benchmark flags is only allowed on '{BENCHMARK}'"
                )));
            }
            _ => {}
        }
        // Everybody may run benchmarks, whoever ran the first one.
        let owner = if options.benchmark {
            let owner = store.snapshots().owner(&options.ns, group);
            owner.map_err(|error| refused(&error.into()))?
        } else {
            None
        };
        let cancel = CancellationToken::new();
        let session = SessionOptions {
            ns: options.ns.clone(),
            group: group.clone(),
            time: options.dir.time,
            owner: owner.unwrap_or_else(|| options.auth_id.clone()),
            payload: if options.no_cache {
                Payload::Discard
            } else {
                Payload::Cache
            },
            kind: TaskKind::Backup,
        };
        let session = WriterSession::start(&store, session, &cancel)
            .await
            .map_err(|error| match error {
                Error::Exists { .. } => RestError::bad_request("backup directory already exists."),
                error => refused(&error),
            })?;
        Ok(Opened {
            store,
            options,
            session,
            cancel,
        })
    }

    /// The last backup of the group, if there is one to build upon.
    pub(super) fn previous(&self) -> Option<&BackupDir> {
        self.previous.as_ref()
    }

    pub(super) fn log(&self, message: &str) {
        self.task.log(message);
    }

    pub(super) fn writers(&self) -> MutexGuard<'_, Writers> {
        self.writers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The session, for a request of the client's that needs it to be active.
    pub(super) fn active(&self) -> Result<RwLockReadGuard<'_, WriterSession>, RestError> {
        let Ok(state) = self.state.try_read() else {
            return Err(RestError::bad_request(
                "backup is already in the process of finishing.",
            ));
        };
        RwLockReadGuard::try_map(state, State::active).map_err(|_| already_finished())
    }

    /// Where the snapshot is below the datastore.
    pub(super) fn relative_path(&self) -> String {
        self.options.ns.path_of(&self.options.dir.path())
    }

    /// The word for it in the log, and the type of the task.
    #[must_use]
    pub fn worker_type(&self) -> &'static str {
        worker_type(&self.options)
    }

    /// The finished snapshot's shared lock, if it is to be verified: nobody comes in between.
    pub fn lock_for_verify(&self) -> Option<LockFile> {
        self.for_verify
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }

    /// The connection is gone: what was not finished is removed. `served` is how it ended.
    pub async fn end(&self, served: Result<()>) -> Result<()> {
        let _stop_with_task = self.stop_with_task();
        let word = self.worker_type();
        let state = mem::replace(&mut *self.state.write().await, State::Ended);
        match state {
            State::Active(session) if self.options.benchmark => {
                self.remove(*session).await?;
                // That the client just goes is how a benchmark ends.
                if self.task.cancel().is_cancelled() {
                    return served.and(Err(Aborted.into()));
                }
                self.log("benchmark finished successfully");
                Ok(())
            }
            State::Active(session) => {
                let error = served
                    .err()
                    .unwrap_or_else(|| anyhow!("{word} ended but finished state is not set."));
                self.log(&format!("{word} failed: {error:#}"));
                if let Err(error) = self.remove(*session).await {
                    self.task
                        .warn(&format!("failed to remove the backup: {error:#}"));
                }
                Err(error)
            }
            State::Finished => {
                self.log(&format!("{word} finished successfully"));
                Ok(())
            }
            State::Ended => bail!("the session has ended before"),
        }
    }

    async fn remove(&self, session: WriterSession) -> Result<()> {
        let Self { store, options, .. } = self;
        let path = store.snapshots().snapshot_path(&options.ns, &options.dir);
        self.log(&format!("removing backup snapshot {path:?}"));
        session
            .abort()
            .await
            .with_context(|| format!("failed to remove backup snapshot {path:?}"))
    }

    /// Requests to the bucket end when the task is aborted, while the guard lives.
    pub(super) fn stop_with_task(&self) -> DropGuard {
        let (done, task) = (CancellationToken::new(), self.task.cancel().clone());
        let (cancel, guard) = (self.cancel.clone(), done.clone().drop_guard());
        tokio::spawn(async move {
            if done.run_until_cancelled(task.cancelled()).await.is_some() {
                cancel.cancel();
            }
        });
        guard
    }
}

impl Opened {
    /// The session as a task of its own; `from` is where the client is.
    pub fn into_task(
        self,
        task: Arc<dyn TaskContext>,
        memory: &Arc<Memory>,
        from: &str,
    ) -> Arc<Backup> {
        let previous = self.session.base().map(|base| base.dir().clone());
        let backup = Arc::new(Backup {
            task,
            previous,
            store: self.store,
            options: self.options,
            intake: Intake::new(memory),
            inserts: Semaphore::new(INSERTS),
            manifest: Mutex::default(),
            for_verify: Mutex::default(),
            writers: Mutex::default(),
            state: RwLock::new(State::Active(Box::new(self.session))),
            cancel: self.cancel,
        });
        backup.log(&format!(
            "starting new {} on datastore '{}' from {from}: {:?}",
            backup.worker_type(),
            backup.store.name(),
            backup.relative_path()
        ));
        backup
    }

    /// Type of the task that it is to become.
    #[must_use]
    pub fn worker_type(&self) -> &'static str {
        worker_type(&self.options)
    }
}

fn worker_type(options: &BackupOptions) -> &'static str {
    if options.benchmark {
        "benchmark"
    } else {
        "backup"
    }
}

impl State {
    fn active(&self) -> Option<&WriterSession> {
        match self {
            Self::Active(session) => Some(session),
            Self::Finished | Self::Ended => None,
        }
    }
}

/// What is answered after the finish.
pub(super) fn already_finished() -> RestError {
    RestError::bad_request("backup already marked as finished.")
}

/// What the datastore refused, as an answer.
pub(super) fn refused(error: &Error) -> RestError {
    RestError::bad_request(error.to_string())
}

impl Session for Backup {
    fn endpoints() -> &'static [Endpoint<Self>] {
        super::ENDPOINTS
    }

    fn task(&self) -> &dyn TaskContext {
        &*self.task
    }

    fn env(&self) -> &Env {
        self.store.env()
    }

    fn is_verbose(&self) -> bool {
        self.options.debug
    }
}
