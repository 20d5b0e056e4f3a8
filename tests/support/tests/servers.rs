//! The servers start, answer, and stop; the fixtures unpack.

use support::{Endpoint, MinioServer, S3sServer, fixtures};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

/// A connection on which nothing is said; it ends when the server does.
async fn connect(endpoint: &Endpoint) -> std::io::Result<TcpStream> {
    TcpStream::connect((endpoint.host.as_str(), endpoint.port)).await
}

async fn has_ended(mut connection: TcpStream) -> bool {
    matches!(connection.read(&mut [0; 1]).await, Ok(0) | Err(_))
}

#[tokio::test]
async fn minio_starts_beside_another_and_ends_with_its_handle() {
    let (first, second) = tokio::join!(MinioServer::start(), MinioServer::start());
    let (first, second) = (first.unwrap(), second.unwrap());
    assert_ne!(first.endpoint("one").port, second.endpoint("two").port);
    let connection = connect(&first.endpoint("one")).await.unwrap();
    drop(first);
    assert!(has_ended(connection).await);
}

#[tokio::test]
async fn s3s_stops_with_its_handle() {
    let server = S3sServer::start().await.unwrap();
    let connection = connect(&server.endpoint("bucket")).await.unwrap();
    drop(server);
    assert!(has_ended(connection).await);
}

#[test]
fn the_fixture_bucket_is_as_listed() {
    let Some(dir) = fixtures::fixtures_dir().unwrap() else {
        return;
    };
    let objects = fixtures::bucket_objects(&dir).unwrap();
    let listed = std::fs::read_to_string(dir.join("bucket-keys.txt")).unwrap();
    let found: Vec<String> = objects
        .iter()
        .map(|(key, body)| format!("{} pbsbucket/{key}", body.len()))
        .collect();
    let mut listed: Vec<&str> = listed.lines().collect();
    listed.sort_by_key(|line| line.split_once(' ').unwrap().1);
    assert_eq!(found, listed);
}
