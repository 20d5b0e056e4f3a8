//! Copies of snapshots from elsewhere: new ones, and ones of which an earlier copy was removed here.

use anyhow::Result;
use api_types::auth::Authid;
use api_types::names::BackupTime;
use datastore::backend::s3::insert::Payload;
use datastore::session::SessionOptions;
use s3_client::TaskKind;

use crate::book::Snapshot;
use crate::coverage::Kind;
use crate::machine::Server;
use crate::plan::Copy;
use crate::source;
use crate::universe::PLAIN;

use super::backup::Running;
use super::{Call, make_namespaces, manage, place};

/// What is copied.
struct Content {
    time: BackupTime,
    archives: Vec<(String, Vec<u8>)>,
    blobs: Vec<String>,
}

/// Copies a snapshot.
pub async fn copy(server: &Server, plan: &Copy) -> Result<()> {
    let sim = &server.sim;
    let (ns, group) = place(plan.group)?;
    if !server.store.snapshots().namespace_exists(&ns)? {
        make_namespaces(server).await?;
    }
    let Some(content) = content(server, plan).await? else {
        return Ok(());
    };
    let options = SessionOptions {
        ns,
        payload: Payload::Cache,
        kind: TaskKind::Sync,
        ..SessionOptions::new(group, content.time, Authid::root())
    };
    let mut running = Running::start(server, options).await?;
    let written = write(&mut running, &content, plan.give_up).await;
    match written {
        Ok(true) => {
            sim.count(match plan.again {
                true => Kind::CopiedAgain,
                false => Kind::Copied,
            });
            Ok(())
        }
        Ok(false) => running.abort().await,
        Err(error) => {
            running.abort().await?;
            Err(error)
        }
    }
}

/// What the source has: something new, or the last snapshot of the group once more, after it was
/// removed here.
async fn content(server: &Server, plan: &Copy) -> Result<Option<Content>> {
    if !plan.again {
        let mut chunks: Vec<u8> = plan.chunks.iter().map(|chunk| chunk % PLAIN).collect();
        chunks.sort_unstable();
        chunks.dedup();
        return Ok(Some(Content {
            time: BackupTime::from_secs(server.sim.env.unix_secs())?,
            archives: vec![("a0.didx".to_owned(), chunks)],
            blobs: vec!["b0.blob".to_owned()],
        }));
    }
    let (ns, group) = place(plan.group)?;
    let last = {
        let core = server.sim.core();
        let of_group = |snapshot: &Snapshot| {
            snapshot.path.ns == ns
                && snapshot.path.dir.group == group
                && snapshot.session.is_none()
                && !snapshot.archives.is_empty()
        };
        let indexes = 0..core.book.snapshots.len();
        let of_group = indexes.filter(|&index| of_group(&core.book.snapshots[index]));
        let last = of_group.max_by_key(|&index| core.book.snapshots[index].path.dir.time);
        last.map(|index| (index, core.book.snapshots[index].clone()))
    };
    let Some((index, last)) = last else {
        return Ok(None);
    };
    if last.standing(&server.store).is_some() {
        manage::forget_one(server, index).await?;
    }
    Ok(Some(Content {
        time: last.path.dir.time,
        archives: last.archives,
        blobs: last.blobs,
    }))
}

/// Writes and commits it; `false` = given up before that.
async fn write(running: &mut Running<'_>, content: &Content, give_up: bool) -> Result<bool> {
    let sim = running.sim().clone();
    for (_, chunks) in &content.archives {
        for &chunk in chunks {
            if !running.ask(chunk).await? {
                running.insert(chunk, true).await?;
            }
            running.learn(chunk);
        }
    }
    running.announce(&content.archives, &content.blobs);
    let mut files = Vec::new();
    for name in &content.blobs {
        let file = source::blob(&sim, name, "of a copy")?;
        let session = running.session()?;
        session.add_blob(&file.file.name, file.raw.clone()).await?;
        files.push(file);
    }
    for (name, chunks) in &content.archives {
        let file = source::index(&sim, name, chunks)?;
        let session = running.session()?;
        session.add_index(&file.file.name, file.raw.clone()).await?;
        files.push(file);
    }
    if give_up {
        return Ok(false);
    }
    let session = running.session()?;
    let blob = source::manifest(session.dir(), &files)?.to_blob()?;
    let call = Call::begin(&sim, "commit");
    let result = session.commit_copy(blob).await;
    drop(call);
    running.committed(result)?;
    Ok(true)
}
