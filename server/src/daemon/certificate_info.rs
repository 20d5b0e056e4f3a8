//! A certificate as it is shown: whose, from when to when, its fingerprint.

use anyhow::{Context, Result};
use openssl::asn1::{Asn1Time, Asn1TimeRef};
use openssl::nid::Nid;
use openssl::pkey::Id;
use openssl::x509::{X509, X509NameRef};
use serde::Serialize;

use super::certificate::fingerprint;

/// What there is to know about a certificate (`rest-api.md` §8).
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct CertificateInfo {
    /// The file it is in.
    pub filename: String,
    /// Whose.
    pub subject: String,
    /// For which names and addresses.
    pub san: Vec<String>,
    /// By whom.
    pub issuer: String,
    /// From when, seconds since the epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub notbefore: Option<i64>,
    /// Until when, seconds since the epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub notafter: Option<i64>,
    /// The certificate itself.
    pub pem: String,
    /// Kind of its key.
    pub public_key_type: String,
    /// Size of its key.
    pub public_key_bits: u32,
    /// SHA-256.
    pub fingerprint: String,
}

impl CertificateInfo {
    /// Of the certificate in the file of this name.
    pub fn new(filename: &str, certificate: &X509) -> Result<Self> {
        let failed = || format!("failed to read the certificate {filename}");
        let key = certificate.public_key().with_context(failed)?;
        let pem = certificate.to_pem().with_context(failed)?;
        Ok(Self {
            filename: filename.to_owned(),
            subject: name(certificate.subject_name()),
            san: alternative_names(certificate),
            issuer: name(certificate.issuer_name()),
            notbefore: unix_secs(certificate.not_before()),
            notafter: unix_secs(certificate.not_after()),
            pem: String::from_utf8(pem).with_context(failed)?,
            public_key_type: key_type(key.id()),
            public_key_bits: key.bits(),
            fingerprint: fingerprint(certificate)?,
        })
    }
}

/// `O = Coffer, CN = host`.
fn name(name: &X509NameRef) -> String {
    let entries: Vec<String> = name
        .entries()
        .map(|entry| {
            let key = entry.object().nid().short_name().unwrap_or("?");
            let value = entry.data().to_string().unwrap_or_default();
            format!("{key} = {value}")
        })
        .collect();
    entries.join(", ")
}

fn alternative_names(certificate: &X509) -> Vec<String> {
    let Some(names) = certificate.subject_alt_names() else {
        return Vec::new();
    };
    names
        .iter()
        .filter_map(|name| match (name.dnsname(), name.ipaddress()) {
            (Some(name), _) => Some(name.to_owned()),
            (None, Some(address)) => ip(address),
            (None, None) => name.uri().or_else(|| name.email()).map(str::to_owned),
        })
        .collect()
}

fn ip(bytes: &[u8]) -> Option<String> {
    if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        return Some(std::net::Ipv4Addr::from(v4).to_string());
    }
    let v6 = <[u8; 16]>::try_from(bytes).ok()?;
    Some(std::net::Ipv6Addr::from(v6).to_string())
}

fn unix_secs(time: &Asn1TimeRef) -> Option<i64> {
    let epoch = Asn1Time::from_unix(0).ok()?;
    let passed = epoch.diff(time).ok()?;
    Some(i64::from(passed.days) * 86_400 + i64::from(passed.secs))
}

fn key_type(id: Id) -> String {
    match id {
        Id::RSA => "rsaEncryption".to_owned(),
        Id::EC => "id-ecPublicKey".to_owned(),
        other => Nid::from_raw(other.as_raw())
            .long_name()
            .unwrap_or("unknown")
            .to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use s3_client::env::Env;

    use super::*;
    use crate::daemon::certificate::CertificateFiles;

    #[test]
    fn of_one_that_was_made_here() {
        let dir = support::scratch().unwrap();
        let env = Env::system();
        let made = CertificateFiles::new(dir.path())
            .read_or_create(&env)
            .unwrap();
        let info = CertificateInfo::new("proxy.pem", &made.chain[0]).unwrap();
        assert!(info.subject.starts_with("O = Coffer Backup Server, CN = "));
        assert_eq!(info.subject, info.issuer);
        assert_eq!(info.san[..3], ["127.0.0.1", "::1", "localhost"]);
        assert_eq!(info.public_key_type, "id-ecPublicKey");
        assert_eq!(info.public_key_bits, 256);
        let (begin, end) = (info.notbefore.unwrap(), info.notafter.unwrap());
        let now = env.unix_secs();
        assert!((now - 90_000..now).contains(&begin), "{begin}");
        assert!(end > now + 900 * 365 * 86_400, "{end}");
        assert_eq!(info.fingerprint, made.fingerprint().unwrap());
    }
}
