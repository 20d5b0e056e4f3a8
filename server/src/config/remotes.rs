//! `remote.cfg`: other servers to exchange snapshots with.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use api_types::ParseError;
use api_types::auth::Authid;
use api_types::digest::Fingerprint;
use api_types::names::DatastoreName;
use api_types::property::{PropertyReader, PropertyWriter};
use openssl::base64::{decode_block, encode_block};
use serde::Serialize;

use super::Entity;

/// Name of a machine, or its address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct RemoteHost(String);

impl FromStr for RemoteHost {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let is_name = !text.is_empty()
            && text.len() <= 253
            && text.split('.').all(|label| {
                !label.is_empty()
                    && !label.starts_with('-')
                    && label
                        .bytes()
                        .all(|b| b.is_ascii_alphanumeric() || b == b'-')
            });
        if is_name || text.parse::<IpAddr>().is_ok() {
            Ok(Self(text.to_owned()))
        } else {
            Err(ParseError::new(
                "host",
                text,
                "neither a host name nor an address",
            ))
        }
    }
}

impl fmt::Display for RemoteHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What we show there; neither logged nor answered.
#[derive(Clone, PartialEq, Eq)]
pub struct RemotePassword(String);

impl RemotePassword {
    /// The password, for the configuration file and for logging in.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// As the file has it.
    #[must_use]
    pub fn encode(plain: &str) -> String {
        encode_block(plain.as_bytes())
    }

    fn decode(text: &str) -> Option<Self> {
        let plain = String::from_utf8(decode_block(text).ok()?).ok()?;
        (!plain.is_empty()).then_some(Self(plain))
    }
}

impl fmt::Debug for RemotePassword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RemotePassword(redacted)")
    }
}

/// A section `remote`. serde gives the API's form, without the password.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Remote {
    /// Its name.
    pub name: String,
    /// Where it is.
    pub host: RemoteHost,
    /// Port, 8007 if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Who we are there.
    pub auth_id: Authid,
    /// Password or token secret; base64 in the file.
    #[serde(skip)]
    pub password: RemotePassword,
    /// SHA-256 of its certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<Fingerprint>,
    /// Comment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// Whether it is reached through the node's HTTP proxy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub use_node_proxy: Option<bool>,
}

impl Entity for Remote {
    const FILE: &'static str = "remote";
    const TYPES: &'static [&'static str] = &["remote"];
    const SECRET: bool = true;

    fn id(&self) -> &str {
        &self.name
    }

    fn section_type(&self) -> &'static str {
        "remote"
    }

    fn from_section(
        _section_type: &str,
        id: &str,
        properties: &[(String, String)],
    ) -> Result<Self, String> {
        let read = || {
            id.parse::<DatastoreName>()?;
            let mut reader = PropertyReader::new("remote", id, properties);
            let encoded = reader.take_text("password")?.unwrap_or_default();
            let remote = Self {
                name: id.to_owned(),
                host: reader.require("host")?,
                port: reader.take_number("port", 1..=u16::MAX)?,
                auth_id: reader.require("auth-id")?,
                password: RemotePassword::decode(&encoded).ok_or_else(|| {
                    reader.error("the property 'password' is missing or not base64")
                })?,
                fingerprint: reader.take("fingerprint")?,
                comment: reader.take_text("comment")?,
                use_node_proxy: reader.take_bool("use-node-proxy")?,
            };
            reader.finish()?;
            Ok(remote)
        };
        read().map_err(|error: ParseError| error.to_string())
    }

    fn to_section(&self) -> Vec<(String, String)> {
        let mut writer = PropertyWriter::default();
        writer.push("host", &self.host);
        writer.push_opt("port", self.port.as_ref());
        writer.push("auth-id", &self.auth_id);
        writer.push("password", RemotePassword::encode(self.password.expose()));
        writer.push_opt("fingerprint", self.fingerprint.as_ref());
        writer.push_opt("comment", self.comment.as_ref());
        writer.push_opt("use-node-proxy", self.use_node_proxy.as_ref());
        writer.into_sorted()
    }

    fn nothing_to_remove(id: &str) -> String {
        format!("remote '{id}' does not exist.")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn properties(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        pairs.iter().map(owned).collect()
    }

    #[test]
    fn the_password_is_base64_in_the_file_and_nowhere_else() {
        let text = [
            ("auth-id", "sync@pbs!tok"),
            ("host", "pbs.example.org"),
            ("password", "c2VjcmV0"),
            ("port", "8008"),
        ];
        let remote = Remote::from_section("remote", "other", &properties(&text)).unwrap();
        assert_eq!(remote.password.expose(), "secret");
        assert_eq!(remote.to_section(), properties(&text));
        let shown = format!("{remote:?} {}", serde_json::to_value(&remote).unwrap());
        assert!(
            !shown.contains("secret") && !shown.contains("c2Vj"),
            "{shown}"
        );
    }

    #[test]
    fn bad_remotes_are_refused() {
        let good = [
            ("auth-id", "a@pbs"),
            ("host", "h"),
            ("password", "c2VjcmV0"),
        ];
        for (key, value) in [
            ("host", "a b"),
            ("host", "-a"),
            ("host", "a/b"),
            ("password", "?"),
            ("password", ""),
            ("auth-id", "nobody"),
            ("port", "0"),
            ("fingerprint", "00"),
        ] {
            let mut bad = properties(&good);
            bad.retain(|(other, _)| other != key);
            bad.push((key.into(), value.into()));
            assert!(
                Remote::from_section("remote", "other", &bad).is_err(),
                "{key} {value}"
            );
        }
        assert!(Remote::from_section("remote", "x", &properties(&good)).is_err());
    }
}
