//! A received request, taken apart: operation, bucket, key, query, headers, whole body.

use bytes::Bytes;
use hyper::{HeaderMap, Method};

use crate::delete::{DeleteRequest, parse_delete};
use crate::encoding::percent_decode;
use crate::op::Op;
use crate::treatment::Treatment;

/// A request whose body has arrived completely.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) id: u64,
    pub(crate) op: Op,
    pub(crate) method: Method,
    /// Decoded path, beginning with a slash: what the signature covers.
    pub(crate) path: String,
    pub(crate) query: Vec<(String, String)>,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) bucket: Option<String>,
    pub(crate) key: Option<String>,
    /// The parsed body of a DeleteObjects request.
    pub(crate) delete: Option<Result<DeleteRequest, String>>,
    pub(crate) treatment: Treatment,
}

/// Where a request points to, before its body is read.
pub(crate) struct Target {
    pub(crate) path: String,
    pub(crate) bucket: Option<String>,
    pub(crate) key: Option<String>,
    pub(crate) query: Vec<(String, String)>,
}

impl Target {
    /// Splits the request line; a `Host` of `<bucket>.<domain>` is virtual-hosted style.
    pub(crate) fn parse(uri: &hyper::Uri, host: &str, domain: &str) -> Result<Self, String> {
        let path = percent_decode(uri.path(), false)
            .ok_or_else(|| format!("cannot decode the path {}", uri.path()))?;
        let mut query = Vec::new();
        for pair in uri
            .query()
            .unwrap_or_default()
            .split('&')
            .filter(|pair| !pair.is_empty())
        {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let decode = |text: &str| {
                percent_decode(text, true).ok_or_else(|| format!("cannot decode the query {text}"))
            };
            query.push((decode(name)?, decode(value)?));
        }
        let host_name = host.rsplit_once(':').map_or(host, |(name, _port)| name);
        let virtual_bucket = host_name
            .strip_suffix(domain)
            .and_then(|rest| rest.strip_suffix('.'))
            .filter(|bucket| !bucket.is_empty());
        let after_slash = path.strip_prefix('/').unwrap_or(&path);
        let non_empty = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let (bucket, key) = match virtual_bucket {
            Some(bucket) => (non_empty(bucket), non_empty(after_slash)),
            None => match after_slash.split_once('/') {
                Some((bucket, key)) => (non_empty(bucket), non_empty(key)),
                None => (non_empty(after_slash), None),
            },
        };
        Ok(Self {
            path,
            bucket,
            key,
            query,
        })
    }
}

impl Request {
    /// Puts a request together.
    pub(crate) fn new(
        id: u64,
        method: Method,
        target: Target,
        headers: HeaderMap,
        body: Bytes,
        treatment: Treatment,
    ) -> Self {
        let Target {
            path,
            bucket,
            key,
            query,
        } = target;
        let has = |name: &str| query.iter().any(|(n, _)| n == name);
        let copy = headers.contains_key("x-amz-copy-source");
        let op = Op::classify(&method, bucket.is_some(), key.is_some(), copy, has);
        let delete = (op == Op::DeleteObjects).then(|| parse_delete(&body));
        Self {
            id,
            op,
            method,
            path,
            query,
            headers,
            body,
            bucket,
            key,
            delete,
            treatment,
        }
    }

    /// A header's value, if it is there and text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// A query parameter's value.
    pub(crate) fn query(&self, name: &str) -> Option<&str> {
        self.query
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, value)| value.as_str())
    }

    /// What the request is about: its key, the keys of a batch, or the prefix of a listing.
    pub(crate) fn keys(&self) -> Vec<String> {
        match (self.op, &self.key) {
            (Op::DeleteObjects, _) => match &self.delete {
                Some(Ok(delete)) => delete.keys.clone(),
                _ => Vec::new(),
            },
            (Op::ListObjects, _) => vec![self.query("prefix").unwrap_or_default().to_owned()],
            (_, Some(key)) => vec![key.clone()],
            (_, None) => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(uri: &str, host: &str) -> (Option<String>, Option<String>) {
        let target = Target::parse(&uri.parse().unwrap(), host, "s3.test").unwrap();
        (target.bucket, target.key)
    }

    #[test]
    fn both_addressing_styles() {
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(target("/", "127.0.0.1:9"), (None, None));
        assert_eq!(target("/b", "127.0.0.1:9"), (some("b"), None));
        assert_eq!(target("/b/", "127.0.0.1:9"), (some("b"), None));
        assert_eq!(
            target("/b/a//c%3A", "s3.test:9"),
            (some("b"), some("a//c:"))
        );
        assert_eq!(target("/", "b.s3.test:9"), (some("b"), None));
        assert_eq!(target("/x/../y", "b.s3.test"), (some("b"), some("x/../y")));
        assert!(Target::parse(&"/b/%ff".parse().unwrap(), "h", "s3.test").is_err());
    }
}
