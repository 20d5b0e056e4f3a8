//! Which server, which datastore, and as whom.

use std::fmt;
use std::str::FromStr;

use anyhow::{Context as _, Result, bail, ensure};
use api_types::auth::Authid;
use api_types::names::DatastoreName;

/// The port of the protocol.
pub const DEFAULT_PORT: u16 = 8007;
const DEFAULT_HOST: &str = "localhost";

/// A datastore of a server: `[[auth-id@]server[:port]:]datastore`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repository {
    user: Authid,
    host: String,
    port: u16,
    store: DatastoreName,
}

impl Repository {
    /// Of its parts; what is missing is `root@pam`, this machine and the usual port.
    #[must_use]
    pub fn new(
        user: Option<Authid>,
        host: Option<String>,
        port: Option<u16>,
        store: DatastoreName,
    ) -> Self {
        Self {
            user: user.unwrap_or_else(Authid::root),
            host: host.unwrap_or_else(|| DEFAULT_HOST.to_owned()),
            port: port.unwrap_or(DEFAULT_PORT),
            store,
        }
    }

    /// The datastore.
    #[must_use]
    pub fn store(&self) -> &str {
        self.store.as_str()
    }

    /// Who asks.
    #[must_use]
    pub const fn user(&self) -> &Authid {
        &self.user
    }

    /// Name or address of the server, without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Its port.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// `host:port`, as in a URL.
    #[must_use]
    pub fn server(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

impl FromStr for Repository {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        parse(text).with_context(|| {
            format!("{text:?} is no repository, which looks like [[USER@]SERVER[:PORT]:]DATASTORE")
        })
    }
}

fn parse(text: &str) -> Result<Repository> {
    let Some((server, store)) = text.rsplit_once(':') else {
        return Ok(Repository::new(None, None, None, text.parse()?));
    };
    let store = store.parse()?;
    let (user, address) = match server.rsplit_once('@') {
        Some((user, address)) => (Some(user.parse()?), address),
        None => (None, server),
    };
    let (host, port) = split_address(address)?;
    ensure!(
        !host.is_empty() && !host.contains(|c: char| c.is_whitespace() || c == '/'),
        "{host:?} is no host"
    );
    Ok(Repository::new(user, Some(host.to_owned()), port, store))
}

/// A host and maybe a port; IPv6 addresses are in brackets.
fn split_address(address: &str) -> Result<(&str, Option<u16>)> {
    let (host, port) = match address.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']').context("a bracket is not closed")?;
            ensure!(
                host.parse::<std::net::Ipv6Addr>().is_ok(),
                "{host:?} is no IPv6 address"
            );
            match rest.strip_prefix(':') {
                Some(port) => (host, Some(port)),
                None if rest.is_empty() => (host, None),
                None => bail!("{rest:?} behind the bracket is no port"),
            }
        }
        None => match address.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (address, None),
        },
    };
    let port = port.map(|port| {
        let number = port.parse::<u16>().ok().filter(|port| *port > 0);
        number.with_context(|| {
            format!("{port:?} is no port; an IPv6 address must be in brackets, like [::1]")
        })
    });
    Ok((host, port.transpose()?))
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}:{}", self.user, self.server(), self.store)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn repositories_are_taken_apart() {
        for (text, user, host, port, store) in [
            (
                "a@pbs@127.0.0.1:4711:dev",
                "a@pbs",
                "127.0.0.1",
                4711,
                "dev",
            ),
            ("a@pbs!t@backup:main", "a@pbs!t", "backup", 8007, "main"),
            ("a@b@pbs@backup:main", "a@b@pbs", "backup", 8007, "main"),
            ("a@pbs@[::1]:9:main", "a@pbs", "::1", 9, "main"),
            ("[fe80::1]:main", "root@pam", "fe80::1", 8007, "main"),
            (
                "host.example:main",
                "root@pam",
                "host.example",
                8007,
                "main",
            ),
            ("main", "root@pam", "localhost", 8007, "main"),
        ] {
            let repository: Repository = text.parse().unwrap();
            assert_eq!(
                (
                    repository.user().to_string().as_str(),
                    repository.host(),
                    repository.port(),
                    repository.store()
                ),
                (user, host, port, store)
            );
            let printed: Repository = repository.to_string().parse().unwrap();
            assert_eq!(printed, repository);
        }
    }

    #[test]
    fn what_is_none_is_refused_with_the_reason() {
        for (text, reason) in [
            ("", "datastore"),
            ("a", "datastore"),
            ("host:port:main", "\"port\" is no port"),
            ("host:0:main", "\"0\" is no port"),
            ("::1:main", "brackets"),
            ("[::1:main", "not closed"),
            ("[host]:main", "no IPv6 address"),
            ("[::1]8007:main", "\"8007\""),
            (":main", "no host"),
            ("a b:main", "no host"),
            ("user@host:main", "auth id"),
            ("root@pam@main", "datastore"),
        ] {
            let error = format!("{:#}", text.parse::<Repository>().unwrap_err());
            assert!(error.contains(reason), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn nothing_panics_and_what_is_printed_is_read(text in "[a-z0-9@:!.\\[\\]]{0,40}") {
            if let Ok(repository) = text.parse::<Repository>() {
                prop_assert_eq!(repository.to_string().parse::<Repository>().unwrap(), repository);
            }
        }
    }
}
