//! Whatever parses is safe as a path and key component, prints what was parsed, and no text makes
//! a parser panic.

#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests, where a panic is the failure"
)]

use std::fmt::{Debug, Display};
use std::str::FromStr;

use api_types::ParseError;
use api_types::auth::{Authid, Realm, TokenName, Userid};
use api_types::datastore::{
    DatastoreBackend, DatastoreConfig, DatastorePath, DatastoreTuning, MaintenanceMode,
    NotificationThresholds,
};
use api_types::digest::{Digest, Fingerprint};
use api_types::human::ByteSize;
use api_types::names::{
    ArchiveName, BackupDir, BackupGroup, BackupId, BackupNamespace, BackupTime, BackupType,
    DatastoreName, EndpointId, GroupPath, NamespaceComponent, SnapshotPath,
};
use api_types::s3::{
    AccessKey, BucketName, CaCert, EndpointHost, ProviderQuirk, Region, S3EndpointConfig,
    StorageClass,
};
use api_types::status::TaskStatus;
use api_types::text::SingleLine;
use api_types::upid::{Upid, unit_escape, unit_unescape};
use proptest::prelude::*;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Arbitrary text, text of the characters that matter, and texts that are valid or nearly so.
fn text() -> impl Strategy<Value = String> {
    let special = r"[a-cA-C0-3._/@!:\\x=,;{}%\- \x00\n\r\u{e4}\u{2028}]{0,40}";
    let path = r"(ns/[a-z_.]{0,3}/){0,8}(vm|ct|host|VM)?/?[0-9a-z._-]{0,4}/?(2022-0[0-9]-[0-3][0-9]T08:11:[0-6][0-9]Z)?/?";
    let upid = r"UPID:[a-z./]{1,3}:[0-9A-F]{8}:[0-9A-Fa-f]{8,9}:[0-9A-F]{8,10}:[0-9A-F]{8}:[a-z_/]{1,8}:([a-z.-]|\\x[0-9a-f]{2}){0,9}:[a-z/]{1,4}@[a-z.]{1,4}(!t)?:";
    prop_oneof![
        2 => any::<String>(),
        4 => special,
        4 => path,
        2 => upid,
        1 => "[a-zA-Z0-9_][a-zA-Z0-9._-]{0,300}",
        1 => "[a-z0-9-]{1,70}",
        1 => "[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z",
        1 => "[a-fA-F0-9:]{60,100}",
        1 => r"[^\x00-\x20]{0,10}@[a-z.]{1,5}(![a-z.]{0,5})?",
        1 => r"([a-z0-9]{1,5}|\{\{bucket\}\}|\{\{region\}\}|-)(\.([a-z0-9]{1,5}|\{\{region\}\})){0,3}",
    ]
}

/// No separator, no hidden or parent entry, no control character, no longer than a file name.
fn assert_component(part: &str) {
    assert!(!part.is_empty(), "empty component");
    assert!(!part.starts_with('.'), "{part:?} is hidden or leads up");
    assert!(
        !part.contains(['/', '\\', '\0']),
        "{part:?} has a separator"
    );
    assert!(
        !part.chars().any(|c| c.is_control() || c.is_whitespace()),
        "{part:?}"
    );
    assert!(part.len() <= 255, "{part:?} is too long for a file name");
}

fn assert_path(path: &str) {
    path.split('/').for_each(assert_component);
    assert!(path.len() <= 1024, "{path:?} is too long for a key");
}

/// The value, if the text parses; printing, parsing and serde agree about it.
fn round_trip<T>(text: &str) -> Option<T>
where
    T: FromStr<Err = ParseError> + Display + Debug + PartialEq + Serialize + DeserializeOwned,
{
    let json = serde_json::to_string(text).unwrap();
    let from_json = serde_json::from_str::<T>(&json);
    match text.parse::<T>() {
        Ok(value) => {
            let printed = value.to_string();
            assert_eq!(printed.parse::<T>().as_ref(), Ok(&value), "{printed:?}");
            assert_eq!(from_json.unwrap(), value);
            assert_eq!(
                serde_json::to_string(&value).unwrap(),
                serde_json::to_string(&printed).unwrap()
            );
            Some(value)
        }
        Err(error) => {
            assert!(from_json.is_err());
            let message = error.to_string();
            assert!(
                message.starts_with("invalid ") && !message.contains('\n'),
                "{message}"
            );
            assert!(message.len() < 1000, "{message}");
            None
        }
    }
}

