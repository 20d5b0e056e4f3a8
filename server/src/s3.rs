//! S3 clients of the configured endpoints, with what this machine adds: proxy and plain HTTP.

use std::fmt;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use api_types::s3::{BucketName, S3EndpointConfig};
use clap::ValueEnum;
use s3_client::env::Env;
use s3_client::transport::{HttpProxy, NoProxy};
use s3_client::{ClientRegistry, CounterSnapshot, S3Client, S3ClientOptions, Scheme};

use crate::config::node::NodeFile;

/// How this machine reaches S3 endpoints.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "S3 connections")]
pub struct S3Options {
    /// Reach S3 endpoints through this HTTP proxy, for example 'http://user:password@host:3128', and
    /// not through the one that the configuration of the machine names ('http-proxy').
    #[arg(
        long,
        env = "COFFER_HTTP_PROXY",
        hide_env_values = true,
        global = true,
        value_name = "PROXY"
    )]
    pub http_proxy: Option<ProxyArgument>,
    /// Reach these hosts past the proxy: names, domains and networks, separated by commas, for
    /// example '.lan,10.0.0.0/8'. Hosts on this machine always are.
    #[arg(long, env = "NO_PROXY", global = true, value_name = "HOSTS")]
    pub no_proxy: Option<NoProxy>,
    /// Speak plain HTTP instead of TLS, for S3 servers without certificate.
    #[arg(long, env = "COFFER_PLAIN_HTTP", global = true, value_enum)]
    pub plain_http: Option<PlainHttp>,
}

/// To which endpoints plain HTTP is spoken.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum PlainHttp {
    /// To those on this machine; all others keep TLS.
    Loopback,
    /// To all: whoever is on the way reads backups that are not encrypted, and can change them.
    Everywhere,
}

/// The address of a proxy, as it was given. May hold a password: it is never printed, so it is
/// parsed here and not by clap, which repeats what it does not understand.
#[derive(Clone)]
pub struct ProxyArgument(String);

impl From<String> for ProxyArgument {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for ProxyArgument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ProxyArgument(redacted)")
    }
}

/// The S3 clients of a process: one per endpoint and bucket.
///
/// A proxy given to the process counts for it; without one, that of the machine does, which is read
/// for each client: when it changes, the next one that is asked for is another.
pub struct S3Clients {
    proxy: Option<HttpProxy>,
    node: NodeFile,
    no_proxy: NoProxy,
    plain_http: Option<PlainHttp>,
    registry: ClientRegistry,
}

impl S3Clients {
    /// No client yet.
    pub fn new(options: &S3Options, node: NodeFile, env: &Env) -> Result<Self> {
        let proxy = options
            .http_proxy
            .as_ref()
            .map(|proxy| proxy.0.parse())
            .transpose();
        Ok(Self {
            proxy: proxy.map_err(|error: String| anyhow!("bad value of --http-proxy: {error}"))?,
            node,
            no_proxy: options.no_proxy.clone().unwrap_or_default(),
            plain_http: options.plain_http,
            registry: ClientRegistry::new(env.clone()),
        })
    }

    /// The client for a bucket of an endpoint, or for the endpoint alone.
    pub fn client(
        &self,
        endpoint: &S3EndpointConfig,
        bucket: Option<BucketName>,
    ) -> Result<S3Client> {
        let made = || {
            anyhow::Ok(
                self.registry
                    .client(self.client_options(endpoint, bucket)?)?,
            )
        };
        made().with_context(|| {
            format!(
                "failed to set up a client for s3-endpoint '{}'",
                endpoint.id
            )
        })
    }

    /// The requests made so far, by all clients.
    #[must_use]
    pub fn counters(&self) -> CounterSnapshot {
        self.registry.counters()
    }

    fn client_options(
        &self,
        endpoint: &S3EndpointConfig,
        bucket: Option<BucketName>,
    ) -> Result<S3ClientOptions> {
        let plain = match self.plain_http {
            None => false,
            Some(PlainHttp::Loopback) => endpoint.endpoint.is_loopback(),
            Some(PlainHttp::Everywhere) => true,
        };
        let mut options = S3ClientOptions::new(endpoint.clone(), bucket);
        options.scheme = if plain { Scheme::Http } else { Scheme::Https };
        options.allow_plain_http = self.plain_http == Some(PlainHttp::Everywhere);
        options.proxy = match &self.proxy {
            Some(proxy) => Some(proxy.clone()),
            None => self.node.http_proxy()?,
        };
        options.no_proxy.clone_from(&self.no_proxy);
        Ok(options)
    }
}

