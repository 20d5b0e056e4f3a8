//! Whether a server is the one that is meant: the system's authorities, else a fingerprint.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result, anyhow};
use api_types::digest::Fingerprint;
use openssl::hash::MessageDigest;
use openssl::ssl::{SslConnector, SslMethod, SslVerifyMode, SslVersion};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_openssl::SslStream;

/// What a handshake has shown.
pub(super) struct Seen {
    /// Of the certificate, if there was one.
    pub(super) fingerprint: Option<Fingerprint>,
    /// Why the system's authorities do not vouch for it.
    pub(super) error: Option<&'static str>,
}

/// What to do about a certificate.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Accept,
    /// Only a person can tell; what to say before the question.
    Ask(Fingerprint, String),
    Reject(String),
}

/// Decides. `given` is what the caller wants to see, `known` what was accepted before.
pub(super) fn judge(
    seen: &Seen,
    given: Option<&Fingerprint>,
    known: Option<&Fingerprint>,
) -> Verdict {
    let Some(fingerprint) = seen.fingerprint else {
        return Verdict::Reject("the server has sent no certificate".to_owned());
    };
    let Some(error) = seen.error else {
        return Verdict::Accept;
    };
    if let Some(given) = given {
        return if *given == fingerprint {
            Verdict::Accept
        } else {
            Verdict::Reject(format!(
                "the server's certificate has the fingerprint {fingerprint}, but {given} is \
                 expected: this is another server, or its certificate was replaced"
            ))
        };
    }
    match known {
        Some(known) if *known == fingerprint => Verdict::Accept,
        Some(known) => Verdict::Ask(
            fingerprint,
            format!(
                "the server's certificate has the fingerprint {fingerprint}, but {known} was \
                 accepted before: this is another server, or its certificate was replaced"
            ),
        ),
        None => Verdict::Ask(
            fingerprint,
            format!(
                "the server's certificate is not trusted ({error}); it has the fingerprint \
                 {fingerprint}"
            ),
        ),
    }
}

/// Shakes hands; the certificate is for the caller to judge.
pub(super) async fn handshake<S>(host: &str, stream: S) -> Result<(SslStream<S>, Seen)>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut builder = SslConnector::builder(SslMethod::tls_client())?;
    builder.set_min_proto_version(Some(SslVersion::TLS1_2))?;
    let first_error = Arc::new(Mutex::new(None));
    let record = first_error.clone();
    let mut configuration = builder.build().configure()?;
    configuration.set_verify_callback(SslVerifyMode::PEER, move |fine, context| {
        if !fine {
            let mut first = record.lock().unwrap_or_else(PoisonError::into_inner);
            first.get_or_insert(context.error());
        }
        true
    });
    let mut stream = SslStream::new(configuration.into_ssl(host)?, stream)?;
    Pin::new(&mut stream).connect().await.map_err(|error| {
        anyhow!(
            "the TLS handshake failed, if that is a server of backups at all: {}",
            reason_of(&error)
        )
    })?;
    let leaf = stream.ssl().peer_certificate();
    let fingerprint = leaf
        .map(|leaf| leaf.digest(MessageDigest::sha256()))
        .transpose()
        .context("failed to hash the server's certificate")?
        .and_then(|digest| <[u8; 32]>::try_from(&*digest).ok())
        .map(Fingerprint::from_bytes);
    let error = first_error
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .take()
        .map(|error| error.error_string());
    Ok((stream, Seen { fingerprint, error }))
}

/// The reasons OpenSSL gives, without its file names and numbers.
fn reason_of(error: &openssl::ssl::Error) -> String {
    let errors = error.ssl_error().map(openssl::error::ErrorStack::errors);
    let reasons: Vec<_> = errors
        .into_iter()
        .flatten()
        .filter_map(openssl::error::Error::reason)
        .collect();
    if reasons.is_empty() {
        error.to_string()
    } else {
        reasons.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authorities_come_first_then_what_is_given_then_what_is_known() {
        let [seen, other] = [1, 2].map(|n| Fingerprint::from_bytes([n; 32]));
        let bad = Some("self-signed certificate");
        // (error of the chain, given, known) -> accepted, asked, or neither
        for (error, given, known, verdict) in [
            (None, None, None, "accept"),
            (None, Some(&other), Some(&other), "accept"),
            (bad, Some(&seen), Some(&other), "accept"),
            (bad, None, Some(&seen), "accept"),
            (bad, Some(&other), Some(&seen), "reject"),
            (bad, None, Some(&other), "ask"),
            (bad, None, None, "ask"),
        ] {
            let case = format!("{error:?} {given:?} {known:?}");
            let found = judge(
                &Seen {
                    fingerprint: Some(seen),
                    error,
                },
                given,
                known,
            );
            let (name, text) = match found {
                Verdict::Accept => ("accept", String::new()),
                Verdict::Ask(_, text) => ("ask", text),
                Verdict::Reject(text) => ("reject", text),
            };
            assert_eq!(name, verdict, "{case}");
            if name != "accept" {
                assert!(text.contains(&seen.to_string()), "{case}: {text}");
                let expected = given.or(known);
                assert!(
                    expected.is_none_or(|f| text.contains(&f.to_string())),
                    "{text}"
                );
            }
        }
        let nothing = Seen {
            fingerprint: None,
            error: None,
        };
        assert!(matches!(judge(&nothing, None, None), Verdict::Reject(_)));
    }
}
