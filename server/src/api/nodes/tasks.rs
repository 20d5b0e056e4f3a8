//! Tasks: list, state, log, stop (`rest-api.md` §9).

use std::sync::Arc;

use api_types::access::{Privilege, Privileges};
use api_types::auth::Authid;
use api_types::names::{BackupNamespace, DatastoreName};
use api_types::status::{TaskListItem, TaskStatus};
use api_types::upid::Upid;
use bytes::Bytes;
use hyper::Method;
use hyper::header::{CONTENT_DISPOSITION, HeaderValue};
use serde::{Deserialize, Serialize};

use crate::api::fields::{NODE, UPID};
use crate::api::rights::{has_any, on_namespace};
use crate::api::stream::{self, answer};
use crate::api::target::refused;
use crate::api::{download_entry, entry};
use crate::rest::answer::{Answer, full};
use crate::rest::call::Call;
use crate::rest::endpoint::Param;
use crate::rest::error::RestError;
use crate::rest::schema::Schema;
use crate::rest::table::{Access, Endpoint};
use crate::task::index::IndexEntry;
use crate::task::list::{StatusKind, TaskFilter};
use crate::task::log_file::LogLine;

const START: Param =
    Param::optional("start", "The first to list.", Schema::integer(0, i64::MAX)).or_number(0);
const LIMIT: Param = Param::optional(
    "limit",
    "How many to list at most; 0 for all.",
    Schema::integer(0, i64::MAX),
)
.or_number(50);
const TIME: Schema = Schema::integer(0, i64::MAX);

/// The endpoints of this module.
pub const ENDPOINTS: &[Endpoint] = &[
    entry(
        Method::GET,
        "/nodes/{node}/tasks",
        "List tasks.",
        &[
            NODE,
            START,
            LIMIT,
            Param::optional("store", "Only tasks on this datastore.", Schema::ANY_TEXT),
            Param::optional("running", "Only running tasks.", Schema::Boolean).or_flag(false),
            Param::optional(
                "errors",
                "Leave out those that ended well.",
                Schema::Boolean,
            )
            .or_flag(false),
            Param::optional("userfilter", "Part of the auth id.", Schema::ANY_TEXT),
            Param::optional("since", "Started at this time or later.", TIME),
            Param::optional("until", "Started at this time or earlier.", TIME),
            Param::optional("typefilter", "Part of the task's type.", Schema::ANY_TEXT),
            Param::optional(
                "statusfilter",
                "Only those that ended like this.",
                Schema::Array(&Schema::Choice(&["ok", "warning", "error", "unknown"])),
            ),
        ],
        Access::ByHandler,
        |call| Box::pin(list(call)),
    ),
    entry(
        Method::GET,
        "/nodes/{node}/tasks/{upid}/status",
        "Tell whether a task runs, or how it ended.",
        &[NODE, UPID],
        Access::ByHandler,
        |call| Box::pin(status(call)),
    ),
    download_entry(
        "/nodes/{node}/tasks/{upid}/log",
        "Read the log of a task.",
        &[
            NODE,
            UPID,
            START,
            LIMIT,
            Param::optional("test-status", "Tell whether it runs, too.", Schema::Boolean),
            Param::optional("download", "Get the whole log as a file.", Schema::Boolean),
        ],
        Access::ByHandler,
        |call| Box::pin(log(call)),
    ),
    entry(
        Method::DELETE,
        "/nodes/{node}/tasks/{upid}",
        "Ask a task to stop.",
        &[NODE, UPID],
        Access::ByHandler,
        |call| Box::pin(stop(call)),
    ),
];

const TASKS_PATH: [&str; 2] = ["system", "tasks"];

/// Whether it is the caller's own task, or that of one of their tokens.
fn is_own(call: &Call, upid: &Upid) -> bool {
    Authid::is_owner_ok(upid.auth_id(), &call.auth_id)
}

