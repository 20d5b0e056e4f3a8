//! The way of a request: arrival, network faults, signature, throttle, faults, apply, answer.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::{Method, Response};

use crate::answer::Answer;
use crate::behaviour::DateHeader;
use crate::body::AnswerBody;
use crate::clock::sleep;
use crate::dates::http_date;
use crate::fault::{Action, Chosen, ClientSees};
use crate::journal::What;
use crate::late::Held;
use crate::op::Op;
use crate::request::Request;
use crate::shared::Shared;
use crate::sigv4::verify;

/// The connection ends without a whole answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dropped;

impl std::fmt::Display for Dropped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("connection dropped by the script")
    }
}

impl std::error::Error for Dropped {}

type Reply = Result<Response<AnswerBody>, Dropped>;

/// How the answer's body is broken.
#[derive(Clone, Copy)]
enum BodyFault {
    None,
    Truncate(usize),
    Stall(usize),
    WrongLength(i64),
    Corrupt,
}

/// A request that has arrived completely goes its way, whether its client waits or not.
pub(crate) async fn process(shared: Arc<Shared>, request: Request) -> Reply {
    let op = request.op;
    let chosen = {
        let mut state = shared.lock();
        let keys = request.keys();
        let chosen = state.faults.choose(op, &keys);
        let chosen = chosen.or_else(|| request.treatment.chosen());
        state.record(&request, shared.clock.millis(), What::Arrived { keys });
        state.counters.begin(op);
        let size = u64::try_from(request.body.len()).unwrap_or(u64::MAX);
        state.counters.bytes_in = state.counters.bytes_in.saturating_add(size);
        chosen
    };
    let reply = Run {
        shared: &shared,
        request: &request,
    }
    .go(chosen)
    .await;
    shared.lock().counters.end(op);
    reply
}

struct Run<'a> {
    shared: &'a Arc<Shared>,
    request: &'a Request,
}

impl Run<'_> {
    async fn go(&self, chosen: Option<Chosen>) -> Reply {
        let (action, in_network) = match chosen {
            Some(chosen) => (Some(chosen.action), chosen.in_network),
            None => (None, false),
        };
        if in_network && let Some(reply) = self.before_apply(action.as_ref(), true).await {
            return reply;
        }
        if let Some(answer) = self.refused() {
            return self.answer(answer, BodyFault::None).await;
        }
        if !in_network && let Some(reply) = self.before_apply(action.as_ref(), false).await {
            return reply;
        }
        let latency = self
            .shared
            .lock()
            .behaviour
            .latency
            .get(&self.request.op)
            .copied();
        sleep(latency.unwrap_or_default()).await;
        let answer = {
            let mut state = self.shared.lock();
            state.apply(self.request, self.shared.clock.millis())
        };
        self.after_apply(action, answer).await
    }

    /// Signature, date and rate.
    fn refused(&self) -> Option<Answer> {
        if let Some(account) = &self.shared.account {
            let now = self.shared.clock.millis().div_euclid(1000);
            if let Err(refusal) = verify(self.request, account, now) {
                return Some(refusal.into());
            }
        }
        let now = self.shared.clock.monotonic();
        self.shared.lock().throttled(self.request.op, now)
    }

    /// The part of a fault that comes before the request is applied; an end, if it is one.
    async fn before_apply(&self, action: Option<&Action>, in_network: bool) -> Option<Reply> {
        match action? {
            Action::Reply(reply) => Some(self.answer(reply.to_answer(), BodyFault::None).await),
            Action::Drop => Some(self.drop_connection()),
            Action::Hang => Some(self.hang().await),
            Action::Pause(gate) => {
                gate.pass().await;
                None
            }
            Action::Delay(duration) => {
                sleep(*duration).await;
                None
            }
            Action::Late { after, client } => {
                self.hold_back(*after, in_network);
                Some(match client {
                    ClientSees::Drop => self.drop_connection(),
                    ClientSees::Hang => self.hang().await,
                    ClientSees::Reply(reply) => {
                        self.answer(reply.to_answer(), BodyFault::None).await
                    }
                })
            }
            _ => None,
        }
    }

    async fn after_apply(&self, action: Option<Action>, answer: Answer) -> Reply {
        let fault = match action {
            Some(Action::ApplyThenDrop) => return self.drop_connection(),
            Some(Action::ApplyThenHang) => return self.hang().await,
            Some(Action::ApplyThenReply(reply)) => {
                return self.answer(reply.to_answer(), BodyFault::None).await;
            }
            Some(Action::ApplyThenPause(gate)) => {
                gate.pass().await;
                BodyFault::None
            }
            Some(Action::TruncateBody { keep }) => BodyFault::Truncate(keep),
            Some(Action::StallBody { keep }) => BodyFault::Stall(keep),
            Some(Action::WrongLength { delta }) => BodyFault::WrongLength(delta),
            Some(Action::CorruptBody) => BodyFault::Corrupt,
            _ => BodyFault::None,
        };
        self.answer(answer, fault).await
    }

    fn record(&self, what: What) {
        let now = self.shared.clock.millis();
        self.shared.lock().record(self.request, now, what);
    }

    fn drop_connection(&self) -> Reply {
        self.record(What::Dropped);
        Err(Dropped)
    }

    async fn hang(&self) -> Reply {
        self.record(What::Hung);
        self.shared.shutdown.cancelled().await;
        Err(Dropped)
    }

    /// Keeps the request for later; without a time, until the test releases it.
    fn hold_back(&self, after: Option<Duration>, verify: bool) {
        let held = Held {
            request: self.request.clone(),
            verify,
        };
        let id = held.request.id;
        self.shared.lock().late.hold(held);
        let Some(after) = after else { return };
        let shared = Arc::clone(self.shared);
        tokio::spawn(async move {
            tokio::select! {
                () = sleep(after) => {
                    shared.release_late(id);
                }
                () = shared.shutdown.cancelled() => {}
            }
        });
    }

    /// Sends an answer, with the headers common to all.
    async fn answer(&self, mut answer: Answer, fault: BodyFault) -> Reply {
        let id = format!("{:016X}", self.request.id);
        if answer.code.is_some() {
            let body = String::from_utf8_lossy(&answer.body).replace("{request-id}", &id);
            answer.body = body.into();
        }
        let now = self.shared.clock.millis();
        let (date, omit, bandwidth) = {
            let state = self.shared.lock();
            let behaviour = &state.behaviour;
            (
                behaviour.date_header,
                behaviour.omit_headers.clone(),
                behaviour.bandwidth,
            )
        };
        if let Some(bandwidth) = bandwidth {
            sleep(transfer_time(
                self.request.body.len(),
                answer.body.len(),
                bandwidth,
            ))
            .await;
        }
        answer.headers.push(("x-amz-request-id".to_owned(), id));
        answer
            .headers
            .push(("x-amz-id-2".to_owned(), "mock".to_owned()));
        match date {
            DateHeader::Missing => {}
            DateHeader::ServerClock => answer.headers.push(("date".to_owned(), http_date(now))),
            DateHeader::OffBySecs(secs) => {
                let date = http_date(now.saturating_add(secs.saturating_mul(1000)));
                answer.headers.push(("date".to_owned(), date));
            }
        }
        if self.request.op == Op::HeadBucket && answer.status == 200 {
            answer
                .headers
                .push(("x-amz-bucket-region".to_owned(), self.shared.region.clone()));
        }
        self.record(What::Answered {
            status: answer.status,
            code: answer.code.clone(),
        });
        {
            let mut state = self.shared.lock();
            *state.counters.statuses.entry(answer.status).or_default() += 1;
            let size = u64::try_from(answer.body.len()).unwrap_or(u64::MAX);
            state.counters.bytes_out = state.counters.bytes_out.saturating_add(size);
        }
        answer.headers.retain(|(name, _)| !omit.contains(name));
        let hide_length = omit.contains("content-length");
        let is_head = self.request.method == Method::HEAD;
        respond(answer, fault, is_head, hide_length).map_err(|_| Dropped)
    }
}

