//! TLS with certificate pinning.
//!
//! The handshake records what the verification says and does not fail by itself; the decision is
//! [`judge_certificate`], a pure function, taken before a single byte of the request is sent.

use std::sync::{Arc, Mutex, PoisonError};

use api_types::digest::Fingerprint;
use openssl::hash::MessageDigest;
use openssl::ssl::{SslConnector, SslMethod, SslVerifyMode, SslVersion};
use openssl::x509::{X509, X509VerifyResult};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_openssl::SslStream;

/// Trust settings of an endpoint.
#[derive(Clone, Debug, Default)]
pub struct TlsOptions {
    /// The certificate to accept even when its chain does not verify.
    pub fingerprint: Option<Fingerprint>,
    /// Accept nothing but that certificate.
    pub strict: bool,
    /// Authorities to trust beside those of the system, PEM.
    pub ca_pem: Option<String>,
}

/// What to do with a server's certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Go ahead.
    Accept,
    /// Do not talk to this server, for this reason.
    Reject(String),
}

/// Decides about the certificate of a server: the trust store comes first, a matching fingerprint
/// covers any failure of it (also of the host name); with `strict` only the fingerprint counts.
#[must_use]
pub fn judge_certificate(
    verification_error: Option<&str>,
    configured: Option<&Fingerprint>,
    strict: bool,
    seen: Option<&Fingerprint>,
) -> Verdict {
    let Some(seen) = seen else {
        return Verdict::Reject("the server sent no certificate".to_owned());
    };
    match (verification_error, configured) {
        (_, Some(expected)) if expected == seen => Verdict::Accept,
        (None, Some(expected)) if strict => Verdict::Reject(format!(
            "the certificate is trusted, but strict-fingerprint is set and it has the fingerprint \
             {seen} instead of {expected}"
        )),
        (None, _) => Verdict::Accept,
        (Some(error), Some(expected)) => Verdict::Reject(format!(
            "the certificate has the fingerprint {seen}, expected {expected}, and does not verify \
             ({error})"
        )),
        (Some(error), None) => Verdict::Reject(format!(
            "the certificate does not verify ({error}); if it is the right one, set its \
             fingerprint {seen} or its authority in the endpoint{}",
            if error.contains("ostname") {
                ", or use path-style"
            } else {
                ""
            }
        )),
    }
}

/// Makes TLS connections.
#[derive(Clone)]
pub(super) struct TlsConnector {
    connector: SslConnector,
    options: TlsOptions,
}

impl TlsConnector {
    pub(super) fn new(options: TlsOptions) -> Result<Self, String> {
        let setup = |error: openssl::error::ErrorStack| format!("cannot set up tls: {error}");
        let mut builder = SslConnector::builder(SslMethod::tls_client()).map_err(setup)?;
        builder
            .set_min_proto_version(Some(SslVersion::TLS1_2))
            .map_err(setup)?;
        builder.set_alpn_protos(b"\x08http/1.1").map_err(setup)?;
        if let Some(pem) = &options.ca_pem {
            let bad = |error| format!("cannot read the ca-cert of the endpoint: {error}");
            for certificate in X509::stack_from_pem(pem.as_bytes()).map_err(bad)? {
                builder
                    .cert_store_mut()
                    .add_cert(certificate)
                    .map_err(bad)?;
            }
        }
        Ok(Self {
            connector: builder.build(),
            options,
        })
    }

    /// Shakes hands with `host`; the certificate has been judged when this returns.
    pub(super) async fn handshake<S>(&self, host: &str, stream: S) -> Result<SslStream<S>, TlsError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let setup = |error: openssl::error::ErrorStack| TlsError::new(true, error.to_string());
        let verification: Arc<Mutex<Option<X509VerifyResult>>> = Arc::default();
        let record = verification.clone();
        let mut configuration = self.connector.configure().map_err(setup)?;
        configuration.set_verify_callback(SslVerifyMode::PEER, move |fine, context| {
            if !fine {
                let mut first = record.lock().unwrap_or_else(PoisonError::into_inner);
                first.get_or_insert(context.error());
            }
            true
        });
        let ssl = configuration.into_ssl(host).map_err(setup)?;
        let mut stream = SslStream::new(ssl, stream).map_err(setup)?;
        let connected = std::pin::Pin::new(&mut stream).connect().await;
        connected.map_err(|error| {
            // A broken connection may be better next time; what the other end said will not.
            let retryable = error.ssl_error().is_none();
            TlsError::new(
                retryable,
                format!("tls handshake failed: {}", handshake_text(&error)),
            )
        })?;

        let leaf = stream.ssl().peer_certificate();
        let seen = leaf.and_then(|leaf| leaf.digest(MessageDigest::sha256()).ok());
        let seen = seen.and_then(|digest| <[u8; 32]>::try_from(&*digest).ok());
        let seen = seen.map(Fingerprint::from_bytes);
        let error = verification
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let error = error.map(|error| error.error_string());
        let expected = self.options.fingerprint.as_ref();
        match judge_certificate(error, expected, self.options.strict, seen.as_ref()) {
            Verdict::Accept => Ok(stream),
            Verdict::Reject(reason) => Err(TlsError::new(false, reason)),
        }
    }
}

/// The reasons OpenSSL gives, without its file names and numbers.
fn handshake_text(error: &openssl::ssl::Error) -> String {
    let reasons: Vec<&str> = match error.ssl_error() {
        Some(stack) => stack
            .errors()
            .iter()
            .filter_map(openssl::error::Error::reason)
            .collect(),
        None => Vec::new(),
    };
    if reasons.is_empty() {
        error.to_string()
    } else {
        reasons.join(", ")
    }
}

/// A handshake that failed.
pub(super) struct TlsError {
    pub(super) retryable: bool,
    pub(super) message: String,
}

impl TlsError {
    fn new(retryable: bool, message: String) -> Self {
        Self { retryable, message }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprint_matrix() {
        let seen = Fingerprint::from_bytes([1; 32]);
        let other = Fingerprint::from_bytes([2; 32]);
        let invalid = Some("self-signed certificate");
        // (chain, configured, strict) -> accepted
        for (chain, configured, strict, accepted) in [
            (None, None, false, true),
            (None, Some(&seen), false, true),
            (None, Some(&other), false, true),
            (None, Some(&seen), true, true),
            (None, Some(&other), true, false),
            (invalid, None, false, false),
            (invalid, Some(&seen), false, true),
            (invalid, Some(&other), false, false),
            (invalid, Some(&seen), true, true),
            (invalid, Some(&other), true, false),
        ] {
            let verdict = judge_certificate(chain, configured, strict, Some(&seen));
            assert_eq!(
                verdict == Verdict::Accept,
                accepted,
                "{chain:?} {configured:?} {strict}"
            );
            if let (Verdict::Reject(reason), Some(expected)) = (&verdict, configured) {
                assert!(
                    reason.contains(&seen.to_string()) && reason.contains(&expected.to_string())
                );
            }
        }
        assert!(matches!(
            judge_certificate(None, None, false, None),
            Verdict::Reject(_)
        ));
    }

    #[test]
    fn a_wrong_host_name_suggests_path_style() {
        let seen = Fingerprint::from_bytes([1; 32]);
        let verdict = judge_certificate(Some("hostname mismatch"), None, false, Some(&seen));
        assert!(matches!(verdict, Verdict::Reject(reason) if reason.contains("path-style")));
    }
}
