//! Those who read: restores, verifications, refreshes.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Result;
use datastore::Error;
use datastore::backend::s3::insert::Payload;
use datastore::refresh::RefreshOptions;
use datastore::task::{Progress, SilentTask, TaskContext};
use datastore::verify::{VerifyMode, VerifyOptions, VerifyScope};
use s3_client::TaskKind;
use tokio_util::sync::CancellationToken;

use crate::coverage::Kind;
use crate::invariants::Violation;
use crate::machine::Server;
use crate::universe::{members, one};

use super::Call;

/// Reads the chunks of a snapshot.
pub async fn read(server: &Server, pick: u8, fill: bool) -> Result<()> {
    let sim = &server.sim;
    let chunks = {
        let core = sim.core();
        let Some(index) = core.book.pick(pick) else {
            return Ok(());
        };
        core.book.snapshots[index].chunks()
    };
    let client = server.store.client(TaskKind::Restore, &server.cancel);
    let fill = if fill {
        Payload::Cache
    } else {
        Payload::Discard
    };
    for chunk in members(chunks) {
        let digest = *sim.universe.digest(chunk);
        let cached = |server: &Server| {
            let stat = server.store.chunks().stat_chunk(&digest);
            stat.is_ok_and(|stat| stat.is_some_and(|stat| stat.size > 0))
        };
        let was_cached = cached(server);
        let damaged = sim.core().bucket.tainted & one(chunk) != 0;
        match server.store.read_chunk(client.as_ref(), digest, fill).await {
            Ok(blob) => {
                sim.count(Kind::Read);
                if !was_cached && cached(server) {
                    sim.count(Kind::CacheFilled);
                }
                if !damaged && !sim.universe.is_whole(chunk, blob.raw())? {
                    let text = format!("chunk {chunk} {digest} reads as something else");
                    sim.core().fail(Violation::new("restore", text));
                }
            }
            Err(Error::MissingChunk { .. }) => sim.count(Kind::ReadMissing),
            Err(Error::CorruptChunk { .. }) if damaged => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// A task that counts what a verification says.
struct Task {
    server: Server,
    cancel: CancellationToken,
    warnings: AtomicU64,
}

impl TaskContext for Task {
    fn log(&self, message: &str) {
        if message.starts_with("corrupt chunk renamed") {
            self.server.sim.count(Kind::SetAside);
        } else if message.starts_with("corrupt chunk ") {
            self.server.sim.count(Kind::CorruptFound);
        }
    }

    fn warn(&self, _message: &str) {
        self.warnings.fetch_add(1, Ordering::Relaxed);
    }

    fn warnings(&self) -> u64 {
        self.warnings.load(Ordering::Relaxed)
    }

    fn progress(&self, _progress: Progress) {}

    fn cancel(&self) -> &CancellationToken {
        &self.cancel
    }

    fn upid(&self) -> Option<String> {
        Some(UPID.to_owned())
    }
}

/// Verification states name their task.
pub(super) const UPID: &str =
    "UPID:sim:00000001:00000001:00000001:65F00000:verificationjob:store1:root@pam:";

/// Verifies everything.
pub async fn verify(server: &Server, quick: bool, abort: Option<u64>) -> Result<()> {
    let sim = &server.sim;
    let task = Task {
        server: server.clone(),
        cancel: server.cancel.child_token(),
        warnings: AtomicU64::new(0),
    };
    if let Some(abort) = abort {
        let (cancel, env) = (task.cancel.clone(), sim.env.clone());
        tokio::spawn(async move {
            env.sleep(Duration::from_millis(abort)).await;
            cancel.cancel();
        });
    }
    let scope = VerifyScope {
        ns: api_types::names::BackupNamespace::root(),
        max_depth: None,
        may_verify: &|_, _| true,
    };
    let options = VerifyOptions {
        mode: if quick {
            VerifyMode::Quick
        } else {
            VerifyMode::Full
        },
        ignore_verified: false,
        ..VerifyOptions::default()
    };
    let call = Call::begin(sim, "verify");
    let result = server.store.verify_datastore(&task, &scope, options).await;
    drop(call);
    result?;
    Ok(())
}

/// Rebuilds the local state from the bucket.
pub async fn refresh(server: &Server) -> Result<()> {
    let task = SilentTask::with_cancel(server.cancel.child_token());
    let call = Call::begin(&server.sim, "refresh");
    let result = server
        .store
        .s3_refresh(&task, RefreshOptions::default())
        .await;
    drop(call);
    result?;
    let mut core = server.sim.core();
    if core.journal_lost {
        core.accept_residual_risk();
    }
    drop(core);
    server.sim.count(Kind::Refreshed);
    Ok(())
}
