//! Commands that talk to an S3 server.

use s3_mock::MockS3;
use s3_mock::behaviour::ConditionalPut;
use serde_json::json;

use crate::support::{Installation, Ran};

/// An installation whose endpoint `mock` is `server`.
fn installation_with(server: &MockS3, options: &[&str]) -> Installation {
    let installation = Installation::new();
    let port = server.port().to_string();
    let mut arguments = vec![
        "s3",
        "endpoint",
        "create",
        "mock",
        "--endpoint",
        server.host(),
        "--port",
        &port,
        "--region",
        server.region(),
        "--access-key",
        server.access_key(),
        "--secret-key",
        server.secret_key(),
        "--path-style",
    ];
    arguments.extend(options);
    installation.ok(&arguments);
    installation
}

/// Runs the tool beside the server, which lives in this test's runtime.
async fn run(installation: &Installation, arguments: &[&str]) -> Ran {
    let mut command = installation.command(arguments);
    let output = tokio::task::spawn_blocking(move || command.output())
        .await
        .unwrap()
        .unwrap();
    Ran {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn buckets_are_listed_over_plain_http_only_when_allowed() {
    let server = MockS3::builder()
        .bucket("first-bucket")
        .bucket("other")
        .start()
        .await
        .unwrap();
    let installation = installation_with(&server, &[]);
    let list = ["s3", "list-buckets", "mock", "--output-format", "json"];
    let plain = [&list[..], &["--plain-http", "loopback"]].concat();
    let ran = run(&installation, &plain).await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let listed: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(listed, json!([{"name": "first-bucket"}, {"name": "other"}]));

    let refused = run(&installation, &list).await;
    assert_eq!((refused.code, refused.stdout.as_str()), (Some(1), ""));
    assert!(refused.stderr.contains("mock"), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_fingerprint_of_the_certificate_is_what_is_trusted() {
    let server = MockS3::builder()
        .bucket("first-bucket")
        .start()
        .await
        .unwrap();
    let list = ["s3", "list-buckets", "mock"];
    let trusted = installation_with(&server, &["--fingerprint", &server.fingerprint().unwrap()]);
    let ran = run(&trusted, &list).await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.stdout.contains("│ first-bucket │"), "{ran:?}");

    let other = installation_with(&server, &["--fingerprint", &"00:".repeat(32)[..95]]);
    let ran = run(&other, &list).await;
    assert_eq!(ran.code, Some(1));
    assert!(ran.stderr.contains("fingerprint"), "{ran:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_credentials_are_named_and_not_shown() {
    let server = MockS3::builder()
        .bucket("first-bucket")
        .start()
        .await
        .unwrap();
    let installation =
        installation_with(&server, &["--fingerprint", &server.fingerprint().unwrap()]);
    let secret = "not-the-right-secret";
    installation.ok(&["s3", "endpoint", "update", "mock", "--secret-key", secret]);
    let ran = run(&installation, &["s3", "list-buckets", "mock"]).await;
    assert_eq!(ran.code, Some(1));
    assert!(ran.stderr.contains("failed to list the buckets") && !ran.stderr.contains(secret));
    let ran = run(&installation, &["s3", "list-buckets", "other"]).await;
    assert_eq!(ran.stderr, "error: no such s3-endpoint 'other'\n");
}

async fn check(server: &MockS3, options: &[&str]) -> Ran {
    let installation =
        installation_with(server, &["--fingerprint", &server.fingerprint().unwrap()]);
    let arguments = [&["s3", "check", "mock", "first-bucket"], options].concat();
    run(&installation, &arguments).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_says_whether_the_bucket_can_be_used_and_leaves_nothing() {
    let server = MockS3::builder()
        .bucket("first-bucket")
        .start()
        .await
        .unwrap();
    let ran = check(&server, &["--store-prefix", "store"]).await;
    assert_eq!(
        (ran.code, ran.stdout.as_str()),
        (Some(0), "the bucket can be used\n"),
        "{ran:?}"
    );
    assert!(
        server
            .journal()
            .deleted_keys()
            .contains(&"store/.s3-client-test".to_owned())
    );

    let ran = check(&server, &["--full", "--output-format", "json"]).await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let report: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(report["recommended-quirks"], json!([]));
    assert!(report["requests"].as_u64().unwrap() > 10);
    let findings = report["findings"].as_array().unwrap();
    assert!(
        findings
            .iter()
            .any(|finding| finding["check"] == "conditional upload")
    );
    assert_eq!(server.object_count("first-bucket"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_check_prints_the_quirks_to_set() {
    let server = MockS3::builder()
        .bucket("first-bucket")
        .configure(|behaviour| behaviour.conditional_put = ConditionalPut::Ignored)
        .start()
        .await
        .unwrap();
    let ran = check(&server, &["--full"]).await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let advice = "s3 endpoint update mock --provider-quirks skip-if-none-match-header";
    assert!(ran.stdout.contains(advice), "{ran:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_is_not_there_fails_the_check() {
    let server = MockS3::builder()
        .bucket("other-bucket")
        .start()
        .await
        .unwrap();
    for options in [&[][..], &["--full"]] {
        let ran = check(&server, options).await;
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(1), ""), "{ran:?}");
        assert!(ran.stderr.contains("'first-bucket'"), "{ran:?}");
    }
}
