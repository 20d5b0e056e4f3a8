//! AWS Signature Version 4, the server's side: written from the description, not shared with the
//! client under test.

use openssl::hash::MessageDigest;
use openssl::pkey::PKey;
use openssl::sign::Signer;

use crate::dates::parse_amz_date;
use crate::encoding::{percent_encode, sha256_hex};
use crate::request::Request;

/// How far a request's date may be from the server's clock.
const MAX_SKEW_SECS: i64 = 15 * 60;

/// The account that may use the server.
#[derive(Clone, Debug)]
pub(crate) struct Account {
    pub(crate) access_key: String,
    pub(crate) secret_key: String,
    pub(crate) region: String,
}

/// Why a request is refused: an S3 error answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    pub(crate) code: &'static str,
    pub(crate) message: String,
    /// Further elements of the error document.
    pub(crate) extra: Vec<(&'static str, String)>,
}

fn refuse(status: u16, code: &'static str, message: impl Into<String>) -> Refusal {
    Refusal {
        status,
        code,
        message: message.into(),
        extra: Vec::new(),
    }
}

fn hmac(key: &[u8], data: &[u8]) -> Vec<u8> {
    let sign = || -> Result<Vec<u8>, openssl::error::ErrorStack> {
        let key = PKey::hmac(key)?;
        let mut signer = Signer::new(MessageDigest::sha256(), &key)?;
        signer.update(data)?;
        signer.sign_to_vec()
    };
    // An empty signature never matches one in hexadecimal.
    sign().unwrap_or_default()
}

/// What is needed for a signature beside the request itself.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'a> {
    /// `YYYYMMDD'T'HHMMSS'Z'`
    pub timestamp: &'a str,
    /// For example `us-west-1`.
    pub region: &'a str,
    /// `s3`
    pub service: &'a str,
}

impl Scope<'_> {
    fn date(&self) -> &str {
        self.timestamp.get(..8).unwrap_or_default()
    }

    fn text(&self) -> String {
        format!(
            "{}/{}/{}/aws4_request",
            self.date(),
            self.region,
            self.service
        )
    }

    /// The derived key ("k4").
    fn key(&self, secret: &str) -> Vec<u8> {
        let k1 = hmac(format!("AWS4{secret}").as_bytes(), self.date().as_bytes());
        let k2 = hmac(&k1, self.region.as_bytes());
        let k3 = hmac(&k2, self.service.as_bytes());
        hmac(&k3, b"aws4_request")
    }

    /// The text that is signed.
    fn string_to_sign(&self, canonical: &str) -> String {
        let sum = sha256_hex(canonical.as_bytes());
        format!(
            "AWS4-HMAC-SHA256\n{}\n{}\n{sum}",
            self.timestamp,
            self.text()
        )
    }

    /// The signature of a canonical request, in hexadecimal.
    #[must_use]
    pub fn signature(&self, secret: &str, canonical: &str) -> String {
        hex::encode(hmac(
            &self.key(secret),
            self.string_to_sign(canonical).as_bytes(),
        ))
    }
}

/// The canonical request. `path` and `query` are decoded; `headers` are the signed ones, names in
/// lower case, sorted.
#[must_use]
pub fn canonical_request(
    method: &str,
    path: &str,
    query: &[(String, String)],
    headers: &[(String, String)],
    payload_hash: Option<&str>,
) -> String {
    let mut pairs: Vec<(String, String)> = query
        .iter()
        .map(|(name, value)| (percent_encode(name, false), percent_encode(value, false)))
        .collect();
    pairs.sort();
    let pairs: Vec<String> = pairs
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let lines: String = headers
        .iter()
        .map(|(name, value)| format!("{name}:{}\n", collapse_blanks(value)))
        .collect();
    let names: Vec<&str> = headers.iter().map(|(name, _)| name.as_str()).collect();
    let empty = sha256_hex(b"");
    [
        method,
        &percent_encode(path, true),
        &pairs.join("&"),
        &lines,
        &names.join(";"),
        payload_hash.unwrap_or(&empty),
    ]
    .join("\n")
}

fn collapse_blanks(value: &str) -> String {
    value
        .split(' ')
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}

/// The three parts of the `Authorization` header.
struct Authorization<'a> {
    access_key: &'a str,
    scope: Vec<&'a str>,
    signed: Vec<&'a str>,
    signature: &'a str,
}

impl<'a> Authorization<'a> {
    fn parse(header: &'a str) -> Option<Self> {
        let rest = header.strip_prefix("AWS4-HMAC-SHA256")?;
        let (mut credential, mut signed, mut signature) = (None, None, None);
        for part in rest.split(',').map(str::trim) {
            match part.split_once('=')? {
                ("Credential", value) => credential = Some(value),
                ("SignedHeaders", value) => signed = Some(value),
                ("Signature", value) => signature = Some(value),
                _ => return None,
            }
        }
        let mut scope: Vec<&str> = credential?.split('/').collect();
        if scope.len() != 5 {
            return None;
        }
        let access_key = scope.remove(0);
        let signed = signed?.split(';').collect();
        Some(Self {
            access_key,
            scope,
            signed,
            signature: signature?,
        })
    }
}

