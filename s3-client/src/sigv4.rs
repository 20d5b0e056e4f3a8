//! AWS Signature Version 4, header form, as pure functions.
//!
//! [`signed_header`] says which headers are signed: those that carry meaning, never those that
//! proxies change.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use openssl::sha::Sha256;

use crate::timestamp::format_amz_date;

/// SHA-256 of the empty string.
pub const EMPTY_PAYLOAD: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
/// In place of the payload hash when the body is not signed.
pub const UNSIGNED_PAYLOAD: &str = "UNSIGNED-PAYLOAD";

const BLOCK: usize = 64;

/// Lower-case hex of the SHA-256 of `data`.
#[must_use]
pub fn sha256_hex(data: &[u8]) -> String {
    hex::encode(openssl::sha::sha256(data))
}

fn hmac(key: &[u8], data: &[u8]) -> [u8; 32] {
    let mut block = [0; BLOCK];
    if key.len() > BLOCK {
        block[..32].copy_from_slice(&openssl::sha::sha256(key));
    } else {
        block[..key.len()].copy_from_slice(key);
    }
    let keyed = |pad: u8, message: &[u8]| {
        let mut hash = Sha256::new();
        hash.update(&block.map(|byte| byte ^ pad));
        hash.update(message);
        hash.finish()
    };
    keyed(0x5c, &keyed(0x36, data))
}

/// The key chain of a secret for a day, region and service.
#[must_use]
pub fn signing_key(secret: &str, date: &str, region: &str, service: &str) -> [u8; 32] {
    let mut key = hmac(format!("AWS4{secret}").as_bytes(), date.as_bytes());
    for part in [region, service, "aws4_request"] {
        key = hmac(&key, part.as_bytes());
    }
    key
}

/// Whether a header takes part in the signature of a request with this method.
#[must_use]
pub fn signed_header(method: &str, name: &str) -> bool {
    match name {
        "host" | "content-md5" | "content-type" | "range" | "if-none-match" | "if-match" => true,
        // A reverse proxy drops it from requests without a body.
        "content-length" => matches!(method, "PUT" | "POST"),
        _ => name.starts_with("x-amz-"),
    }
}

/// What is signed of a request. Header names in lower case, all of them signed.
#[derive(Debug)]
pub struct Canonical<'a> {
    /// HTTP method.
    pub method: &'a str,
    /// Encoded path as sent.
    pub path: &'a str,
    /// Canonical query string.
    pub query: &'a str,
    /// Headers to sign.
    pub headers: &'a [(&'a str, &'a str)],
    /// Hex hash of the body, or [`UNSIGNED_PAYLOAD`].
    pub payload_hash: &'a str,
}

impl Canonical<'_> {
    /// The canonical request and the list of signed headers.
    #[must_use]
    pub fn render(&self) -> (String, String) {
        let mut headers: Vec<(&str, String)> = Vec::with_capacity(self.headers.len());
        for &(name, value) in self.headers {
            let value = squeeze(value);
            match headers.iter_mut().find(|(known, _)| *known == name) {
                Some((_, joined)) => {
                    joined.push(',');
                    joined.push_str(&value);
                }
                None => headers.push((name, value)),
            }
        }
        headers.sort();
        let signed: Vec<&str> = headers.iter().map(|&(name, _)| name).collect();
        let signed = signed.join(";");
        let lines: String = headers
            .iter()
            .map(|(name, value)| format!("{name}:{value}\n"))
            .collect();
        let path = if self.path.is_empty() { "/" } else { self.path };
        let request = format!(
            "{}\n{path}\n{}\n{lines}\n{signed}\n{}",
            self.method, self.query, self.payload_hash
        );
        (request, signed)
    }
}

/// Trims blanks and collapses inner runs of them.
fn squeeze(value: &str) -> String {
    let words: Vec<&str> = value
        .split([' ', '\t'])
        .filter(|word| !word.is_empty())
        .collect();
    words.join(" ")
}

/// A signature and the headers that carry it.
#[derive(Clone, PartialEq, Eq)]
pub struct Signature {
    /// Value of the `authorization` header.
    pub authorization: String,
    /// Hash of the canonical request, hex.
    pub canonical_hash: String,
    /// The signature, hex.
    pub signature: String,
}

/// Access key, secret and region, with the signing key of the day cached.
pub struct Signer {
    access_key: String,
    secret: String,
    region: String,
    service: &'static str,
    cached: Mutex<Option<(String, [u8; 32])>>,
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer")
            .field("region", &self.region)
            .finish_non_exhaustive()
    }
}

