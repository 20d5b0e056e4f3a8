//! Where a request goes: authority, path and scheme from the endpoint template.

use std::net::IpAddr;

use api_types::s3::{BucketName, EndpointHost, Region, S3EndpointConfig};

/// How the endpoint is spoken to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// TLS.
    #[default]
    Https,
    /// Without TLS: only on loopback, unless explicitly allowed elsewhere.
    Http,
}

impl Scheme {
    fn default_port(self) -> u16 {
        match self {
            Self::Https => 443,
            Self::Http => 80,
        }
    }
}

/// Host and port of a connection, and the `Host` header that goes with it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Authority {
    /// Host name or address, without brackets.
    pub host: String,
    /// Port to connect to.
    pub port: u16,
    /// The `Host` header, signed exactly like this.
    pub header: String,
}

impl Authority {
    /// Whether the host is this machine by name or address.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        is_localhost(&self.host)
            || self
                .host
                .parse::<IpAddr>()
                .is_ok_and(|address| address.is_loopback())
    }
}

/// `localhost` and names below it always mean this machine (RFC 6761).
pub(crate) fn is_localhost(host: &str) -> bool {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    host == "localhost" || host.ends_with(".localhost")
}

/// The addressing rules of one endpoint.
#[derive(Clone, Debug)]
pub struct Addressing {
    host: EndpointHost,
    port: Option<u16>,
    region: Region,
    scheme: Scheme,
    path_style: bool,
}

impl Addressing {
    /// The rules of a configured endpoint.
    #[must_use]
    pub fn new(endpoint: &S3EndpointConfig, scheme: Scheme) -> Self {
        Self {
            host: endpoint.endpoint.clone(),
            port: endpoint.port,
            region: endpoint.region(),
            scheme,
            path_style: endpoint.is_path_style(),
        }
    }

    /// How the endpoint is spoken to.
    #[must_use]
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Whether buckets are addressed in the path.
    #[must_use]
    pub fn is_path_style(&self) -> bool {
        self.path_style
    }

    /// The authority for a bucket, or for the account without one.
    #[must_use]
    pub fn authority(&self, bucket: Option<&BucketName>) -> Authority {
        Authority {
            host: self.host.expand(&self.region, bucket),
            port: self.port.unwrap_or_else(|| self.scheme.default_port()),
            header: self.host.authority(self.port, &self.region, bucket),
        }
    }

    /// The encoded path of a bucket (no key), an object, or the account (no bucket).
    #[must_use]
    pub fn path(&self, bucket: Option<&BucketName>, key: Option<&str>) -> String {
        let key = crate::encode::encode_path(key.unwrap_or_default());
        match bucket {
            Some(bucket) if self.path_style => format!("/{bucket}/{key}"),
            _ => format!("/{key}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addressing(host: &str, port: Option<u16>, path_style: bool, scheme: Scheme) -> Addressing {
        let mut endpoint = S3EndpointConfig::new(
            "test".parse().unwrap(),
            host.parse().unwrap(),
            "key".parse().unwrap(),
            "secret".parse().unwrap(),
        );
        endpoint.port = port;
        endpoint.region = Some("eu-1".parse().unwrap());
        endpoint.path_style = Some(path_style);
        endpoint.validate().unwrap();
        Addressing::new(&endpoint, scheme)
    }

    #[test]
    fn template_table() {
        let bucket: BucketName = "my-bucket".parse().unwrap();
        let b = Some(&bucket);
        // (template, port, path style, bucket) -> (Host, path of the key `a:b/c`)
        for (template, port, path_style, bucket, host, path) in [
            (
                "s3.example.com",
                None,
                true,
                b,
                "s3.example.com",
                "/my-bucket/a%3Ab/c",
            ),
            (
                "s3.example.com",
                Some(9000),
                true,
                b,
                "s3.example.com:9000",
                "/my-bucket/a%3Ab/c",
            ),
            (
                "s3.example.com",
                Some(443),
                false,
                b,
                "s3.example.com:443",
                "/a%3Ab/c",
            ),
            (
                "{{bucket}}.s3.example.com",
                None,
                false,
                b,
                "my-bucket.s3.example.com",
                "/a%3Ab/c",
            ),
            (
                "{{bucket}}.s3.example.com",
                None,
                false,
                None,
                "s3.example.com",
                "/a%3Ab/c",
            ),
            (
                "{{bucket}}.s3.{{region}}.example.com",
                Some(8443),
                false,
                b,
                "my-bucket.s3.eu-1.example.com:8443",
                "/a%3Ab/c",
            ),
            (
                "{{region}}.example.com",
                None,
                true,
                None,
                "eu-1.example.com",
                "/a%3Ab/c",
            ),
            (
                "192.0.2.1",
                Some(7480),
                true,
                b,
                "192.0.2.1:7480",
                "/my-bucket/a%3Ab/c",
            ),
            (
                "::1",
                Some(9000),
                true,
                b,
                "[::1]:9000",
                "/my-bucket/a%3Ab/c",
            ),
            (
                "[2001:db8::1]",
                None,
                true,
                b,
                "[2001:db8::1]",
                "/my-bucket/a%3Ab/c",
            ),
        ] {
            let addressing = addressing(template, port, path_style, Scheme::Https);
            assert_eq!(addressing.authority(bucket).header, host, "{template}");
            assert_eq!(addressing.path(bucket, Some("a:b/c")), path, "{template}");
        }
    }

    #[test]
    fn bucket_requests_end_in_a_slash() {
        let bucket = "bkt".parse().unwrap();
        let path = addressing("h", None, true, Scheme::Https);
        assert_eq!(path.path(Some(&bucket), None), "/bkt/");
        assert_eq!(path.path(None, None), "/");
        let vhost = addressing("{{bucket}}.h", None, false, Scheme::Https);
        assert_eq!(vhost.path(Some(&bucket), None), "/");
        // Odd keys are not normalised.
        assert_eq!(vhost.path(Some(&bucket), Some("/a/../b//c")), "//a/../b//c");
    }

    #[test]
    fn ports_and_loopback() {
        let authority = |host, scheme| addressing(host, None, true, scheme).authority(None);
        assert_eq!(authority("h", Scheme::Https).port, 443);
        assert_eq!(authority("h", Scheme::Http).port, 80);
        assert_eq!(authority("::1", Scheme::Http).host, "::1");
        for local in [
            "localhost",
            "bucket.localhost",
            "127.0.0.1",
            "127.1.2.3",
            "::1",
        ] {
            assert!(authority(local, Scheme::Http).is_loopback(), "{local}");
        }
        for remote in [
            "localhost.example.com",
            "10.0.0.1",
            "2001:db8::1",
            "notlocalhost",
        ] {
            assert!(!authority(remote, Scheme::Http).is_loopback(), "{remote}");
        }
    }
}
