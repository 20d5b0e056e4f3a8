//! Connections: TLS or plain (told apart by the first byte), HTTP/1.1, keep-alive.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Response, StatusCode};
use hyper_util::rt::TokioIo;
use openssl::ssl::Ssl;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_openssl::SslStream;

use crate::body::AnswerBody;
use crate::pipeline::{Dropped, process};
use crate::request::{Request, Target};
use crate::shared::Shared;
use crate::treatment::Treatment;

/// The largest request body.
const MAX_BODY: usize = 512 << 20;

/// First byte of a TLS handshake.
const TLS_HANDSHAKE: u8 = 0x16;

/// Accepts connections until shutdown. While `accepting` is false they are dropped at once.
pub(crate) async fn accept_loop(
    shared: Arc<Shared>,
    listener: TcpListener,
    accepting: Arc<AtomicBool>,
) {
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                // Too many open files: the next connection may do better.
                Err(_) => {
                    tokio::task::yield_now().await;
                    continue;
                }
            },
            () = shared.shutdown.cancelled() => return,
        };
        if accepting.load(Ordering::SeqCst) {
            tokio::spawn(serve_tcp(Arc::clone(&shared), stream));
        }
    }
}

async fn serve_tcp(shared: Arc<Shared>, stream: TcpStream) {
    // Only about latency: a failure costs nothing.
    let _ = stream.set_nodelay(true);
    let ended = shared.connection_token();
    let mut first = [0];
    let peeked = tokio::select! {
        peeked = stream.peek(&mut first) => peeked,
        () = ended.cancelled() => return,
    };
    match peeked {
        Ok(1) if first[0] == TLS_HANDSHAKE => {
            let Ok(ssl) = Ssl::new(shared.acceptor.context()) else {
                return;
            };
            let Ok(mut stream) = SslStream::new(ssl, stream) else {
                return;
            };
            if Pin::new(&mut stream).accept().await.is_ok() {
                serve(shared, stream).await;
            }
        }
        Ok(1) => serve(shared, stream).await,
        _ => {}
    }
}

/// Serves one connection over anything that reads and writes.
pub(crate) async fn serve<IO>(shared: Arc<Shared>, io: IO)
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    shared.lock().counters.connections += 1;
    let ended = shared.connection_token();
    let service = service_fn(|request| {
        let shared = Arc::clone(&shared);
        async move { receive(shared, request).await }
    });
    let connection = http1::Builder::new()
        .auto_date_header(false)
        .header_read_timeout(None)
        .serve_connection(TokioIo::new(io), service);
    tokio::select! {
        // An error is a client that has left or a drop by the script.
        _ = connection => {}
        () = ended.cancelled() => {}
    }
}

/// Reads the request to its end, then lets it go its way.
async fn receive(
    shared: Arc<Shared>,
    request: hyper::Request<Incoming>,
) -> Result<Response<AnswerBody>, Dropped> {
    let (parts, body) = request.into_parts();
    match Limited::new(body, MAX_BODY).collect().await {
        Ok(body) => deliver(shared, parts, body.to_bytes(), Treatment::default()).await,
        Err(error) if error.is::<http_body_util::LengthLimitError>() => {
            plain_error(StatusCode::PAYLOAD_TOO_LARGE, error.to_string())
        }
        // The client left in the middle: the request never arrived.
        Err(_) => Err(Dropped),
    }
}

/// A request that has arrived completely goes its way on a task of its own, and goes on even
/// when its client leaves.
pub(crate) async fn deliver(
    shared: Arc<Shared>,
    parts: hyper::http::request::Parts,
    body: Bytes,
    treatment: Treatment,
) -> Result<Response<AnswerBody>, Dropped> {
    let host = parts
        .headers
        .get("host")
        .and_then(|host| host.to_str().ok())
        .unwrap_or_default();
    let target = match Target::parse(&parts.uri, host, &shared.domain) {
        Ok(target) => target,
        Err(message) => return plain_error(StatusCode::BAD_REQUEST, message),
    };
    let id = shared.lock().next_request();
    let request = Request::new(id, parts.method, target, parts.headers, body, treatment);
    tokio::spawn(process(shared, request))
        .await
        .unwrap_or(Err(Dropped))
}

fn plain_error(status: StatusCode, message: String) -> Result<Response<AnswerBody>, Dropped> {
    let mut response = Response::new(AnswerBody::whole(message.into()));
    *response.status_mut() = status;
    Ok(response)
}
