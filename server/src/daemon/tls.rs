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
use crate::config::node::NodeFile;

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
    node: NodeFile,
    current: RwLock<Current>,
}

struct Current {
    acceptor: SslAcceptor,
    fingerprint: Arc<str>,
    /// Of the files that it was made of.
    stamp: Stamp,
}

/// By what the files are known to be the same.
type Stamp = [Option<(u64, u64, i64, i64)>; 3];

/// What `node.cfg` says that may be used for encryption.
#[derive(Default)]
struct Ciphers {
    tls12: Option<String>,
    tls13: Option<String>,
}

impl Ciphers {
    fn read(node: &NodeFile) -> Result<Self> {
        let (config, _) = node.load()?;
        let value = |key| config.get(key).map(str::to_owned);
        Ok(Self {
            tls12: value("ciphers-tls-1.2"),
            tls13: value("ciphers-tls-1.3"),
        })
    }
}

impl Tls {
    /// With the certificate in these files, which is made if it is missing, and the ciphers that the
    /// settings of the node allow.
    pub fn open(files: CertificateFiles, node: NodeFile, env: &Env) -> Result<Self> {
        let certificate = files.read_or_create(env)?;
        let now = stamp(&files, &node);
        let as_set =
            Ciphers::read(&node).and_then(|ciphers| Current::new(&certificate, now, &ciphers));
        let current = match as_set {
            Ok(current) => current,
            // Nobody could set them right without a server.
            Err(error) => {
                tracing::error!("not with the ciphers of node.cfg: {error:#}");
                Current::new(&certificate, now, &Ciphers::default())?
            }
        };
        Ok(Self {
            files,
            node,
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
        let now = stamp(&self.files, &self.node);
        let is_same = {
            let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
            current.stamp == now
        };
        if is_same {
            return Ok(false);
        }
        let ciphers = Ciphers::read(&self.node)?;
        let fresh = Current::new(&self.files.read()?, now, &ciphers)?;
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
                    tracing::info!("new TLS settings, fingerprint {}", self.fingerprint());
                }
                Err(error) => {
                    let error = format!("{error:#}");
                    if error != last_error {
                        tracing::error!("still with the old TLS settings: {error}");
                        last_error = error;
                    }
                }
            }
        }
    }
}

impl Current {
    fn new(certificate: &Certificate, stamp: Stamp, ciphers: &Ciphers) -> Result<Self> {
        let mut builder = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server())
            .context("failed to set up TLS")?;
        if let Some(list) = &ciphers.tls12 {
            let result = builder.set_cipher_list(list);
            result.context("node.cfg: unusable value of 'ciphers-tls-1.2'")?;
        }
        if let Some(list) = &ciphers.tls13 {
            let result = builder.set_ciphersuites(list);
            result.context("node.cfg: unusable value of 'ciphers-tls-1.3'")?;
        }
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

fn stamp(files: &CertificateFiles, node: &NodeFile) -> Stamp {
    let of = |path: &Path| {
        let data = std::fs::metadata(path).ok()?;
        Some((data.ino(), data.size(), data.mtime(), data.mtime_nsec()))
    };
    [of(&files.key), of(&files.chain), of(node.path())]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_certificate_is_taken_and_a_half_new_one_is_not() {
        let dir = support::scratch().unwrap();
        let other = support::scratch().unwrap();
        let (files, others) = (
            CertificateFiles::new(dir.path()),
            CertificateFiles::new(other.path()),
        );
        let env = Env::system();
        let node = NodeFile::new(dir.path(), env.clone());
        let tls = Tls::open(files.clone(), node, &env).unwrap();
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

    #[tokio::test]
    async fn only_the_ciphers_of_the_node_are_used() {
        use openssl::ssl::{SslConnector, SslVerifyMode, SslVersion};
        const SET: &str = "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384";
        const OTHER: &str = "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256";
        let dir = support::scratch().unwrap();
        let env = Env::system();
        let write = |list: &str| {
            let text = format!("ciphers-tls-1.2: {list}\n");
            crate::config::replace_file(&dir.path().join("node.cfg"), text.as_bytes(), 0o600)
        };
        write("nonsense").unwrap();
        let node = NodeFile::new(dir.path(), env.clone());
        let tls = Tls::open(CertificateFiles::new(dir.path()), node, &env).unwrap();
        let connect = async |list: &str| {
            let (near, far) = tokio::io::duplex(1 << 16);
            let mut connector = SslConnector::builder(SslMethod::tls_client()).unwrap();
            connector.set_verify(SslVerifyMode::NONE);
            connector
                .set_max_proto_version(Some(SslVersion::TLS1_2))
                .unwrap();
            connector.set_cipher_list(list).unwrap();
            let ssl = connector.build().configure().unwrap();
            let ssl = ssl.verify_hostname(false).into_ssl("localhost").unwrap();
            let mut stream = SslStream::new(ssl, near).unwrap();
            let (ours, theirs) = tokio::join!(tls.accept(far), Pin::new(&mut stream).connect());
            ours.is_ok() && theirs.is_ok()
        };
        assert!(connect(SET).await && connect(OTHER).await);
        write(SET).unwrap();
        assert!(tls.reload().unwrap());
        assert!(connect(SET).await && !connect(OTHER).await);
        write("nonsense").unwrap();
        assert!(tls.reload().is_err());
    }
}
