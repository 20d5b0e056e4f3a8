//! The machine: who it is, how it does, its time.

use std::io;
use std::path::Path;

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
use crate::rest::endpoint::Param;
use crate::rest::error::RestError;
use crate::rest::schema::{Schema, Text};
use crate::rest::table::{Access, Endpoint};
use crate::task::node_name;

const FROM_STATUS: Access = Access::Privileges {
    path: "/system/status",
    any: &[Privilege::SysAudit],
};

const ZONE: Schema = Schema::Text(Text {
    form: "time zone",
    check: |text| {
        jiff::tz::db()
            .get(text)
            .map(|_| ())
            .map_err(|_| "there is no such time zone".to_owned())
    },
    max_len: 64,
});
const LOCALTIME: &str = "/etc/localtime";
const ZONES: &str = "/usr/share/zoneinfo";

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
        Method::PUT,
        "/nodes/{node}/time",
        "Set the time zone, if the server may.",
        &[NODE, Param::required("timezone", "Name of the zone.", ZONE)],
        Access::Privileges {
            path: "/system/time",
            any: &[Privilege::SysModify],
        },
        |call| Box::pin(set_zone(call)),
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

async fn set_zone(call: Call) -> Result<Answer, RestError> {
    let zone = call.params.text("timezone").unwrap_or_default();
    point_at(&Path::new(ZONES).join(zone), Path::new(LOCALTIME)).map_err(|error| {
        RestError::bad_request(format!(
            "failed to set {LOCALTIME}: {error}; the server runs without the rights to configure \
             the machine, use 'timedatectl set-timezone {zone}' as root"
        ))
    })?;
    Ok(Answer::null())
}

/// Makes `link` a symbolic link to `target`, in one step.
fn point_at(target: &Path, link: &Path) -> io::Result<()> {
    let temporary = link.with_extension(format!("tmp_{}", std::process::id()));
    std::os::unix::fs::symlink(target, &temporary)?;
    let renamed = std::fs::rename(&temporary, link);
    if renamed.is_err() {
        // The first error is the one to report.
        let _ = std::fs::remove_file(&temporary);
    }
    renamed
}

async fn subscription(call: Call) -> Result<Answer, RestError> {
    let mut answer = json!({
        "status": "notfound",
        "message": "There is no subscription key",
        "url": env!("CARGO_PKG_REPOSITORY"),
    });
    if has_any(&call, &[], &[Privilege::SysAudit])
        && let Value::Object(members) = &mut answer
    {
        let id = derived_id(&call, "server id\0")?.to_ascii_uppercase();
        members.insert("serverid".to_owned(), id.into());
    }
    Answer::of(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_pointed_elsewhere() {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("localtime");
        for target in ["a", "b"] {
            point_at(Path::new(target), &link).unwrap();
            assert_eq!(std::fs::read_link(&link).unwrap(), Path::new(target));
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        assert!(point_at(Path::new("a"), Path::new("/proc/none/localtime")).is_err());
    }
}
