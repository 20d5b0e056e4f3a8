//! The very same suite against three servers.

use api_types::s3::ProviderQuirk;
use conformance::{Capabilities, Report, Target};
use s3_client::env::Env;
use s3_mock::behaviour::{ConditionalPut, DateHeader, ListField, ListOrder};
use s3_mock::{MockS3, Op, What};
use support::{Endpoint, MinioServer, S3sServer, mock_endpoint};

const BUCKET: &str = "conformance-bucket";

async fn run(endpoint: &Endpoint, capabilities: Capabilities) -> anyhow::Result<Report> {
    let target = Target {
        options: endpoint.options()?,
        env: Env::system(),
    };
    Ok(conformance::run(&target, &capabilities).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn scripted_server() {
    let server = MockS3::builder().bucket(BUCKET).start().await.unwrap();
    let endpoint = mock_endpoint(&server, BUCKET).unwrap();
    let report = run(&endpoint, Capabilities::full()).await.unwrap();
    assert!(report.passed() && report.skipped().is_empty(), "{report}");
    let unknown = server.counters().of(Op::Unknown);
    assert_eq!(unknown, 0, "requests that no S3 server knows");
    let broken =
        |event: &&s3_mock::Event| matches!(event.what, What::Answered { status: 500.., .. });
    assert_eq!(server.journal().events.iter().find(broken), None);
}

/// `s3s-fs` keeps objects as files and thinks little of what it cannot keep in a file.
#[tokio::test(flavor = "multi_thread")]
async fn s3s_fs() {
    let server = S3sServer::start().await.unwrap();
    server.create_bucket(BUCKET).unwrap();
    let capabilities = Capabilities {
        // It looks whether the file is there, and then writes it.
        atomic_create: false,
        nested_keys: false,
        long_keys: false,
        listed_etags: false,
        tells_missing_bucket: false,
        checks_region: false,
        ..Capabilities::full()
    };
    let report = run(&server.endpoint(BUCKET), capabilities).await.unwrap();
    assert!(report.passed(), "{report}");
    assert_eq!(
        report.skipped(),
        [
            "create_only_race_has_one_winner",
            "a_key_may_have_1024_bytes",
            "a_listing_has_etags",
            "an_object_may_have_the_name_of_a_directory",
            "removal_keeps_the_object_with_the_prefix_as_name",
            "a_wrong_bucket_is_an_error_everywhere",
            "a_wrong_region_is_refused",
        ]
    );
}

/// MinIO takes an object `a/x` beside an object `a`, but does not list it.
#[tokio::test(flavor = "multi_thread")]
async fn minio() {
    let server = MinioServer::start().await.unwrap();
    server.create_bucket(BUCKET).unwrap();
    let capabilities = Capabilities {
        nested_keys: false,
        ..Capabilities::full()
    };
    let report = run(&server.endpoint(BUCKET), capabilities).await.unwrap();
    assert!(report.passed(), "{report}");
    assert_eq!(
        report.skipped(),
        [
            "an_object_may_have_the_name_of_a_directory",
            "removal_keeps_the_object_with_the_prefix_as_name",
        ]
    );
}

/// A provider without conditional PUT and without DeleteObjects, with the quirks set for it.
#[tokio::test(flavor = "multi_thread")]
async fn provider_with_quirks() {
    let server = MockS3::builder().bucket(BUCKET).start().await.unwrap();
    server.configure(|b| {
        b.conditional_put = ConditionalPut::NotImplemented;
        b.delete_objects = false;
        b.delete_missing_is_404 = true;
        b.list.numeric_entities = true;
        b.list.whole_seconds = true;
        b.list.omit.extend([ListField::Name, ListField::KeyCount]);
        b.list.omit.extend([
            ListField::MaxKeys,
            ListField::Prefix,
            ListField::StorageClass,
        ]);
    });
    let mut options = mock_endpoint(&server, BUCKET).unwrap().options().unwrap();
    options.endpoint.provider_quirks = vec![
        ProviderQuirk::SkipIfNoneMatchHeader,
        ProviderQuirk::DeleteObjectsViaDeleteObject,
    ];
    let target = Target {
        options,
        env: Env::system(),
    };
    let capabilities = Capabilities {
        create_only: false,
        atomic_create: false,
        ..Capabilities::full()
    };
    let report = conformance::run(&target, &capabilities).await;
    assert!(report.passed(), "{report}");
    assert_eq!(report.skipped(), ["create_only_race_has_one_winner"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_server_does_not_pass() {
    let server = MockS3::builder().bucket(BUCKET).start().await.unwrap();
    server.configure(|b| {
        b.conditional_put = ConditionalPut::Ignored;
        b.list.order = ListOrder::ReversedPages;
        b.list.hidden.push("*/a-b".into());
        b.locked.push("*/k00777".into());
        b.date_header = DateHeader::Missing;
    });
    let report = run(
        &mock_endpoint(&server, BUCKET).unwrap(),
        Capabilities::full(),
    )
    .await
    .unwrap();
    let failed = report.failed();
    for name in [
        "create_only_keeps_the_first",
        "create_only_race_has_one_winner",
        "pages_are_in_order_and_complete",
        "prefixes_are_string_prefixes",
        "a_thousand_and_one_keys",
        "the_clock_offset_is_small",
        "leaves_nothing_behind",
    ] {
        assert!(failed.contains(&name), "{name} passed: {report}");
    }
    assert!(!failed.contains(&"replace_overwrites"), "{report}");
}
