//! Everything that becomes a path component or an object key, and other short texts.

use api_types::auth::{Authid, Realm, TokenName, Userid};
use api_types::datastore::{
    BackendType, ChunkOrder, DatastorePath, MaintenanceMessage, MaintenanceType, SyncLevel,
};
use api_types::digest::{Digest, Fingerprint};
use api_types::human::ByteSize;
use api_types::names::{
    ArchiveName, ArchiveType, BackupDir, BackupGroup, BackupId, BackupNamespace, BackupTime,
    BackupType, DatastoreName, EndpointId, GroupPath, MAX_NAMESPACE_DEPTH, MAX_NAMESPACE_LEN,
    NamespaceComponent, SnapshotPath,
};
use api_types::s3::{
    AccessKey, BucketName, CaCert, ChecksumMode, EndpointHost, ProviderQuirk, Region, SecretKey,
    StorageClass,
};
use api_types::status::TaskStatus;
use api_types::text::{SingleLine, parse_bool};
use s3_client::timestamp::{
    format_amz_date, format_iso8601, parse_http_date, parse_iso8601_millis,
};

use super::text::{parse, round_trip, settles, verbatim};
use crate::Target;

pub const TARGET: Target = Target {
    name: "names",
    max_len: 512,
    check,
    seeds,
    words: &[
        "ns/",
        "vm/",
        "ct/",
        "host/",
        "/",
        "..",
        ".",
        "-",
        "_",
        "@pam",
        "@pbs",
        "!",
        "T08:11:33Z",
        "2022-05-02",
        "23:59:60Z",
        ".fidx",
        ".didx",
        ".blob",
        ".img",
        ".pxar",
        " KiB",
        " GiB",
        "PiB",
        "1.5",
        "18446744073709551615",
        "{{bucket}}.",
        "{{region}}.",
        "xn--",
        "--x-s3",
        "[::1]",
        "127.0.0.1",
        "-----BEGIN CERTIFICATE-----",
        "-----END CERTIFICATE-----",
        ":",
        "WARNINGS: ",
        "OK",
        "unknown",
        " GMT",
        "Wed, ",
        ".123Z",
        "+00:00",
        "\u{e9}",
        "\u{0}",
    ],
    memory: 1 << 20,
};

const SAFE: &str = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";

fn seeds() -> Vec<Vec<u8>> {
    let hex = "0123456789abcdef".repeat(4);
    let pairs = ["0f"; 32].join(":");
    let texts = [
        "ns/a/ns/b-2/vm/100/2022-05-02T08:11:33Z",
        "ns/x/host/web",
        "ct/0100/1999-12-31T23:59:60Z",
        "vm/100",
        "a/b/c",
        "root.pxar.didx",
        "drive-scsi0.img",
        "store-1",
        "backup@pbs!token",
        "me@home@pam",
        hex.as_str(),
        pairs.as_str(),
        "1.309 MiB",
        "18446744073709551615",
        "{{bucket}}.s3.{{region}}.example.org",
        "[fd00::1]",
        "eu-central-1",
        "STANDARD_IA",
        "/mnt/datastore/a",
        "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----",
        "WARNINGS: 3",
        "2025-07-14T14:20:02.123Z",
        "Mon, 12 Oct 2009 17:50:00 GMT",
        "a comment, with \u{e9}",
    ];
    texts.map(|text| text.as_bytes().to_vec()).into()
}

fn check(data: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(data) else {
        return false;
    };
    let checks = [
        check_ids,
        check_paths,
        check_times,
        check_users,
        check_values,
        check_s3,
    ];
    // All of them, whatever the first ones say.
    let accepted: Vec<bool> = checks.iter().map(|check| check(text)).collect();
    accepted.contains(&true)
}

