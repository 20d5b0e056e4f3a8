//! The client: shared state of one (endpoint, bucket), and cheap views of it per task.

use std::fmt;
use std::sync::Arc;

use api_types::s3::{BucketName, ChecksumMode, S3EndpointConfig};
use hyper::Method;
use tokio_util::sync::CancellationToken;

use crate::body::Body;
use crate::classify::Failure;
use crate::clock::Clock;
use crate::counters::{CounterSnapshot, Counters};
use crate::encode::Query;
use crate::endpoint::{Addressing, Scheme};
use crate::env::Env;
use crate::error::{ErrorContext, S3Error, S3ErrorKind, Subject};
use crate::key::ObjectKey;
use crate::layer::{Call, Counting, Limiting, Retrying, Signing, Unsuccessful};
use crate::limits::{EndpointLimits, RetryBudget};
use crate::operation::{OpClass, Operation, Priority, TaskKind};
use crate::ops::Answered;
use crate::options::{Quirks, S3ClientOptions, checksum_mode};
use crate::retry::RetryPolicy;
use crate::sigv4::Signer;
use crate::transport::{CallContext, Request, Response, Transport};

/// A client of one bucket. Clones and views share connections, limits, counters and clock.
#[derive(Clone)]
pub struct S3Client {
    pub(crate) core: Arc<Core>,
    pub(crate) context: Arc<CallContext>,
    pub(crate) policy: RetryPolicy,
}

/// What all views of a client share.
pub(crate) struct Core {
    pub(crate) env: Env,
    pub(crate) endpoint: S3EndpointConfig,
    pub(crate) bucket: Option<BucketName>,
    pub(crate) quirks: Quirks,
    pub(crate) checksum: ChecksumMode,
    pub(crate) max_object_bytes: usize,
    addressing: Addressing,
    clock: Arc<Clock>,
    counters: Arc<Counters>,
    retrying: Retrying,
}

impl fmt::Debug for S3Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Client")
            .field("endpoint", &self.core.endpoint.id)
            .field("bucket", &self.core.bucket)
            .field("task", &self.context.task)
            .finish_non_exhaustive()
    }
}

impl S3Client {
    /// A client over the network. Take it from the [`crate::ClientRegistry`] where several parts
    /// of a process use the same endpoint.
    ///
    /// # Errors
    /// When the endpoint is not valid (see the text), before anything is sent.
    pub fn new(options: S3ClientOptions, env: Env) -> Result<Self, S3Error> {
        let limits = options.shared_limits(&env);
        let target =
            Addressing::new(&options.endpoint, options.scheme).authority(options.bucket.as_ref());
        let plain = options.scheme == Scheme::Http;
        if plain && !options.allow_plain_http && !target.is_loopback() {
            return Err(S3Error::config(format!(
                "endpoint {}: plain http to {} is refused, it is only for loopback addresses",
                options.endpoint.id, target.header
            )));
        }
        let transport = options.http_transport(&env, limits.clone())?;
        Self::assemble(options, env, transport, limits)
    }

    /// A client over another transport, for tests and simulations. Signing, limits, counters and
    /// retries are the real ones.
    ///
    /// # Errors
    /// When the endpoint is not valid.
    pub fn with_transport(
        options: S3ClientOptions,
        env: Env,
        transport: Arc<dyn Transport>,
    ) -> Result<Self, S3Error> {
        let limits = options.shared_limits(&env);
        Self::assemble(options, env, transport, limits)
    }

    fn assemble(
        options: S3ClientOptions,
        env: Env,
        transport: Arc<dyn Transport>,
        limits: Arc<EndpointLimits>,
    ) -> Result<Self, S3Error> {
        let endpoint = options.endpoint;
        endpoint
            .validate()
            .map_err(|error| S3Error::config(error.to_string()))?;
        let clock = Arc::new(Clock::new(env.clone()));
        let counters = options.counters.unwrap_or_default();
        let signer = Signer::new(
            endpoint.access_key.as_str().to_owned(),
            endpoint.secret_key.expose().to_owned(),
            endpoint.region().as_str().to_owned(),
        );
        let signing = Signing::new(transport, signer, clock.clone());
        let counting = Counting::new(signing, counters.clone(), env.clone());
        let limiting = Limiting::new(counting, &endpoint, limits);
        let quirks = Quirks::of(&endpoint);
        let core = Core {
            retrying: Retrying {
                inner: Arc::new(limiting),
                env: env.clone(),
                budget: RetryBudget::new(env.clone()),
                clock: clock.clone(),
                counters: counters.clone(),
            },
            addressing: Addressing::new(&endpoint, options.scheme),
            checksum: checksum_mode(&endpoint, &quirks),
            max_object_bytes: options.max_object_bytes,
            bucket: options.bucket,
            env,
            endpoint,
            quirks,
            clock,
            counters,
        };
        Ok(Self {
            core: Arc::new(core),
            context: Arc::default(),
            policy: options.retry,
        })
    }

