//! One client per endpoint and bucket in a process, so that connections, limits, adaptive
//! concurrency, clock estimate and counters are shared by everything that uses them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use api_types::names::EndpointId;
use api_types::s3::{BucketName, S3EndpointConfig};

use crate::client::S3Client;
use crate::counters::CounterSnapshot;
use crate::endpoint::Scheme;
use crate::env::Env;
use crate::error::S3Error;
use crate::limits::EndpointLimits;
use crate::options::S3ClientOptions;
use crate::transport::{HttpProxy, NoProxy};

type Slot = (EndpointId, Option<BucketName>);

/// What makes an existing client unfit when it changes.
#[derive(Clone, PartialEq)]
struct Settings {
    endpoint: S3EndpointConfig,
    proxy: Option<HttpProxy>,
    no_proxy: NoProxy,
    scheme: Scheme,
    allow_plain_http: bool,
}

impl Settings {
    fn of(options: &S3ClientOptions) -> Self {
        Self {
            endpoint: options.endpoint.clone(),
            proxy: options.proxy.clone(),
            no_proxy: options.no_proxy.clone(),
            scheme: options.scheme,
            allow_plain_http: options.allow_plain_http,
        }
    }
}

#[derive(Default)]
struct Entries {
    clients: HashMap<Slot, (Settings, S3Client)>,
    limits: HashMap<EndpointId, Arc<EndpointLimits>>,
}

/// The clients of a process.
pub struct ClientRegistry {
    env: Env,
    entries: Mutex<Entries>,
}

impl ClientRegistry {
    /// An empty registry.
    #[must_use]
    pub fn new(env: Env) -> Self {
        Self {
            env,
            entries: Mutex::default(),
        }
    }

    /// The client for an endpoint and bucket. It is the one given out before as long as the
    /// configuration is the same; a changed one gets a new client, which keeps the counters, and
    /// changed rate limits apply to all clients of the endpoint at once.
    ///
    /// # Errors
    /// As [`S3Client::new`].
    pub fn client(&self, mut options: S3ClientOptions) -> Result<S3Client, S3Error> {
        let settings = Settings::of(&options);
        let slot = (options.endpoint.id.clone(), options.bucket.clone());
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, client)) = entries.clients.get(&slot) {
            if *known == settings {
                return Ok(client.clone());
            }
            options.counters = Some(client.counter_handle().clone());
        }
        let rates = options.rates();
        let limits = entries.limits.entry(options.endpoint.id.clone());
        let limits = limits
            .or_insert_with(|| EndpointLimits::new(&self.env, rates))
            .clone();
        limits.set(rates);
        options.limits = Some(limits);
        let client = S3Client::new(options, self.env.clone())?;
        entries.clients.insert(slot, (settings, client.clone()));
        Ok(client)
    }

    /// What all clients together have counted.
    #[must_use]
    pub fn counters(&self) -> CounterSnapshot {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let mut sum = CounterSnapshot::default();
        for (_, client) in entries.clients.values() {
            sum.add(&client.counters());
        }
        sum
    }

    /// Forgets the clients of an endpoint that was removed.
    pub fn forget(&self, endpoint: &EndpointId) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.clients.retain(|(id, _), _| id != endpoint);
        entries.limits.remove(endpoint);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(bucket: &str) -> S3ClientOptions {
        let endpoint = S3EndpointConfig::new(
            "endpoint1".parse().unwrap(),
            "s3.example.test".parse().unwrap(),
            "access".parse().unwrap(),
            "secret".parse().unwrap(),
        );
        S3ClientOptions::new(endpoint, Some(bucket.parse().unwrap()))
    }

    #[test]
    fn the_same_configuration_gives_the_same_client() {
        let registry = ClientRegistry::new(Env::system());
        let first = registry.client(options("bucket1")).unwrap();
        let again = registry.client(options("bucket1")).unwrap();
        assert!(Arc::ptr_eq(&first.core, &again.core));
        let other = registry.client(options("bucket2")).unwrap();
        assert!(!Arc::ptr_eq(&first.core, &other.core));
    }

    #[test]
    fn a_changed_endpoint_gets_a_new_client_with_the_old_counters() {
        let registry = ClientRegistry::new(Env::system());
        let first = registry.client(options("bucket1")).unwrap();
        let mut changed = options("bucket1");
        changed.endpoint.put_rate_limit = Some(5);
        let second = registry.client(changed).unwrap();
        assert!(!Arc::ptr_eq(&first.core, &second.core));
        assert!(Arc::ptr_eq(first.counter_handle(), second.counter_handle()));
        registry.forget(&"endpoint1".parse().unwrap());
        let third = registry.client(options("bucket1")).unwrap();
        assert!(!Arc::ptr_eq(first.counter_handle(), third.counter_handle()));
    }
}