fn check_ids(text: &str) -> bool {
    let short = [
        verbatim::<DatastoreName>(text).is_some(),
        verbatim::<EndpointId>(text).is_some(),
        verbatim::<Realm>(text).is_some(),
        verbatim::<TokenName>(text).is_some(),
    ];
    let long = [
        verbatim::<NamespaceComponent>(text).is_some(),
        verbatim::<BackupId>(text).is_some(),
        verbatim::<ArchiveName>(text).is_some(),
    ];
    let enums = [
        verbatim::<BackupType>(text).is_some(),
        verbatim::<ArchiveType>(text).is_some(),
        verbatim::<ChunkOrder>(text).is_some(),
        verbatim::<SyncLevel>(text).is_some(),
        verbatim::<BackendType>(text).is_some(),
        verbatim::<MaintenanceType>(text).is_some(),
        verbatim::<ChecksumMode>(text).is_some(),
        verbatim::<ProviderQuirk>(text).is_some(),
    ];
    let any_id = short.contains(&true) || long.contains(&true);
    if any_id {
        assert!(text.len() <= 255 && text.chars().all(|c| SAFE.contains(c)));
        assert!(!text.starts_with(['.', '-']));
    }
    assert!(!short.contains(&true) || text.len() <= 64);
    if let Ok(archive) = ArchiveName::from_client_name(text) {
        let client = archive.client_name();
        assert!(archive.as_str() == text || client == text);
        assert!(archive.archive_type().is_some());
    }
    any_id || enums.contains(&true)
}

/// Whatever is accepted as a path stays below the directory that it is joined to.
fn assert_contained(path: &str) {
    let inside = |part: &str| !part.is_empty() && !part.starts_with('.');
    assert!(path.split('/').all(inside), "{path:?}");
}

fn check_paths(text: &str) -> bool {
    let group = verbatim::<BackupGroup>(text).is_some();
    let dir = verbatim::<BackupDir>(text).is_some();
    let group_path = verbatim::<GroupPath>(text);
    let snapshot = verbatim::<SnapshotPath>(text);
    let any = group || dir || group_path.is_some() || snapshot.is_some();
    if any {
        assert_contained(text);
        assert!(text.split('/').count() <= 3 + 2 * MAX_NAMESPACE_DEPTH);
    }
    if let Some(snapshot) = snapshot {
        assert!(text.starts_with(&snapshot.group_path().path()));
    }
    let namespace = verbatim::<BackupNamespace>(text);
    if let Some(namespace) = &namespace {
        assert!(namespace.depth() <= MAX_NAMESPACE_DEPTH && text.len() < MAX_NAMESPACE_LEN);
        let path = namespace.path();
        assert_eq!(BackupNamespace::parse_path(&path).as_ref(), Ok(namespace));
        if !namespace.is_root() {
            assert_contained(&path);
        }
        if let Some(parent) = namespace.parent() {
            assert!(parent.contains(namespace) && !namespace.contains(&parent));
        }
    }
    if let Ok(namespace) = BackupNamespace::parse_path(text) {
        assert_eq!(namespace.path(), text);
    }
    any || namespace.is_some()
}

fn check_times(text: &str) -> bool {
    let time = parse::<BackupTime>(text);
    if let Some(time) = time {
        assert_eq!(time.to_string(), text);
        let plain = BackupTime::from_secs(time.secs()).expect("it has a name");
        assert_eq!(plain.to_string().parse(), Ok(plain));
        let json = serde_json::to_string(&time).expect("a number");
        assert_eq!(
            serde_json::from_str::<BackupTime>(&json).expect("we wrote it"),
            plain
        );
        let millis = parse_iso8601_millis(text).expect("this form is one of those");
        assert_eq!(millis, time.secs() * 1000);
        if text.ends_with(":60Z") {
            return true;
        }
        assert_eq!(format_iso8601(time.secs()), text);
        assert_eq!(format_amz_date(time.secs()), text.replace(['-', ':'], ""));
    }
    let iso = parse_iso8601_millis(text);
    if let Some(millis) = iso {
        let secs = millis.div_euclid(1000);
        assert_eq!(
            parse_iso8601_millis(&format_iso8601(secs)),
            Some(secs * 1000)
        );
    }
    let http = parse_http_date(text);
    if let Some(secs) = http {
        assert_eq!(
            parse_iso8601_millis(&format_iso8601(secs)),
            Some(secs * 1000)
        );
    }
    time.is_some() || iso.is_some() || http.is_some()
}