    fn view(&self, change: impl FnOnce(&mut CallContext)) -> Self {
        let mut context = (*self.context).clone();
        change(&mut context);
        Self {
            context: Arc::new(context),
            ..self.clone()
        }
    }

    /// A view whose requests are counted for `task`.
    #[must_use]
    pub fn with_task(&self, task: TaskKind) -> Self {
        self.view(|context| context.task = task)
    }

    /// A view whose requests end when `cancel` is triggered.
    #[must_use]
    pub fn with_cancel(&self, cancel: CancellationToken) -> Self {
        self.view(|context| context.cancel = cancel)
    }

    /// A view whose requests queue with `priority`.
    #[must_use]
    pub fn with_priority(&self, priority: Priority) -> Self {
        self.view(|context| context.priority = priority)
    }

    /// A view whose requests are also counted in `counters` (those of a datastore, say).
    #[must_use]
    pub fn with_counters(&self, counters: Arc<Counters>) -> Self {
        self.view(|context| context.counters = Some(counters))
    }

    /// A view with another retry policy.
    #[must_use]
    pub fn with_retry(&self, policy: RetryPolicy) -> Self {
        Self {
            policy,
            ..self.clone()
        }
    }

    /// A view whose requests are signed with this time (seconds since the epoch, by the server's
    /// clock): the server refuses them when they arrive more than its window (15 min) later, so
    /// that a process that was paused cannot act on what it knew before.
    #[must_use]
    pub fn signed_at(&self, unix_secs: i64) -> Self {
        self.view(|context| context.signed_at = Some(unix_secs))
    }

    pub(crate) fn prefer_fresh(&self) -> Self {
        self.view(|context| context.prefer_fresh = true)
    }

    /// The provider quirks in force.
    #[must_use]
    pub fn quirks(&self) -> &Quirks {
        &self.core.quirks
    }

    /// The bucket.
    #[must_use]
    pub fn bucket(&self) -> Option<&BucketName> {
        self.core.bucket.as_ref()
    }

    /// Id of the endpoint.
    #[must_use]
    pub fn endpoint_id(&self) -> &str {
        self.core.endpoint.id.as_str()
    }

    /// The clock and randomness the client works with.
    #[must_use]
    pub fn env(&self) -> &Env {
        &self.core.env
    }

    /// Token that ends the requests of this view.
    #[must_use]
    pub fn cancel_token(&self) -> &CancellationToken {
        &self.context.cancel
    }

    /// How many requests of a class may run at once.
    #[must_use]
    pub fn concurrency(&self, class: OpClass) -> usize {
        crate::layer::concurrency(&self.core.endpoint, class)
    }

    /// The counters of this client: every attempt of all its views.
    #[must_use]
    pub fn counters(&self) -> CounterSnapshot {
        self.core.counters.snapshot(None)
    }

    /// The part of one task in [`S3Client::counters`].
    #[must_use]
    pub fn counters_of(&self, task: TaskKind) -> CounterSnapshot {
        self.core.counters.snapshot(Some(task))
    }