/// Whether it is a task that the clock starts and that the caller could start, too.
fn is_of_own_job(call: &Call, upid: &Upid) -> bool {
    let id = upid.worker_id().unwrap_or_default();
    let any: &[Privilege] = match upid.worker_type() {
        "syncjob" => return could_pull(call, id),
        "verificationjob" => &[Privilege::DatastoreVerify],
        "garbage_collection" | "prune" | "prunejob" => &[Privilege::DatastoreModify],
        _ => return false,
    };
    let (store, rest) = id.split_once(':').unwrap_or((id, ""));
    let ns = match upid.worker_type() {
        "prune" | "prunejob" => rest.split(':').next().unwrap_or_default(),
        _ => "",
    };
    has_any_in(call, store, ns, any)
}

/// Whether the caller could pull what a sync job pulls, whose id names first the other end, `-` being
/// this server, and then this one.
fn could_pull(call: &Call, id: &str) -> bool {
    let mut parts = id.split(':');
    let mut next = || parts.next().unwrap_or_default();
    let (remote, remote_store, store, ns) = (next(), next(), next(), next());
    let backup = &[Privilege::DatastoreBackup];
    let there = match remote {
        "-" => has_any_in(call, remote_store, "", backup),
        remote => has_any(
            call,
            &["remote", remote, remote_store],
            &[Privilege::RemoteRead],
        ),
    };
    there && has_any_in(call, store, ns, backup)
}

fn has_any_in(call: &Call, store: &str, ns: &str, any: &[Privilege]) -> bool {
    let Ok(store) = store.parse::<DatastoreName>() else {
        return false;
    };
    let ns: BackupNamespace = ns.parse().unwrap_or_default();
    on_namespace(&call.server.access, &call.auth_id, &store, &ns).has_any(Privileges::of(any))
}

fn sees_all(call: &Call) -> bool {
    call.server
        .access
        .privileges(&call.auth_id, &TASKS_PATH)
        .has_any(Privilege::SysAudit.into())
}

/// Refuses a caller who may not look at a task.
fn check_visible(call: &Call, upid: &Upid) -> Result<(), RestError> {
    if is_own(call, upid) || is_of_own_job(call, upid) {
        return Ok(());
    }
    call.server
        .access
        .require(&call.auth_id, &TASKS_PATH, &[Privilege::SysAudit])
}

#[derive(Debug, Deserialize)]
struct ListParams {
    start: usize,
    limit: usize,
    store: Option<String>,
    running: bool,
    errors: bool,
    userfilter: Option<String>,
    since: Option<i64>,
    until: Option<i64>,
    typefilter: Option<String>,
    #[serde(default)]
    statusfilter: Vec<String>,
}

async fn list(call: Call) -> Result<Answer, RestError> {
    let params: ListParams = call.params.read()?;
    let statuses = params.statusfilter.iter().filter_map(|word| {
        Some(match word.as_str() {
            "ok" => StatusKind::Ok,
            "warning" => StatusKind::Warning,
            "error" => StatusKind::Error,
            "unknown" => StatusKind::Unknown,
            _ => return None,
        })
    });
    let filter = TaskFilter {
        start: params.start,
        limit: params.limit,
        store: params.store,
        running: params.running,
        errors: params.errors,
        user: params.userfilter,
        since: params.since,
        until: params.until,
        worker_type: params.typefilter,
        statuses: statuses.collect(),
    };
    let server = Arc::clone(&call.server);
    let look = move || {
        let all = sees_all(&call);
        call.server.tasks.list_visible(&filter, |upid| {
            all || is_own(&call, upid) || is_of_own_job(&call, upid)
        })
    };
    let found = server.env.blocking(look).await?;
    let items: Vec<TaskListItem> = found
        .entries
        .into_iter()
        .map(IndexEntry::into_item)
        .collect();
    Answer::of(items)?.with("total", found.total)
}

