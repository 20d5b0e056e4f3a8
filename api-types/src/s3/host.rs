//! The host of an endpoint, a template with at most a bucket and a region label.

use std::borrow::Cow;
use std::net::{Ipv4Addr, Ipv6Addr};

use super::{BucketName, Region};
use crate::macros::string_id;

const BUCKET_LABEL: &str = "{{bucket}}";
const REGION_LABEL: &str = "{{region}}";

string_id! {
    /// Host name, IPv4 or IPv6 address of an endpoint, without scheme and port.
    ///
    /// A name may begin with the label `{{bucket}}`, and `{{region}}` may stand for any label but
    /// the last. `{{bucket}}` is only legal at the start, so stripping it is always valid.
    EndpointHost, "s3 endpoint host", check_host
}

fn check_host(text: &str) -> Result<(), Cow<'static, str>> {
    if text.is_empty() {
        return Err("must not be empty".into());
    }
    if text.contains("://") {
        return Err("give the host without 'https://'".into());
    }
    if ipv6(text).is_some() {
        return Ok(());
    }
    if text.contains([':', '[', ']']) {
        return Err(
            "neither a host name nor an IPv6 address (the port is an option of its own)".into(),
        );
    }
    if text.len() > 253 {
        return Err("longer than a host name may be".into());
    }
    let labels: Vec<&str> = text.split('.').collect();
    let last = labels.len() - 1;
    for (index, label) in labels.iter().enumerate() {
        match *label {
            BUCKET_LABEL if index == 0 && index < last => {}
            BUCKET_LABEL => {
                return Err(
                    "the label {{bucket}} may only stand at the start, before a host name".into(),
                );
            }
            REGION_LABEL if index < last => {}
            REGION_LABEL => return Err("the last label cannot be {{region}}".into()),
            label => check_label(label)?,
        }
    }
    let numeric_end = labels[last].bytes().all(|b| b.is_ascii_digit());
    if numeric_end && text.parse::<Ipv4Addr>().is_err() {
        return Err("ends in a number, but is not an IPv4 address".into());
    }
    Ok(())
}

fn check_label(label: &str) -> Result<(), Cow<'static, str>> {
    if label.is_empty() {
        return Err("contains an empty label, there is a '.' too many".into());
    }
    if let Some(bad) = label
        .chars()
        .find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_')))
    {
        return Err(format!("character {bad:?} is not allowed in a host name").into());
    }
    if label.len() > 63 || label.starts_with('-') || label.ends_with('-') {
        return Err(format!("{label:?} is not a label of a host name").into());
    }
    Ok(())
}

/// Reads an IPv6 address, which may be given with or without its brackets.
fn ipv6(text: &str) -> Option<Ipv6Addr> {
    let bare = match text.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']')?,
        None => text,
    };
    bare.parse().ok()
}

impl EndpointHost {
    /// Whether the bucket is a label of the host, so that it does not belong into the path.
    #[must_use]
    pub fn has_bucket_label(&self) -> bool {
        self.as_str().starts_with(BUCKET_LABEL)
    }

    /// Whether the region is a label of the host.
    #[must_use]
    pub fn has_region_label(&self) -> bool {
        self.as_str().split('.').any(|label| label == REGION_LABEL)
    }

    /// The host with its labels filled in; the bucket label is dropped when there is no bucket.
    /// IPv6 addresses come without brackets.
    #[must_use]
    pub fn expand(&self, region: &Region, bucket: Option<&BucketName>) -> String {
        if let Some(address) = ipv6(self.as_str()) {
            return address.to_string();
        }
        let labels: Vec<&str> = self
            .as_str()
            .split('.')
            .filter_map(|label| match label {
                BUCKET_LABEL => bucket.map(BucketName::as_str),
                REGION_LABEL => Some(region.as_str()),
                label => Some(label),
            })
            .collect();
        labels.join(".")
    }

    /// What the `Host` header must say: the expanded host, IPv6 in brackets, and the port.
    #[must_use]
    pub fn authority(
        &self,
        port: Option<u16>,
        region: &Region,
        bucket: Option<&BucketName>,
    ) -> String {
        let mut authority = self.expand(region, bucket);
        if ipv6(self.as_str()).is_some() {
            authority = format!("[{authority}]");
        }
        if let Some(port) = port {
            authority.push_str(&format!(":{port}"));
        }
        authority
    }

