//! Uploads that do not come to their end, to a server in the same process.

use datastore::env::Env;
use http_body_util::Full;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};

use super::*;
use crate::session::Crypt;
use crate::session::connection::Connection;
use crate::session::workers::Workers;

/// Long enough for all that does not wait for the server.
const SOON: Duration = Duration::from_secs(20);

/// A session with a server that refuses chunks, or never answers.
async fn session(refuses: bool) -> Arc<Shared> {
    let (ours, theirs) = tokio::io::duplex(1 << 20);
    let answer = service_fn(move |_: Request<hyper::body::Incoming>| async move {
        if !refuses {
            std::future::pending::<()>().await;
        }
        let mut answer = Response::new(Full::new(Bytes::from("no room for it")));
        *answer.status_mut() = StatusCode::BAD_REQUEST;
        anyhow::Ok(answer)
    });
    let executor = TokioExecutor::new;
    let server = hyper::server::conn::http2::Builder::new(executor());
    tokio::spawn(server.serve_connection(TokioIo::new(theirs), answer));
    let client = hyper::client::conn::http2::handshake(executor(), TokioIo::new(ours));
    let (requests, connection) = client.await.unwrap();
    tokio::spawn(connection);
    let env = Env::system();
    Arc::new(Shared {
        connection: Connection::new(requests),
        crypt: Crypt::default(),
        known: Arc::default(),
        workers: Workers::new(&env),
        limiter: None,
        env,
    })
}

fn upload(session: &Arc<Shared>, name: &str) -> Upload {
    let name = name.parse().unwrap();
    let progress = Progress::new("root.pxar", None);
    let session = Arc::clone(session);
    Upload::start(session, &name, IndexKind::Dynamic, 1, &progress)
}

/// Stores some chunks, and fails then; or when the upload does, if that is waited for.
async fn produce(sink: ChunkSink, waits: bool) -> Result<()> {
    let work = move || -> Result<()> {
        for number in 0_u8..9 {
            sink.store(Bytes::from(vec![number; 1000]))?;
        }
        loop {
            ensure!(waits, "the disk is broken");
            sink.append(Digest::from_bytes([0; 32]), 1)?;
        }
    };
    Env::system().blocking(work).await
}

async fn soon<T>(work: impl Future<Output = Result<T>>) -> String {
    let ended = tokio::time::timeout(SOON, work).await;
    let result = ended.expect("it waits for the server");
    format!("{:#}", result.err().expect("it has failed"))
}

#[tokio::test]
async fn when_reading_fails_nobody_waits_for_what_is_queued() {
    let session = session(false).await;
    let Upload { sink, done } = upload(&session, "root.pxar.didx");
    let error = soon(both(produce(sink, false), done)).await;
    assert_eq!(error, "the disk is broken");

    let first = upload(&session, "root.mpxar.didx");
    let second = upload(&session, "root.ppxar.didx");
    let producer = async {
        let _first = first.sink;
        produce(second.sink, false).await
    };
    let error = soon(both(producer, pair(first.done, second.done))).await;
    assert_eq!(error, "the disk is broken");
}

#[tokio::test]
async fn why_an_upload_has_failed_is_told() {
    let session = session(true).await;
    let Upload { sink, done } = upload(&session, "root.pxar.didx");
    let error = soon(both(produce(sink, true), done)).await;
    assert!(error.contains("no room for it"), "{error}");

    for swapped in [false, true] {
        let first = upload(&session, "root.mpxar.didx");
        let second = upload(&session, "root.ppxar.didx");
        let producer = async {
            let _first = first.sink;
            produce(second.sink, true).await
        };
        let error = match swapped {
            false => soon(both(producer, pair(first.done, second.done))).await,
            true => soon(both(producer, pair(second.done, first.done))).await,
        };
        assert!(error.contains("no room for it"), "{error}");
    }
}
