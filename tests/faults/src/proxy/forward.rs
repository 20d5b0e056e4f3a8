//! One request on its way to the server and back.

use std::io;
use std::sync::Arc;

use hyper::body::{Body as _, Incoming};
use hyper::client::conn::http1;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::Shared;
use super::body::{Cut, CutBody};
use super::plan::{Fault, Moment, Op};
use super::socket::Reset;

fn lost() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, "the proxy drops it")
}

/// Forwards a request. An error ends the client's connection without an answer.
pub(super) async fn forward(
    shared: Arc<Shared>,
    reset: Reset,
    request: Request<Incoming>,
) -> Result<Response<CutBody>, io::Error> {
    let op = Op::of(request.method(), request.uri().query());
    let planned = shared.next(op);
    if planned.fault.is_some_and(Fault::resets) {
        reset.arm();
    }
    if matches!(planned.moment, Some(Moment::Before(_))) {
        shared.moment_has_come();
        return std::future::pending().await;
    }

    let request_cut = match planned.fault {
        Some(Fault::CutRequest | Fault::ResetRequest) => Cut::End {
            at: CutBody::offset(request.body(), planned.at),
        },
        _ => Cut::Nowhere,
    };
    if request_cut != Cut::Nowhere && request.body().is_end_stream() {
        // There is no middle of a body that is none.
        return Err(lost());
    }
    let answer = exchange(
        shared.upstream,
        request.map(|body| CutBody::new(body, request_cut)),
    )
    .await?;

    if matches!(planned.moment, Some(Moment::After(_))) {
        shared.moment_has_come();
        return std::future::pending().await;
    }
    let at = CutBody::offset(answer.body(), planned.at);
    let answer_cut = match planned.fault {
        Some(Fault::LoseAnswer) => return Err(lost()),
        Some(Fault::Truncate | Fault::ResetAnswer) if answer.body().is_end_stream() => {
            return Err(lost());
        }
        Some(Fault::Truncate | Fault::ResetAnswer) => Cut::End { at },
        Some(Fault::Stall) => Cut::Stall { at },
        _ => Cut::Nowhere,
    };
    Ok(answer.map(|body| CutBody::new(body, answer_cut)))
}

/// On a connection of its own, so that a cut one spoils nothing else.
async fn exchange(upstream: u16, request: Request<CutBody>) -> io::Result<Response<Incoming>> {
    let stream = TcpStream::connect(("127.0.0.1", upstream)).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(io::Error::other)?;
    // Ends with the sender and the answer's body.
    tokio::spawn(connection);
    sender.send_request(request).await.map_err(io::Error::other)
}