impl fmt::Debug for S3Clients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Clients")
            .field("proxy", &self.proxy)
            .field("plain_http", &self.plain_http)
            .finish_non_exhaustive()
    }
}

/// Whether a client's bucket can be had, or why not; it may take so long to answer.
pub async fn bucket_answers(
    client: &S3Client,
    env: &Env,
    patience: Duration,
) -> Result<(), String> {
    tokio::select! {
        answer = client.head_bucket() => answer.map_err(|error| error.to_string()),
        () = env.sleep(patience) => {
            let seconds = patience.as_secs();
            Err(format!("its bucket did not answer within {seconds} s"))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn clients(options: &S3Options, config: &Path) -> Result<S3Clients> {
        let env = Env::system();
        S3Clients::new(options, NodeFile::new(config, env.clone()), &env)
    }

    fn endpoint(host: &str) -> S3EndpointConfig {
        let properties: Vec<(String, String)> =
            [("endpoint", host), ("access-key", "a"), ("secret-key", "b")]
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .to_vec();
        S3EndpointConfig::from_properties("minio", &properties).unwrap()
    }

    fn through(proxy: &str) -> S3Options {
        S3Options {
            http_proxy: Some(ProxyArgument::from(proxy.to_owned())),
            ..S3Options::default()
        }
    }

    #[test]
    fn a_bad_proxy_is_not_repeated() {
        let dir = tempfile::tempdir().unwrap();
        let proxy = |text: &str| clients(&through(text), dir.path());
        assert!(proxy("http://user:secret@proxy.example:3128").is_ok());
        let error = proxy("https://user:secret@proxy.example")
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("--http-proxy") && !error.contains("secret"),
            "{error}"
        );
    }

    #[test]
    fn the_machines_proxy_counts_where_the_process_has_none() {
        let dir = tempfile::tempdir().unwrap();
        let endpoint = endpoint("s3.example.org");
        let used = |clients: &S3Clients| {
            let options = clients.client_options(&endpoint, None).unwrap();
            options.proxy.map(|proxy| proxy.host)
        };
        let of_node = clients(&S3Options::default(), dir.path()).unwrap();
        assert_eq!(used(&of_node), None);
        let before = of_node.client(&endpoint, None).unwrap();
        let file = dir.path().join("node.cfg");
        std::fs::write(&file, "http-proxy: http://u:secret@node.example:3128\n").unwrap();
        assert_eq!(used(&of_node).as_deref(), Some("node.example"));
        let after = of_node.client(&endpoint, None).unwrap();
        assert!(!after.is_same_as(&before), "still past the proxy");
        let own = clients(&through("own.example"), dir.path()).unwrap();
        assert_eq!(used(&own).as_deref(), Some("own.example"));
        std::fs::write(&file, "http-proxy: https://u:secret@node.example\n").unwrap();
        let error = format!("{:#}", of_node.client(&endpoint, None).unwrap_err());
        assert!(
            error.contains("http-proxy") && error.contains("node.cfg") && !error.contains("secret"),
            "{error}"
        );
    }

    #[test]
    fn plain_http_leaves_other_machines_alone_unless_told() {
        let dir = tempfile::tempdir().unwrap();
        let scheme = |plain_http, host: &str| {
            let options = S3Options {
                plain_http,
                ..S3Options::default()
            };
            let options = clients(&options, dir.path())
                .unwrap()
                .client_options(&endpoint(host), None)
                .unwrap();
            (options.scheme, options.allow_plain_http)
        };
        assert_eq!(scheme(None, "127.0.0.1"), (Scheme::Https, false));
        let loopback = Some(PlainHttp::Loopback);
        assert_eq!(scheme(loopback, "127.0.0.1"), (Scheme::Http, false));
        assert_eq!(scheme(loopback, "s3.example.org"), (Scheme::Https, false));
        assert_eq!(
            scheme(Some(PlainHttp::Everywhere), "s3.example.org"),
            (Scheme::Http, true)
        );
    }
}
