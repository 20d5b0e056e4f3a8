//! Traffic control: how fast connections may be, by where they come from, when, and who they belong
//! to (`jobs-and-sync.md` §9).
//!
//! | module | what |
//! |---|---|
//! | [`bucket`] | so many bytes per second, shared by all connections of a rule |
//! | [`choice`] | which rule counts for a connection; pure |
//! | [`stream`] | a connection that keeps to it, or to any other limit |
//!
//! Rules are read again when their file changes; which one counts is decided for each connection
//! when it begins, when its user is known, and every minute. Without rules a connection costs one
//! look at a counter for each read and write.

pub mod bucket;
pub mod choice;
pub mod stream;

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use api_types::auth::{Authid, Userid};
use api_types::human::ByteSize;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use s3_client::env::Env;

use crate::config::ConfigFile;
use crate::config::traffic::TrafficRule;
use crate::daemon::Server;
use bucket::Bucket;
use stream::Limits;

/// Between two looks at the file and at the rates.
const LOOK: Duration = Duration::from_secs(1);
/// Seconds after which all connections are looked at again: times of day begin and end.
const AGAIN: u64 = 60;

/// A rule, and what its connections have transferred.
#[derive(Debug)]
pub struct Shaped {
    /// The rule.
    pub rule: TrafficRule,
    /// What may pass, and did.
    pub flows: Arc<Flows>,
}

/// Both directions of connections that share a limit.
#[derive(Debug)]
pub struct Flows {
    /// What is received.
    pub incoming: Flow,
    /// What is sent.
    pub outgoing: Flow,
}

/// One direction.
#[derive(Debug)]
pub struct Flow {
    bucket: Option<Bucket>,
    bytes: AtomicU64,
    rate: AtomicU64,
}

impl Flow {
    /// So many bytes per second, and so many at once: a second's worth, if that is not said.
    #[must_use]
    pub fn new(env: &Env, rate: Option<ByteSize>, burst: Option<ByteSize>) -> Self {
        Self {
            bucket: rate.map(|rate| {
                let burst = burst.unwrap_or(rate);
                Bucket::new(env, rate.bytes(), burst.bytes())
            }),
            bytes: AtomicU64::new(0),
            rate: AtomicU64::new(0),
        }
    }

    /// How long to wait before more may be transferred.
    fn wait(&self, env: &Env) -> Option<Duration> {
        self.bucket.as_ref()?.wait(env)
    }

    /// Most bytes to transfer before it is asked again.
    fn piece(&self) -> usize {
        self.bucket.as_ref().map_or(usize::MAX, Bucket::piece)
    }

    fn transferred(&self, env: &Env, bytes: usize) {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        if let Some(bucket) = &self.bucket {
            bucket.take(env, bytes);
        }
    }

    /// Bytes in the last second.
    #[must_use]
    pub fn rate(&self) -> u64 {
        self.rate.load(Ordering::Relaxed)
    }
}

#[derive(Default)]
struct Rules {
    digest: String,
    shaped: Vec<Arc<Shaped>>,
    /// What was logged about the file as it is.
    last_error: String,
}

/// The rules, and which connections they count for.
pub struct TrafficControl {
    env: Env,
    file: ConfigFile<TrafficRule>,
    rules: Mutex<Rules>,
    /// Raised when connections have to look again.
    edition: AtomicU64,
}

impl TrafficControl {
    /// No rules yet.
    #[must_use]
    pub fn new(file: ConfigFile<TrafficRule>, env: Env) -> Self {
        Self {
            env,
            file,
            rules: Mutex::default(),
            edition: AtomicU64::new(0),
        }
    }

    fn rules(&self) -> MutexGuard<'_, Rules> {
        // Each change is complete before anything can panic.
        self.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The rules in use.
    #[must_use]
    pub fn shaped(&self) -> Vec<Arc<Shaped>> {
        self.rules().shaped.clone()
    }

    /// Reads the rules again if their file is another one. A rule that stays the same keeps its
    /// books.
    pub fn reload(&self) {
        let content = match self.file.load() {
            Ok(content) => content,
            Err(error) => {
                let error = error.to_string();
                let mut rules = self.rules();
                // Once, not every second.
                if rules.last_error != error {
                    tracing::error!("still with the old traffic control rules: {error}");
                    rules.last_error = error;
                }
                return;
            }
        };
        let mut rules = self.rules();
        rules.last_error.clear();
        if rules.digest == content.digest {
            return;
        }
        let mut old: BTreeMap<String, Arc<Shaped>> = std::mem::take(&mut rules.shaped)
            .into_iter()
            .map(|shaped| (shaped.rule.name.clone(), shaped))
            .collect();
        let shaped = content
            .entries
            .into_iter()
            .map(|rule| match old.remove(&rule.name) {
                Some(shaped) if shaped.rule == rule => shaped,
                _ => Arc::new(Shaped {
                    flows: Arc::new(Flows {
                        incoming: Flow::new(&self.env, rule.rate_in, rule.burst_in),
                        outgoing: Flow::new(&self.env, rule.rate_out, rule.burst_out),
                    }),
                    rule,
                }),
            });
        rules.shaped = shaped.collect();
        rules.digest = content.digest;
        drop(rules);
        self.edition.fetch_add(1, Ordering::Release);
    }

