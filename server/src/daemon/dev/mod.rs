//! `coffer-server --dev DIR`: an installation to try things out, with all it needs below one
//! directory. What is there already is used again, passwords included.

#[cfg(feature = "embedded-s3")]
mod embedded;
mod minio;

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use api_types::access::{ApiToken, Role, User};
use api_types::auth::{Authid, Userid};
use api_types::datastore::DatastoreConfig;
use api_types::s3::S3EndpointConfig;
use s3_client::env::Env;

use super::run::DaemonOptions;
use super::server::Server;
use crate::access::acl::AclTree;
use crate::access::attempts::Turn;
use crate::config::{ConfigError, replace_file};
use crate::datastores::create::CreateRequest;
use crate::paths::Paths;
use crate::s3::{PlainHttp, S3Options};
use crate::task::{Echo, Signals, TaskSpec};

/// The administrator.
const ADMIN: &str = "admin@pbs";
/// Their token.
const TOKEN: &str = "admin@pbs!dev";
/// The endpoint and the datastore in it.
const ENDPOINT: &str = "dev";
const BUCKET: &str = "dev";
/// The other datastore.
const LOCAL: &str = "local";
/// How long the S3 server may take to get ready.
const READY_WITHIN: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(100);

/// How the installation is set up.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Trying it out")]
pub struct DevOptions {
    /// With `--dev`: the program of a MinIO to keep the data of `dev` in, instead of the embedded
    /// S3 server.
    #[arg(long, value_name = "BIN", requires = "dev")]
    pub minio: Option<PathBuf>,
}

/// A running installation, but for the daemon itself.
pub struct Development {
    server: Arc<Server>,
    dir: PathBuf,
    password: String,
    secret: String,
    _s3: S3Server,
}

/// The S3 server; it ends with this.
type S3Server = Box<dyn std::any::Any + Send>;

/// How to reach it.
struct S3Keys {
    access: String,
    secret: String,
}

impl Development {
    /// Sets up what is missing below `dir`, an absolute path, and starts the S3 server.
    pub async fn start(dir: &Path, options: &DevOptions, s3: &S3Options, env: Env) -> Result<Self> {
        let s3 = S3Options {
            plain_http: Some(s3.plain_http.unwrap_or(PlainHttp::Loopback)),
            ..s3.clone()
        };
        let server = Server::open(Paths::below(dir), &s3, env)?;
        let keys = s3_keys(&server)?;
        let (s3_server, port, quirk) = start_s3(dir, options, &keys).await?;
        configure_endpoint(&server, &keys, port, quirk).await?;
        wait_for_bucket(&server).await?;
        create_datastores(&server, dir).await?;
        let (password, secret) = create_admin(&server, dir).await?;
        Ok(Self {
            server,
            dir: dir.to_owned(),
            password,
            secret,
            _s3: s3_server,
        })
    }

    /// The installation.
    #[must_use]
    pub fn server(&self) -> Arc<Server> {
        Arc::clone(&self.server)
    }

    /// On loopback unless told otherwise; the usual port may be taken.
    #[must_use]
    pub fn daemon(&self, options: &DaemonOptions) -> DaemonOptions {
        let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        DaemonOptions {
            listen: Some(options.listen.unwrap_or(anywhere)),
            ..options.clone()
        }
    }

    /// Writes down how to reach the daemon, for `. DIR/env`.
    pub fn write_env(&self, address: SocketAddr) -> Result<PathBuf> {
        let path = env_path(&self.dir);
        let host = match address {
            SocketAddr::V4(address) if address.ip().is_unspecified() => "127.0.0.1".to_owned(),
            SocketAddr::V6(address) if address.ip().is_unspecified() => "127.0.0.1".to_owned(),
            SocketAddr::V4(address) => address.ip().to_string(),
            SocketAddr::V6(address) => format!("[{}]", address.ip()),
        };
        let repository = format!("{ADMIN}@{host}:{}:{ENDPOINT}", address.port());
        let mut text = String::new();
        for (name, value) in [
            ("PBS_REPOSITORY", repository.as_str()),
            ("PBS_PASSWORD", &self.password),
            ("PBS_FINGERPRINT", &self.server.tls.fingerprint()),
            ("COFFER_API_TOKEN", &format!("{TOKEN}:{}", self.secret)),
        ] {
            // Writing to a string does not fail. No value has a quote in it.
            let _ = writeln!(text, "export {name}='{value}'");
        }
        replace_file(&path, text.as_bytes(), 0o600)
            .with_context(|| format!("failed to write {}", path.display()))?;
        Ok(path)
    }
}

fn env_path(dir: &Path) -> PathBuf {
    dir.join("env")
}

/// A value that was written into `DIR/env` by an earlier run.
fn written(dir: &Path, name: &str) -> Option<String> {
    let text = std::fs::read_to_string(env_path(dir)).ok()?;
    let start = format!("export {name}='");
    text.lines()
        .find_map(|line| line.strip_prefix(&start)?.strip_suffix('\''))
        .map(str::to_owned)
}

fn random_hex() -> Result<String> {
    let mut bytes = [0; 16];
    openssl::rand::rand_bytes(&mut bytes).context("no random bytes")?;
    Ok(hex::encode(bytes))
}

