//! HTTP/2 on an upgraded connection (`backup-protocol.md` §2.5, §2.6).

use std::convert::Infallible;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper::{Method, Response, StatusCode};
use hyper_util::rt::TokioTimer;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::endpoint::{Request, Session, dispatch};
use super::heard::Heard;
use crate::rest::answer::{Answer, AnswerBody, full};
use crate::rest::call::Body;
use crate::rest::error::RestError;
use crate::rest::format::Format;

/// Bytes of bodies that a client may send before they are read: of one request, and of all. They
/// are in memory, of each session, however slow the storage is.
const WINDOW: u32 = 16 << 20;
/// Longest frame that a client may send: as long as there can be. A chunk that needs more than one
/// is completed only after the first frames of all that the client sends beside it, and copied.
const MAX_FRAME: u32 = (1 << 24) - 1;
/// Clients keep about a hundred uploads under way.
const MAX_REQUESTS: u32 = 256;
/// How long a client that was told to switch protocols may say nothing. A session holds locks.
const FIRST_WORD: Duration = Duration::from_secs(60);
/// How often a client that sends nothing is asked whether it is there, and how long it may leave that
/// unanswered: one that was stopped, or whose network is gone, must not lock its group for ever. An
/// idle one answers.
const ASK: Duration = Duration::from_secs(60);
const SILENCE: Duration = Duration::from_secs(15 * 60);
/// A refused chunk is refused slowly, like a refused password.
const DENIAL_DELAY: Duration = Duration::from_secs(3);

const NOTHING_CAME: &str = "connection error: the client did not begin to speak HTTP/2";

/// PUT requests, one after the other in the order in which they came: what they append to an index
/// goes to its end, and a client need not wait for an answer before it sends the next.
#[derive(Debug, Default)]
struct Lane(Mutex<Option<oneshot::Receiver<()>>>);

/// A place in the lane.
struct Turn {
    before: Option<oneshot::Receiver<()>>,
    _done: oneshot::Sender<()>,
}

impl Lane {
    fn enter(&self) -> Turn {
        let (done, after) = oneshot::channel();
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Turn {
            before: last.replace(after),
            _done: done,
        }
    }
}

impl Turn {
    async fn comes(&mut self) {
        if let Some(before) = self.before.take() {
            // It answers nothing; it is dropped when the one before is done.
            let _ = before.await;
        }
    }
}

/// Runs handlers as tasks that end with the connection.
#[derive(Clone, Debug)]
struct Tasks {
    gone: CancellationToken,
}

impl<F> hyper::rt::Executor<F> for Tasks
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, work: F) {
        let gone = self.gone.clone();
        tokio::spawn(async move { gone.run_until_cancelled(work).await });
    }
}

/// Serves the session on the connection to come until the client goes away or the session's task is
/// aborted.
pub async fn run<S, I>(connection: impl Future<Output = Result<I>>, session: &Arc<S>) -> Result<()>
where
    S: Session,
    I: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
{
    let served = async {
        let late = session.env().sleep(FIRST_WORD);
        let connection = tokio::select! {
            connection = connection => connection?,
            () = late => return Err(anyhow!("{NOTHING_CAME}")),
        };
        session.task().log("protocol upgrade done");
        let (connection, heard) = Heard::new(connection);
        let nothing_came = async {
            session.env().sleep(FIRST_WORD).await;
            if heard.load(Ordering::Relaxed) {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            served = serve(connection, Arc::clone(session)) => served.context("connection error"),
            () = nothing_came => Err(anyhow!("{NOTHING_CAME}")),
        }
    };
    match session.task().cancel().run_until_cancelled(served).await {
        Some(served) => served,
        None => Err(anyhow!("task aborted")),
    }
}

/// Serves requests to the session until the client goes away. When this future ends or is dropped,
/// so do all the handlers, soon.
async fn serve<S, I>(io: I, session: Arc<S>) -> hyper::Result<()>
where
    S: Session,
    I: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
{
    let gone = CancellationToken::new();
    let _guard = gone.clone().drop_guard();
    let lane = Lane::default();
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let session = Arc::clone(&session);
        let turn = (request.method() == Method::PUT).then(|| lane.enter());
        async move {
            let mut turn = turn;
            if let Some(turn) = &mut turn {
                turn.comes().await;
            }
            Ok::<_, Infallible>(answer(&session, request).await)
        }
    });
    builder(Tasks { gone }).serve_connection(io, service).await
}

/// HTTP/2 as sessions speak it.
pub fn builder<E>(executor: E) -> http2::Builder<E> {
    let mut builder = http2::Builder::new(executor);
    builder
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .max_frame_size(MAX_FRAME)
        .max_concurrent_streams(MAX_REQUESTS)
        .timer(TokioTimer::new())
        .keep_alive_interval(Some(ASK))
        .keep_alive_timeout(SILENCE);
    builder
}

async fn answer<S: Session>(
    session: &Arc<S>,
    request: hyper::Request<Incoming>,
) -> Response<AnswerBody> {
    let (head, body) = request.into_parts();
    let name = format!("{} {}", head.method, head.uri.path());
    if session.is_verbose() {
        session.task().log(&name);
    }
    let body: Body = body.map_err(anyhow::Error::new).boxed();
    let request = Request {
        method: head.method,
        path: head.uri.path().to_owned(),
        query: head.uri.query().unwrap_or_default().to_owned(),
        content_type: head
            .headers
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned),
        body,
    };
    match dispatch(session, request).await {
        Ok(Answer::Data(data)) => json(&serde_json::json!({ "data": data })),
        Ok(Answer::Rich { data, attributes }) => {
            let mut object = attributes;
            object.insert("data".into(), data);
            json(&object.into())
        }
        Ok(Answer::Response(response)) => response,
        Ok(written @ Answer::Json { .. }) => Format::Json.answer(written),
        Err(error) => {
            let RestError {
                status, message, ..
            } = &error;
            session.task().log(&format!("{name}: {status}: {message}"));
            if *status == StatusCode::UNAUTHORIZED {
                session.env().sleep(DENIAL_DELAY).await;
            }
            refusal(error)
        }
    }
}

fn json(value: &serde_json::Value) -> Response<AnswerBody> {
    typed("application/json;charset=UTF-8", full(value.to_string()))
}

fn refusal(error: RestError) -> Response<AnswerBody> {
    let mut response = Response::new(full(error.message));
    *response.status_mut() = error.status;
    response
}

/// A positive answer of this type.
pub(super) fn typed(content_type: &'static str, body: AnswerBody) -> Response<AnswerBody> {
    let mut response = Response::new(body);
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// Raw bytes as an answer.
pub(super) fn bytes(body: AnswerBody) -> Answer {
    Answer::Response(typed("application/octet-stream", body))
}
