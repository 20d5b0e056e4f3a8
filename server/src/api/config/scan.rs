//! `/config/remote/{name}/scan`: what there is at a remote, for whoever sets up a sync job.

use api_types::access::Privilege;
use api_types::names::{BackupNamespace, DatastoreName};
use hyper::{Method, StatusCode};

use super::remotes::NAME;
use crate::api::entry;
use crate::api::fields::{NAMESPACE, STORE};
use crate::api::target::refused;
use crate::rest::answer::Answer;
use crate::rest::call::Call;
use crate::rest::endpoint::Param;
use crate::rest::error::RestError;
use crate::rest::table::{Access, Endpoint};
use crate::sync::remote::rates::Rates;
use crate::sync::remote::{RemoteStore, connect};

const AUDIT: Access = Access::Privileges {
    path: "/remote/{name}",
    any: &[Privilege::RemoteAudit],
};
const THERE: Param = Param::optional(
    "namespace",
    "Namespace there; the root if absent.",
    NAMESPACE,
);

/// The endpoints of this module.
pub const ENDPOINTS: &[Endpoint] = &[
    entry(
        Method::GET,
        "/config/remote/{name}/scan",
        "List the datastores at a remote.",
        &[NAME],
        AUDIT,
        |call| Box::pin(datastores(call)),
    ),
    entry(
        Method::GET,
        "/config/remote/{name}/scan/{store}/namespaces",
        "List the namespaces of a datastore at a remote.",
        &[NAME, STORE],
        AUDIT,
        |call| Box::pin(namespaces(call)),
    ),
    entry(
        Method::GET,
        "/config/remote/{name}/scan/{store}/groups",
        "List the groups of a datastore at a remote.",
        &[NAME, STORE, THERE],
        AUDIT,
        |call| Box::pin(groups(call)),
    ),
];

/// The remote of a call.
struct Scan {
    call: Call,
    name: String,
}

impl Scan {
    /// Refuses a remote that there is not.
    fn of(call: Call) -> Result<Self, RestError> {
        let name = call.params.text(NAME.name).unwrap_or_default().to_owned();
        let remotes = call.server.config.remotes().load().map_err(refused)?;
        remotes.get(&name).map_err(refused)?;
        Ok(Self { call, name })
    }

    async fn connect(&self, store: &DatastoreName) -> Result<RemoteStore, RestError> {
        let (config, env) = (&self.call.server.config, &self.call.server.env);
        let connected = connect(config, &self.name, store, &Rates::default(), env).await;
        connected.map_err(|error| self.failed(&error))
    }

    fn failed(&self, error: &anyhow::Error) -> RestError {
        RestError::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            format!("failed to scan remote '{}' - {error:#}", self.name),
        )
    }
}

async fn datastores(call: Call) -> Result<Answer, RestError> {
    let scan = Scan::of(call)?;
    // The list is that of the server. A connection is for one datastore; any name will do, and the
    // remote's is one that can be.
    let any: DatastoreName = scan.call.text(NAME.name)?;
    let found = scan.connect(&any).await?.datastores().await;
    Answer::of(found.map_err(|error| scan.failed(&error))?)
}

async fn namespaces(call: Call) -> Result<Answer, RestError> {
    let scan = Scan::of(call)?;
    let store: DatastoreName = scan.call.text(STORE.name)?;
    let found = scan.connect(&store).await?.namespaces(None, None).await;
    Answer::of(found.map_err(|error| scan.failed(&error))?)
}

async fn groups(call: Call) -> Result<Answer, RestError> {
    let scan = Scan::of(call)?;
    let store: DatastoreName = scan.call.text(STORE.name)?;
    let ns: Option<BackupNamespace> = scan.call.optional(THERE.name)?;
    let ns = ns.filter(|ns| !ns.is_root());
    let found = scan.connect(&store).await?.groups(ns.as_ref()).await;
    Answer::of(found.map_err(|error| scan.failed(&error))?)
}
