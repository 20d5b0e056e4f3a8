//! The test's hand on a running server.

use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use hyper::{Method, Request, Response};
use tokio::io::DuplexStream;

use crate::behaviour::Behaviour;
use crate::builder::Builder;
use crate::fault::{Action, Fault, FaultId};
use crate::gate::Gate;
use crate::journal::{Counters, Journal, Observer, RequestId};
use crate::late::LateRequest;
use crate::op::Op;
use crate::pattern::Pattern;
use crate::pipeline::Dropped;
use crate::server::{deliver, serve};
use crate::shared::Shared;
use crate::sigv4::Account;
use crate::store::{Bucket, StoredObject};
use crate::tls::Identity;
use crate::treatment::Treatment;

/// A running server. Clones are the same server; it stops with the last one.
#[derive(Clone, Debug)]
pub struct MockS3 {
    running: Arc<Running>,
}

#[derive(Debug)]
struct Running {
    shared: Arc<Shared>,
    accepting: Arc<AtomicBool>,
    account: Account,
    identity: Identity,
    port: u16,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.shared.shutdown.cancel();
    }
}

impl MockS3 {
    pub(crate) fn new(
        shared: Arc<Shared>,
        accepting: Arc<AtomicBool>,
        account: Account,
        identity: Identity,
        port: u16,
    ) -> Self {
        Self {
            running: Arc::new(Running {
                shared,
                accepting,
                account,
                identity,
                port,
            }),
        }
    }

    /// A server with a bucket, to be configured further.
    #[must_use]
    pub fn builder() -> Builder {
        Builder::default()
    }

    fn shared(&self) -> &Shared {
        &self.running.shared
    }

