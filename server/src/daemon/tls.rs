//! TLS: what incoming connections are accepted with, renewed when the certificate changes.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use anyhow::{Context, Result};
use openssl::ssl::{AlpnError, Ssl, SslAcceptor, SslMethod, select_next_proto};
use s3_client::env::Env;
use tokio::io::{AsyncRead, AsyncWrite, BufStream};
use tokio_openssl::SslStream;

use super::certificate::{Certificate, CertificateFiles};

/// How often the files of the certificate are looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);
/// What may be spoken, best first, in the form of the protocol: lengths before names.
const PROTOCOLS: &[u8] = b"\x02h2\x08http/1.1";

/// Bytes that are read from a connection, or written to it, at once. A record has 16 KiB, and for
/// each OpenSSL would make two system calls. Only what is used of it is in memory.
const BUFFER: usize = 128 << 10;

/// TLS over a connection.
pub type Secure<S> = SslStream<BufStream<S>>;

/// Accepts TLS connections.
pub struct Tls {
    files: CertificateFiles,
    current: RwLock<Current>,
}

struct Current {
    acceptor: SslAcceptor,
    fingerprint: Arc<str>,
    /// Of the files that it was made of.
    stamp: Stamp,
}

/// By what the files are known to be the same.
type Stamp = [Option<(u64, u64, i64, i64)>; 2];

impl Tls {
    /// With the certificate in these files, which is made if it is missing.
    pub fn open(files: CertificateFiles, env: &Env) -> Result<Self> {
        let certificate = files.read_or_create(env)?;
        let current = Current::new(&certificate, stamp(&files))?;
        Ok(Self {
            files,
            current: RwLock::new(current),
        })
    }

    /// The fingerprint of the certificate in use.
    #[must_use]
    pub fn fingerprint(&self) -> Arc<str> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&current.fingerprint)
    }

    /// Does its part of a connection's beginning.
    pub async fn accept<S>(&self, stream: S) -> Result<Secure<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let ssl = {
            let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
            Ssl::new(current.acceptor.context())?
        };
        let stream = BufStream::with_capacity(BUFFER, BUFFER, stream);
        let mut stream = SslStream::new(ssl, stream)?;
        Pin::new(&mut stream).accept().await?;
        Ok(stream)
    }

    /// Reads the certificate again if its files have changed; says whether it did. While they do
    /// not fit together, as between the writing of one and the other, the old one stays.
    pub fn reload(&self) -> Result<bool> {
        let now = stamp(&self.files);
        let is_same = {
            let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
            current.stamp == now
        };
        if is_same {
            return Ok(false);
        }
        let fresh = Current::new(&self.files.read()?, now)?;
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        *current = fresh;
        Ok(true)
    }

    /// Looks at the files now and then, for ever.
    pub async fn watch(&self, env: &Env) {
        let mut last_error = String::new();
        loop {
            env.sleep(LOOK_INTERVAL).await;
            match self.reload() {
                Ok(false) => {}
                Ok(true) => {
                    last_error.clear();
                    tracing::info!("new certificate, fingerprint {}", self.fingerprint());
                }
                Err(error) => {
                    let error = format!("{error:#}");
                    if error != last_error {
                        tracing::error!("still with the old certificate: {error}");
                        last_error = error;
                    }
                }
            }
        }
    }
}

impl Current {
    fn new(certificate: &Certificate, stamp: Stamp) -> Result<Self> {
        let mut builder = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server())
            .context("failed to set up TLS")?;
        builder.set_private_key(&certificate.key)?;
        let mut chain = certificate.chain.iter();
        let leaf = chain.next().context("there is no certificate")?;
        builder.set_certificate(leaf)?;
        for above in chain {
            builder.add_extra_chain_cert(above.clone())?;
        }
        builder.check_private_key()?;
        builder.set_alpn_select_callback(|_, offered| {
            select_next_proto(PROTOCOLS, offered).ok_or(AlpnError::NOACK)
        });
        Ok(Self {
            acceptor: builder.build(),
            fingerprint: certificate.fingerprint()?.into(),
            stamp,
        })
    }
}

fn stamp(files: &CertificateFiles) -> Stamp {
    let of = |path: &Path| {
        let data = std::fs::metadata(path).ok()?;
        Some((data.ino(), data.size(), data.mtime(), data.mtime_nsec()))
    };
    [of(&files.key), of(&files.chain)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_certificate_is_taken_and_a_half_new_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let other = tempfile::tempdir().unwrap();
        let (files, others) = (
            CertificateFiles::new(dir.path()),
            CertificateFiles::new(other.path()),
        );
        let env = Env::system();
        let tls = Tls::open(files.clone(), &env).unwrap();
        let first = tls.fingerprint();
        assert!(!tls.reload().unwrap());
        let fresh = others.read_or_create(&env).unwrap().fingerprint().unwrap();
        std::fs::copy(&others.key, &files.key).unwrap();
        assert!(tls.reload().is_err());
        assert_eq!(tls.fingerprint(), first);
        std::fs::copy(&others.chain, &files.chain).unwrap();
        assert!(tls.reload().unwrap());
        assert_eq!(&*tls.fingerprint(), fresh);
    }
}
