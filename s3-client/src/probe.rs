//! The conformance probe behind `s3 check`: find out what a provider does instead of guessing.
//!
//! [`quick`] does what upstream's check does: bucket, write, read, delete. [`full`] tries every
//! operation and rule the backend relies on and says which quirks to set. Both write only below
//! `.s3-client-test`, and clean up also after a failure.

use std::time::Duration;

use api_types::s3::ProviderQuirk;
use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use crate::body::md5;
use crate::client::S3Client;
use crate::counters::CounterSnapshot;
use crate::error::{S3Error, S3ErrorKind};
use crate::key::{DirPrefix, KeyError, ListPrefix, ObjectKey};
use crate::operation::{Operation, TaskKind};
use crate::ops::{
    Answer, CopyOutcome, KeyOutcome, ListOptions, PageOrder, PutMode, PutOptions, PutOutcome,
};
use crate::retry::RetryPolicy;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// As it should be.
    Fine,
    /// Worth knowing.
    Note,
    /// Costs money, speed or comfort, or needs a quirk.
    Warning,
    /// The backend cannot work like this.
    Error,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What was looked at.
    pub check: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// What was seen, and what to do about it.
    pub text: String,
}

/// Everything the probe found out.
#[derive(Clone, Debug, Default)]
pub struct ProbeReport {
    /// In the order of the checks.
    pub findings: Vec<Finding>,
    /// Quirks that should be set, those that are set rightly included.
    pub recommended_quirks: Vec<ProviderQuirk>,
    /// Server clock minus ours, milliseconds.
    pub clock_offset: Option<i64>,
    /// Mean latency by operation.
    pub latencies: Vec<(Operation, Duration)>,
    /// Requests made.
    pub requests: CounterSnapshot,
}

impl ProbeReport {
    /// The worst of the findings.
    #[must_use]
    pub fn worst(&self) -> Severity {
        self.findings
            .iter()
            .map(|finding| finding.severity)
            .max()
            .unwrap_or(Severity::Fine)
    }

    fn add(&mut self, check: &'static str, severity: Severity, text: impl Into<String>) {
        self.findings.push(Finding {
            check,
            severity,
            text: text.into(),
        });
    }

    fn recommend(&mut self, quirk: ProviderQuirk) {
        if !self.recommended_quirks.contains(&quirk) {
            self.recommended_quirks.push(quirk);
        }
    }
}

/// How long each request to clean up may take after an abort.
const LAST_REQUESTS: Duration = Duration::from_secs(5);
const BODY: &[u8] = b"s3 client test object";
/// The largest clock difference that is no trouble.
const CLOCK_TOLERANCE_MILLIS: u64 = 60_000;

fn test_key(dir: Option<&DirPrefix>, name: &str) -> Result<ObjectKey, KeyError> {
    match dir {
        Some(dir) => dir.join(name),
        None => ObjectKey::new(name),
    }
}

/// Checks bucket, write, read and delete with one empty object named `.s3-client-test`.
///
/// # Errors
/// The first request that fails.
pub async fn quick(client: &S3Client, dir: Option<&DirPrefix>) -> Result<(), S3Error> {
    let client = client.with_task(TaskKind::Check);
    client.head_bucket().await?;
    let key = test_key(dir, ".s3-client-test")?;
    client
        .put_object(&key, Bytes::new(), PutMode::Replace)
        .await?;
    let read = client.get_object(&key).await;
    let deleted = client.delete_object(&key).await;
    let missing = || {
        client.local_error(
            Operation::GetObject,
            crate::Subject::Key(key.to_string()),
            S3ErrorKind::NoSuchKey,
        )
    };
    read?.ok_or_else(missing)?;
    deleted?;
    Ok(())
}

