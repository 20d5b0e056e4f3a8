//! Everything that requests change, under one lock; and the dispatch to the operations.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use crate::answer::Answer;
use crate::behaviour::Behaviour;
use crate::dates::iso_date;
use crate::encoding::xml_escape;
use crate::fault::FaultScript;
use crate::journal::{Change, Counters, Event, Journal, Observer, RequestId, What};
use crate::late::LateRequests;
use crate::op::Op;
use crate::request::Request;
use crate::store::{Bucket, Removal};

/// What an operation says and did.
pub(crate) struct Outcome {
    pub(crate) answer: Answer,
    pub(crate) changes: Vec<Change>,
}

impl Outcome {
    /// An outcome that changed nothing.
    pub(crate) fn read(answer: Answer) -> Self {
        Self {
            answer,
            changes: Vec::new(),
        }
    }

    pub(crate) fn no_such_bucket() -> Self {
        Self::read(Answer::error(
            404,
            "NoSuchBucket",
            "The specified bucket does not exist",
        ))
    }
}

/// The server's whole state.
#[derive(Default)]
pub(crate) struct State {
    pub(crate) buckets: BTreeMap<String, Bucket>,
    pub(crate) behaviour: Behaviour,
    pub(crate) faults: FaultScript,
    pub(crate) late: LateRequests,
    pub(crate) journal: Journal,
    pub(crate) observer: Option<Arc<dyn Observer>>,
    pub(crate) counters: Counters,
    /// 409 answers given so far, per bucket and key.
    pub(crate) conflicts: HashMap<(String, String), u32>,
    /// Scripted per-key errors given so far, per key and code.
    pub(crate) key_failures: HashMap<(String, String), u32>,
    /// Start of the current second, and the requests in it, for the throttle.
    window: (Duration, u32),
    last_request: RequestId,
}

impl State {
    pub(crate) fn new(behaviour: Behaviour) -> Self {
        Self {
            behaviour,
            ..Self::default()
        }
    }

    pub(crate) fn next_request(&mut self) -> RequestId {
        self.last_request += 1;
        self.last_request
    }

    /// Adds a line to the journal.
    pub(crate) fn record(&mut self, request: &Request, at_millis: i64, what: What) {
        let bucket = request.bucket.clone().unwrap_or_default();
        let seq = u64::try_from(self.journal.events.len()).unwrap_or(u64::MAX);
        let event = Event {
            seq,
            at_millis,
            request: request.id,
            op: request.op,
            bucket,
            tag: request.treatment.tag,
            what,
        };
        if let Some(observer) = &self.observer {
            observer.line(&event);
        }
        self.journal.events.push(event);
    }

    /// Removes an object; `None` without such a bucket.
    pub(crate) fn remove(&mut self, bucket: &str, key: &str, now: i64) -> Option<Removal> {
        let stale_views = self.behaviour.remember_deleted
            || !self.behaviour.list.stale.is_zero()
            || !self.behaviour.stale_reads.is_zero();
        Some(self.buckets.get_mut(bucket)?.delete(key, now, stale_views))
    }

    /// The throttle's answer, if this request is one too many.
    pub(crate) fn throttled(&mut self, op: Op, now: Duration) -> Option<Answer> {
        let throttle = self.behaviour.throttle.as_ref()?;
        if !throttle.ops.is_empty() && !throttle.ops.contains(&op) {
            return None;
        }
        let (start, count) = &mut self.window;
        if now.saturating_sub(*start) >= Duration::from_secs(1) {
            (*start, *count) = (now, 0);
        }
        *count = count.saturating_add(1);
        (*count > throttle.per_second).then(|| throttle.reply.to_answer())
    }

    /// Carries a request out and records what it changed.
    pub(crate) fn apply(&mut self, req: &Request, now: i64) -> Answer {
        let outcome = self.dispatch(req, now);
        if !outcome.changes.is_empty() {
            self.record(
                req,
                now,
                What::Applied {
                    changes: outcome.changes,
                },
            );
        }
        outcome.answer
    }

    fn dispatch(&mut self, req: &Request, now: i64) -> Outcome {
        let bucket = req.bucket.as_deref().unwrap_or_default();
        let key = req.key.as_deref().unwrap_or_default();
        match req.op {
            Op::ListBuckets => self.list_buckets(),
            Op::CreateBucket => self.create_bucket(bucket, now),
            Op::HeadBucket if self.buckets.contains_key(bucket) => {
                Outcome::read(Answer::empty(200))
            }
            Op::HeadBucket => Outcome::no_such_bucket(),
            Op::GetBucketVersioning => self.get_versioning(bucket),
            Op::ListObjects => self.list_objects(bucket, req, now),
            Op::HeadObject | Op::GetObject => self.get_object(bucket, key, req, now),
            Op::PutObject => self.put_object(bucket, key, req, now),
            Op::CopyObject => self.copy_object(bucket, key, req, now),
            Op::DeleteObject => self.delete_object(bucket, key, now),
            Op::DeleteObjects => self.delete_objects(bucket, req, now),
            Op::Unknown => {
                let message =
                    "A header or query you provided implies functionality that is not implemented.";
                Outcome::read(Answer::error(501, "NotImplemented", message))
            }
        }
    }

    fn list_buckets(&self) -> Outcome {
        let mut buckets = String::new();
        for (name, bucket) in &self.buckets {
            let (name, created) = (xml_escape(name), iso_date(bucket.created_millis));
            // Writing to a string cannot fail.
            let _ = write!(
                buckets,
                "<Bucket><Name>{name}</Name><CreationDate>{created}</CreationDate></Bucket>"
            );
        }
        Outcome::read(Answer::xml(
            200,
            &format!(
                "<ListAllMyBucketsResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
                 <Owner><ID>mock</ID></Owner><Buckets>{buckets}</Buckets></ListAllMyBucketsResult>"
            ),
        ))
    }

    fn create_bucket(&mut self, name: &str, now: i64) -> Outcome {
        if self.buckets.contains_key(name) {
            let message = "Your previous request to create the named bucket succeeded";
            return Outcome::read(Answer::error(409, "BucketAlreadyOwnedByYou", message));
        }
        self.buckets
            .insert(name.to_owned(), Bucket::new(now, false));
        let answer = Answer::empty(200).header("location", format!("/{name}"));
        Outcome {
            answer,
            changes: vec![Change::BucketCreated],
        }
    }

    fn get_versioning(&self, bucket: &str) -> Outcome {
        let Some(bucket) = self.buckets.get(bucket) else {
            return Outcome::no_such_bucket();
        };
        let status = if bucket.versioning {
            "<Status>Enabled</Status>"
        } else {
            ""
        };
        Outcome::read(Answer::xml(
            200,
            &format!(
                "<VersioningConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
                 {status}</VersioningConfiguration>"
            ),
        ))
    }
}
