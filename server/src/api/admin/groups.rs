//! Groups: listing, removal, notes, owner.

use api_types::auth::Authid;
use api_types::names::{BackupGroup, BackupNamespace, DatastoreName};
use datastore::store::DataStore;
use hyper::{Method, StatusCode};
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use crate::api::entry;
use crate::api::fields::{BACKUP_ID, BACKUP_TYPE, ERROR_ON_PROTECTED, NOTES, NS, STORE};
use crate::api::rights::{Reach, check_ns, no_such_group, owner_of};
use crate::api::target::{CHANGE, GroupParams, LIST, REMOVE, client, open, refused};
use crate::rest::answer::Answer;
use crate::rest::call::Call;
use crate::rest::endpoint::Param;
use crate::rest::error::RestError;
use crate::rest::schema::Schema;
use crate::rest::table::{Access, Endpoint};

const GROUP: &[Param] = &[STORE, NS, BACKUP_TYPE, BACKUP_ID];

/// The endpoints of this module.
pub const ENDPOINTS: &[Endpoint] = &[
    entry(
        Method::GET,
        "/admin/datastore/{store}/groups",
        "List the groups of a namespace.",
        &[STORE, NS],
        Access::ByHandler,
        |call| Box::pin(list(call)),
    ),
    entry(
        Method::DELETE,
        "/admin/datastore/{store}/groups",
        "Remove a group with its snapshots.",
        &[STORE, NS, BACKUP_TYPE, BACKUP_ID, ERROR_ON_PROTECTED],
        Access::ByHandler,
        |call| Box::pin(destroy(call)),
    ),
    entry(
        Method::GET,
        "/admin/datastore/{store}/group-notes",
        "Get the notes of a group.",
        GROUP,
        Access::ByHandler,
        |call| Box::pin(notes(call)),
    ),
    entry(
        Method::PUT,
        "/admin/datastore/{store}/group-notes",
        "Set the notes of a group.",
        &[STORE, NS, BACKUP_TYPE, BACKUP_ID, NOTES],
        Access::ByHandler,
        |call| Box::pin(set_notes(call)),
    ),
    entry(
        Method::POST,
        "/admin/datastore/{store}/change-owner",
        "Give a group to another user or token.",
        &[
            STORE,
            NS,
            BACKUP_TYPE,
            BACKUP_ID,
            Param::required(
                "new-owner",
                "The new owner.",
                Schema::text::<Authid>("auth id"),
            ),
        ],
        Access::ByHandler,
        |call| Box::pin(change_owner(call)),
    ),
];

#[derive(Debug, Deserialize)]
struct ListParams {
    store: DatastoreName,
    #[serde(default)]
    ns: BackupNamespace,
}

async fn list(call: Call) -> Result<Answer, RestError> {
    let ListParams { store, ns } = call.params.read()?;
    let (store, reach) = LIST.open_ns(&call, &store, &ns).await?;
    let mut items = store.list_groups(&ns).await.map_err(refused)?;
    items.retain(|item| reach.includes(item.owner.as_ref(), &call.auth_id));
    Answer::of(items)
}

async fn destroy(call: Call) -> Result<Answer, RestError> {
    let params: GroupParams = call.params.read()?;
    let (store, reach) = REMOVE.open_ns(&call, &params.store, &params.ns).await?;
    check_exists(&store, &params.ns, &params.group()).await?;
    reach
        .check_owner(&call.auth_id, &store, &params.ns, &params.group())
        .await?;
    let stats = store
        .destroy_group(
            client(&store).as_ref(),
            &params.ns,
            &params.group(),
            &CancellationToken::new(),
        )
        .await
        .map_err(refused)?;
    if stats.protected_snapshots > 0 && call.flag(ERROR_ON_PROTECTED.name) {
        return Err(RestError::bad_request(
            "group only partially deleted due to protected snapshots",
        ));
    }
    Answer::of(stats)
}

/// Refuses a missing group in the words that clients look for.
async fn check_exists(
    store: &DataStore,
    ns: &BackupNamespace,
    group: &BackupGroup,
) -> Result<(), RestError> {
    let (snapshots, ns, wanted) = (store.snapshots().clone(), ns.clone(), group.clone());
    let exists = store
        .env()
        .blocking(move || snapshots.group_exists(&ns, &wanted))
        .await;
    if exists.map_err(refused)? {
        Ok(())
    } else {
        Err(RestError::bad_request(no_such_group(store, group)))
    }
}

