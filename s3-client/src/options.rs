//! What a client is made from.

use std::sync::Arc;
use std::time::Duration;

use api_types::s3::{BucketName, ChecksumMode, ProviderQuirk, S3EndpointConfig};

use crate::counters::Counters;
use crate::endpoint::Scheme;
use crate::env::Env;
use crate::error::S3Error;
use crate::limits::{EndpointLimits, Rates};
use crate::retry::RetryPolicy;
use crate::transport::{
    ConnectOptions, HttpProxy, HttpTransport, NoProxy, Timeouts, TlsOptions, Transport,
};

/// Default of [`S3ClientOptions::max_object_bytes`].
const MAX_OBJECT_BYTES: usize = 1024 * 1024 * 1024;

/// Everything that a client depends on.
#[derive(Clone, Debug)]
pub struct S3ClientOptions {
    /// The endpoint as configured.
    pub endpoint: S3EndpointConfig,
    /// The bucket; everything but listing the buckets needs one.
    pub bucket: Option<BucketName>,
    /// HTTP proxy of this machine.
    pub proxy: Option<HttpProxy>,
    /// Hosts to reach past the proxy; those on this machine always are.
    pub no_proxy: NoProxy,
    /// TLS or plain HTTP.
    pub scheme: Scheme,
    /// Allow plain HTTP to other hosts than this one.
    pub allow_plain_http: bool,
    /// Limits of one attempt.
    pub timeouts: Timeouts,
    /// Limits over all attempts.
    pub retry: RetryPolicy,
    /// The largest object that is read into memory.
    pub max_object_bytes: usize,
    /// Rate limits to share with other clients; by default those of the endpoint, not shared.
    pub limits: Option<Arc<EndpointLimits>>,
    /// Counters to go on with; by default new ones.
    pub counters: Option<Arc<Counters>>,
}

impl S3ClientOptions {
    /// The defaults for an endpoint.
    #[must_use]
    pub fn new(endpoint: S3EndpointConfig, bucket: Option<BucketName>) -> Self {
        let mut timeouts = Timeouts::default();
        let mut retry = RetryPolicy::default();
        if let Some(seconds) = endpoint.connect_timeout {
            timeouts.connect = Duration::from_secs(seconds);
        }
        if let Some(seconds) = endpoint.request_timeout {
            retry.deadline = Duration::from_secs(seconds);
        }
        Self {
            endpoint,
            bucket,
            proxy: None,
            no_proxy: NoProxy::default(),
            scheme: Scheme::Https,
            allow_plain_http: false,
            timeouts,
            retry,
            max_object_bytes: MAX_OBJECT_BYTES,
            limits: None,
            counters: None,
        }
    }

    /// The rate limits of the endpoint.
    #[must_use]
    pub fn rates(&self) -> Rates {
        rates(&self.endpoint)
    }

    pub(crate) fn shared_limits(&self, env: &Env) -> Arc<EndpointLimits> {
        self.limits
            .clone()
            .unwrap_or_else(|| EndpointLimits::new(env, self.rates()))
    }

    /// The network transport with these options.
    pub(crate) fn http_transport(
        &self,
        env: &Env,
        limits: Arc<EndpointLimits>,
    ) -> Result<Arc<dyn Transport>, S3Error> {
        let endpoint = &self.endpoint;
        let connect = ConnectOptions {
            scheme: self.scheme,
            tls: TlsOptions {
                fingerprint: endpoint.fingerprint,
                strict: endpoint.strict_fingerprint.unwrap_or(false),
                ca_pem: endpoint.ca_cert.as_ref().map(api_types::s3::CaCert::to_pem),
            },
            proxy: self.proxy.clone(),
            no_proxy: self.no_proxy.clone(),
            allow_plain_http: self.allow_plain_http,
        };
        let transport = HttpTransport::new(env, connect, self.timeouts, limits)
            .map_err(|text| S3Error::config(format!("endpoint {}: {text}", endpoint.id)))?;
        Ok(Arc::new(transport))
    }
}

/// The rate limits an endpoint is configured with; a burst defaults to its rate.
#[must_use]
pub fn rates(endpoint: &S3EndpointConfig) -> Rates {
    let bandwidth = |rate: Option<api_types::human::ByteSize>, burst: Option<_>| {
        let rate = rate.map_or(0, api_types::human::ByteSize::bytes);
        (rate, burst.map_or(rate, api_types::human::ByteSize::bytes))
    };
    Rates {
        puts: endpoint.put_rate_limit.unwrap_or(0),
        bytes_in: bandwidth(endpoint.rate_in, endpoint.burst_in),
        bytes_out: bandwidth(endpoint.rate_out, endpoint.burst_out),
    }
}

/// The deviations of a provider that the client works around.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quirks {
    /// Uploads without `If-None-Match`, after a HEAD.
    pub skip_if_none_match: bool,
    /// One DELETE per object instead of batches.
    pub delete_one_by_one: bool,
    /// Absence is looked at again after 1 s and 5 s.
    pub eventual_consistency: bool,
    /// Listings with percent-encoded keys.
    pub list_encoding_url: bool,
    /// No `Content-MD5`.
    pub no_content_md5: bool,
    /// HEAD before each create-only upload.
    pub head_before_put: bool,
    /// Bodies are not signed.
    pub unsigned_payload: bool,
}

impl Quirks {
    /// The quirks set in an endpoint.
    #[must_use]
    pub fn of(endpoint: &S3EndpointConfig) -> Self {
        let has = |quirk| endpoint.has_quirk(quirk);
        Self {
            skip_if_none_match: has(ProviderQuirk::SkipIfNoneMatchHeader),
            delete_one_by_one: has(ProviderQuirk::DeleteObjectsViaDeleteObject),
            eventual_consistency: has(ProviderQuirk::EventualConsistency),
            list_encoding_url: has(ProviderQuirk::ListEncodingUrl),
            no_content_md5: has(ProviderQuirk::NoContentMd5),
            head_before_put: has(ProviderQuirk::HeadBeforePut),
            unsigned_payload: has(ProviderQuirk::UnsignedPayload),
        }
    }
}

/// Which checksum header goes with a body.
#[must_use]
pub(crate) fn checksum_mode(endpoint: &S3EndpointConfig, quirks: &Quirks) -> ChecksumMode {
    match endpoint.checksum_mode {
        None | Some(ChecksumMode::ContentMd5) if quirks.no_content_md5 => ChecksumMode::None,
        None => ChecksumMode::ContentMd5,
        Some(mode) => mode,
    }
}
