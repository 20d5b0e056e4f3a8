//! The configuration entity of one S3 endpoint.

use serde::Serialize;

use super::{
    AccessKey, CaCert, ChecksumMode, EndpointHost, ProviderQuirk, Region, SecretKey, StorageClass,
};
use crate::ParseError;
use crate::digest::Fingerprint;
use crate::human::ByteSize;
use crate::names::EndpointId;
use crate::property::{PropertyReader, PropertyWriter};

const WHAT: &str = "s3 endpoint";
/// A day, in seconds: nobody waits longer for an answer.
const MAX_TIMEOUT: u64 = 86_400;
const MAX_CONCURRENCY: u32 = 1024;

/// One section `s3-endpoint` of the configuration.
///
/// serde gives the API's form, which never holds the secret key. What is not set is not written,
/// so that the file stays readable for upstream unless one of our own options is used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct S3EndpointConfig {
    /// Id of the section.
    pub id: EndpointId,
    /// Host or host template.
    pub endpoint: EndpointHost,
    /// TCP port, 443 if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Region to sign for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<Region>,
    /// Public half of the credentials.
    pub access_key: AccessKey,
    /// Secret half of the credentials.
    #[serde(skip)]
    pub secret_key: SecretKey,
    /// SHA-256 of the server's certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<Fingerprint>,
    /// Put the bucket into the path instead of the host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path_style: Option<bool>,
    /// Most PUT requests per second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub put_rate_limit: Option<u64>,
    /// What to work around.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub provider_quirks: Vec<ProviderQuirk>,
    /// Download limit, bytes per second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_in: Option<ByteSize>,
    /// What may be downloaded at once, the rate if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub burst_in: Option<ByteSize>,
    /// Upload limit, bytes per second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_out: Option<ByteSize>,
    /// What may be uploaded at once, the rate if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub burst_out: Option<ByteSize>,
    /// Ours: certificates to trust beside the system's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_cert: Option<CaCert>,
    /// Ours: the fingerprint must match even if the certificate is trusted anyway.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strict_fingerprint: Option<bool>,
    /// Ours: seconds that a request may take.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_timeout: Option<u64>,
    /// Ours: seconds that a connection may take to come up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connect_timeout: Option<u64>,
    /// Ours: most connections at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_connections: Option<u32>,
    /// Ours: most listings at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub list_concurrency: Option<u32>,
    /// Ours: most delete requests at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delete_concurrency: Option<u32>,
    /// Ours: most uploads at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upload_concurrency: Option<u32>,
    /// Ours: storage class of chunks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storage_class: Option<StorageClass>,
    /// Ours: how uploads are protected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checksum_mode: Option<ChecksumMode>,
}

impl S3EndpointConfig {
    /// Type of the section in the file.
    pub const SECTION_TYPE: &'static str = "s3-endpoint";

    /// An endpoint with nothing optional set.
    #[must_use]
    pub const fn new(
        id: EndpointId,
        endpoint: EndpointHost,
        access_key: AccessKey,
        secret_key: SecretKey,
    ) -> Self {
        Self {
            id,
            endpoint,
            port: None,
            region: None,
            access_key,
            secret_key,
            fingerprint: None,
            path_style: None,
            put_rate_limit: None,
            provider_quirks: Vec::new(),
            rate_in: None,
            burst_in: None,
            rate_out: None,
            burst_out: None,
            ca_cert: None,
            strict_fingerprint: None,
            request_timeout: None,
            connect_timeout: None,
            max_connections: None,
            list_concurrency: None,
            delete_concurrency: None,
            upload_concurrency: None,
            storage_class: None,
            checksum_mode: None,
        }
    }

    /// Region to sign for, the default if none is set.
    #[must_use]
    pub fn region(&self) -> Region {
        self.region.clone().unwrap_or_default()
    }