async fn notes(call: Call) -> Result<Answer, RestError> {
    let params: GroupParams = call.params.read()?;
    let store = LIST.open_group(&call, &params).await?;
    let notes = store.group_notes(&params.ns, &params.group()).await;
    Answer::of(notes.map_err(refused)?)
}

async fn set_notes(call: Call) -> Result<Answer, RestError> {
    let params: GroupParams = call.params.read()?;
    let store = CHANGE.open_group(&call, &params).await?;
    let notes = call.params.text(NOTES.name).unwrap_or_default();
    store
        .set_group_notes(client(&store).as_ref(), &params.ns, &params.group(), notes)
        .await
        .map_err(refused)?;
    Ok(Answer::null())
}

async fn change_owner(call: Call) -> Result<Answer, RestError> {
    let params: GroupParams = call.params.read()?;
    let new_owner: Authid = call.text("new-owner")?;
    // Before anything is opened: who may nothing learns nothing.
    let reach = check_ns(
        &call,
        &params.store,
        &params.ns,
        CHANGE.full,
        CHANGE.partial,
    )?;
    let store = open(&call, &params.store, CHANGE.operation).await?;
    let group = params.group();
    check_exists(&store, &params.ns, &group).await?;
    if reach == Reach::Own {
        let owner = owner_of(&store, &params.ns, &group).await?;
        if !owner.is_some_and(|owner| may_swap(&call.auth_id, &owner, &new_owner)) {
            return Err(not_permitted(&call.auth_id, &group, &new_owner));
        }
    }
    if !call.server.access.is_active(&new_owner).map_err(refused)? {
        return Err(RestError::bad_request(format!(
            "{} '{new_owner}' is inactive or non-existent.",
            if new_owner.is_token() {
                "API token"
            } else {
                "user"
            }
        )));
    }
    store
        .set_owner(client(&store).as_ref(), &params.ns, &group, &new_owner)
        .await
        .map_err(refused)?;
    Ok(Answer::null())
}

fn not_permitted(caller: &Authid, group: &BackupGroup, new_owner: &Authid) -> RestError {
    RestError::new(
        StatusCode::UNAUTHORIZED,
        format!(
            "{caller} does not have permission to change owner of backup group '{group}' to \
             {new_owner}"
        ),
    )
}

/// What somebody without `Datastore.Modify` may do: move a group among themselves and their
/// tokens, and give their own to one of these.
fn may_swap(caller: &Authid, owner: &Authid, new_owner: &Authid) -> bool {
    match (owner.is_token(), new_owner.is_token()) {
        // Between tokens of the calling user.
        (true, true) => {
            !caller.is_token() && owner.user == caller.user && new_owner.user == caller.user
        }
        // From a token to its user, who asks.
        (true, false) => !caller.is_token() && owner.user == caller.user && new_owner == caller,
        // From the user, who asks, to one of their tokens.
        (false, true) => owner == caller && new_owner.user == caller.user,
        (false, false) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_move_among_a_user_and_their_tokens() {
        let may = |caller: &str, owner: &str, new: &str| {
            let id = |text: &str| text.parse::<Authid>().unwrap();
            may_swap(&id(caller), &id(owner), &id(new))
        };
        assert!(may("a@pbs", "a@pbs!one", "a@pbs!two"));
        assert!(may("a@pbs", "a@pbs!one", "a@pbs"));
        assert!(may("a@pbs", "a@pbs", "a@pbs!one"));
        for (caller, owner, new) in [
            ("a@pbs", "a@pbs", "b@pbs"),
            ("a@pbs", "a@pbs!one", "b@pbs!two"),
            ("a@pbs", "b@pbs!one", "a@pbs"),
            ("a@pbs!one", "a@pbs!one", "a@pbs!two"),
            ("a@pbs!one", "a@pbs!one", "a@pbs"),
            ("a@pbs!one", "a@pbs", "a@pbs!one"),
            ("b@pbs", "a@pbs", "a@pbs!one"),
        ] {
            assert!(!may(caller, owner, new), "{caller}: {owner} to {new}");
        }
    }
}