async fn start_s3(
    dir: &Path,
    options: &DevOptions,
    keys: &S3Keys,
) -> Result<(S3Server, u16, Option<&'static str>)> {
    if let Some(binary) = &options.minio {
        let minio = minio::Minio::start(binary, &dir.join("minio"), keys, BUCKET)?;
        let port = minio.port();
        return Ok((Box::new(minio), port, None));
    }
    #[cfg(feature = "embedded-s3")]
    {
        let embedded = embedded::Embedded::start(&dir.join("s3"), keys, BUCKET).await?;
        let port = embedded.port();
        // It overwrites whatever a conditional PUT says.
        let quirk = Some("skip-if-none-match-header");
        Ok((Box::new(embedded), port, quirk))
    }
    #[cfg(not(feature = "embedded-s3"))]
    anyhow::bail!("built without an S3 server; name a MinIO by --minio")
}

/// Those of an earlier run, or new ones.
fn s3_keys(server: &Server) -> Result<S3Keys> {
    let known = server.config.s3_endpoints().load()?;
    Ok(match known.get(ENDPOINT) {
        Ok(endpoint) => S3Keys {
            access: endpoint.access_key.as_str().to_owned(),
            secret: endpoint.secret_key.expose().to_owned(),
        },
        Err(_) => S3Keys {
            access: format!("dev{}", random_hex()?.get(..16).unwrap_or_default()),
            secret: random_hex()?,
        },
    })
}

async fn configure_endpoint(
    server: &Server,
    keys: &S3Keys,
    port: u16,
    quirk: Option<&str>,
) -> Result<()> {
    let port = port.to_string();
    let mut properties = vec![
        ("endpoint", "127.0.0.1"),
        ("port", &port),
        ("region", "us-west-1"),
        ("access-key", &keys.access),
        ("secret-key", &keys.secret),
        ("path-style", "true"),
    ];
    properties.extend(quirk.map(|quirk| ("provider-quirks", quirk)));
    let properties: Vec<_> = properties
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let endpoint = S3EndpointConfig::from_properties(ENDPOINT, &properties)?;
    server
        .config
        .s3_endpoints()
        .update::<_, ConfigError>(None, |content| {
            match content.get_mut(ENDPOINT) {
                Ok(known) => *known = endpoint,
                Err(_) => content.insert(endpoint)?,
            }
            Ok(())
        })
        .await?;
    Ok(())
}

async fn wait_for_bucket(server: &Server) -> Result<()> {
    let endpoints = server.config.s3_endpoints().load()?;
    let client = server
        .s3
        .client(endpoints.get(ENDPOINT)?, Some(BUCKET.parse()?))?;
    let deadline = server.env.now() + READY_WITHIN;
    loop {
        match client.head_bucket().await {
            Ok(()) => return Ok(()),
            Err(error) if server.env.now() >= deadline => {
                return Err(error).context("the S3 server does not get ready");
            }
            Err(_) => server.env.sleep(POLL).await,
        }
    }
}

async fn create_datastores(server: &Arc<Server>, dir: &Path) -> Result<()> {
    let backend = format!("type=s3,client={ENDPOINT},bucket={BUCKET}");
    for (name, backend) in [(ENDPOINT, Some(backend)), (LOCAL, None)] {
        let known = server.config.datastores().load()?;
        if known.get(name).is_ok() {
            continue;
        }
        let path = dir.join("datastores").join(name);
        let path = path.to_str().context("the directory's name is not UTF-8")?;
        let mut properties = vec![("path".to_owned(), path.to_owned())];
        properties.extend(backend.map(|backend| ("backend".to_owned(), backend)));
        let request = CreateRequest {
            config: DatastoreConfig::from_properties(name, &properties)?,
            reuse: false,
            overwrite_in_use: false,
        };
        let spec = TaskSpec::new("create-datastore", Some(name.to_owned()), Authid::root());
        let stores = Arc::clone(&server.stores);
        let outcome = server
            .tasks
            .run(spec, Echo::None, Signals::Ignore, |task| async move {
                stores.create(&*task, &request).await
            })
            .await?;
        outcome.value?;
    }
    Ok(())
}

/// The administrator with a password, and a token with its secret; those of an earlier run stay.
async fn create_admin(server: &Server, dir: &Path) -> Result<(String, String)> {
    let access = &server.access;
    let admin: Userid = ADMIN.parse()?;
    let token: Authid = TOKEN.parse()?;
    access
        .users()
        .update::<_, ConfigError>(None, |users| {
            if users.get(ADMIN).is_err() {
                users.insert(User::new(admin.clone()).into())?;
            }
            if users.get(TOKEN).is_err() {
                let token = ApiToken {
                    tokenid: token.clone(),
                    account: Default::default(),
                };
                users.insert(token.into())?;
            }
            Ok(())
        })
        .await?;
    access
        .acl()
        .update::<_, ConfigError>(None, |tree: &mut AclTree| {
            // "/" is a path.
            if let Ok(root) = "/".parse() {
                for who in [admin.clone().into(), token.clone()] {
                    tree.insert(&root, who, Role::Admin, true);
                }
            }
            Ok(())
        })
        .await?;
    let turn = Turn::of_nobody(server.env.clone());
    let password = match written(dir, "PBS_PASSWORD") {
        Some(password)
            if access
                .check_password(&admin, &password, &turn)
                .await
                .is_ok() =>
        {
            password
        }
        _ => {
            let password = random_hex()?;
            access.set_password(&admin, &password).await?;
            password
        }
    };
    let known = written(dir, "COFFER_API_TOKEN")
        .and_then(|token| Some(token.split_once(':')?.1.to_owned()));
    let secret = match known {
        Some(secret) if access.check_token(&token, &secret, &turn).await.is_ok() => secret,
        _ => access.new_token_secret(&token).await?,
    };
    Ok((password, secret))
}