#[derive(Debug, Serialize)]
struct Status<'a> {
    upid: &'a Upid,
    node: &'a str,
    pid: u32,
    pstart: u64,
    starttime: i64,
    #[serde(rename = "type")]
    ty: &'a str,
    id: Option<&'a str>,
    user: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    tokenid: Option<String>,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    exitstatus: Option<TaskStatus>,
    #[serde(skip_serializing_if = "Option::is_none")]
    endtime: Option<i64>,
}

async fn status(call: Call) -> Result<Answer, RestError> {
    let upid: Upid = call.text(UPID.name)?;
    check_visible(&call, &upid)?;
    // A task that is not there has no state.
    call.server.tasks.open_log(&upid)?;
    let end = (!call.server.tasks.is_running(&upid)).then(|| call.server.tasks.end(&upid));
    let auth_id = upid.auth_id();
    Answer::of(Status {
        node: upid.node(),
        pid: upid.pid(),
        pstart: upid.pstart(),
        starttime: upid.starttime(),
        ty: upid.worker_type(),
        id: upid.worker_id(),
        user: auth_id.user.to_string(),
        tokenid: auth_id.token.as_ref().map(ToString::to_string),
        status: if end.is_some() { "stopped" } else { "running" },
        endtime: end.as_ref().map(|end| end.endtime),
        exitstatus: end.map(|end| end.status),
        upid: &upid,
    })
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct LogParams {
    start: u64,
    limit: u64,
    test_status: Option<bool>,
    download: Option<bool>,
}

async fn log(call: Call) -> Result<Answer, RestError> {
    let upid: Upid = call.text(UPID.name)?;
    check_visible(&call, &upid)?;
    let params: LogParams = call.params.read()?;
    if params.download == Some(true) {
        if params.test_status.is_some() {
            return Err(RestError::bad_request(
                "parameter 'download' cannot be used together with 'test-status'",
            ));
        }
        return download(&call, &upid);
    }
    let place = call.server.places.make().await?;
    let (tasks, asked) = (call.server.tasks.clone(), params.test_status);
    let read = move || {
        // Asked before reading: what a task writes as its last line is then read for sure.
        let active = asked.is_some_and(|asked| asked);
        let active = active.then(|| tasks.is_running(&upid));
        let page = tasks.log(&upid, params.start, params.limit)?;
        anyhow::Ok(serde_json::to_vec(&LogAnswer {
            data: page.lines,
            total: page.total,
            success: 1,
            active,
        })?)
    };
    let text = Bytes::from(call.server.env.blocking(read).await?);
    drop(place);
    let body = match stream::place_for(&call.server, text.len())? {
        None => full(text),
        Some(large) => stream::whole(large, text),
    };
    Ok(answer(body, "application/json"))
}

#[derive(Debug, Serialize)]
struct LogAnswer {
    data: Vec<LogLine>,
    total: u64,
    success: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    active: Option<bool>,
}

fn download(call: &Call, upid: &Upid) -> Result<Answer, RestError> {
    let file = call.server.tasks.open_log(upid)?;
    let file = tokio::fs::File::from_std(file);
    let place = stream::download(call)?;
    let body = stream::body(&call.server.env, |sink| async move {
        let _place = place;
        sink.send_all(file).await
    });
    let mut answer = answer(body, "text/plain");
    let time = jiff::Timestamp::from_second(upid.starttime()).map_err(refused)?;
    let name = format!(
        "attachment; filename=task-{}-{}-{time}.log",
        upid.node(),
        upid.worker_type()
    );
    if let Answer::Response(response) = &mut answer {
        let value = HeaderValue::from_str(&name).map_err(refused)?;
        response.headers_mut().insert(CONTENT_DISPOSITION, value);
    }
    Ok(answer)
}

async fn stop(call: Call) -> Result<Answer, RestError> {
    let upid: Upid = call.text(UPID.name)?;
    if *upid.auth_id() != call.auth_id {
        call.server
            .access
            .require(&call.auth_id, &TASKS_PATH, &[Privilege::SysModify])?;
    }
    call.server.tasks.request_abort(&upid)?;
    Ok(Answer::null())
}
