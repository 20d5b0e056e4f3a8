//! `rrd` of the node and of datastores: figures over an hour to a decade.

use api_types::access::Privilege;
use api_types::names::DatastoreName;
use hyper::Method;

use super::entry;
use super::fields::{NODE, STORE};
use crate::metrics::chart::Timeframe;
use crate::metrics::series::{Consolidation, SeriesFile};
use crate::rest::answer::Answer;
use crate::rest::call::Call;
use crate::rest::endpoint::Param;
use crate::rest::error::RestError;
use crate::rest::schema::Schema;
use crate::rest::table::{Access, Endpoint};

const TIMEFRAME: Param = Param::required(
    "timeframe",
    "Stretch of time.",
    Schema::Choice(Timeframe::NAMES),
);
const CF: Param = Param::required(
    "cf",
    "What to make of the samples of a step.",
    Schema::Choice(&["MAX", "AVERAGE"]),
);

/// The endpoints of this module.
pub const ENDPOINTS: &[Endpoint] = &[
    entry(
        Method::GET,
        "/nodes/{node}/rrd",
        "Tell how the machine did.",
        &[NODE, TIMEFRAME, CF],
        Access::Privileges {
            path: "/system/status",
            any: &[Privilege::SysAudit],
        },
        |call| Box::pin(host(call)),
    ),
    entry(
        Method::GET,
        "/admin/datastore/{store}/rrd",
        "Tell how full a datastore was, and what its disk did.",
        &[STORE, TIMEFRAME, CF],
        Access::Privileges {
            path: "/datastore/{store}",
            any: &[Privilege::DatastoreAudit, Privilege::DatastoreBackup],
        },
        |call| Box::pin(datastore(call)),
    ),
];

async fn host(call: Call) -> Result<Answer, RestError> {
    let file = call.server.metrics.host();
    chart(&call, file).await
}

async fn datastore(call: Call) -> Result<Answer, RestError> {
    let name: DatastoreName = call.text(STORE.name)?;
    call.server.stores.config_of(&name)?;
    let file = call.server.metrics.datastore(&name);
    chart(&call, file).await
}

async fn chart(call: &Call, file: SeriesFile) -> Result<Answer, RestError> {
    let frame = call.params.text(TIMEFRAME.name).and_then(Timeframe::of);
    let what = match call.params.text(CF.name) {
        Some("MAX") => Consolidation::Maximum,
        _ => Consolidation::Average,
    };
    let now = call.server.env.unix_secs();
    let Some(frame) = frame else {
        return Err(RestError::parameter(TIMEFRAME.name, "there is no such"));
    };
    let read = move || frame.chart(&file, what, now);
    Answer::of(call.server.env.blocking(read).await?)
}