fn check_users(text: &str) -> bool {
    let user = verbatim::<Userid>(text);
    let auth = verbatim::<Authid>(text);
    if let Some(user) = &user {
        assert!(text.chars().count() <= 64);
        assert!(!user.name().contains(['/', ':']));
    }
    if let Some(auth) = &auth {
        assert!(Authid::is_owner_ok(auth, auth));
        assert_eq!(auth.is_token(), auth.token.is_some());
        assert!(!auth.is_token() || !Authid::is_owner_ok(&Authid::from(auth.user.clone()), auth));
    }
    user.is_some() || auth.is_some()
}

fn check_values(text: &str) -> bool {
    let digest = verbatim::<Digest>(text);
    if let Some(digest) = digest {
        assert!(text.starts_with(&digest.prefix_hex()));
    }
    let fingerprint = round_trip::<Fingerprint>(text).is_some();
    let size = settles::<ByteSize>(text).is_some();
    let line = verbatim::<SingleLine>(text).is_some();
    assert!(!line || !text.contains('\n'));
    let message = verbatim::<MaintenanceMessage>(text).is_some();
    let status = round_trip::<TaskStatus>(text);
    let error = TaskStatus::error(text);
    assert!(matches!(error, TaskStatus::Error(_)));
    assert_eq!(error.to_string().parse(), Ok(error.clone()));
    assert_eq!(
        TaskStatus::from_final_line(&error.final_line()),
        Some(error)
    );
    if let Some(status) = status.filter(TaskStatus::is_success) {
        assert_eq!(
            TaskStatus::from_final_line(&status.final_line()),
            Some(status)
        );
    }
    let path = verbatim::<DatastorePath>(text);
    if let Some(path) = &path {
        assert!(path.is_nested_with(path));
        assert!(text.split('/').all(|part| part != ".."));
    }
    let known = parse_bool(text).is_some();
    digest.is_some() || fingerprint || size || line || message || path.is_some() || known
}

fn check_s3(text: &str) -> bool {
    let bucket = verbatim::<BucketName>(text);
    let region = verbatim::<Region>(text);
    let class = verbatim::<StorageClass>(text).is_some();
    let access = verbatim::<AccessKey>(text).is_some();
    let secret = parse::<SecretKey>(text);
    if let Some(secret) = &secret {
        assert_eq!(secret.expose(), text);
        assert_eq!(format!("{secret:?}"), "SecretKey(redacted)");
    }
    if let Some(bucket) = &bucket {
        assert!((3..=63).contains(&bucket.as_str().len()));
    }
    if let Some(host) = verbatim::<EndpointHost>(text) {
        check_host(&host);
        return true;
    }
    if let Some(certificates) = round_trip::<CaCert>(text) {
        assert!(!certificates.to_string().contains('\n'));
        assert_eq!(certificates.to_pem().parse(), Ok(certificates));
        return true;
    }
    bucket.is_some() || region.is_some() || class || access || secret.is_some()
}

/// With its labels filled in, a host is one that needs none.
fn check_host(host: &EndpointHost) {
    let bucket: BucketName = "bucket-1".parse().expect("a bucket name");
    let region = Region::default();
    for bucket in [None, Some(&bucket)] {
        let expanded = host.expand(&region, bucket);
        assert!(!expanded.is_empty() && !expanded.contains(['{', '}', '[']));
        let authority = host.authority(Some(9000), &region, bucket);
        assert!(authority.ends_with(":9000"));
        assert_eq!(host.is_ip(), expanded.parse::<std::net::IpAddr>().is_ok());
    }
    assert!(!host.is_ip() || !host.has_bucket_label());
}