    /// Notes how much was transferred since the last time, a second ago.
    fn measure(&self, before: &mut BTreeMap<String, (u64, u64)>) {
        let mut now = BTreeMap::new();
        for shaped in self.shaped() {
            let bytes = |flow: &Flow| flow.bytes.load(Ordering::Relaxed);
            let Flows {
                incoming: flow_in,
                outgoing: flow_out,
            } = &*shaped.flows;
            let (incoming, outgoing) = (bytes(flow_in), bytes(flow_out));
            let name = shaped.rule.name.clone();
            let (old_in, old_out) = before.get(&name).copied().unwrap_or_default();
            let note = |flow: &Flow, rate: u64| flow.rate.store(rate, Ordering::Relaxed);
            note(flow_in, incoming.saturating_sub(old_in));
            note(flow_out, outgoing.saturating_sub(old_out));
            now.insert(name, (incoming, outgoing));
        }
        *before = now;
    }

    /// The rule that counts for a connection now.
    fn choose(&self, peer: IpAddr, user: Option<&Userid>) -> Option<Arc<Shaped>> {
        let rules = self.rules();
        if rules.shaped.is_empty() {
            return None;
        }
        let now = Timestamp::from_second(self.env.unix_secs()).unwrap_or_default();
        let now = now.to_zoned(TimeZone::system()).datetime();
        let all = rules.shaped.iter().map(|shaped| &shaped.rule);
        let chosen = choice::choose(all, peer, user, now)?;
        rules.shaped.get(chosen).cloned()
    }
}

impl fmt::Debug for TrafficControl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TrafficControl").finish_non_exhaustive()
    }
}

/// Keeps the rules and the rates up to date until the daemon is to end.
pub async fn run_traffic_control(server: Arc<Server>) {
    let control = &server.traffic;
    let mut before = BTreeMap::new();
    for second in 0u64.. {
        control.reload();
        control.measure(&mut before);
        if second % AGAIN == 0 {
            control.edition.fetch_add(1, Ordering::Release);
        }
        tokio::select! {
            () = server.shutdown.cancelled() => return,
            () = server.env.sleep(LOOK) => {}
        }
    }
}

/// What is known of a connection.
#[derive(Debug)]
pub struct Connection {
    control: Arc<TrafficControl>,
    state: Mutex<State>,
    /// The edition of the rules that the choice was made by.
    edition: AtomicU64,
}

#[derive(Debug)]
struct State {
    peer: IpAddr,
    user: Option<Userid>,
    chosen: Option<Arc<Shaped>>,
}

impl Connection {
    /// A connection from there, of nobody yet.
    #[must_use]
    pub fn new(control: &Arc<TrafficControl>, peer: IpAddr) -> Arc<Self> {
        Arc::new(Self {
            control: Arc::clone(control),
            state: Mutex::new(State {
                peer,
                user: None,
                chosen: None,
            }),
            // None that there will be.
            edition: AtomicU64::new(u64::MAX),
        })
    }

    /// A request through it comes from there: a proxy said so.
    pub fn comes_from(&self, peer: IpAddr) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.peer != peer {
            state.peer = peer;
            self.edition.store(u64::MAX, Ordering::Release);
        }
    }

    /// It has shown that it is somebody's; a token counts as its user.
    pub fn belongs_to(&self, auth_id: &Authid) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.user.as_ref() != Some(&auth_id.user) {
            state.user = Some(auth_id.user.clone());
            self.edition.store(u64::MAX, Ordering::Release);
        }
    }
}

impl Limits for Connection {
    fn env(&self) -> &Env {
        &self.control.env
    }

    fn flows(&self) -> Option<Arc<Flows>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let edition = self.control.edition.load(Ordering::Acquire);
        if self.edition.swap(edition, Ordering::AcqRel) != edition {
            state.chosen = self.control.choose(state.peer, state.user.as_ref());
        }
        let chosen = state.chosen.as_ref()?;
        Some(Arc::clone(&chosen.flows))
    }

    fn is_outdated(&self) -> bool {
        self.edition.load(Ordering::Acquire) != self.control.edition.load(Ordering::Acquire)
    }
}