    /// Whether the bucket goes into the path.
    #[must_use]
    pub fn is_path_style(&self) -> bool {
        self.path_style.unwrap_or(false)
    }

    /// Whether a quirk is set.
    #[must_use]
    pub fn has_quirk(&self, quirk: ProviderQuirk) -> bool {
        self.provider_quirks.contains(&quirk)
    }

    /// Checks what concerns more than one field.
    pub fn validate(&self) -> Result<(), ParseError> {
        let error = |reason: &'static str| Err(ParseError::new(WHAT, self.id.as_str(), reason));
        if self.is_path_style() && self.endpoint.has_bucket_label() {
            return error(
                "path-style and the label {{bucket}} in the endpoint exclude each other, remove one",
            );
        }
        if self.strict_fingerprint == Some(true) && self.fingerprint.is_none() {
            return error("strict-fingerprint needs a fingerprint");
        }
        if self.burst_in.is_some() && self.rate_in.is_none() {
            return error("burst-in needs rate-in");
        }
        if self.burst_out.is_some() && self.rate_out.is_none() {
            return error("burst-out needs rate-out");
        }
        Ok(())
    }

    /// Reads the properties of a section.
    pub fn from_properties(id: &str, properties: &[(String, String)]) -> Result<Self, ParseError> {
        let mut reader = PropertyReader::new(WHAT, id, properties);
        let concurrency = 1..=MAX_CONCURRENCY;
        let config = Self {
            id: id.parse()?,
            endpoint: reader.require("endpoint")?,
            port: reader.take_number("port", 1..=u16::MAX)?,
            region: reader.take("region")?,
            access_key: reader.require("access-key")?,
            secret_key: reader.require("secret-key")?,
            fingerprint: reader.take("fingerprint")?,
            path_style: reader.take_bool("path-style")?,
            put_rate_limit: reader.take_number("put-rate-limit", 1..=u64::MAX)?,
            provider_quirks: take_quirks(&mut reader)?,
            rate_in: reader.take("rate-in")?,
            burst_in: reader.take("burst-in")?,
            rate_out: reader.take("rate-out")?,
            burst_out: reader.take("burst-out")?,
            ca_cert: reader.take("ca-cert")?,
            strict_fingerprint: reader.take_bool("strict-fingerprint")?,
            request_timeout: reader.take_number("request-timeout", 1..=MAX_TIMEOUT)?,
            connect_timeout: reader.take_number("connect-timeout", 1..=MAX_TIMEOUT)?,
            max_connections: reader.take_number("max-connections", concurrency.clone())?,
            list_concurrency: reader.take_number("list-concurrency", concurrency.clone())?,
            delete_concurrency: reader.take_number("delete-concurrency", concurrency.clone())?,
            upload_concurrency: reader.take_number("upload-concurrency", concurrency)?,
            storage_class: reader.take("storage-class")?,
            checksum_mode: reader.take("checksum-mode")?,
        };
        reader.finish()?;
        config.validate()?;
        Ok(config)
    }

    /// The properties of the section, ordered by key. **Holds the secret key.**
    #[must_use]
    pub fn to_properties(&self) -> Vec<(String, String)> {
        let mut writer = PropertyWriter::default();
        writer.push("endpoint", &self.endpoint);
        writer.push_opt("port", self.port.as_ref());
        writer.push_opt("region", self.region.as_ref());
        writer.push("access-key", &self.access_key);
        writer.push("secret-key", self.secret_key.expose());
        writer.push_opt("fingerprint", self.fingerprint.as_ref());
        writer.push_opt("path-style", self.path_style.as_ref());
        writer.push_opt("put-rate-limit", self.put_rate_limit.as_ref());
        for quirk in &self.provider_quirks {
            writer.push("provider-quirks", quirk);
        }
        writer.push_opt("rate-in", self.rate_in.as_ref());
        writer.push_opt("burst-in", self.burst_in.as_ref());
        writer.push_opt("rate-out", self.rate_out.as_ref());
        writer.push_opt("burst-out", self.burst_out.as_ref());
        writer.push_opt("ca-cert", self.ca_cert.as_ref());
        writer.push_opt("strict-fingerprint", self.strict_fingerprint.as_ref());
        writer.push_opt("request-timeout", self.request_timeout.as_ref());
        writer.push_opt("connect-timeout", self.connect_timeout.as_ref());
        writer.push_opt("max-connections", self.max_connections.as_ref());
        writer.push_opt("list-concurrency", self.list_concurrency.as_ref());
        writer.push_opt("delete-concurrency", self.delete_concurrency.as_ref());
        writer.push_opt("upload-concurrency", self.upload_concurrency.as_ref());
        writer.push_opt("storage-class", self.storage_class.as_ref());
        writer.push_opt("checksum-mode", self.checksum_mode.as_ref());
        writer.into_sorted()
    }
}

