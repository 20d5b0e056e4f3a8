//! Delete batches that are never sent: why, and what becomes of their digests (`gc.md` §7, G12).

use std::time::Duration;

use anyhow::{Context, Result};
use datastore::Error;
use datastore::backend::s3::delete::{Condemned, DeleteBatch};
use s3_client::TaskKind;
use s3_mock::{Action, Fault, Op, Reply};
use scenarios::running::reason;
use scenarios::{World, chunks, insert, no_grace};

/// What cannot be recorded is not deleted, and no further batch is tried.
#[tokio::test(start_paused = true)]
async fn a_journal_that_cannot_be_written_ends_the_run() -> Result<()> {
    let (world, server) = World::new().await?;
    let live = server.backup("live", 0, &chunks("live", 3)).await?;
    let dead = server.backup("dead", 0, &chunks("dead", 2500)).await?;
    server.forget(&dead).await?;
    world.pass(Duration::from_secs(3600)).await;
    let gate = world.gate_listing();
    let mark = world.mock.journal_mark();
    let gc = world.collect_until(&server, no_grace(), &gate).await?;
    let journal = server.store.base().join(".x-coffer/delete-journal");
    let away = journal.with_extension("away");
    std::fs::rename(&journal, &away)?;
    std::fs::create_dir(&journal)?; // like a full or failing disk
    gate.release();
    let error = gc.end().await.expect_err("no journal");
    assert!(
        matches!(reason(&error), Some(Error::DeleteJournal { .. })),
        "{error}"
    );
    assert_eq!(world.delete_requests(mark), 0);
    assert_eq!(world.chunk_objects(), 2503);
    assert_eq!(server.store.digests().exceptional_count(), 0);

    std::fs::remove_dir(&journal)?;
    std::fs::rename(&away, &journal)?;
    let report = server.gc_now().await?;
    assert_eq!(report.deleted.count, 2500);
    world.check_safe(&server, &[&live]).await
}

/// A batch that is not sent: those taken back by a session are not counted as failed.
#[tokio::test(start_paused = true)]
async fn keys_of_an_unsent_batch_are_counted_by_what_became_of_them() -> Result<()> {
    let (world, server) = World::new().await?;
    let dead = chunks("dead", 3);
    let snapshot = server.backup("dead", 0, &dead).await?;
    server.forget(&snapshot).await?;
    let backend = server.store.backend().s3().context("a bucket")?.clone();
    let _lease = server.store.sweeper_lease(&server.cancel).await?;
    let mut batch = DeleteBatch::new(&backend);
    for chunk in &dead {
        let (condemned, ()) = backend.condemn(batch.id(), &chunk.digest, |_| (true, ()))?;
        assert!(condemned);
        batch.push(Condemned {
            digest: chunk.digest,
            size: 7,
        });
    }
    let session = server.session("new", 10).await?;
    assert!(insert(&session, &dead[1]).await?.duplicate, "taken back");
    world.pass(Duration::from_secs(61)).await; // the look at the owner is too old
    let denied = Action::Reply(Reply::access_denied());
    world
        .mock
        .script(Fault::on(Op::GetObject, denied).keys("*/.in-use"));
    let client = server
        .store
        .client(TaskKind::Gc, &server.cancel)
        .context("a client")?;
    let outcome = backend.send_batch(&client, batch).await;
    assert!(outcome.error.is_some());
    let failed: Vec<_> = outcome.failed.iter().map(|failed| failed.digest).collect();
    assert_eq!(failed, [dead[0].digest, dead[2].digest]);
    assert_eq!(outcome.taken_back.len(), 1);
    assert_eq!(server.store.digests().exceptional_count(), 0);
    assert!(server.is_present(&dead[1]) && !server.is_present(&dead[0]));
    backend.checkpoint_journal().await?;
    assert!(backend.journal_is_empty(), "nothing was sent");
    session.abort().await?;
    Ok(())
}