    /// Whether the two are views of one client.
    #[must_use]
    pub fn is_same_as(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.core, &other.core)
    }

    /// The counters themselves, to reset them or set thresholds.
    #[must_use]
    pub fn counter_handle(&self) -> &Arc<Counters> {
        &self.core.counters
    }

    /// Server time minus our time in milliseconds, by the last answer with a `Date`.
    #[must_use]
    pub fn clock_offset(&self) -> Option<i64> {
        self.core.clock.offset()
    }

    /// Whether the server has refused our time: the clock of this machine should be set.
    #[must_use]
    pub fn clock_refused(&self) -> bool {
        self.core.clock.is_skewed()
    }

    /// A request about an object, the bucket (no key), or the account (listing the buckets).
    pub(crate) fn request(&self, operation: Operation, key: Option<&ObjectKey>) -> Draft {
        let subject = key.map_or(Subject::Whole, |key| Subject::Key(key.as_str().to_owned()));
        let method = match operation {
            Operation::ListBuckets | Operation::ListObjects | Operation::GetObject => Method::GET,
            Operation::HeadBucket | Operation::HeadObject => Method::HEAD,
            Operation::PutObject | Operation::CopyObject => Method::PUT,
            Operation::DeleteObject => Method::DELETE,
            Operation::DeleteObjects => Method::POST,
        };
        Draft {
            operation,
            method,
            key: key.map(|key| key.as_str().to_owned()),
            query: Query::new(),
            headers: Vec::new(),
            body: Body::empty(self.core.quirks.unsigned_payload),
            subject,
            body_limit: 64 * 1024,
        }
    }

    /// A body with its digests.
    pub(crate) async fn body(&self, bytes: bytes::Bytes) -> Body {
        let unsigned = self.core.quirks.unsigned_payload;
        Body::new(&self.core.env, bytes, self.core.checksum, unsigned).await
    }

    /// Carries a request out; `interpret` reads the answer.
    pub(crate) async fn run<T>(
        &self,
        draft: Draft,
        interpret: impl Fn(&Response) -> Result<T, Failure>,
    ) -> Result<T, S3Error> {
        Ok(self.run_noting(draft, interpret).await?.outcome)
    }

    /// Like [`S3Client::run`], for an answer that may not be the last word.
    pub(crate) async fn run_noting<T>(
        &self,
        draft: Draft,
        interpret: impl Fn(&Response) -> Result<T, Failure>,
    ) -> Result<Answered<T>, S3Error> {
        let operation = draft.operation;
        let subject = draft.subject.clone();
        let request = self.finish(draft)?;
        let call = Call {
            request: Arc::new(request),
            context: self.context.clone(),
            policy: self.policy,
        };
        let result = self.core.retrying.run(&call, interpret).await;
        result.map_err(|failed| self.error(operation, subject, failed))
    }

    fn finish(&self, draft: Draft) -> Result<Request, S3Error> {
        let bucket = match draft.operation {
            Operation::ListBuckets => None,
            _ => Some(self.bucket().ok_or_else(|| {
                self.local_error(
                    draft.operation,
                    draft.subject.clone(),
                    S3ErrorKind::Config("this needs a bucket, and none is set".to_owned()),
                )
            })?),
        };
        let authority = self.core.addressing.authority(bucket);
        let mut headers = draft.headers;
        headers.push(("host", authority.header.clone()));
        if draft.method == Method::PUT || draft.method == Method::POST {
            headers.push(("content-length", draft.body.bytes.len().to_string()));
        }
        let checksums = draft
            .body
            .checksum_headers(self.core.checksum)
            .map_err(|text| {
                let kind = S3ErrorKind::Config(text.to_owned());
                self.local_error(draft.operation, draft.subject.clone(), kind)
            })?;
        headers.extend(checksums);
        Ok(Request {
            operation: draft.operation,
            method: draft.method,
            path: self.core.addressing.path(bucket, draft.key.as_deref()),
            authority,
            query: draft.query,
            headers,
            payload_hash: draft.body.payload_hash,
            body: draft.body.bytes,
            subject: draft.subject,
            body_limit: draft.body_limit,
        })
    }

    fn error(&self, operation: Operation, subject: Subject, failed: Unsuccessful) -> S3Error {
        let Unsuccessful {
            failure,
            attempts,
            unresolved,
        } = failed;
        let lost = failure.unresolved
            && matches!(
                failure.kind,
                S3ErrorKind::Timeout { .. } | S3ErrorKind::Disconnected { .. }
            );
        let kind = if lost && operation.is_mutating() {
            let keys = if let Subject::Keys(count) = subject {
                count
            } else {
                1
            };
            S3ErrorKind::Ambiguous {
                keys,
                cause: failure.kind.to_string(),
            }
        } else {
            failure.kind
        };
        let context = ErrorContext {
            attempts,
            unresolved_attempts: unresolved,
            request_id: failure.request_id.map(String::from),
            body_excerpt: failure.body_excerpt.map(String::from),
            ..self.error_context(operation, subject)
        };
        S3Error::new(kind, context)
    }

    fn error_context(&self, operation: Operation, subject: Subject) -> ErrorContext {
        ErrorContext {
            operation: Some(operation),
            endpoint: self.endpoint_id().to_owned(),
            bucket: self.bucket().map(|bucket| bucket.as_str().to_owned()),
            subject,
            attempts: 0,
            unresolved_attempts: 0,
            request_id: None,
            body_excerpt: None,
        }
    }

    /// An error that no single request stands for.
    pub(crate) fn local_error(
        &self,
        operation: Operation,
        subject: Subject,
        kind: S3ErrorKind,
    ) -> S3Error {
        S3Error::new(kind, self.error_context(operation, subject))
    }

    /// Waits, unless the task is aborted.
    pub(crate) async fn pause(
        &self,
        operation: Operation,
        subject: &Subject,
        duration: std::time::Duration,
    ) -> Result<(), S3Error> {
        tokio::select! {
            biased;
            () = self.context.cancel.cancelled() => {
                Err(self.local_error(operation, subject.clone(), S3ErrorKind::Aborted))
            }
            () = self.core.env.sleep(duration) => Ok(()),
        }
    }
}

/// A request as the operations describe it.
pub(crate) struct Draft {
    pub(crate) operation: Operation,
    pub(crate) method: Method,
    pub(crate) key: Option<String>,
    pub(crate) query: Query,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Body,
    pub(crate) subject: Subject,
    pub(crate) body_limit: usize,
}

impl Draft {
    pub(crate) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(crate) fn query(mut self, name: &str, value: &str) -> Self {
        self.query = self.query.with(name, value);
        self
    }

    pub(crate) fn body(mut self, body: Body) -> Self {
        self.body = body;
        self
    }

    pub(crate) fn subject(mut self, subject: Subject) -> Self {
        self.subject = subject;
        self
    }

    pub(crate) fn body_limit(mut self, limit: usize) -> Self {
        self.body_limit = limit;
        self
    }
}