/// Likewise for types with one spelling for each value: what parses is printed unchanged.
fn one_spelling<T>(text: &str) -> Option<T>
where
    T: FromStr<Err = ParseError> + Display + Debug + PartialEq + Serialize + DeserializeOwned,
{
    let value = round_trip::<T>(text)?;
    assert_eq!(value.to_string(), text);
    Some(value)
}

fn check_component<T>(text: &str)
where
    T: FromStr<Err = ParseError> + Display + Debug + PartialEq + Serialize + DeserializeOwned,
{
    if one_spelling::<T>(text).is_some() {
        assert_component(text);
    }
}

fn check_path<T>(text: &str)
where
    T: FromStr<Err = ParseError> + Display + Debug + PartialEq + Serialize + DeserializeOwned,
{
    if one_spelling::<T>(text).is_some() {
        assert_path(text);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn components_are_safe(text in text()) {
        check_component::<DatastoreName>(&text);
        check_component::<EndpointId>(&text);
        check_component::<BackupId>(&text);
        check_component::<BackupType>(&text);
        check_component::<NamespaceComponent>(&text);
        check_component::<ArchiveName>(&text);
        check_component::<Digest>(&text);
        check_component::<BucketName>(&text);
        check_component::<Region>(&text);
        check_component::<Realm>(&text);
        check_component::<TokenName>(&text);
        check_component::<ProviderQuirk>(&text);
        if let Ok(name) = ArchiveName::from_client_name(&text) {
            assert_component(name.as_str());
            assert!(name.archive_type().is_some());
        }
    }

    #[test]
    fn paths_are_safe(text in text()) {
        check_path::<BackupGroup>(&text);
        check_path::<BackupDir>(&text);
        check_path::<GroupPath>(&text);
        check_path::<SnapshotPath>(&text);
        if let Some(ns) = one_spelling::<BackupNamespace>(&text)
            && !ns.is_root()
        {
            assert_path(&text);
            assert_path(&ns.path());
        }
        if let Ok(ns) = BackupNamespace::parse_path(&text) {
            assert_eq!(ns.path(), text);
            assert_eq!(ns.to_string().parse::<BackupNamespace>().unwrap(), ns);
        }
    }

    #[test]
    fn times_are_safe(text in text()) {
        if let Ok(time) = text.parse::<BackupTime>() {
            assert_eq!(time.to_string(), text.as_str());
            assert_component(&text);
        }
    }

    #[test]
    fn task_ids_are_safe_file_names(text in text()) {
        if let Some(upid) = round_trip::<Upid>(&text) {
            assert!(!upid.to_string().contains(['/', '\0', '\n']));
            assert!(upid.to_string().len() <= Upid::MAX_LEN);
        }
    }

    #[test]
    fn users_fit_into_lines_and_lists(text in text()) {
        one_spelling::<Userid>(&text);
        if one_spelling::<Authid>(&text).is_some() {
            assert!(!text.contains(['/', ':']));
            assert!(!text.chars().any(|c| c.is_control() || c.is_whitespace()));
        }
    }

    #[test]
    fn single_values_fit_into_a_line(text in text()) {
        one_spelling::<SingleLine>(&text);
        one_spelling::<DatastorePath>(&text);
        one_spelling::<AccessKey>(&text);
        one_spelling::<StorageClass>(&text);
        one_spelling::<EndpointHost>(&text);
        one_spelling::<TaskStatus>(&text);
        round_trip::<Fingerprint>(&text);
        round_trip::<CaCert>(&text);
        if let Ok(path) = text.parse::<DatastorePath>() {
            assert!(!path.as_str().chars().any(char::is_control));
            assert!(!path.as_str().split('/').any(|part| part == ".."));
        }
    }

    #[test]
    fn property_strings_print_what_they_read(
        text in prop_oneof![
            text(),
            r#"(type=)?(s3|filesystem|offline|read-only)(,(client|bucket|message|max-cache-size)="?[a-z0-9% ]{0,6}"?){0,3}"#,
            "(gc-atime-cutoff|sync-level|s3-put|s3-upload)=([0-9]{1,5}|file|none)( MiB)?",
        ],
    ) {
        round_trip::<DatastoreBackend>(&text);
        round_trip::<DatastoreTuning>(&text);
        round_trip::<MaintenanceMode>(&text);
        if let Ok(thresholds) = text.parse::<NotificationThresholds>() {
            // Byte sizes are rounded in print; from then on they stay.
            let printed = thresholds.to_string();
            assert_eq!(printed.parse::<NotificationThresholds>().unwrap().to_string(), printed);
        }
    }

    #[test]
    fn sections_never_panic_and_are_read_back(
        id in "[a-z/]{3,6}",
        base in prop_oneof![
            Just(vec![("path", "/srv/a")]),
            Just(vec![("endpoint", "s3.example.com"), ("access-key", "a"), ("secret-key", "b")]),
            Just(vec![]),
        ],
        extra in prop::collection::vec(
            (
                prop_oneof![
                    Just("path"), Just("comment"), Just("keep-last"), Just("tuning"),
                    Just("backend"), Just("endpoint"), Just("port"), Just("region"),
                    Just("provider-quirks"), Just("put-rate-limit"), Just("unknown"),
                ],
                prop_oneof![text(), "[0-9]{1,6}", "s3,client=abc,bucket=[a-z]{2,4}", "[a-z]{2}-1"],
            ),
            0..3,
        ),
    ) {
        let base = base.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned()));
        let list: Vec<(String, String)> =
            base.chain(extra.into_iter().map(|(k, v)| (k.to_owned(), v))).collect();
        if let Ok(config) = DatastoreConfig::from_properties(&id, &list) {
            let again = DatastoreConfig::from_properties(&id, &config.to_properties());
            assert_eq!(again.unwrap(), config);
        }
        if let Ok(config) = S3EndpointConfig::from_properties(&id, &list) {
            let again = S3EndpointConfig::from_properties(&id, &config.to_properties());
            assert_eq!(again.unwrap(), config);
        }
    }

    #[test]
    fn byte_sizes_settle_after_one_rounding(
        text in prop_oneof![text(), "[0-9]{1,20}(\\.[0-9]{0,20})? ?[kKMGTP]?i?B?"],
    ) {
        if let Ok(size) = text.parse::<ByteSize>() {
            let printed = size.to_string();
            if let Ok(rounded) = printed.parse::<ByteSize>() {
                assert_eq!(rounded.to_string(), printed);
            } else {
                // Only what was rounded up to 16 EiB no longer fits.
                assert!(size.bytes() > u64::MAX - (1 << 50), "{printed}");
            }
        }
    }

    #[test]
    fn every_digest_has_one_name(bytes in any::<[u8; 32]>(), other in any::<[u8; 32]>()) {
        let digest = Digest::from_bytes(bytes);
        assert_eq!(Digest::from_hex(&digest.to_hex()).unwrap(), digest);
        assert!(digest.to_hex().starts_with(&digest.prefix_hex()));
        let other = Digest::from_bytes(other);
        assert_eq!(digest.cmp(&other), digest.to_hex().cmp(&other.to_hex()));
        let fingerprint = Fingerprint::from_bytes(bytes);
        assert_eq!(fingerprint.to_string().parse(), Ok(fingerprint));
        assert!(fingerprint.to_string().starts_with(&fingerprint.short_id()));
    }

    #[test]
    fn escaped_bytes_are_one_component(bytes in prop::collection::vec(any::<u8>(), 1..60)) {
        let escaped = unit_escape(&bytes);
        assert!(!escaped.starts_with('.') && !escaped.contains('/'));
        assert!(escaped.bytes().all(|b| b.is_ascii_graphic()));
        assert_eq!(unit_unescape(&escaped), Some(bytes));
    }

    #[test]
    fn unescaping_never_panics(text in text()) {
        let _ = unit_unescape(&text);
    }

    #[test]
    fn group_order_is_total(a in "[0-9]{1,3}|[a-c]{1,2}", b in "[0-9]{1,3}|[a-c]{1,2}", c in "[0-9]{1,3}|[a-c]{1,2}") {
        let [a, b, c]: [BackupId; 3] = [a, b, c].map(|id| id.parse().unwrap());
        assert_eq!(a.cmp(&b), b.cmp(&a).reverse());
        assert_eq!(a.cmp(&b).is_eq(), a == b);
        if a <= b && b <= c {
            assert!(a <= c);
        }
    }
}