/// Tries everything the backend relies on.
///
/// # Errors
/// When the bucket cannot be used at all, or the task is aborted. Everything else is a finding.
pub async fn full(client: &S3Client, dir: Option<&DirPrefix>) -> Result<ProbeReport, S3Error> {
    let client = client.with_task(TaskKind::Check);
    client.head_bucket().await?;
    let before = client.counters_of(TaskKind::Check);
    let unique = format!(".s3-client-test-{:016x}", client.env().random_u64());
    let home = match dir {
        Some(dir) => dir.child(&unique)?,
        None => DirPrefix::new(unique)?,
    };
    let mut probe = Probe {
        home,
        client,
        report: ProbeReport::default(),
    };
    let result = probe.run().await;
    probe.clean_up().await;
    match result {
        Err(error) if error.is_aborted() => return Err(error),
        Err(error) => probe
            .report
            .add("requests", Severity::Error, error.to_string()),
        Ok(()) => {}
    }
    let Probe {
        client, mut report, ..
    } = probe;
    report.requests = client.counters_of(TaskKind::Check).since(&before);
    report.latencies = Operation::ALL
        .into_iter()
        .filter(|&operation| report.requests.of(operation).attempts > 0)
        .map(|operation| (operation, report.requests.of(operation).mean_latency()))
        .collect();
    report.clock_offset = client.clock_offset();
    judge_clock(&client, &mut report);
    Ok(report)
}

fn judge_clock(client: &S3Client, report: &mut ProbeReport) {
    match report.clock_offset {
        None => report.add("clock", Severity::Note, "the server sends no date"),
        Some(offset) if client.clock_refused() => report.add(
            "clock",
            Severity::Error,
            format!(
                "the clocks differ by {} s, the server refuses our time",
                offset / 1000
            ),
        ),
        Some(offset) if offset.unsigned_abs() > CLOCK_TOLERANCE_MILLIS => report.add(
            "clock",
            Severity::Warning,
            format!(
                "the clocks differ by {} s; set the clock of this machine",
                offset / 1000
            ),
        ),
        Some(offset) => {
            report.add(
                "clock",
                Severity::Fine,
                format!("the clocks differ by {offset} ms"),
            );
        }
    }
}

struct Probe {
    client: S3Client,
    home: DirPrefix,
    report: ProbeReport,
}

impl Probe {
    fn key(&self, name: &str) -> Result<ObjectKey, S3Error> {
        Ok(self.home.join(name)?)
    }

    async fn run(&mut self) -> Result<(), S3Error> {
        self.conditional_put().await?;
        self.read_back().await?;
        self.listing().await?;
        self.copy().await?;
        self.absence().await?;
        self.batch_delete().await
    }

    /// Creates an object twice with `If-None-Match`: the second time must be refused.
    async fn conditional_put(&mut self) -> Result<(), S3Error> {
        const CHECK: &str = "conditional upload";
        let key = self.key("first")?;
        let options = PutOptions::from(PutMode::CreateOnly);
        let body = self.client.body(Bytes::from_static(BODY)).await;
        let first = self.client.put_once(&key, &body, true, &options).await;
        let unsupported = match first {
            Ok(Answer::Stored { .. }) => None,
            Ok(other) => Some(format!("creating a new object was answered with {other:?}")),
            Err(error) if error.is_aborted() || error.is_transient() => return Err(error),
            Err(error) => Some(error.to_string()),
        };
        if let Some(reason) = unsupported {
            // Is it the header, or does writing fail altogether?
            self.client
                .put_object(&key, Bytes::from_static(BODY), PutMode::Replace)
                .await?;
            self.report.recommend(ProviderQuirk::SkipIfNoneMatchHeader);
            self.report
                .add(CHECK, Severity::Warning, format!("not supported: {reason}"));
            return Ok(());
        }
        match self.client.put_once(&key, &body, true, &options).await? {
            Answer::Exists => self.report.add(CHECK, Severity::Fine, "works"),
            _ => {
                self.report.recommend(ProviderQuirk::SkipIfNoneMatchHeader);
                let text = "the header if-none-match is ignored, existing objects are overwritten";
                self.report.add(CHECK, Severity::Warning, text);
            }
        }
        Ok(())
    }