    /// Whether this is an address rather than a name; an address has no room for a bucket label.
    #[must_use]
    pub fn is_ip(&self) -> bool {
        ipv6(self.as_str()).is_some() || self.as_str().parse::<Ipv4Addr>().is_ok()
    }

    /// Whether this is this machine by definition; only there may the connection be plain.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        if let Some(address) = ipv6(self.as_str()) {
            return address.is_loopback();
        }
        match self.as_str().parse::<Ipv4Addr>() {
            Ok(address) => address.is_loopback(),
            Err(_) => {
                let name = self.as_str().to_ascii_lowercase();
                name == "localhost" || name.ends_with(".localhost")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_expand() {
        let region: Region = "eu-1".parse().unwrap();
        let bucket: BucketName = "bkt".parse().unwrap();
        for (template, port, with_bucket, without) in [
            ("s3.example.com", None, "s3.example.com", "s3.example.com"),
            (
                "s3.example.com",
                Some(443),
                "s3.example.com:443",
                "s3.example.com:443",
            ),
            (
                "{{bucket}}.s3.example.com",
                None,
                "bkt.s3.example.com",
                "s3.example.com",
            ),
            (
                "s3.{{region}}.example.com",
                None,
                "s3.eu-1.example.com",
                "s3.eu-1.example.com",
            ),
            (
                "{{bucket}}.s3.{{region}}.example.com",
                Some(9000),
                "bkt.s3.eu-1.example.com:9000",
                "s3.eu-1.example.com:9000",
            ),
            (
                "{{bucket}}.{{region}}.example.com",
                None,
                "bkt.eu-1.example.com",
                "eu-1.example.com",
            ),
            (
                "{{region}}.example.com",
                None,
                "eu-1.example.com",
                "eu-1.example.com",
            ),
            (
                "{{bucket}}.localhost",
                Some(1),
                "bkt.localhost:1",
                "localhost:1",
            ),
            ("127.0.0.1", Some(9443), "127.0.0.1:9443", "127.0.0.1:9443"),
            ("::1", Some(9443), "[::1]:9443", "[::1]:9443"),
            ("[2001:db8::1]", None, "[2001:db8::1]", "[2001:db8::1]"),
        ] {
            let host: EndpointHost = template.parse().unwrap();
            assert_eq!(
                host.authority(port, &region, Some(&bucket)),
                with_bucket,
                "{template}"
            );
            assert_eq!(host.authority(port, &region, None), without, "{template}");
        }
    }

    #[test]
    fn malformed_hosts_are_refused() {
        for bad in [
            "",
            ".",
            "a.",
            ".a",
            "a..b",
            "https://s3.example.com",
            "s3.example.com:9000",
            "s3.example.com/x",
            "a b",
            "a\r\nb",
            "-a.b",
            "a-.b",
            "{{bucket}}",
            "{{bucket}}.",
            "a.{{bucket}}.b",
            "{{bucket}}.{{bucket}}.b",
            "{{region}}",
            "a.{{region}}",
            "{{other}}.b",
            "x{{bucket}}.b",
            "999.1.1.1",
            "1.2.3",
            "{{bucket}}.127.0.0.1",
            "[::1",
            "::1]",
            "[127.0.0.1]",
            "user@host",
            &"a".repeat(64),
            &format!("{}a", "a.".repeat(127)),
        ] {
            assert!(bad.parse::<EndpointHost>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn loopback_and_addresses() {
        let host = |text: &str| text.parse::<EndpointHost>().unwrap();
        for local in [
            "127.0.0.1",
            "127.9.9.9",
            "::1",
            "[::1]",
            "localhost",
            "{{bucket}}.localhost",
        ] {
            assert!(host(local).is_loopback(), "{local}");
        }
        for remote in [
            "10.0.0.1",
            "2001:db8::1",
            "s3.example.com",
            "localhost.example.com",
        ] {
            assert!(!host(remote).is_loopback(), "{remote}");
        }
        assert!(host("::1").is_ip() && host("10.0.0.1").is_ip() && !host("localhost").is_ip());
        assert!(host("{{bucket}}.a").has_bucket_label() && !host("a").has_bucket_label());
        assert!(host("{{region}}.a").has_region_label() && !host("a").has_region_label());
    }
}
