//! A datastore of another server, as an entry of `remote.cfg` describes it.
//!
//! | module | what |
//! |---|---|
//! | [`rates`] | how fast all connections of a sync together may be |
//! | [`calls`] | what is asked of the other server, typed |
//! | [`version`] | which server it is: pure |
//!
//! Connections, TLS, fingerprints, login and sessions are those of the client, of whom nobody is
//! asked anything and who remembers nothing on disk.

pub mod calls;
pub mod rates;
pub mod version;

use anyhow::{Context as _, Result};
use api_types::names::DatastoreName;
use client::remote::{ConnectOptions, PasswordSource, ProxySettings, Repository, Secret};
use s3_client::env::Env;

use crate::config::Config;
use rates::Rates;

pub use calls::RemoteStore;

/// Connects to a datastore of the remote `name`, and logs in there. All connections that follow
/// from it keep to `rates` together.
pub async fn connect(
    config: &Config,
    name: &str,
    store: &DatastoreName,
    rates: &Rates,
    env: &Env,
) -> Result<RemoteStore> {
    let remote = config.remotes().load()?.get(name)?.clone();
    let proxy = match remote.use_node_proxy {
        Some(true) => config.node().http_proxy()?,
        _ => None,
    };
    let repository = Repository::new(
        Some(remote.auth_id.clone()),
        Some(remote.host.to_string()),
        remote.port,
        store.clone(),
    );
    let password = Secret::new(remote.password.expose().to_owned());
    let options = ConnectOptions {
        fingerprint: remote.fingerprint,
        proxy: ProxySettings::given(proxy),
        // A job comes again, and whoever looks at a remote wants to know at once.
        attempts: 1,
        shape: rates.shape(env),
        env: env.clone(),
        ..ConnectOptions::with_password(PasswordSource::Given(password))
    };
    let connected = client::remote::Remote::connect(&repository, &options).await;
    let connected = connected.with_context(|| format!("failed to connect to remote '{name}'"))?;
    Ok(RemoteStore::new(connected, store.clone()))
}
