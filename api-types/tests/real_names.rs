//! Names made by the real system (copied from the fixtures) are read and printed unchanged.

use api_types::auth::Authid;
use api_types::digest::Digest;
use api_types::names::{ArchiveName, BackupNamespace, DatastoreName, GroupPath, SnapshotPath};
use api_types::s3::BucketName;
use api_types::upid::Upid;

#[test]
fn task_ids() {
    let list = include_str!("data/upids.txt");
    assert!(list.lines().count() > 100);
    for line in list.lines() {
        let upid: Upid = line.parse().unwrap();
        assert_eq!(upid.to_string(), line);
        assert_eq!(
            upid.auth_id().to_string().parse::<Authid>().as_ref(),
            Ok(upid.auth_id())
        );
    }
}

#[test]
fn object_keys() {
    let mut chunks = 0;
    let mut files = 0;
    for line in include_str!("data/bucket-keys.txt").lines() {
        let (_, key) = line.split_once(' ').unwrap();
        let (bucket, key) = key.split_once('/').unwrap();
        bucket.parse::<BucketName>().unwrap();
        let (store, key) = key.split_once('/').unwrap();
        store.parse::<DatastoreName>().unwrap();
        if let Some(chunk) = key.strip_prefix(".chunks/") {
            let (prefix, name) = chunk.split_once('/').unwrap();
            let digest: Digest = name.parse().unwrap();
            assert_eq!(digest.prefix_hex(), prefix);
            chunks += 1;
        } else if let Some(path) = key.strip_prefix(".cnt/") {
            let (dir, file) = path.rsplit_once('/').unwrap();
            match file {
                ".namespace" => {
                    assert_eq!(BackupNamespace::parse_path(dir).unwrap().path(), dir);
                }
                "owner" | "notes" => assert_eq!(dir.parse::<GroupPath>().unwrap().path(), dir),
                _ => {
                    assert_eq!(dir.parse::<SnapshotPath>().unwrap().path(), dir);
                    if file != ".protected" {
                        let archive: ArchiveName = file.parse().unwrap();
                        assert!(archive.archive_type().is_some(), "{file}");
                        files += 1;
                    }
                }
            }
        } else {
            assert_eq!(key, ".in-use");
        }
    }
    assert!(chunks > 20 && files > 10, "{chunks} {files}");
}