    /// Content, range, ETag and versioning of the object just written.
    async fn read_back(&mut self) -> Result<(), S3Error> {
        const CHECK: &str = "read after write";
        let key = self.key("first")?;
        let Some(object) = self.client.get_object(&key).await? else {
            self.report.recommend(ProviderQuirk::EventualConsistency);
            let text = "an object is not there right after it was written";
            self.report.add(CHECK, Severity::Warning, text);
            return Ok(());
        };
        if object.body == BODY {
            self.report.add(CHECK, Severity::Fine, "works");
        } else {
            self.report.add(
                CHECK,
                Severity::Error,
                "other content comes back than was written",
            );
        }
        match self.client.get_object_range(&key, 3..9).await {
            Ok(Some(part)) if part.body == BODY[3..9] => {
                self.report.add("ranges", Severity::Fine, "work");
            }
            Ok(_) => self
                .report
                .add("ranges", Severity::Error, "the wrong bytes come back"),
            Err(error) => self
                .report
                .add("ranges", Severity::Error, error.to_string()),
        }
        let tag = object.head.etag.as_ref().and_then(crate::ETag::md5);
        if tag.is_some() && tag == md5(BODY) {
            self.report
                .add("etag", Severity::Fine, "it is the md5 of the content");
        } else {
            let text = "it is not the md5 of the content: uploads cannot be checked by it";
            self.report.add("etag", Severity::Note, text);
        }
        if object.head.version_id.is_some() {
            self.report.add(
                "versioning",
                Severity::Warning,
                "the bucket is versioned: deleting frees no space until a lifecycle rule removes \
                 old versions",
            );
        }
        Ok(())
    }

    /// Lists four objects with two per page.
    async fn listing(&mut self) -> Result<(), S3Error> {
        const CHECK: &str = "listing";
        let mut written = Vec::from(["first", "a:b", "z b+ü", "z&'<\">"].map(str::to_owned));
        for name in &written[1..] {
            let body = Bytes::from_static(BODY);
            self.client
                .put_object(&self.key(name)?, body, PutMode::Replace)
                .await?;
        }
        written.sort();
        let options = ListOptions {
            max_keys: Some(2),
            ..ListOptions::default()
        };
        let mut listing = self.client.list(ListPrefix::from(&self.home), options);
        let (mut seen, mut pages, mut sorted) = (Vec::new(), 0, true);
        while let Some(page) = listing.next_page().await {
            let page = match page {
                Ok(page) => page,
                Err(error) => {
                    self.report.add(CHECK, Severity::Error, error.to_string());
                    return Ok(());
                }
            };
            pages += 1;
            sorted &= page.order == PageOrder::Sorted;
            let names = page
                .objects
                .iter()
                .filter_map(|o| o.key.relative_to(&self.home));
            seen.extend(names.map(str::to_owned));
        }
        if !sorted {
            let text = "objects are not listed in the order of their keys: garbage collection \
                        needs more memory and time";
            self.report.add(CHECK, Severity::Warning, text);
        }
        seen.sort();
        if seen == written {
            self.report.add(
                CHECK,
                Severity::Fine,
                format!("works ({pages} pages of 2 keys)"),
            );
        } else if seen.len() < written.len() && seen.iter().all(|name| written.contains(name)) {
            self.report.recommend(ProviderQuirk::EventualConsistency);
            let text = "objects are missing in a listing right after they were written";
            self.report.add(CHECK, Severity::Warning, text);
        } else {
            self.report.recommend(ProviderQuirk::ListEncodingUrl);
            let text = format!("keys with special characters come back wrong: {seen:?}");
            self.report.add(CHECK, Severity::Warning, text);
        }
        Ok(())
    }

    async fn copy(&mut self) -> Result<(), S3Error> {
        const CHECK: &str = "copy";
        let (from, to) = (self.key("a:b")?, self.key("2025-07-14T14:20:02Z/c")?);
        let copied = match self.client.copy_object(&from, &to).await {
            Ok(answer) => answer.outcome,
            Err(error) if error.is_aborted() => return Err(error),
            Err(error) => {
                self.report
                    .add(CHECK, Severity::Warning, format!("does not work: {error}"));
                return Ok(());
            }
        };
        let arrived = self.client.head_object(&to).await?;
        let size = arrived.map(|head| head.size);
        if copied == CopyOutcome::Copied && size == u64::try_from(BODY.len()).ok() {
            self.report.add(CHECK, Severity::Fine, "works");
        } else {
            let text = format!("the copy is not where it belongs ({copied:?}, size {size:?})");
            self.report.add(CHECK, Severity::Error, text);
        }
        Ok(())
    }

