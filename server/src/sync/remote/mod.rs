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

use anyhow::{Context as _, Result, bail};
use api_types::names::DatastoreName;
use client::remote::{ConnectOptions, PasswordSource, Repository, Secret};
use s3_client::env::Env;

use crate::config::Config;
use crate::config::remotes::Remote;
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
    check_proxy(config, &remote)?;
    let repository = Repository::new(
        Some(remote.auth_id.clone()),
        Some(remote.host.to_string()),
        remote.port,
        store.clone(),
    );
    let password = Secret::new(remote.password.expose().to_owned());
    let options = ConnectOptions {
        fingerprint: remote.fingerprint,
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

/// Refuses a remote that only a proxy reaches, rather than to go past it.
fn check_proxy(config: &Config, remote: &Remote) -> Result<()> {
    if remote.use_node_proxy != Some(true) {
        return Ok(());
    }
    let (node, _) = config.node().load()?;
    if node.get("http-proxy").is_some() {
        bail!(
            "remote '{}' is to be reached through the node's HTTP proxy, which this server does \
             not support; unset 'use-node-proxy' to connect directly",
            remote.name
        );
    }
    Ok(())
}
