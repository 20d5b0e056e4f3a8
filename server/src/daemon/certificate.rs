//! The server's certificate: made at the first start, read again when its files change
//! (`auth.md` §1).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use openssl::asn1::{Asn1Integer, Asn1Time};
use openssl::bn::{BigNum, MsbOption};
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::x509::extension::{BasicConstraints, ExtendedKeyUsage, SubjectAlternativeName};
use openssl::x509::{X509, X509Builder, X509NameBuilder};
use s3_client::env::Env;

use crate::access::keys::read_or_create;
use crate::task::node_name;

/// Nobody wants to renew what clients know by its fingerprint.
const VALID_SECS: i64 = 1000 * 365 * 86_400;
/// Clocks differ.
const VALID_BEFORE_SECS: i64 = 86_400;

/// The files of the certificate.
#[derive(Clone, Debug)]
pub struct CertificateFiles {
    /// The private key, PEM.
    pub key: PathBuf,
    /// The certificate, PEM; others may follow up to the authority's.
    pub chain: PathBuf,
}

/// A certificate with its key.
pub struct Certificate {
    /// The private key.
    pub key: PKey<Private>,
    /// The server's certificate first.
    pub chain: Vec<X509>,
}

impl CertificateFiles {
    /// The files in the directory `config`.
    #[must_use]
    pub fn new(config: &Path) -> Self {
        Self {
            key: config.join("proxy.key"),
            chain: config.join("proxy.pem"),
        }
    }

    /// Reads the certificate; makes a self-signed one if there is none.
    pub fn read_or_create(&self, env: &Env) -> Result<Certificate> {
        read_or_create(&self.key, 0o600, || {
            let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?;
            let key = PKey::from_ec_key(EcKey::generate(&group)?)?;
            Ok(key.private_key_to_pem_pkcs8()?)
        })?;
        read_or_create(&self.chain, 0o640, || {
            let certificate = self_signed(&self.read_key()?, env)
                .context("failed to make a self-signed certificate")?;
            Ok(certificate.to_pem()?)
        })?;
        self.read()
    }

    /// Reads the certificate.
    pub fn read(&self) -> Result<Certificate> {
        let key = self.read_key()?;
        let failed = || format!("failed to read the certificate {}", self.chain.display());
        let pem = std::fs::read(&self.chain).with_context(failed)?;
        let chain = X509::stack_from_pem(&pem).with_context(failed)?;
        let leaf = chain
            .first()
            .context("there is none in it")
            .with_context(failed)?;
        let public = leaf.public_key().with_context(failed)?;
        anyhow::ensure!(
            public.public_eq(&key),
            "the certificate {} is not for the key {}",
            self.chain.display(),
            self.key.display()
        );
        Ok(Certificate { key, chain })
    }

    fn read_key(&self) -> Result<PKey<Private>> {
        let failed = || format!("failed to read the key {}", self.key.display());
        let pem = std::fs::read(&self.key).with_context(failed)?;
        PKey::private_key_from_pem(&pem).with_context(failed)
    }
}

impl Certificate {
    /// SHA-256 of the server's certificate, as clients compare it.
    pub fn fingerprint(&self) -> Result<String> {
        let leaf = self.chain.first().context("there is no certificate")?;
        fingerprint(leaf)
    }
}

/// SHA-256 of a certificate: pairs of hex digits between colons.
pub fn fingerprint(certificate: &X509) -> Result<String> {
    let digest = certificate
        .digest(MessageDigest::sha256())
        .context("failed to make a fingerprint")?;
    let pairs: Vec<String> = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(pairs.join(":"))
}

fn self_signed(key: &PKey<Private>, env: &Env) -> Result<X509> {
    let full_name = full_host_name();
    let mut name = X509NameBuilder::new()?;
    name.append_entry_by_text("O", "Coffer Backup Server")?;
    name.append_entry_by_text("CN", &full_name)?;
    let name = name.build();
    let mut serial = BigNum::new()?;
    serial.rand(127, MsbOption::MAYBE_ZERO, false)?;
    let serial = Asn1Integer::from_bn(&serial)?;
    let now = env.unix_secs();

    let mut builder = X509Builder::new()?;
    builder.set_version(2)?;
    builder.set_serial_number(&serial)?;
    builder.set_subject_name(&name)?;
    builder.set_issuer_name(&name)?;
    let (begin, end) = (
        Asn1Time::from_unix(now - VALID_BEFORE_SECS)?,
        Asn1Time::from_unix(now + VALID_SECS)?,
    );
    builder.set_not_before(&begin)?;
    builder.set_not_after(&end)?;
    builder.set_pubkey(key)?;
    builder.append_extension(BasicConstraints::new().critical().build()?)?;
    builder.append_extension(ExtendedKeyUsage::new().server_auth().build()?)?;
    let mut names = SubjectAlternativeName::new();
    names
        .ip(&IpAddr::from(Ipv4Addr::LOCALHOST).to_string())
        .ip(&IpAddr::from(Ipv6Addr::LOCALHOST).to_string())
        .dns("localhost");
    let node = node_name();
    for name in [&node, &full_name] {
        if name != "localhost" {
            names.dns(name);
        }
    }
    let names = names.build(&builder.x509v3_context(None, None))?;
    builder.append_extension(names)?;
    builder.sign(key, MessageDigest::sha256())?;
    Ok(builder.build())
}

/// The whole host name, as far as it is one; what is too long for a certificate is cut to the first
/// part.
fn full_host_name() -> String {
    let name = nix::unistd::gethostname().unwrap_or_default();
    let name = name.to_string_lossy();
    let is_good = (1..=64).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-'));
    if is_good {
        name.into_owned()
    } else {
        node_name().chars().take(64).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn it_is_made_once_with_a_key_for_nobody_else() {
        let dir = support::scratch().unwrap();
        let files = CertificateFiles::new(dir.path());
        let env = Env::system();
        let first = files.read_or_create(&env).unwrap().fingerprint().unwrap();
        assert_eq!(first.len(), 95);
        let again = files.read_or_create(&env).unwrap();
        assert_eq!(again.fingerprint().unwrap(), first);
        let mode = std::fs::metadata(&files.key).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let leaf = &again.chain[0];
        let names = leaf.subject_alt_names().unwrap();
        assert!(names.iter().any(|name| name.dnsname() == Some("localhost")));
        assert!(
            names
                .iter()
                .any(|name| name.ipaddress() == Some(&[127, 0, 0, 1]))
        );
        assert!(leaf.verify(&again.key).unwrap(), "self-signed");
    }

    #[test]
    fn a_certificate_of_another_key_is_refused() {
        let dir = support::scratch().unwrap();
        let other = support::scratch().unwrap();
        let (files, others) = (
            CertificateFiles::new(dir.path()),
            CertificateFiles::new(other.path()),
        );
        let env = Env::system();
        files.read_or_create(&env).unwrap();
        others.read_or_create(&env).unwrap();
        std::fs::copy(&others.chain, &files.chain).unwrap();
        let error = files.read_or_create(&env).err().unwrap().to_string();
        assert!(error.contains("is not for the key"), "{error}");
    }
}
