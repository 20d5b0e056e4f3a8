//! Which server, which datastore and as whom: `PBS_REPOSITORY`, `PBS_PASSWORD`, `PBS_FINGERPRINT`,
//! as every client of the protocol reads them.

use std::net::ToSocketAddrs as _;

use anyhow::{Context as _, Result};

use crate::rest::Rest;

const PORT: u16 = 8007;

/// A datastore of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repository {
    /// `user@realm`, or `user@realm!token`.
    pub auth_id: String,
    /// Host and port.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Name of the datastore.
    pub store: String,
}

impl Repository {
    /// `[[auth-id@]host[:port]:]datastore`.
    pub fn parse(text: &str) -> Result<Self> {
        let (server, store) = match text.rsplit_once(':') {
            Some((server, store)) => (server, store),
            None => ("localhost", text),
        };
        let (auth_id, address) = server.rsplit_once('@').unwrap_or(("root@pam", server));
        let (host, port) = match address.rsplit_once(':') {
            Some((host, port)) if !host.ends_with(':') => {
                let number = port.parse();
                (
                    host,
                    number.with_context(|| format!("{port:?} is no port"))?,
                )
            }
            _ => (address, PORT),
        };
        Ok(Self {
            auth_id: auth_id.to_owned(),
            host: host.trim_matches(['[', ']']).to_owned(),
            port,
            store: store.to_owned(),
        })
    }

    /// The one that the environment names, and the server, logged in to.
    pub async fn from_environment() -> Result<(Self, Rest)> {
        let variable = |name: &str| {
            let value = std::env::var(name).ok().filter(|value| !value.is_empty());
            value.with_context(|| format!("{name} is not set"))
        };
        let repository = Self::parse(&variable("PBS_REPOSITORY")?)?;
        let password = variable("PBS_PASSWORD")?;
        let address = (repository.host.as_str(), repository.port).to_socket_addrs();
        let address = address
            .with_context(|| format!("failed to look up {}", repository.host))?
            .next()
            .with_context(|| format!("{} has no address", repository.host))?;
        let mut rest = Rest::new(address);
        rest.fingerprint = Some(variable("PBS_FINGERPRINT")?);
        let rest = if repository.auth_id.contains('!') {
            rest.with_token(&repository.auth_id, &password)
        } else {
            let login = rest.login(&repository.auth_id, &password).await;
            login.with_context(|| format!("failed to log in as {}", repository.auth_id))?
        };
        Ok((repository, rest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repositories_are_taken_apart() {
        for (text, auth_id, host, port, store) in [
            (
                "admin@pbs@127.0.0.1:4711:dev",
                "admin@pbs",
                "127.0.0.1",
                4711,
                "dev",
            ),
            ("a@pbs!t@backup:main", "a@pbs!t", "backup", 8007, "main"),
            ("a@pbs@[::1]:9:main", "a@pbs", "::1", 9, "main"),
            ("host:main", "root@pam", "host", 8007, "main"),
            ("main", "root@pam", "localhost", 8007, "main"),
        ] {
            let repository = Repository::parse(text).unwrap();
            let Repository {
                auth_id: a,
                host: h,
                port: p,
                store: s,
            } = &repository;
            assert_eq!(
                (a.as_str(), h.as_str(), *p, s.as_str()),
                (auth_id, host, port, store)
            );
        }
        assert!(Repository::parse("host:port:main").is_err());
    }
}
