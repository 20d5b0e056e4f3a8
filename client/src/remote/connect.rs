//! Opens connections: every address of the server in turn, TLS, trust; again if nobody answered.

use std::fmt;
use std::io::IsTerminal as _;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use api_types::digest::Fingerprint;
use datastore::env::Env;
use http_body_util::Full;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use s3_client::transport::{HttpProxy, open_tunnel};
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::dirs::Dirs;
use super::fingerprints::KnownServers;
use super::proxy::{ProxySettings, authority};
use super::repository::Repository;
use super::secret::Secret;
use super::trust::{self, Verdict, judge};
use crate::dialogue::{confirm, tell};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// After how much silence the system asks whether the server is there, and how often then.
const KEEPALIVE: Duration = Duration::from_secs(30);
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// How to connect, and as whom.
#[derive(Clone, Debug)]
pub struct ConnectOptions {
    /// Of the server's certificate, where no authority vouches for it.
    pub fingerprint: Option<Fingerprint>,
    /// The password or the token's secret; otherwise it is asked for.
    pub password: PasswordSource,
    /// Whether a person may be asked.
    pub interactive: bool,
    /// Where fingerprints and tickets are remembered.
    pub dirs: Dirs,
    /// Logs in although there is a ticket from before.
    pub fresh_login: bool,
    /// The way to the server.
    pub proxy: ProxySettings,
    /// How often it is tried to connect, while nobody answers.
    pub attempts: u32,
    /// Puts limits on each connection.
    pub shape: Option<Arc<dyn Shape>>,
    /// Clock and pauses.
    pub env: Env,
}

/// What a connection is made of.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Keeps connections to limits.
pub trait Shape: fmt::Debug + Send + Sync {
    /// A new connection, as it is to be used.
    fn shape(&self, tcp: TcpStream) -> Box<dyn Stream>;
}

/// Where a password comes from.
#[derive(Clone, Debug)]
pub enum PasswordSource {
    /// `PBS_PASSWORD`, `PBS_PASSWORD_FD`, `PBS_PASSWORD_FILE`, `PBS_PASSWORD_CMD`, looked at when
    /// it is needed.
    Environment,
    /// This one.
    Given(Secret),
}

impl ConnectOptions {
    /// As the environment says; asks where there is a terminal.
    pub fn from_environment() -> Result<Self> {
        let variable = "PBS_FINGERPRINT";
        let fingerprint = std::env::var(variable).ok().filter(|text| !text.is_empty());
        let fingerprint = fingerprint.map(|text| text.parse());
        Ok(Self {
            fingerprint: fingerprint.transpose().context(variable)?,
            dirs: Dirs::of_user()?,
            interactive: std::io::stdin().is_terminal(),
            proxy: ProxySettings::from_environment(),
            ..Self::with_password(PasswordSource::Environment)
        })
    }

    /// Never asks, and remembers nothing.
    #[must_use]
    pub fn with_password(password: PasswordSource) -> Self {
        Self {
            fingerprint: None,
            password,
            interactive: false,
            dirs: Dirs::default(),
            fresh_login: false,
            proxy: ProxySettings::default(),
            attempts: 3,
            shape: None,
            env: Env::system(),
        }
    }

    /// The password.
    pub(super) async fn password(&self, repository: &Repository) -> Result<Secret> {
        let found = match &self.password {
            PasswordSource::Given(secret) => Some(secret.clone()),
            PasswordSource::Environment => Secret::from_environment("PBS_PASSWORD")?,
        };
        if let Some(secret) = found {
            return Ok(secret);
        }
        let user = repository.user();
        if !self.interactive {
            bail!(
                "no password for {user} is given: set PBS_PASSWORD, PBS_PASSWORD_FILE, \
                 PBS_PASSWORD_FD or PBS_PASSWORD_CMD, or log in once on a terminal"
            );
        }
        let question = match user.is_token() {
            true => format!("Secret of \"{user}\""),
            false => format!("Password for \"{user}\""),
        };
        self.env.blocking(move || Secret::ask(&question)).await
    }
}

/// A proxy that will say the same next time.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Unwilling(String);

/// A connection for requests one after the other.
pub(super) type Sender = SendRequest<Full<bytes::Bytes>>;

/// Makes connections to one server.
#[derive(Debug)]
pub(super) struct Connector {
    repository: Repository,
    options: ConnectOptions,
    known: KnownServers,
}

/// Also keeps routers from forgetting a session that waits for its user or for a slow disk.
fn keepalive() -> TcpKeepalive {
    TcpKeepalive::new()
        .with_time(KEEPALIVE)
        .with_interval(KEEPALIVE)
}

impl Connector {
    pub(super) fn new(repository: Repository, options: ConnectOptions) -> Self {
        let known = KnownServers::new(&options.dirs);
        Self {
            repository,
            options,
            known,
        }
    }

    pub(super) const fn repository(&self) -> &Repository {
        &self.repository
    }

    pub(super) const fn options(&self) -> &ConnectOptions {
        &self.options
    }