    /// Asks for an object that never existed.
    async fn absence(&mut self) -> Result<(), S3Error> {
        const CHECK: &str = "missing objects";
        match self.client.head_object(&self.key("never-written")?).await {
            Ok(None) => self
                .report
                .add(CHECK, Severity::Fine, "are reported as missing"),
            Ok(Some(_)) => {
                self.report
                    .add(CHECK, Severity::Error, "the server claims to have them");
            }
            Err(error) if error.is_aborted() => return Err(error),
            Err(error) => {
                let hint = match error.kind() {
                    S3ErrorKind::Denied { .. } => {
                        "; give the access key the permission to list the bucket (s3:ListBucket)"
                    }
                    _ => "",
                };
                self.report.add(
                    CHECK,
                    Severity::Error,
                    format!("cannot be told: {error}{hint}"),
                );
            }
        }
        Ok(())
    }

    /// Deletes two objects at once, one of which does not exist, and looks again.
    async fn batch_delete(&mut self) -> Result<(), S3Error> {
        const CHECK: &str = "batched delete";
        let keys = [self.key("first")?, self.key("never-written")?];
        let attempt = self.client.delete_batch_attempt(&keys).await;
        if let Some(error) = attempt.error.filter(S3Error::is_aborted) {
            return Err(error);
        }
        if attempt.delete_markers > 0 {
            let text = "the server only writes delete markers: no space is freed";
            self.report.add("versioning", Severity::Warning, text);
        }
        let failed = attempt
            .outcomes
            .iter()
            .find(|outcome| **outcome != KeyOutcome::Deleted);
        match failed {
            None => self.report.add(CHECK, Severity::Fine, "works"),
            Some(KeyOutcome::Refused { code, message }) if code == "AccessDenied" => {
                let text = format!("denied ({message}): missing permission, or object lock");
                self.report.add(CHECK, Severity::Error, text);
                return Ok(());
            }
            Some(outcome) => {
                self.report
                    .recommend(ProviderQuirk::DeleteObjectsViaDeleteObject);
                let text = format!("does not work: {outcome:?}");
                self.report.add(CHECK, Severity::Warning, text);
                self.client.delete_object(&keys[0]).await?;
            }
        }
        if self.client.get_object(&keys[0]).await?.is_some() {
            self.report.recommend(ProviderQuirk::EventualConsistency);
            let text = "an object is still there right after it was deleted";
            self.report
                .add("read after delete", Severity::Warning, text);
        } else {
            self.report
                .add("read after delete", Severity::Fine, "the object is gone");
        }
        let outcome =
            self.client
                .put_object(&keys[0], Bytes::from_static(BODY), PutMode::CreateOnly);
        if !matches!(outcome.await?.outcome, PutOutcome::Created { .. }) {
            self.report.recommend(ProviderQuirk::EventualConsistency);
            let text = "an object cannot be created again right after it was deleted";
            self.report
                .add("create after delete", Severity::Warning, text);
        }
        Ok(())
    }

    /// Removes everything with single deletes, the operation every provider has; also when the
    /// task was aborted, but then only for a moment.
    async fn clean_up(&mut self) {
        if self.client.cancel_token().is_cancelled() {
            self.client = self
                .client
                .with_cancel(CancellationToken::new())
                .with_retry(RetryPolicy {
                    max_attempts: 1,
                    deadline: LAST_REQUESTS,
                    ..RetryPolicy::default()
                });
        }
        let mut listing = self.client.list(&self.home, ListOptions::default());
        let mut left = 0_usize;
        while let Some(page) = listing.next_page().await {
            let Ok(page) = page else {
                left += 1;
                break;
            };
            for object in page.objects {
                if self.client.delete_object(&object.key).await.is_err() {
                    left += 1;
                }
            }
        }
        if left > 0 {
            let text = format!("test objects below {} could not be removed", self.home);
            self.report.add("cleaning up", Severity::Warning, text);
        }
    }
}
