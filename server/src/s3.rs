//! S3 clients of the configured endpoints, with what this machine adds: proxy and plain HTTP.

use std::fmt;
use std::str::FromStr;

use anyhow::{Context, Result};
use api_types::s3::{BucketName, S3EndpointConfig};
use clap::ValueEnum;
use s3_client::env::Env;
use s3_client::{ClientRegistry, HttpProxy, S3Client, S3ClientOptions, Scheme};

/// How this machine reaches S3 endpoints.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "S3 connections")]
pub struct S3Options {
    /// Reach S3 endpoints through this HTTP proxy (CONNECT), [http://]host:port.
    #[arg(long, env = "COFFER_HTTP_PROXY", global = true, value_name = "PROXY")]
    pub http_proxy: Option<ProxyAddress>,
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

/// Host and port of a proxy.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ProxyAddress {
    host: String,
    port: u16,
}

impl FromStr for ProxyAddress {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = "expected [http://]host:port";
        let rest = text.strip_prefix("http://").unwrap_or(text);
        let (host, port) = rest.trim_end_matches('/').rsplit_once(':').ok_or(error)?;
        let host = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
        let bad = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '/' | '@' | '[');
        if host.is_empty() || host.contains(bad) {
            return Err(error);
        }
        Ok(Self { host: host.to_owned(), port: port.parse().map_err(|_| error)? })
    }
}

/// The S3 clients of a process: one per endpoint and bucket.
pub struct S3Clients {
    options: S3Options,
    registry: ClientRegistry,
}

impl S3Clients {
    /// No client yet.
    #[must_use]
    pub fn new(options: S3Options, env: &Env) -> Self {
        Self { options, registry: ClientRegistry::new(env.clone()) }
    }

    /// The client for a bucket of an endpoint, or for the endpoint alone.
    pub fn client(
        &self,
        endpoint: &S3EndpointConfig,
        bucket: Option<BucketName>,
    ) -> Result<S3Client> {
        self.registry
            .client(self.client_options(endpoint, bucket))
            .with_context(|| format!("failed to set up a client for s3-endpoint '{}'", endpoint.id))
    }

    fn client_options(
        &self,
        endpoint: &S3EndpointConfig,
        bucket: Option<BucketName>,
    ) -> S3ClientOptions {
        let plain = match self.options.plain_http {
            None => false,
            Some(PlainHttp::Loopback) => endpoint.endpoint.is_loopback(),
            Some(PlainHttp::Everywhere) => true,
        };
        let mut options = S3ClientOptions::new(endpoint.clone(), bucket);
        options.scheme = if plain { Scheme::Http } else { Scheme::Https };
        options.allow_plain_http = self.options.plain_http == Some(PlainHttp::Everywhere);
        options.proxy = self
            .options
            .http_proxy
            .clone()
            .map(|ProxyAddress { host, port }| HttpProxy { host, port });
        options
    }
}

impl fmt::Debug for S3Clients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Clients").field("options", &self.options).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxies_are_host_and_port() {
        for (text, host, port) in [
            ("http://proxy.example:3128/", "proxy.example", 3128),
            ("10.0.0.1:80", "10.0.0.1", 80),
            ("http://[::1]:8080", "::1", 8080),
        ] {
            let proxy: ProxyAddress = text.parse().unwrap();
            assert_eq!((proxy.host.as_str(), proxy.port), (host, port));
        }
        for text in ["", "proxy", "http://:80", "https://x:1", "a b:1", "u@h:1", "h:99999"] {
            assert!(text.parse::<ProxyAddress>().is_err(), "{text}");
        }
    }

    #[test]
    fn plain_http_leaves_other_machines_alone_unless_told() {
        let scheme = |plain_http, host: &str| {
            let properties: Vec<(String, String)> =
                [("endpoint", host), ("access-key", "a"), ("secret-key", "b")]
                    .map(|(key, value)| (key.to_owned(), value.to_owned()))
                    .to_vec();
            let endpoint = S3EndpointConfig::from_properties("minio", &properties).unwrap();
            let options = S3Options { plain_http, ..S3Options::default() };
            let options =
                S3Clients::new(options, &Env::system()).client_options(&endpoint, None);
            (options.scheme, options.allow_plain_http)
        };
        assert_eq!(scheme(None, "127.0.0.1"), (Scheme::Https, false));
        let loopback = Some(PlainHttp::Loopback);
        assert_eq!(scheme(loopback, "127.0.0.1"), (Scheme::Http, false));
        assert_eq!(scheme(loopback, "s3.example.org"), (Scheme::Https, false));
        assert_eq!(scheme(Some(PlainHttp::Everywhere), "s3.example.org"), (Scheme::Http, true));
    }
}