/// Quirks are one line each; a list in one line is read as well, since both are seen.
fn take_quirks(reader: &mut PropertyReader) -> Result<Vec<ProviderQuirk>, ParseError> {
    let mut quirks = Vec::new();
    for QuirkLine(line) in reader.take_all("provider-quirks")? {
        for quirk in line {
            if !quirks.contains(&quirk) {
                quirks.push(quirk);
            }
        }
    }
    Ok(quirks)
}

struct QuirkLine(Vec<ProviderQuirk>);

impl std::str::FromStr for QuirkLine {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let names = text.split([',', ';', ' ']).filter(|name| !name.is_empty());
        names.map(str::parse).collect::<Result<_, _>>().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
        list.iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect()
    }

    const REQUIRED: [(&str, &str); 3] = [
        ("access-key", "AKIA"),
        ("endpoint", "s3.example.com"),
        ("secret-key", "topsecret"),
    ];

    fn with(extra: &[(&str, &str)]) -> Result<S3EndpointConfig, ParseError> {
        let list: Vec<(&str, &str)> = REQUIRED.iter().chain(extra).copied().collect();
        S3EndpointConfig::from_properties("minio1", &pairs(&list))
    }

    #[test]
    fn the_section_of_the_real_system_is_written_back_the_same() {
        let list = pairs(&[
            ("access-key", "AKIAPEERTEST"),
            ("endpoint", "127.0.0.1"),
            (
                "fingerprint",
                "6a:02:6c:6b:6e:66:db:c4:d5:d4:27:4c:47:c2:a4:2e:16:14:cf:91:4b:a9:77:d5:14:b1:0e:20:ad:30:80:19",
            ),
            ("path-style", "true"),
            ("port", "9443"),
            ("region", "us-east-1"),
            ("secret-key", "secretpeertest"),
        ]);
        let config = S3EndpointConfig::from_properties("s3peer", &list).unwrap();
        assert_eq!(config.to_properties(), list);
        assert!(config.is_path_style());
        assert_eq!(config.region().as_str(), "us-east-1");
    }

    #[test]
    fn every_field_is_written_and_read() {
        let extra = [
            ("burst-in", "20 MiB"),
            ("burst-out", "2 MB"),
            (
                "ca-cert",
                "-----BEGIN CERTIFICATE----- QUJD -----END CERTIFICATE-----",
            ),
            ("checksum-mode", "crc32c"),
            ("connect-timeout", "5"),
            ("delete-concurrency", "3"),
            (
                "fingerprint",
                "6a:02:6c:6b:6e:66:db:c4:d5:d4:27:4c:47:c2:a4:2e:16:14:cf:91:4b:a9:77:d5:14:b1:0e:20:ad:30:80:19",
            ),
            ("list-concurrency", "4"),
            ("max-connections", "64"),
            ("path-style", "false"),
            ("port", "443"),
            ("provider-quirks", "skip-if-none-match-header"),
            ("provider-quirks", "delete-objects-via-delete-object"),
            ("put-rate-limit", "100"),
            ("rate-in", "10 MiB"),
            ("rate-out", "1 MB"),
            ("region", "auto"),
            ("request-timeout", "60"),
            ("storage-class", "STANDARD_IA"),
            ("strict-fingerprint", "true"),
            ("upload-concurrency", "8"),
        ];
        let config = with(&extra).unwrap();
        let mut expected = pairs(&REQUIRED);
        expected.extend(pairs(&extra));
        expected.sort_by(|(a, _), (b, _)| a.cmp(b));
        assert_eq!(config.to_properties(), expected);
        assert!(config.has_quirk(ProviderQuirk::SkipIfNoneMatchHeader));
    }

    #[test]
    fn json_never_holds_the_secret() {
        let config = with(&[("port", "9000"), ("rate-in", "10 MiB")]).unwrap();
        let json = serde_json::to_value(&config).unwrap();
        assert_eq!(
            json,
            serde_json::json!({
                "id": "minio1", "endpoint": "s3.example.com", "access-key": "AKIA",
                "port": 9000, "rate-in": "10 MiB"
            })
        );
        assert!(!format!("{config:?}").contains("topsecret"));
    }

    #[test]
    fn bad_sections_are_refused_with_the_name_of_the_property() {
        for (extra, expected) in [
            ([("color", "red")], "there is no property 'color'"),
            (
                [("endpoint", "other")],
                "the property 'endpoint' occurs twice",
            ),
            (
                [("port", "0")],
                "property 'port': expected a number from 1 to 65535",
            ),
            (
                [("path-style", "maybe")],
                "property 'path-style': expected true or false",
            ),
            (
                [("provider-quirks", "x")],
                "property 'provider-quirks': invalid provider quirk \"x\"",
            ),
            (
                [("strict-fingerprint", "1")],
                "strict-fingerprint needs a fingerprint",
            ),
            ([("burst-in", "1 MB")], "burst-in needs rate-in"),
        ] {
            let error = with(&extra).unwrap_err().to_string();
            assert!(
                error.starts_with("invalid s3 endpoint \"minio1\": "),
                "{error}"
            );
            assert!(error.contains(expected), "{error}");
            assert!(!error.contains("topsecret"), "{error}");
        }
        for missing in 0..REQUIRED.len() {
            let mut list = pairs(&REQUIRED);
            let (key, _) = list.remove(missing);
            let error = S3EndpointConfig::from_properties("minio1", &list).unwrap_err();
            assert!(
                error.to_string().contains(&format!("'{key}' is missing")),
                "{error}"
            );
        }
        assert!(S3EndpointConfig::from_properties("a/b", &pairs(&REQUIRED)).is_err());
    }

    #[test]
    fn a_bad_secret_is_not_shown() {
        let list = pairs(&[
            ("access-key", "A"),
            ("endpoint", "h"),
            ("secret-key", "hun ter2"),
        ]);
        let error = S3EndpointConfig::from_properties("minio1", &list)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("'secret-key'") && !error.contains("ter2"),
            "{error}"
        );
    }

    #[test]
    fn path_style_excludes_a_bucket_template() {
        let list = pairs(&[
            ("access-key", "A"),
            ("endpoint", "{{bucket}}.s3.example.com"),
            ("path-style", "on"),
            ("secret-key", "S"),
        ]);
        let error = S3EndpointConfig::from_properties("minio1", &list)
            .unwrap_err()
            .to_string();
        assert!(error.contains("exclude each other"), "{error}");
    }

    #[test]
    fn quirks_may_share_a_line() {
        let config = with(&[(
            "provider-quirks",
            "head-before-put, unsigned-payload,head-before-put",
        )])
        .unwrap();
        assert_eq!(
            config.provider_quirks,
            [ProviderQuirk::HeadBeforePut, ProviderQuirk::UnsignedPayload]
        );
    }
}