    /// A connection to the server, which was found to be the one that is meant.
    pub(super) async fn connect(&self) -> Result<Sender> {
        let server = self.repository.server();
        let tcp = self
            .open()
            .await
            .with_context(|| format!("failed to connect to {server}"))?;
        let sender = self.secure(tcp).await;
        sender.with_context(|| format!("failed to connect to {server}"))
    }

    async fn secure(&self, tcp: TcpStream) -> Result<Sender> {
        let stream = match &self.options.shape {
            Some(shape) => shape.shape(tcp),
            None => Box::new(tcp),
        };
        let handshake = trust::handshake(self.repository.host(), stream);
        let (tls, seen) = self.in_time(handshake).await??;
        let given = self.options.fingerprint.as_ref();
        let known = self.known.get(&self.repository);
        match judge(&seen, given, known.as_ref()) {
            Verdict::Accept => {}
            Verdict::Reject(why) => bail!(why),
            Verdict::Ask(fingerprint, why)
                if self.options.interactive && std::io::stderr().is_terminal() =>
            {
                self.ask(fingerprint, why).await?;
            }
            Verdict::Ask(fingerprint, why) => {
                bail!("{why}; if it is the right one, set PBS_FINGERPRINT={fingerprint}")
            }
        }
        let (sender, connection) = http1::handshake(TokioIo::new(tls)).await?;
        tokio::spawn(async move {
            // Whoever waits for an answer hears of it.
            let _ = connection.with_upgrades().await;
        });
        Ok(sender)
    }

    async fn ask(&self, fingerprint: Fingerprint, why: String) -> Result<()> {
        let server = self.repository.server();
        let question =
            format!("{server}: {why}\nAre you sure you want to continue connecting? (y/n): ");
        let accepted = self.options.env.blocking(move || confirm(&question));
        let accepted = accepted.await;
        if !accepted.context("failed to ask for the fingerprint")? {
            bail!("the fingerprint {fingerprint} was not accepted");
        }
        if let Err(error) = self.known.put(&self.repository, &fingerprint) {
            tell(format_args!("The fingerprint is not remembered: {error:#}"));
        }
        Ok(())
    }

    /// Tries all addresses, several times if need be.
    async fn open(&self) -> Result<TcpStream> {
        let proxy = self.options.proxy.on_the_way_to(&self.repository)?;
        let mut pause = FIRST_PAUSE;
        let mut attempt = 1;
        loop {
            let error = match self.open_once(proxy.as_ref()).await {
                Ok(tcp) => return Ok(tcp),
                Err(error) => error,
            };
            if attempt >= self.options.attempts || error.is::<Unwilling>() {
                return Err(error);
            }
            let server = self.repository.server();
            tell(format_args!(
                "No connection to {server} ({error:#}); trying again in {} s",
                pause.as_secs()
            ));
            self.options.env.sleep(pause).await;
            pause *= 2;
            attempt += 1;
        }
    }

    async fn open_once(&self, proxy: Option<&HttpProxy>) -> Result<TcpStream> {
        let Some(proxy) = proxy else {
            let (host, port) = (self.repository.host(), self.repository.port());
            return self.dial(host, port).await;
        };
        let tcp = self.dial(&proxy.host, proxy.port).await;
        let mut tcp = tcp.with_context(|| format!("failed to reach the proxy {}", proxy.host))?;
        let target = authority(&self.repository);
        let tunnel = self.in_time(open_tunnel(&mut tcp, proxy, &target)).await?;
        match tunnel {
            Ok(()) => Ok(tcp),
            Err(refused) if refused.retryable => Err(anyhow!(refused.message)),
            Err(refused) => Err(Unwilling(refused.message).into()),
        }
    }

    /// Tries all addresses of a host.
    async fn dial(&self, host: &str, port: u16) -> Result<TcpStream> {
        let addresses = self.in_time(tokio::net::lookup_host((host, port))).await?;
        let addresses =
            addresses.with_context(|| format!("failed to look up the address of {host:?}"))?;
        let mut last = anyhow!("{host:?} has no address");
        for address in addresses {
            match self.in_time(TcpStream::connect(address)).await {
                Ok(Ok(tcp)) => {
                    // Only latency is lost if this fails,
                    let _ = tcp.set_nodelay(true);
                    // and here only that a server is missed that goes away while nothing is asked.
                    let _ = SockRef::from(&tcp).set_tcp_keepalive(&keepalive());
                    return Ok(tcp);
                }
                Ok(Err(error)) => last = anyhow!("{address}: {error}"),
                Err(timeout) => last = timeout.context(address),
            }
        }
        Err(last)
    }

    async fn in_time<T>(&self, work: impl Future<Output = T>) -> Result<T> {
        tokio::select! {
            result = work => Ok(result),
            () = self.options.env.sleep(CONNECT_TIMEOUT) => {
                bail!("no answer within {} s", CONNECT_TIMEOUT.as_secs())
            }
        }
    }
}
