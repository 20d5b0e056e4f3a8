//! A self-signed certificate, made at start.

use anyhow::Context as _;
use openssl::asn1::Asn1Time;
use openssl::bn::BigNum;
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::ssl::{AlpnError, SslAcceptor, SslMethod, select_next_proto};
use openssl::x509::extension::{BasicConstraints, SubjectAlternativeName};
use openssl::x509::{X509, X509NameBuilder};

/// A certificate with its key.
#[derive(Clone)]
pub struct Identity {
    certificate: X509,
    key: PKey<Private>,
}

impl Identity {
    /// Makes a self-signed certificate for these names and addresses.
    pub fn self_signed(names: &[&str]) -> anyhow::Result<Self> {
        let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?;
        let key = PKey::from_ec_key(EcKey::generate(&group)?)?;
        let mut subject = X509NameBuilder::new()?;
        subject.append_entry_by_text("CN", names.first().copied().unwrap_or("localhost"))?;
        let subject = subject.build();
        let mut builder = X509::builder()?;
        builder.set_version(2)?;
        let mut serial = [0; 16];
        openssl::rand::rand_bytes(&mut serial)?;
        serial[0] &= 0x7f;
        let serial = BigNum::from_slice(&serial)?.to_asn1_integer()?;
        builder.set_serial_number(&serial)?;
        builder.set_subject_name(&subject)?;
        builder.set_issuer_name(&subject)?;
        builder.set_pubkey(&key)?;
        // From 1970 on, so that servers with a virtual clock are valid too.
        let (from, to) = (Asn1Time::from_unix(0)?, Asn1Time::from_unix(4_102_444_800)?);
        builder.set_not_before(&from)?;
        builder.set_not_after(&to)?;
        builder.append_extension(BasicConstraints::new().critical().ca().build()?)?;
        let mut alternatives = SubjectAlternativeName::new();
        for name in names {
            match name.parse::<std::net::IpAddr>() {
                Ok(_) => alternatives.ip(name),
                Err(_) => alternatives.dns(name),
            };
        }
        let alternatives = alternatives.build(&builder.x509v3_context(None, None))?;
        builder.append_extension(alternatives)?;
        builder.sign(&key, MessageDigest::sha256())?;
        Ok(Self {
            certificate: builder.build(),
            key,
        })
    }

    /// The certificate in PEM.
    pub fn certificate_pem(&self) -> anyhow::Result<String> {
        let pem = self
            .certificate
            .to_pem()
            .context("cannot encode the certificate")?;
        Ok(String::from_utf8(pem)?)
    }

    /// The private key in PEM.
    pub fn key_pem(&self) -> anyhow::Result<String> {
        let pem = self
            .key
            .private_key_to_pem_pkcs8()
            .context("cannot encode the key")?;
        Ok(String::from_utf8(pem)?)
    }

    /// The SHA-256 sum of the certificate, in hexadecimal pairs joined by colons.
    pub fn fingerprint(&self) -> anyhow::Result<String> {
        let sum = self.certificate.digest(MessageDigest::sha256())?;
        let pairs: Vec<String> = sum.iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(pairs.join(":"))
    }

    /// A TLS server with this identity that speaks HTTP/1.1.
    pub fn acceptor(&self) -> anyhow::Result<SslAcceptor> {
        let mut builder = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server())?;
        builder.set_private_key(&self.key)?;
        builder.set_certificate(&self.certificate)?;
        builder.set_alpn_select_callback(|_, offered| {
            select_next_proto(b"\x08http/1.1", offered).ok_or(AlpnError::NOACK)
        });
        Ok(builder.build())
    }
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity").finish_non_exhaustive()
    }
}