/// Checks a request's signature, its date against the server's clock, and its body's digest.
pub(crate) fn verify(req: &Request, account: &Account, now_secs: i64) -> Result<(), Refusal> {
    let header = req
        .header("authorization")
        .ok_or_else(|| refuse(403, "AccessDenied", "Access Denied: anonymous request"))?;
    let auth = Authorization::parse(header).ok_or_else(|| {
        refuse(
            400,
            "AuthorizationHeaderMalformed",
            "cannot parse the Authorization header",
        )
    })?;
    if auth.access_key != account.access_key {
        return Err(refuse(
            403,
            "InvalidAccessKeyId",
            "the access key id does not exist",
        ));
    }
    let timestamp = req
        .header("x-amz-date")
        .ok_or_else(|| refuse(403, "AccessDenied", "x-amz-date is missing"))?;
    let signed_at = parse_amz_date(timestamp)
        .ok_or_else(|| refuse(403, "AccessDenied", "x-amz-date is malformed"))?;
    if (signed_at - now_secs).abs() > MAX_SKEW_SECS {
        let mut refusal = refuse(
            403,
            "RequestTimeTooSkewed",
            "The difference between the request time and the current time is too large.",
        );
        refusal.extra = vec![
            ("RequestTime", timestamp.to_owned()),
            ("ServerTime", crate::dates::iso_date(now_secs * 1000)),
            (
                "MaxAllowedSkewMilliseconds",
                (MAX_SKEW_SECS * 1000).to_string(),
            ),
        ];
        return Err(refusal);
    }
    let scope = Scope {
        timestamp,
        region: &account.region,
        service: "s3",
    };
    if auth.scope[1] != account.region {
        let mut refusal = refuse(
            400,
            "AuthorizationHeaderMalformed",
            format!(
                "the region '{}' is wrong; expecting '{}'",
                auth.scope[1], account.region
            ),
        );
        refusal.extra = vec![("Region", account.region.clone())];
        return Err(refusal);
    }
    if auth.scope.join("/") != scope.text() {
        return Err(refuse(
            400,
            "AuthorizationHeaderMalformed",
            "wrong credential scope",
        ));
    }
    let headers = signed_headers(req, &auth.signed)?;
    let payload = req.header("x-amz-content-sha256").ok_or_else(|| {
        refuse(
            400,
            "MissingSecurityHeader",
            "x-amz-content-sha256 is missing",
        )
    })?;
    let canonical = canonical_request(
        req.method.as_str(),
        &req.path,
        &req.query,
        &headers,
        Some(payload),
    );
    if scope.signature(&account.secret_key, &canonical) != auth.signature {
        let mut refusal = refuse(
            403,
            "SignatureDoesNotMatch",
            "The request signature we calculated does not match the signature you provided.",
        );
        refusal.extra = vec![
            ("StringToSign", scope.string_to_sign(&canonical)),
            ("CanonicalRequest", canonical),
        ];
        return Err(refusal);
    }
    if payload != "UNSIGNED-PAYLOAD" && payload != sha256_hex(&req.body) {
        let message =
            "The provided 'x-amz-content-sha256' header does not match what was computed.";
        return Err(refuse(400, "XAmzContentSHA256Mismatch", message));
    }
    Ok(())
}

/// The signed headers with their values; refuses a list that leaves out a mandatory one.
fn signed_headers(req: &Request, names: &[&str]) -> Result<Vec<(String, String)>, Refusal> {
    if !names.is_sorted()
        || names
            .iter()
            .any(|name| name.chars().any(|c| c.is_ascii_uppercase()))
    {
        let message = "SignedHeaders must be sorted and in lower case";
        return Err(refuse(400, "AuthorizationHeaderMalformed", message));
    }
    let mandatory = |name: &str| name == "host" || name.starts_with("x-amz-");
    for name in req.headers.keys().map(hyper::header::HeaderName::as_str) {
        if mandatory(name) && !names.contains(&name) {
            let message = format!("There were headers present which were not signed: {name}");
            return Err(refuse(403, "AccessDenied", message));
        }
    }
    let mut headers = Vec::with_capacity(names.len());
    for name in names {
        let values: Vec<&str> = req
            .headers
            .get_all(*name)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .collect();
        if values.is_empty() {
            let message = format!("the signed header {name} did not arrive");
            return Err(refuse(403, "SignatureDoesNotMatch", message));
        }
        headers.push(((*name).to_owned(), values.join(",")));
    }
    Ok(headers)
}

#[cfg(test)]
mod tests;
