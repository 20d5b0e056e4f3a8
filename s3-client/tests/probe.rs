//! The conformance probe: what it recommends for servers of every kind.
#![allow(clippy::unwrap_used)] // also in the helpers of tests

mod common;

use api_types::s3::ProviderQuirk;
use common::live::{BUCKET, behaving, client, client_with, server, start};
use s3_client::DirPrefix;
use s3_client::probe::{self, ProbeReport, Severity};
use s3_mock::behaviour::{Behaviour, ConditionalPut};
use s3_mock::{MockS3, Op, Pattern};
use tokio_util::sync::CancellationToken;

async fn probed(server: &MockS3) -> ProbeReport {
    let dir = DirPrefix::new("store").unwrap();
    let report = probe::full(&client(server), Some(&dir)).await.unwrap();
    assert_eq!(server.object_count(BUCKET), 0, "nothing is left behind");
    report
}

async fn recommended(change: impl FnOnce(&mut Behaviour)) -> Vec<ProviderQuirk> {
    probed(&behaving(change).await).await.recommended_quirks
}

#[tokio::test]
async fn a_good_server_needs_no_quirks() {
    let report = probed(&server().await).await;
    assert_eq!(report.worst(), Severity::Fine, "{:?}", report.findings);
    assert!(report.recommended_quirks.is_empty());
    assert!(report.clock_offset.unwrap().abs() < 5000);
    assert!(report.latencies.len() >= 7);
    assert!(report.requests.total().attempts > 10);
}

#[tokio::test]
async fn quirks_are_found() {
    let skip = [ProviderQuirk::SkipIfNoneMatchHeader];
    assert_eq!(
        recommended(|b| b.conditional_put = ConditionalPut::Ignored).await,
        skip
    );
    assert_eq!(
        recommended(|b| b.conditional_put = ConditionalPut::NotImplemented).await,
        skip
    );
    let one_by_one = [ProviderQuirk::DeleteObjectsViaDeleteObject];
    assert_eq!(recommended(|b| b.delete_objects = false).await, one_by_one);
}

#[tokio::test]
async fn a_wrong_clock_and_old_versions_are_reported() {
    let ahead = server().await;
    ahead.set_clock_offset_millis(300_000);
    let report = probed(&ahead).await;
    assert!(
        report
            .findings
            .iter()
            .any(|f| f.check == "clock" && f.severity == Severity::Warning)
    );

    let versioned = start(|b| b.versioned_bucket("versioned")).await;
    let client = client_with(&versioned, |o| {
        o.bucket = Some("versioned".parse().unwrap());
    });
    let report = probe::full(&client, None).await.unwrap();
    assert!(
        report.findings.iter().any(|f| f.check == "versioning"),
        "{:?}",
        report.findings
    );
}

#[tokio::test]
async fn a_locked_bucket_is_an_error_and_what_is_left_is_said() {
    let server = behaving(|b| b.locked = vec![Pattern::new("*")]).await;
    let report = probe::full(&client(&server), None).await.unwrap();
    assert_eq!(report.worst(), Severity::Error);
    assert!(
        report.findings.iter().any(|f| f.check == "cleaning up"),
        "{:?}",
        report.findings
    );
}

#[tokio::test]
async fn an_aborted_probe_takes_its_objects_with_it() {
    let server = server().await;
    let gate = server.gate(Op::CopyObject, "*");
    let cancel = CancellationToken::new();
    let client = client(&server).with_cancel(cancel.clone());
    let abort = async {
        gate.arrived().await;
        assert!(server.object_count(BUCKET) > 0);
        cancel.cancel();
    };
    let (result, ()) = tokio::join!(probe::full(&client, None), abort);
    assert!(result.unwrap_err().is_aborted());
    assert_eq!(server.object_count(BUCKET), 0);
}

#[tokio::test]
async fn the_quick_check_leaves_nothing_behind() {
    let server = server().await;
    probe::quick(&client(&server), None).await.unwrap();
    assert_eq!(server.object_count(BUCKET), 0);
    assert_eq!(server.journal().written_keys(), [".s3-client-test"]);
}
