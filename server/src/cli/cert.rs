//! `cert info`.

use anyhow::{Context, Result};
use clap::Subcommand;

use super::Session;
use crate::daemon::certificate::CertificateFiles;
use crate::daemon::certificate_info::CertificateInfo;

/// The server's certificate.
#[derive(Debug, Subcommand)]
pub enum CertCommand {
    /// Show the certificate; a self-signed one is made if there is none.
    Info,
}

impl CertCommand {
    /// Runs the command.
    pub fn run(self, session: &Session) -> Result<()> {
        let Self::Info = self;
        let files = CertificateFiles::new(&session.paths.config);
        let certificate = files.read_or_create(&session.env)?;
        let leaf = certificate.chain.first().context("there is none")?;
        let info = CertificateInfo::new("proxy.pem", leaf)?;
        session.format.print(&info, || {
            let mut lines = format!("Subject: {}\n", info.subject);
            for name in &info.san {
                lines += &format!("  {name}\n");
            }
            lines += &format!("Issuer: {}\n", info.issuer);
            for (what, time) in [("Not Before", info.notbefore), ("Not After", info.notafter)] {
                let time = time.and_then(|time| jiff::Timestamp::from_second(time).ok());
                lines += &format!("{what}: {}\n", time.unwrap_or_default());
            }
            let (kind, bits) = (&info.public_key_type, info.public_key_bits);
            lines += &format!("Public Key: {kind} ({bits} bits)\n");
            lines + &format!("Fingerprint (sha256): {}\n", info.fingerprint)
        })
    }
}