    /// `127.0.0.1`
    #[must_use]
    pub fn host(&self) -> &'static str {
        "127.0.0.1"
    }

    /// The port, for TLS and plain HTTP.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.running.port
    }

    /// `127.0.0.1:<port>`
    #[must_use]
    pub fn authority(&self) -> String {
        format!("{}:{}", self.host(), self.port())
    }

    /// The certificate's SHA-256 sum in pairs joined by colons.
    pub fn fingerprint(&self) -> anyhow::Result<String> {
        self.running.identity.fingerprint()
    }

    /// The certificate, which is its own authority.
    pub fn certificate_pem(&self) -> anyhow::Result<String> {
        self.running.identity.certificate_pem()
    }

    /// The account's access key.
    #[must_use]
    pub fn access_key(&self) -> &str {
        &self.running.account.access_key
    }

    /// The account's secret key.
    #[must_use]
    pub fn secret_key(&self) -> &str {
        &self.running.account.secret_key
    }

    /// The region that signatures must name.
    #[must_use]
    pub fn region(&self) -> &str {
        &self.running.account.region
    }

    /// A connection in memory: with paused time and no socket, tokio's clock only moves when
    /// nothing else can happen.
    #[must_use]
    pub fn connect(&self) -> DuplexStream {
        let (client, server) = tokio::io::duplex(256 << 10);
        tokio::spawn(serve(Arc::clone(&self.running.shared), server));
        client
    }

    /// One request and its answer without any connection: the quickest way for simulations.
    /// Faults, gates and latencies apply; an answer that breaks off counts as dropped. When the
    /// future is dropped the request goes on, as with a client that has left.
    pub async fn exchange(&self, request: Request<Bytes>) -> Result<Response<Bytes>, Dropped> {
        self.exchange_treated(request, Treatment::default()).await
    }

    /// The same for a request that is treated in its own way.
    pub async fn exchange_treated(
        &self,
        request: Request<Bytes>,
        treatment: Treatment,
    ) -> Result<Response<Bytes>, Dropped> {
        let (parts, body) = request.into_parts();
        let is_head = parts.method == Method::HEAD;
        let answer = deliver(Arc::clone(&self.running.shared), parts, body, treatment).await?;
        let (parts, body) = answer.into_parts();
        let length = parts.headers.get("content-length").filter(|_| !is_head);
        let length = length.and_then(|length| length.to_str().ok()?.parse().ok());
        let body = body.read(length).await.ok_or(Dropped)?;
        Ok(Response::from_parts(parts, body))
    }

    /// Cuts every open connection, idle or not; requests that have arrived go on.
    pub fn drop_connections(&self) {
        self.shared().drop_connections();
    }

    /// Whether new connections are served (the default) or dropped at once.
    pub fn set_accepting(&self, accepting: bool) {
        self.running.accepting.store(accepting, Ordering::SeqCst);
    }

    /// Changes the behaviour from now on.
    pub fn configure(&self, change: impl FnOnce(&mut Behaviour)) {
        change(&mut self.shared().lock().behaviour);
    }

    // --- faults ---------------------------------------------------------------------------------

    /// Adds a fault to the script.
    pub fn script(&self, fault: Fault) -> FaultId {
        self.shared().lock().faults.add(fault)
    }

    /// How often a fault has struck.
    #[must_use]
    pub fn fault_hits(&self, id: FaultId) -> u64 {
        self.shared().lock().faults.hits(id)
    }

    /// Takes a fault out of the script.
    pub fn remove_fault(&self, id: FaultId) {
        self.shared().lock().faults.remove(id);
    }

    /// Empties the script.
    pub fn clear_faults(&self) {
        self.shared().lock().faults.clear();
    }

    /// Stops the next matching request before it is applied, until the gate lets it through.
    #[must_use]
    pub fn gate(&self, op: Op, keys: impl Into<Pattern>) -> Gate {
        let gate = Gate::new();
        self.script(Fault::on(op, Action::Pause(gate.clone())).keys(keys));
        gate
    }

    /// The requests that wait to be applied late.
    #[must_use]
    pub fn late(&self) -> Vec<LateRequest> {
        self.shared().lock().late.pending()
    }

    /// Waits until `count` requests have been held back since the start, and lists those still
    /// held.
    pub async fn wait_late(&self, count: u64) -> Vec<LateRequest> {
        let mut arrived = self.shared().lock().late.subscribe();
        // The sender lives as long as the server.
        let _ = arrived.wait_for(|&seen| seen >= count).await;
        self.late()
    }

    /// Applies a held request now; the status that its client would have seen, or `None` if no
    /// such request is held.
    pub fn release_late(&self, id: RequestId) -> Option<u16> {
        self.shared().release_late(id)
    }

    // --- clock ----------------------------------------------------------------------------------

    /// The server's clock, milliseconds since the epoch.
    #[must_use]
    pub fn now_millis(&self) -> i64 {
        self.shared().clock.millis()
    }

    /// Sets how far the server's clock is off.
    pub fn set_clock_offset_millis(&self, millis: i64) {
        self.shared().clock.set_offset_millis(millis);
    }

    // --- what happened --------------------------------------------------------------------------

    /// Tells `observer` of every line of the journal from now on.
    pub fn observe(&self, observer: Arc<dyn Observer>) {
        self.shared().lock().observer = Some(observer);
    }

    /// The journal so far.
    #[must_use]
    pub fn journal(&self) -> Journal {
        self.shared().lock().journal.clone()
    }

    /// The number of lines in the journal: a mark for [`Journal::since`].
    #[must_use]
    pub fn journal_mark(&self) -> u64 {
        u64::try_from(self.shared().lock().journal.events.len()).unwrap_or(u64::MAX)
    }

    /// The counters so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.shared().lock().counters.clone()
    }

    /// Sets the counters of finished things to zero.
    pub fn reset_counters(&self) {
        let mut state = self.shared().lock();
        let in_flight = std::mem::take(&mut state.counters.in_flight);
        state.counters = Counters {
            in_flight,
            ..Counters::default()
        };
    }

    // --- buckets, past the journal --------------------------------------------------------------

    fn with_bucket<T>(&self, name: &str, with: impl FnOnce(&mut Bucket) -> T) -> T {
        let now = self.now_millis();
        let mut state = self.shared().lock();
        with(
            state
                .buckets
                .entry(name.to_owned())
                .or_insert_with(|| Bucket::new(now, false)),
        )
    }

    /// Makes a bucket, unless it is there.
    pub fn create_bucket(&self, name: &str) {
        self.with_bucket(name, |_| ());
    }

    /// Switches versioning.
    pub fn set_versioning(&self, bucket: &str, versioning: bool) {
        self.with_bucket(bucket, |bucket| bucket.versioning = versioning);
    }

    /// Writes an object, with the server's time. Makes the bucket if need be.
    pub fn put(&self, bucket: &str, key: &str, body: impl Into<Bytes>) {
        self.put_at(bucket, key, body, self.now_millis());
    }

    /// Writes an object with a chosen `LastModified` (milliseconds since the epoch).
    pub fn put_at(&self, bucket: &str, key: &str, body: impl Into<Bytes>, millis: i64) {
        let object = StoredObject::new(body, millis);
        self.with_bucket(bucket, |bucket| bucket.put(key, object));
    }

    /// Changes an object's `LastModified`; tells whether the object is there.
    pub fn set_last_modified(&self, bucket: &str, key: &str, millis: i64) -> bool {
        self.with_bucket(bucket, |bucket| bucket.set_last_modified(key, millis))
    }

    /// An object's content.
    #[must_use]
    pub fn get(&self, bucket: &str, key: &str) -> Option<Bytes> {
        self.object(bucket, key).map(|object| object.body)
    }

    /// An object with all that the server knows about it.
    #[must_use]
    pub fn object(&self, bucket: &str, key: &str) -> Option<StoredObject> {
        self.shared().lock().buckets.get(bucket)?.get(key).cloned()
    }

    /// Removes an object; tells whether it was there.
    pub fn delete(&self, bucket: &str, key: &str) -> bool {
        let now = self.now_millis();
        self.shared()
            .lock()
            .remove(bucket, key, now)
            .is_some_and(|removal| removal.existed)
    }

    /// The keys with a string prefix, in order.
    #[must_use]
    pub fn keys(&self, bucket: &str, prefix: &str) -> Vec<String> {
        let keys = |bucket: &Bucket| {
            bucket
                .range(prefix, Bound::Unbounded)
                .map(|(key, _)| key.to_owned())
                .collect()
        };
        self.shared()
            .lock()
            .buckets
            .get(bucket)
            .map(keys)
            .unwrap_or_default()
    }

    /// The number of objects in a bucket.
    #[must_use]
    pub fn object_count(&self, bucket: &str) -> usize {
        self.shared()
            .lock()
            .buckets
            .get(bucket)
            .map_or(0, Bucket::len)
    }

    /// The number of versions that still cost space behind newer ones or delete markers.
    #[must_use]
    pub fn hidden_version_count(&self, bucket: &str) -> usize {
        self.shared()
            .lock()
            .buckets
            .get(bucket)
            .map_or(0, Bucket::hidden_version_count)
    }
}
