//! `/status`: all datastores at a glance, and the figures of the last half hour.

use std::collections::BTreeSet;

use api_types::access::Privilege;
use api_types::datastore::{BackendType, Operation};
use api_types::names::DatastoreName;
use api_types::status::GarbageCollectionStatus;
use hyper::Method;
use serde::Serialize;
use serde_json::{Value, json};

use super::admin::datastore::{Sight, sight};
use super::entry;
use super::rights::has_any;
use super::target::{open, refused};
use crate::datastores::mounted::NOT_MOUNTED;
use crate::datastores::space::DiskSpace;
use crate::metrics::chart::Timeframe;
use crate::metrics::forecast::full_date;
use crate::metrics::live::DataPoint;
use crate::metrics::sample::DATASTORE_SERIES;
use crate::metrics::series::{Consolidation, Point};
use crate::rest::answer::Answer;
use crate::rest::call::Call;
use crate::rest::endpoint::Param;
use crate::rest::error::RestError;
use crate::rest::schema::Schema;
use crate::rest::table::{Access, Endpoint};

/// The endpoints of this module.
pub const ENDPOINTS: &[Endpoint] = &[
    entry(
        Method::GET,
        "/status/datastore-usage",
        "Tell how full the datastores are, and when they will be.",
        &[],
        Access::Anybody,
        |call| Box::pin(usage(call)),
    ),
    entry(
        Method::GET,
        "/status/metrics",
        "Tell the latest figures of the machine and the datastores.",
        &[
            Param::optional(
                "start-time",
                "With the history: only what is newer.",
                Schema::integer(0, i64::MAX),
            )
            .or_number(0),
            Param::optional(
                "history",
                "All of the last half hour instead of the newest.",
                Schema::Boolean,
            )
            .or_flag(false),
        ],
        Access::Anybody,
        |call| Box::pin(metrics(call)),
    ),
];

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
    #[serde(flatten)]
    history: Option<History>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// How full it was in the last month.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct History {
    /// Shares in use, null where nothing is known.
    history: Vec<Option<f64>>,
    history_start: i64,
    history_delta: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    estimated_full_date: Option<i64>,
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
            mount_status: call.server.stores.mount_status(config).await,
            backend_type: config.backend().backend_type(),
            gc_status: None,
            history: None,
            error: None,
        };
        if sight == Sight::Store && item.mount_status != NOT_MOUNTED {
            match look(&call, &config.name).await {
                Ok((space, gc_status)) => {
                    item.space = Some(space);
                    item.gc_status = Some(gc_status);
                    item.history = history(&call, &config.name).await?;
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
    Ok(call.server.stores.look_at(&store).await?)
}

/// From the figures that are kept; none if there are none yet.
async fn history(call: &Call, name: &DatastoreName) -> Result<Option<History>, RestError> {
    let (file, now) = (
        call.server.metrics.datastore(name),
        call.server.env.unix_secs(),
    );
    let read = move || Timeframe::MONTH.points(&file, Consolidation::Average, now);
    let points = call.server.env.blocking(read).await?;
    let [Some(available), Some(used)] = ["available", "used"]
        .map(|series| DATASTORE_SERIES.iter().position(|name| *name == series))
    else {
        return Ok(None);
    };
    let (Some(first), Some(second)) = (points.first(), points.get(1)) else {
        return Ok(None);
    };
    let share = |point: &Point| {
        let value = |index: usize| point.values.get(index).copied().flatten();
        let (used, available) = (value(used)?, value(available)?);
        (used + available > 0.0).then(|| used / (used + available))
    };
    let known: Vec<(i64, f64)> = points
        .iter()
        .filter_map(|point| Some((point.time, share(point)?)))
        .collect();
    Ok(Some(History {
        history: points.iter().map(share).collect(),
        history_start: first.time,
        history_delta: second.time - first.time,
        estimated_full_date: full_date(&known),
    }))
}

async fn metrics(call: Call) -> Result<Answer, RestError> {
    let sees_host = has_any(&call, &["system", "status"], &[Privilege::SysAudit]);
    let content = call.server.config.datastores().load().map_err(refused)?;
    let stores: BTreeSet<String> = content
        .entries
        .iter()
        .map(|config| config.name.to_string())
        .filter(|name| has_any(&call, &["datastore", name], &[Privilege::DatastoreAudit]))
        .collect();
    let is_seen = |point: &&DataPoint| match point.id.split('/').nth(1) {
        None => sees_host,
        Some(store) => stores.contains(store),
    };
    let start = call.params.get("start-time").and_then(Value::as_i64);
    let live = call.server.metrics.live();
    let points: Vec<&DataPoint> = if call.flag("history") {
        live.since(start.unwrap_or_default())
            .filter(is_seen)
            .collect()
    } else {
        live.newest().filter(is_seen).collect()
    };
    Answer::of(json!({ "data": points }))
}
