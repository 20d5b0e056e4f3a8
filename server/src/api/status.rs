//! `/status`: all datastores at a glance.

use api_types::datastore::{BackendType, Operation};
use api_types::names::DatastoreName;
use api_types::status::GarbageCollectionStatus;
use datastore::gc::status_file::read_status;
use hyper::Method;
use serde::Serialize;

use super::admin::datastore::{Sight, mount_status, sight};
use super::entry;
use super::target::{open, refused};
use crate::datastores::space::DiskSpace;
use crate::rest::answer::Answer;
use crate::rest::call::Call;
use crate::rest::error::RestError;
use crate::rest::table::{Access, Endpoint};

/// The endpoints of this module.
pub const ENDPOINTS: &[Endpoint] = &[entry(
    Method::GET,
    "/status/datastore-usage",
    "Tell how full the datastores are.",
    &[],
    Access::Anybody,
    |call| Box::pin(usage(call)),
)];

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Item {
    store: DatastoreName,
    #[serde(flatten)]
    space: Option<DiskSpace>,
    mount_status: &'static str,
    backend_type: BackendType,
    #[serde(skip_serializing_if = "Option::is_none")]
    gc_status: Option<GarbageCollectionStatus>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

async fn usage(call: Call) -> Result<Answer, RestError> {
    let content = call.server.config.datastores().load().map_err(refused)?;
    let mut items = Vec::new();
    for config in &content.entries {
        let Some(sight) = sight(&call, &config.name) else {
            continue;
        };
        let mut item = Item {
            store: config.name.clone(),
            space: None,
            mount_status: mount_status(config),
            backend_type: config.backend().backend_type(),
            gc_status: None,
            error: None,
        };
        if sight == Sight::Store && item.mount_status != "notmounted" {
            match look(&call, &config.name).await {
                Ok((space, gc_status)) => {
                    item.space = Some(space);
                    item.gc_status = Some(gc_status);
                }
                Err(error) => item.error = Some(error.message),
            }
        }
        items.push(item);
    }
    Answer::of(items)
}

async fn look(
    call: &Call,
    name: &DatastoreName,
) -> Result<(DiskSpace, GarbageCollectionStatus), RestError> {
    let store = open(call, name, Operation::Read).await?;
    let space = DiskSpace::of(store.base()).map_err(refused)?;
    Ok((space, read_status(store.base())))
}
