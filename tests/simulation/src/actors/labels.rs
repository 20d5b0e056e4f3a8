//! What is written beside the snapshots: owner and notes of groups, the client's log.

use anyhow::Result;
use api_types::auth::Authid;
use datastore::format::blob::DataBlob;
use s3_client::TaskKind;

use crate::book::{Change, Status};
use crate::coverage::Kind;
use crate::machine::Server;

use super::place;

/// One that may back up into a group of each of the others.
const OWNERS: [&str; 3] = ["root@pam", "root@pam!one", "root@pam!two"];
const NOTES: [&str; 4] = ["", "of a group", "of the same group", "third"];

/// Changes the owner of a group.
pub async fn owner(server: &Server, group: u8, owner: u8) -> Result<()> {
    let (ns, group) = place(group)?;
    let name = OWNERS[usize::from(owner) % OWNERS.len()];
    let new: Authid = name.parse()?;
    let directory = ns.path_of(&group.path());
    let change = Change::begin(&server.sim, server.proc, name.to_owned(), move |book| {
        &mut book.labels(&directory).owner
    });
    let client = server.store.client(TaskKind::Other, &server.cancel);
    server
        .store
        .set_owner(client.as_ref(), &ns, &group, &new)
        .await?;
    change.done();
    server.sim.count(Kind::OwnerSet);
    Ok(())
}

/// Writes the notes of a group.
pub async fn group_notes(server: &Server, group: u8, text: u8) -> Result<()> {
    let (ns, group) = place(group)?;
    let text = NOTES[usize::from(text) % NOTES.len()];
    let directory = ns.path_of(&group.path());
    let change = Change::begin(&server.sim, server.proc, text.to_owned(), move |book| {
        &mut book.labels(&directory).notes
    });
    let client = server.store.client(TaskKind::Other, &server.cancel);
    server
        .store
        .set_group_notes(client.as_ref(), &ns, &group, text)
        .await?;
    change.done();
    server.sim.count(Kind::GroupNotesSet);
    Ok(())
}

/// Stores the client's log of a snapshot.
pub async fn client_log(server: &Server, pick: u8) -> Result<()> {
    let (index, path) = {
        let core = server.sim.core();
        let Some(index) = core.book.pick(pick) else {
            return Ok(());
        };
        (index, core.book.snapshots[index].path.clone())
    };
    let log = DataBlob::encode(b"all went well", None, false, &server.sim.env)?;
    let client = server.store.client(TaskKind::Other, &server.cancel);
    server
        .store
        .store_client_log(
            client.as_ref(),
            &path.ns,
            &path.dir,
            log.into_raw(),
            &server.cancel,
        )
        .await?;
    let mut core = server.sim.core();
    core.coverage.add(Kind::LogStored);
    let lasts = crate::invariants::live::is_owner(&core, server.proc);
    let snapshot = &mut core.book.snapshots[index];
    snapshot.logged = lasts && snapshot.status == Status::Committed;
    Ok(())
}
