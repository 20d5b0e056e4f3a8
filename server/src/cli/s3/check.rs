//! `s3 check`: can the endpoint and bucket be used, and which quirks does the provider need?

use anyhow::{Context, Result, bail};
use api_types::names::EndpointId;
use api_types::s3::{BucketName, ProviderQuirk, S3EndpointConfig};
use s3_client::DirPrefix;
use s3_client::probe::{self, Finding, ProbeReport, Severity};
use serde::Serialize;

use crate::cli::Session;
use crate::cli::table::{Column, Table};

/// What to check.
#[derive(Debug, clap::Args)]
pub struct CheckOptions {
    /// Name of the endpoint.
    endpoint: EndpointId,
    /// Name of the bucket.
    bucket: BucketName,
    /// Write the test objects below this prefix (the name of a datastore).
    #[arg(long)]
    store_prefix: Option<String>,
    /// Try everything a datastore relies on, and recommend quirks.
    #[arg(long)]
    full: bool,
}

/// The report of a full check.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Report {
    endpoint: EndpointId,
    bucket: BucketName,
    findings: Vec<FindingItem>,
    configured_quirks: Vec<ProviderQuirk>,
    recommended_quirks: Vec<ProviderQuirk>,
    /// Server clock minus ours.
    clock_offset_ms: Option<i64>,
    latencies: Vec<Latency>,
    /// Requests that the check made.
    requests: u64,
}

#[derive(Debug, Serialize)]
struct FindingItem {
    check: &'static str,
    severity: &'static str,
    text: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Latency {
    operation: String,
    mean_ms: u128,
}

impl CheckOptions {
    /// Runs the command.
    pub async fn run(self, session: &Session) -> Result<()> {
        let endpoints = session.config.s3_endpoints().load()?;
        let endpoint = endpoints.get(self.endpoint.as_str())?;
        let client = session.s3.client(endpoint, Some(self.bucket.clone()))?;
        let prefix = self.store_prefix.clone().map(DirPrefix::new).transpose();
        let prefix = prefix.context("bad value of --store-prefix")?;
        let failed = || {
            format!(
                "check of bucket '{}' at s3-endpoint '{}' failed",
                self.bucket, endpoint.id
            )
        };
        if !self.full {
            probe::quick(&client, prefix.as_ref())
                .await
                .with_context(failed)?;
            return session
                .format
                .print(&(), || "the bucket can be used".to_owned());
        }
        let report = probe::full(&client, prefix.as_ref())
            .await
            .with_context(failed)?;
        let usable = report.worst() < Severity::Error;
        let report = Report::new(endpoint, self.bucket.clone(), report);
        session.format.print(&report, || report.to_text())?;
        if !usable {
            bail!("{}: a datastore would not work there", failed());
        }
        Ok(())
    }
}

impl Report {
    fn new(endpoint: &S3EndpointConfig, bucket: BucketName, report: ProbeReport) -> Self {
        Self {
            endpoint: endpoint.id.clone(),
            bucket,
            findings: report.findings.into_iter().map(FindingItem::from).collect(),
            configured_quirks: endpoint.provider_quirks.clone(),
            recommended_quirks: report.recommended_quirks,
            clock_offset_ms: report.clock_offset,
            latencies: report
                .latencies
                .into_iter()
                .map(|(operation, mean)| Latency {
                    operation: operation.to_string(),
                    mean_ms: mean.as_millis(),
                })
                .collect(),
            requests: report.requests.total().attempts,
        }
    }

    fn to_text(&self) -> String {
        let findings = Table::of_items(
            &[
                Column::plain("check"),
                Column::plain("severity"),
                Column::plain("text"),
            ],
            &self.findings,
        );
        let latencies = Table::of_items(
            &[Column::plain("operation"), Column::plain("mean-ms")],
            &self.latencies,
        );
        format!("{findings}{latencies}{}", self.advice())
    }

    /// The command that sets the quirks, if there is something to set.
    fn advice(&self) -> String {
        let missing = self
            .recommended_quirks
            .iter()
            .any(|quirk| !self.configured_quirks.contains(quirk));
        if !missing {
            return "no other provider quirks need to be set".to_owned();
        }
        // The option replaces the whole list.
        let mut quirks = self.configured_quirks.clone();
        quirks.extend(
            self.recommended_quirks
                .iter()
                .filter(|q| !self.configured_quirks.contains(q)),
        );
        let options: String = quirks
            .iter()
            .map(|quirk| format!(" --provider-quirks {quirk}"))
            .collect();
        format!(
            "this provider needs quirks; set them with\n  coffer-manager s3 endpoint update {}{options}",
            self.endpoint
        )
    }
}

impl From<Finding> for FindingItem {
    fn from(finding: Finding) -> Self {
        let severity = match finding.severity {
            Severity::Fine => "ok",
            Severity::Note => "note",
            Severity::Warning => "warning",
            Severity::Error => "error",
        };
        Self {
            check: finding.check,
            severity,
            text: finding.text,
        }
    }
}
