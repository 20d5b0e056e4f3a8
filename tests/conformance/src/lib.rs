//! The S3 conformance suite: one set of cases, runnable against any endpoint.
//!
//! ```no_run
//! # async fn example(options: s3_client::S3ClientOptions) {
//! use conformance::{Capabilities, Target};
//!
//! let target = Target { options, env: s3_client::env::Env::system() };
//! let report = conformance::run(&target, &Capabilities::full()).await;
//! println!("{report}");
//! assert!(report.passed());
//! # }
//! ```
//!
//! The suite goes through the public interface of [`s3_client`] only and checks each operation and
//! outcome that a healthy server can show; what needs a misbehaving server is tested with the
//! scripted server beside the client. A server that lacks something says so in
//! [`Capabilities`]: the cases that need it are reported as skipped.
//!
//! Everything is written below `conformance/` in the target's bucket and removed at the end.

mod cases;
mod context;
mod report;

pub use context::Target;
pub use report::{Outcome, Report};

use cases::CASES;
use context::Context;

/// What the server under test can do beyond the minimum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// `If-None-Match: *` on PUT is honoured.
    pub create_only: bool,
    /// It is looked at and acted upon in one step, so that of two writers one loses.
    pub atomic_create: bool,
    /// A key can be the directory of another (`a` and `a/b`), and both are listed.
    pub nested_keys: bool,
    /// Keys may have 1024 bytes.
    pub long_keys: bool,
    /// Listings carry ETags.
    pub listed_etags: bool,
    /// A missing bucket is told from a missing object.
    pub tells_missing_bucket: bool,
    /// The region in a signature is checked.
    pub checks_region: bool,
}

impl Capabilities {
    /// A server that can do everything.
    #[must_use]
    pub const fn full() -> Self {
        Self {
            create_only: true,
            atomic_create: true,
            nested_keys: true,
            long_keys: true,
            listed_etags: true,
            tells_missing_bucket: true,
            checks_region: true,
        }
    }
}

/// Runs every case, one after the other; a failed case does not end the run.
pub async fn run(target: &Target, capabilities: &Capabilities) -> Report {
    let mut report = Report::new(&target.options);
    for case in CASES {
        if !(case.needs)(capabilities) {
            report.add(case.name, Outcome::Skipped);
            continue;
        }
        let outcome = match Context::new(target, case.name) {
            Ok(context) => Outcome::of((case.run)(&context).await),
            Err(error) => Outcome::Failed(error),
        };
        report.add(case.name, outcome);
    }
    report.add(
        "leaves_nothing_behind",
        Outcome::of(context::clean_up(target).await),
    );
    report
}