fn transfer_time(received: usize, sent: usize, bandwidth: u64) -> Duration {
    let bytes = u64::try_from(received.saturating_add(sent)).unwrap_or(u64::MAX);
    Duration::from_millis(bytes.saturating_mul(1000) / bandwidth.max(1))
}

/// Makes the HTTP answer, its body broken as told.
fn respond(
    answer: Answer,
    fault: BodyFault,
    is_head: bool,
    hide_length: bool,
) -> Result<Response<AnswerBody>, hyper::http::Error> {
    let mut response = Response::builder().status(answer.status);
    for (name, value) in &answer.headers {
        response = response.header(name, value);
    }
    let length = answer.body.len();
    if answer.status == 204 {
        return response.body(AnswerBody::whole(Bytes::new()));
    }
    let declared = match fault {
        BodyFault::WrongLength(delta) => usize::try_from(
            i64::try_from(length)
                .unwrap_or(i64::MAX)
                .saturating_add(delta),
        )
        .unwrap_or(0),
        _ => length,
    };
    if !hide_length {
        response = response.header("content-length", declared);
    }
    let body = match fault {
        _ if is_head => AnswerBody::whole(Bytes::new()),
        BodyFault::None if hide_length => AnswerBody::undeclared(answer.body),
        BodyFault::None => AnswerBody::whole(answer.body),
        BodyFault::Truncate(keep) => AnswerBody::undeclared(answer.body.slice(..keep.min(length))),
        BodyFault::Stall(keep) => AnswerBody::stalling(answer.body.slice(..keep.min(length))),
        BodyFault::WrongLength(_) => AnswerBody::undeclared(answer.body),
        BodyFault::Corrupt => {
            let mut bytes = answer.body.to_vec();
            if let Some(byte) = bytes.get_mut(length / 2) {
                *byte ^= 1;
            }
            AnswerBody::whole(bytes.into())
        }
    };
    response.body(body)
}
