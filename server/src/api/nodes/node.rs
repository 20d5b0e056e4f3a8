//! The machine: who it is, how it does, its time.

use api_types::access::Privilege;
use hyper::Method;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use openssl::sha::Sha256;
use serde_json::{Value, json};

use super::machine::MachineStatus;
use crate::api::entry;
use crate::api::fields::NODE;
use crate::api::rights::has_any;
use crate::api::target::refused;
use crate::instance::instance_id;
use crate::rest::answer::Answer;
use crate::rest::call::Call;
use crate::rest::error::RestError;
use crate::rest::table::{Access, Endpoint};
use crate::task::node_name;

const FROM_STATUS: Access = Access::Privileges {
    path: "/system/status",
    any: &[Privilege::SysAudit],
};

/// The endpoints of this module.
pub const ENDPOINTS: &[Endpoint] = &[
    entry(
        Method::GET,
        "/nodes",
        "List the nodes: this one.",
        &[],
        Access::Anybody,
        |call| Box::pin(list(call)),
    ),
    entry(
        Method::GET,
        "/nodes/{node}/identity",
        "Tell who this installation is.",
        &[NODE],
        Access::Anybody,
        |call| Box::pin(identity(call)),
    ),
    entry(
        Method::GET,
        "/nodes/{node}/status",
        "Tell how the machine does.",
        &[NODE],
        FROM_STATUS,
        |call| Box::pin(status(call)),
    ),
    entry(
        Method::GET,
        "/nodes/{node}/time",
        "Tell the time and the time zone.",
        &[NODE],
        Access::Anybody,
        |call| Box::pin(time(call)),
    ),
    entry(
        Method::GET,
        "/nodes/{node}/subscription",
        "Tell about the subscription: there are none.",
        &[NODE],
        Access::Anybody,
        |call| Box::pin(subscription(call)),
    ),
];

async fn list(_call: Call) -> Result<Answer, RestError> {
    Answer::of([json!({ "node": node_name() })])
}

/// 32 hex digits that are always the same here, and tell nothing else.
fn derived_id(call: &Call, purpose: &str) -> Result<String, RestError> {
    let id = instance_id(&call.server.paths.state, &call.server.env)?;
    let mut hash = Sha256::new();
    hash.update(purpose.as_bytes());
    hash.update(id.as_bytes());
    let hex = hex::encode(hash.finish());
    Ok(hex.chars().take(32).collect())
}

async fn identity(call: Call) -> Result<Answer, RestError> {
    // The instance id itself stands in buckets.
    let id = derived_id(&call, "node identity\0")?;
    Answer::of(json!({ "pbs-instance-id": id }))
}

async fn status(call: Call) -> Result<Answer, RestError> {
    let machine = MachineStatus::now(&call.server.env)
        .await
        .map_err(refused)?;
    let mut status = serde_json::to_value(machine).map_err(refused)?;
    if let Value::Object(members) = &mut status {
        let info = json!({ "fingerprint": &*call.server.tls.fingerprint() });
        members.insert("info".to_owned(), info);
    }
    Answer::of(status)
}

async fn time(call: Call) -> Result<Answer, RestError> {
    let now = call.server.env.unix_secs();
    let zone = TimeZone::system();
    let at = Timestamp::from_second(now).map_err(refused)?;
    Answer::of(json!({
        "timezone": zone.iana_name().unwrap_or("UTC"),
        "time": now,
        "localtime": now + i64::from(zone.to_offset(at).seconds()),
    }))
}

async fn subscription(call: Call) -> Result<Answer, RestError> {
    let mut answer = json!({ "status": "notfound", "message": "There is no subscription key" });
    if has_any(&call, &[], &[Privilege::SysAudit])
        && let Value::Object(members) = &mut answer
    {
        let id = derived_id(&call, "server id\0")?.to_ascii_uppercase();
        members.insert("serverid".to_owned(), id.into());
    }
    Answer::of(answer)
}
