//! Configuring and starting a server.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::Context as _;
use tokio::net::TcpListener;

use crate::behaviour::Behaviour;
use crate::clock::Clock;
use crate::handle::MockS3;
use crate::server::accept_loop;
use crate::shared::Shared;
use crate::sigv4::Account;
use crate::state::State;
use crate::store::Bucket;
use crate::tls::Identity;

/// Configures a server; [`Builder::start`] starts it.
#[derive(Debug)]
pub struct Builder {
    account: Account,
    anonymous: bool,
    domain: String,
    identity: Option<Identity>,
    start_time: Option<i64>,
    buckets: Vec<(String, bool)>,
    behaviour: Behaviour,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            account: Account {
                access_key: "MOCKACCESSKEY".to_owned(),
                secret_key: "mock/secret+key".to_owned(),
                region: "us-west-1".to_owned(),
            },
            anonymous: false,
            domain: "localhost".to_owned(),
            identity: None,
            start_time: None,
            buckets: Vec::new(),
            behaviour: Behaviour::default(),
        }
    }
}

impl Builder {
    /// The account that may use the server.
    #[must_use]
    pub fn credentials(mut self, access_key: &str, secret_key: &str) -> Self {
        access_key.clone_into(&mut self.account.access_key);
        secret_key.clone_into(&mut self.account.secret_key);
        self
    }

    /// The region that signatures must name; `us-west-1` unless told.
    #[must_use]
    pub fn region(mut self, region: &str) -> Self {
        region.clone_into(&mut self.account.region);
        self
    }

    /// Accepts every request, signed or not.
    #[must_use]
    pub fn anonymous(mut self) -> Self {
        self.anonymous = true;
        self
    }

    /// The domain of virtual-hosted style (`<bucket>.<domain>`); `localhost` unless told.
    #[must_use]
    pub fn domain(mut self, domain: &str) -> Self {
        domain.clone_into(&mut self.domain);
        self
    }

    /// The certificate to show; one for localhost and the domain is made unless told.
    #[must_use]
    pub fn identity(mut self, identity: Identity) -> Self {
        self.identity = Some(identity);
        self
    }

    /// The server's clock at start, in seconds since the epoch; the machine's time unless told.
    #[must_use]
    pub fn start_time(mut self, unix_secs: i64) -> Self {
        self.start_time = Some(unix_secs);
        self
    }

    /// A bucket that exists from the start.
    #[must_use]
    pub fn bucket(mut self, name: &str) -> Self {
        self.buckets.push((name.to_owned(), false));
        self
    }

    /// A versioned bucket that exists from the start.
    #[must_use]
    pub fn versioned_bucket(mut self, name: &str) -> Self {
        self.buckets.push((name.to_owned(), true));
        self
    }

    /// Changes the behaviour.
    #[must_use]
    pub fn configure(mut self, change: impl FnOnce(&mut Behaviour)) -> Self {
        change(&mut self.behaviour);
        self
    }

    /// Starts to listen on a free port of 127.0.0.1, for TLS and plain HTTP alike.
    pub async fn start(self) -> anyhow::Result<MockS3> {
        let wildcard = format!("*.{}", self.domain);
        let identity = match self.identity {
            Some(identity) => identity,
            None => Identity::self_signed(&["localhost", "127.0.0.1", &self.domain, &wildcard])
                .context("cannot make a certificate")?,
        };
        let listener = TcpListener::bind(("127.0.0.1", 0))
            .await
            .context("cannot listen on 127.0.0.1")?;
        let port = listener.local_addr()?.port();
        let clock = Clock::new(self.start_time);
        let mut state = State::new(self.behaviour);
        for (name, versioning) in self.buckets {
            state
                .buckets
                .insert(name, Bucket::new(clock.millis(), versioning));
        }
        let region = self.account.region.clone();
        let acceptor = identity.acceptor()?;
        let account = (!self.anonymous).then(|| self.account.clone());
        let shared = Arc::new(Shared::new(
            state,
            clock,
            account,
            region,
            self.domain,
            acceptor,
        ));
        let accepting = Arc::new(AtomicBool::new(true));
        tokio::spawn(accept_loop(
            Arc::clone(&shared),
            listener,
            Arc::clone(&accepting),
        ));
        Ok(MockS3::new(shared, accepting, self.account, identity, port))
    }
}