impl Signer {
    /// A signer for the service `s3`.
    #[must_use]
    pub fn new(access_key: String, secret: String, region: String) -> Self {
        Self {
            access_key,
            secret,
            region,
            service: "s3",
            cached: Mutex::new(None),
        }
    }

    fn key(&self, date: &str) -> [u8; 32] {
        let mut cached = self.cached.lock().unwrap_or_else(PoisonError::into_inner);
        match cached.as_ref() {
            Some((known, key)) if known == date => *key,
            _ => {
                let key = signing_key(&self.secret, date, &self.region, self.service);
                *cached = Some((date.to_owned(), key));
                key
            }
        }
    }

    /// Signs a canonical request at a time in seconds since the epoch.
    #[must_use]
    pub fn sign(&self, canonical: &Canonical<'_>, unix_secs: i64) -> Signature {
        let time = format_amz_date(unix_secs);
        let date = time.get(..8).unwrap_or_default();
        let (request, signed_headers) = canonical.render();
        let canonical_hash = sha256_hex(request.as_bytes());
        let scope = format!("{date}/{}/{}/aws4_request", self.region, self.service);
        let to_sign = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{canonical_hash}");
        let signature = hex::encode(hmac(&self.key(date), to_sign.as_bytes()));
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential={}/{scope},SignedHeaders={signed_headers},Signature={signature}",
            self.access_key
        );
        Signature {
            authorization,
            canonical_hash,
            signature,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encode::{Query, encode_path};
    use crate::timestamp::parse_iso8601_millis;

    const AWS_TIME: i64 = 1_369_353_600; // 20130524T000000Z

    fn aws() -> Signer {
        Signer::new(
            "AKIAIOSFODNN7EXAMPLE".into(),
            "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".into(),
            "us-east-1".into(),
        )
    }

    fn ours(region: &str) -> Signer {
        Signer::new(
            "TESTACCESSKEY".into(),
            "testsecretkey".into(),
            region.into(),
        )
    }

    fn our_time() -> i64 {
        parse_iso8601_millis("2026-01-15T08:15:30Z").unwrap() / 1000
    }

    #[test]
    fn key_chain() {
        let secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
        let k1 = hmac(format!("AWS4{secret}").as_bytes(), b"20130524");
        assert_eq!(
            hex::encode(k1),
            "68896419206d6240ad4cd7dc8ba658efbf3b43b53041950083a10833824fcfbb"
        );
        let k2 = hmac(&k1, b"us-east-1");
        assert_eq!(
            hex::encode(k2),
            "0506335cc36b4a971f6beddf0adbd976ee71222cb42c131487e0c12c5c47a025"
        );
        let k3 = hmac(&k2, b"s3");
        assert_eq!(
            hex::encode(k3),
            "05602c14e8b6aad30e7f6dec4b544071f6e4a742934bc5e36415733c47a67d44"
        );
        assert_eq!(
            hex::encode(signing_key(secret, "20130524", "us-east-1", "s3")),
            "dbb893acc010964918f1fd433add87c70e8b0db6be30c1fbeafefa5ec6ba8378"
        );
        assert_eq!(
            hex::encode(signing_key("testsecretkey", "20260115", "us-west-1", "s3")),
            "c508a6342c54f75f3632d254832186d5191da052cdc8d79a2b045e81239428fa"
        );
        // A key longer than one block is hashed first (RFC 4231, case 6).
        assert_eq!(
            hex::encode(hmac(
                &[0xaa; 131],
                b"Test Using Larger Than Block-Size Key - Hash Key First"
            )),
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"
        );
    }

    #[test]
    fn a1_get_with_range() {
        let canonical = Canonical {
            method: "GET",
            path: "/test.txt",
            query: "",
            headers: &[
                ("host", "examplebucket.s3.amazonaws.com"),
                ("range", "bytes=0-9"),
                ("x-amz-content-sha256", EMPTY_PAYLOAD),
                ("x-amz-date", "20130524T000000Z"),
            ],
            payload_hash: EMPTY_PAYLOAD,
        };
        let expected = "GET\n/test.txt\n\nhost:examplebucket.s3.amazonaws.com\nrange:bytes=0-9\n\
            x-amz-content-sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\n\
            x-amz-date:20130524T000000Z\n\nhost;range;x-amz-content-sha256;x-amz-date\n\
            e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(canonical.render().0, expected);
        let signed = aws().sign(&canonical, AWS_TIME);
        assert_eq!(
            signed.canonical_hash,
            "7344ae5b7ee6c3e7e6b0fe0640412a37625d1fbfff95c48bbb2dc43964946972"
        );
        assert_eq!(
            signed.authorization,
            "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,\
             SignedHeaders=host;range;x-amz-content-sha256;x-amz-date,\
             Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"
        );
    }

    #[test]
    fn a2_put() {
        let hash = sha256_hex(b"Welcome to Amazon S3.");
        let canonical = Canonical {
            method: "PUT",
            path: &format!("/{}", encode_path("test$file.text")),
            query: "",
            headers: &[
                ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
                ("date", "Fri, 24 May 2013 00:00:00 GMT"),
                ("host", "examplebucket.s3.amazonaws.com"),
                ("x-amz-content-sha256", &hash),
                ("x-amz-date", "20130524T000000Z"),
            ],
            payload_hash: &hash,
        };
        let signed = aws().sign(&canonical, AWS_TIME);
        assert_eq!(
            signed.canonical_hash,
            "9e0e90d9c76de8fa5b200d8c849cd5b8dc7a3be3951ddb7f6a76b4158342019d"
        );
        assert_eq!(
            signed.signature,
            "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"
        );
    }

    #[test]
    fn a3_a4_queries() {
        for (query, hash, signature) in [
            (
                Query::new().with("lifecycle", ""),
                "9766c798316ff2757b517bc739a67f6213b4ab36dd5da2f94eaebf79c77395ca",
                "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
            ),
            (
                Query::new().with("prefix", "J").with("max-keys", "2"),
                "df57d21db20da04d7fa30298dd4488ba3a2b47ca3a489c74750e0f1e7df1b9b7",
                "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
            ),
        ] {
            let query = query.canonical();
            let canonical = Canonical {
                method: "GET",
                path: "/",
                query: &query,
                headers: &[
                    ("host", "examplebucket.s3.amazonaws.com"),
                    ("x-amz-content-sha256", EMPTY_PAYLOAD),
                    ("x-amz-date", "20130524T000000Z"),
                ],
                payload_hash: EMPTY_PAYLOAD,
            };
            let signed = aws().sign(&canonical, AWS_TIME);
            assert_eq!(
                (&*signed.canonical_hash, &*signed.signature),
                (hash, signature)
            );
        }
    }

    #[test]
    fn aws_generic_suite() {
        let signer = Signer {
            service: "service",
            ..Signer::new(
                "AKIDEXAMPLE".into(),
                "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".into(),
                "us-east-1".into(),
            )
        };
        let time = parse_iso8601_millis("2015-08-30T12:36:00Z").unwrap() / 1000;
        let plain: &[(&str, &str)] = &[
            ("host", "example.amazonaws.com"),
            ("x-amz-date", "20150830T123600Z"),
        ];
        let trimmed: &[(&str, &str)] = &[
            ("host", "example.amazonaws.com"),
            ("my-header1", " value1"),
            ("my-header2", " \"a   b   c\""),
            ("x-amz-date", "20150830T123600Z"),
        ];
        let ordered = Query::new()
            .with("Param2", "value2")
            .with("Param1", "value1")
            .canonical();
        let utf8 = format!("/{}", encode_path("ሴ"));
        for (method, path, query, headers, hash, signature) in [
            (
                "GET",
                "/",
                "",
                plain,
                "bb579772317eb040ac9ed261061d46c1f17a8133879d6129b6e1c25292927e63",
                "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
            ),
            (
                "GET",
                "/",
                &ordered,
                plain,
                "816cd5b414d056048ba4f7c5386d6e0533120fb1fcfa93762cf0fc39e2cf19e0",
                "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
            ),
            (
                "GET",
                &utf8,
                "",
                plain,
                "2a0a97d02205e45ce2e994789806b19270cfbbb0921b278ccf58f5249ac42102",
                "8318018e0b0f223aa2bbf98705b62bb787dc9c0e678f255a891fd03141be5d85",
            ),
            (
                "POST",
                "/",
                "",
                plain,
                "553f88c9e4d10fc9e109e2aeb65f030801b70c2f6468faca261d401ae622fc87",
                "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
            ),
            (
                "GET",
                "",
                "",
                trimmed,
                "a726db9b0df21c14f559d0a978e563112acb1b9e05476f0a6a1c7d68f28605c7",
                "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736",
            ),
        ] {
            let canonical = Canonical {
                method,
                path,
                query,
                headers,
                payload_hash: EMPTY_PAYLOAD,
            };
            let signed = signer.sign(&canonical, time);
            assert_eq!(
                (&*signed.canonical_hash, &*signed.signature),
                (hash, signature)
            );
        }
    }

    #[test]
    fn b1_list_with_token() {
        let query = Query::new()
            .with("list-type", "2")
            .with("prefix", "store1/.chunks/00")
            .with(
                "continuation-token",
                "1ueGcxLPRx1Tr/XYExHnhbYLgveDs2J/wm36Hy4vbOwM=",
            )
            .canonical();
        let canonical = Canonical {
            method: "GET",
            path: "/pbs-bucket/",
            query: &query,
            headers: &[
                ("host", "s3.example.test:7480"),
                ("x-amz-content-sha256", EMPTY_PAYLOAD),
                ("x-amz-date", "20260115T081530Z"),
            ],
            payload_hash: EMPTY_PAYLOAD,
        };
        let signed = ours("us-west-1").sign(&canonical, our_time());
        assert_eq!(
            signed.canonical_hash,
            "6e65584111bb42789105633580498e3719b6a75e2e3a794b405ebc579af293f2"
        );
        assert_eq!(
            signed.signature,
            "eec0bc4f2c21142a1021439f3d2fca068ccc5e866d158dd675aebba98278b846"
        );
    }

    #[test]
    fn b2_create_only_put() {
        let hash = sha256_hex(b"chunk-bytes");
        let path = "/pbs-bucket/store1/.chunks/bb9f/\
                    bb9f8df61474d25e71fa00722318cd387396ca1736605e1248821cc0de3d3af8";
        let canonical = Canonical {
            method: "PUT",
            path,
            query: "",
            headers: &[
                ("content-length", "11"),
                ("content-md5", "dPO08vCxGYmqDLIaw5nt3Q=="),
                ("content-type", "application/octet-stream"),
                ("host", "s3.example.test:7480"),
                ("if-none-match", "*"),
                ("x-amz-content-sha256", &hash),
                ("x-amz-date", "20260115T081530Z"),
            ],
            payload_hash: &hash,
        };
        let signed = ours("us-west-1").sign(&canonical, our_time());
        assert_eq!(
            signed.canonical_hash,
            "f111701dde0d5c65d71ce40c322e5139cf232899b5154dc229562d77f5ad24a4"
        );
        assert_eq!(
            signed.signature,
            "7d555c16c3bc5922e710fc58fc73949c1cbb3f353aa49190aca43d2ee540620b"
        );
    }

    #[test]
    fn b4_head_with_awkward_characters() {
        let key = "store1/.cnt/ns/a b+c/host/ü/2025-07-14T14:20:02Z/index.json.blob";
        let canonical = Canonical {
            method: "HEAD",
            path: &format!("/{}", encode_path(key)),
            query: "",
            headers: &[
                ("host", "pbs-bucket.s3.eu-central-1.example.test"),
                ("x-amz-content-sha256", EMPTY_PAYLOAD),
                ("x-amz-date", "20260115T081530Z"),
            ],
            payload_hash: EMPTY_PAYLOAD,
        };
        let signed = ours("eu-central-1").sign(&canonical, our_time());
        assert_eq!(
            signed.canonical_hash,
            "29f22aec2b19a12698e35283b975a0d6ceb42c8a1ad4743997892017256d8265"
        );
        assert_eq!(
            signed.signature,
            "97df3f7f913bd701a994c73dbdf78b2d5fd85ccfe0c924c315ea41be79f05780"
        );
    }

    #[test]
    fn which_headers_are_signed() {
        for name in [
            "host",
            "content-md5",
            "range",
            "if-none-match",
            "x-amz-copy-source",
        ] {
            assert!(signed_header("GET", name), "{name}");
        }
        for name in [
            "connection",
            "user-agent",
            "expect",
            "transfer-encoding",
            "accept-encoding",
        ] {
            assert!(!signed_header("PUT", name), "{name}");
        }
        assert!(signed_header("PUT", "content-length") && signed_header("POST", "content-length"));
        assert!(!signed_header("DELETE", "content-length"));
    }

    #[test]
    fn the_secret_does_not_show() {
        let shown = format!("{:?}", ours("r1"));
        assert!(
            !shown.contains("testsecretkey") && !shown.contains("TESTACCESSKEY"),
            "{shown}"
        );
    }
}
