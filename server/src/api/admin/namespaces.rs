//! Namespaces: listing, creation, removal.

use api_types::access::{Privilege, Privileges};
use api_types::datastore::Operation;
use api_types::names::{BackupNamespace, DatastoreName, NamespaceComponent};
use hyper::Method;
use serde::Deserialize;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::api::entry;
use crate::api::fields::{DEPTH, ERROR_ON_PROTECTED, NAMESPACE, STORE};
use crate::api::rights::{check_ns, on_namespace};
use crate::api::target::{client, open, refused};
use crate::rest::answer::Answer;
use crate::rest::call::Call;
use crate::rest::endpoint::Param;
use crate::rest::error::RestError;
use crate::rest::schema::Schema;
use crate::rest::table::{Access, Endpoint};

const PARENT: Param = Param::optional("parent", "Parent; the root if absent.", NAMESPACE);

/// The endpoints of this module.
pub const ENDPOINTS: &[Endpoint] = &[
    entry(
        Method::GET,
        "/admin/datastore/{store}/namespace",
        "List namespaces.",
        &[
            STORE,
            PARENT,
            Param::optional("max-depth", "Levels below the parent.", DEPTH),
        ],
        Access::ByHandler,
        |call| Box::pin(list(call)),
    ),
    entry(
        Method::POST,
        "/admin/datastore/{store}/namespace",
        "Create a namespace.",
        &[
            STORE,
            Param::required(
                "name",
                "Name of the new namespace within its parent.",
                Schema::text::<NamespaceComponent>("namespace component"),
            ),
            PARENT,
        ],
        Access::ByHandler,
        |call| Box::pin(create(call)),
    ),
    entry(
        Method::DELETE,
        "/admin/datastore/{store}/namespace",
        "Remove a namespace with all below it.",
        &[
            STORE,
            Param::required("ns", "The namespace.", NAMESPACE),
            Param::optional("delete-groups", "Remove its groups, too.", Schema::Boolean)
                .or_flag(false),
            ERROR_ON_PROTECTED,
        ],
        Access::ByHandler,
        |call| Box::pin(destroy(call)),
    ),
];

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct ListParams {
    store: DatastoreName,
    #[serde(default)]
    parent: BackupNamespace,
    max_depth: Option<usize>,
}

async fn list(call: Call) -> Result<Answer, RestError> {
    let params: ListParams = call.params.read()?;
    let visible = |ns: &BackupNamespace| {
        on_namespace(&call.server.access, &call.auth_id, &params.store, ns)
            .has_any(Privileges::NAMESPACE)
    };
    let names = ["datastore", params.store.as_str()];
    let anything = visible(&params.parent)
        || call
            .server
            .access
            .has_any_below(&call.auth_id, &names, Privileges::NAMESPACE);
    if !anything {
        return Err(not_visible(&call, &params));
    }
    let store = open(&call, &params.store, Operation::Read).await?;
    let mut items = store
        .list_namespaces(&params.parent, params.max_depth)
        .await
        .map_err(refused)?;
    items.retain(|item| visible(&item.ns));
    if items.is_empty() {
        return Err(not_visible(&call, &params));
    }
    Answer::of(items)
}

fn not_visible(call: &Call, params: &ListParams) -> RestError {
    let wanted: Vec<Privilege> = Privileges::NAMESPACE.iter().collect();
    match check_ns(call, &params.store, &params.parent, &wanted, &[]) {
        Err(error) => error,
        // They may see the parent after all: the rights have changed meanwhile.
        Ok(_) => RestError::bad_request("access rights have changed, try again"),
    }
}

#[derive(Debug, Deserialize)]
struct CreateParams {
    store: DatastoreName,
    name: NamespaceComponent,
    #[serde(default)]
    parent: BackupNamespace,
}

async fn create(call: Call) -> Result<Answer, RestError> {
    let CreateParams {
        store,
        name,
        parent,
    } = call.params.read()?;
    if name.as_str().len() > NamespaceComponent::MAX_NEW_LEN {
        return Err(RestError::parameter(
            "name",
            format!(
                "value may only be {} characters long",
                NamespaceComponent::MAX_NEW_LEN
            ),
        ));
    }
    check_ns(&call, &store, &parent, &[Privilege::DatastoreModify], &[])?;
    let ns = parent
        .join(name)
        .map_err(|error| RestError::bad_request(format!("namespace too deep, {}", error.reason)))?;
    let store = open(&call, &store, Operation::Write).await?;
    store
        .create_namespace(client(&store).as_ref(), &ns, &CancellationToken::new())
        .await
        .map_err(refused)?;
    Ok(Answer::Data(Value::String(ns.to_string())))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct DestroyParams {
    store: DatastoreName,
    ns: BackupNamespace,
    delete_groups: bool,
    error_on_protected: bool,
}

async fn destroy(call: Call) -> Result<Answer, RestError> {
    let params: DestroyParams = call.params.read()?;
    let parent = params
        .ns
        .parent()
        .ok_or_else(|| RestError::bad_request("Cannot create/delete root namespace!"))?;
    check_ns(
        &call,
        &params.store,
        &parent,
        &[Privilege::DatastoreModify],
        &[],
    )?;
    let store = open(&call, &params.store, Operation::Write).await?;
    let removal = store
        .destroy_namespace(
            client(&store).as_ref(),
            &params.ns,
            params.delete_groups,
            &CancellationToken::new(),
        )
        .await
        .map_err(refused)?;
    if params.error_on_protected {
        if removal.groups_left {
            return Err(RestError::bad_request(
                "only partially deleted due to existing groups but `delete-groups` not true",
            ));
        }
        if removal.stats.protected_snapshots > 0 {
            return Err(RestError::bad_request(
                "group only partially deleted due to protected snapshots",
            ));
        }
    }
    Answer::of(removal.stats)
}
