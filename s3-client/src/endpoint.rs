//! Where a request goes: authority, path and scheme from the endpoint template.

use std::net::{IpAddr, Ipv6Addr};

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
            || self.host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    }
}

/// `localhost` and names below it always mean this machine (RFC 6761).
pub(crate) fn is_localhost(host: &str) -> bool {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    host == "localhost" || host.ends_with(".localhost")
}

const BUCKET: &str = "{{bucket}}";
const REGION: &str = "{{region}}";

/// The addressing rules of one endpoint.
#[derive(Clone, Debug)]
pub struct Addressing {
    template: String,
    port: Option<u16>,
    scheme: Scheme,
    path_style: bool,
}

impl Addressing {
    /// Checks a template (host name, address, or with `{{bucket}}` first and `{{region}}`
    /// anywhere but last) and fixes the region in it.
    ///
    /// # Errors
    /// With a text saying what is wrong with the endpoint.
    pub fn new(
        template: &str,
        port: Option<u16>,
        region: &str,
        path_style: bool,
        scheme: Scheme,
    ) -> Result<Self, String> {
        let bare = template.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        if bare.unwrap_or(template).parse::<Ipv6Addr>().is_ok() {
            let template = format!("[{}]", bare.unwrap_or(template));
            return Ok(Self { template, port, scheme, path_style });
        }
        let labels: Vec<&str> = template.split('.').collect();
        for (position, label) in labels.iter().enumerate() {
            let last = position + 1 == labels.len();
            let fine = match *label {
                BUCKET => position == 0 && !last,
                REGION => !last,
                // A trailing dot makes the name absolute.
                "" => last && labels.len() > 1,
                text => text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_')),
            };
            if !fine {
                return Err(format!(
                    "the endpoint {template:?} is no host name, address or template: give it \
                     without scheme and path, {BUCKET} only as the first label, {REGION} not as \
                     the last"
                ));
            }
        }
        if path_style && labels.first() == Some(&BUCKET) {
            return Err(format!(
                "path-style cannot be combined with {BUCKET} in the endpoint {template:?}: remove \
                 one of them"
            ));
        }
        Ok(Self { template: template.replace(REGION, region), port, scheme, path_style })
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
    pub fn authority(&self, bucket: Option<&str>) -> Authority {
        let name = match (self.template.strip_prefix(BUCKET), bucket) {
            (Some(rest), Some(bucket)) => format!("{bucket}{rest}"),
            (Some(rest), None) => rest.trim_start_matches('.').to_owned(),
            (None, _) => self.template.clone(),
        };
        let header = match self.port {
            Some(port) => format!("{name}:{port}"),
            None => name.clone(),
        };
        Authority {
            host: name.trim_matches(['[', ']']).to_owned(),
            port: self.port.unwrap_or_else(|| self.scheme.default_port()),
            header,
        }
    }

    /// The encoded path of a bucket (no key), an object, or the account (no bucket).
    #[must_use]
    pub fn path(&self, bucket: Option<&str>, key: Option<&str>) -> String {
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

    #[test]
    fn template_table() {
        let b = Some("my-bucket");
        // (template, port, path style, bucket) -> (Host, path of the key `a:b/c`)
        for (template, port, path_style, bucket, host, path) in [
            ("s3.example.com", None, true, b, "s3.example.com", "/my-bucket/a%3Ab/c"),
            ("s3.example.com", Some(9000), true, b, "s3.example.com:9000", "/my-bucket/a%3Ab/c"),
            ("s3.example.com", Some(443), false, b, "s3.example.com:443", "/a%3Ab/c"),
            ("{{bucket}}.s3.example.com", None, false, b, "my-bucket.s3.example.com", "/a%3Ab/c"),
            ("{{bucket}}.s3.example.com", None, false, None, "s3.example.com", "/a%3Ab/c"),
            (
                "{{bucket}}.s3.{{region}}.example.com",
                Some(8443),
                false,
                b,
                "my-bucket.s3.eu-1.example.com:8443",
                "/a%3Ab/c",
            ),
            ("{{region}}.example.com", None, true, None, "eu-1.example.com", "/a%3Ab/c"),
            ("192.0.2.1", Some(7480), true, b, "192.0.2.1:7480", "/my-bucket/a%3Ab/c"),
            ("::1", Some(9000), true, b, "[::1]:9000", "/my-bucket/a%3Ab/c"),
            ("[2001:db8::1]", None, true, b, "[2001:db8::1]", "/my-bucket/a%3Ab/c"),
        ] {
            let addressing =
                Addressing::new(template, port, "eu-1", path_style, Scheme::Https).unwrap();
            assert_eq!(addressing.authority(bucket).header, host, "{template}");
            assert_eq!(addressing.path(bucket, Some("a:b/c")), path, "{template}");
        }
    }

    #[test]
    fn bucket_requests_end_in_a_slash() {
        let path = Addressing::new("h", None, "r1", true, Scheme::Https).unwrap();
        assert_eq!(path.path(Some("bkt"), None), "/bkt/");
        assert_eq!(path.path(None, None), "/");
        let vhost = Addressing::new("{{bucket}}.h", None, "r1", false, Scheme::Https).unwrap();
        assert_eq!(vhost.path(Some("bkt"), None), "/");
        // Odd keys are not normalised.
        assert_eq!(vhost.path(Some("bkt"), Some("/a/../b//c")), "//a/../b//c");
    }

    #[test]
    fn bad_templates_are_refused() {
        for bad in [
            "",
            "https://s3.example.com",
            "s3.example.com/path",
            "s3.{{bucket}}.example.com",
            "{{bucket}}",
            "s3.{{region}}",
            "x{{bucket}}.example.com",
            "a..b",
            "s3.example.com:9000",
            "user@host",
        ] {
            assert!(Addressing::new(bad, None, "r1", false, Scheme::Https).is_err(), "{bad}");
        }
        let error = Addressing::new("{{bucket}}.s3.test", None, "r1", true, Scheme::Https);
        assert!(error.unwrap_err().contains("path-style"));
    }

    #[test]
    fn ports_and_loopback() {
        let authority = |template: &str, scheme| {
            Addressing::new(template, None, "r1", true, scheme).unwrap().authority(None)
        };
        assert_eq!(authority("h", Scheme::Https).port, 443);
        assert_eq!(authority("h", Scheme::Http).port, 80);
        assert_eq!(authority("::1", Scheme::Http).host, "::1");
        for local in ["localhost", "bucket.localhost", "127.0.0.1", "127.1.2.3", "::1"] {
            assert!(authority(local, Scheme::Http).is_loopback(), "{local}");
        }
        for remote in ["localhost.example.com", "10.0.0.1", "2001:db8::1", "notlocalhost"] {
            assert!(!authority(remote, Scheme::Http).is_loopback(), "{remote}");
        }
    }
}
