//! The HTTP proxy that the environment or the caller names, and which servers are reached past it.

use std::fmt;

use anyhow::{Result, anyhow};
use s3_client::endpoint::Authority;
use s3_client::transport::{HttpProxy, NoProxy};

use super::repository::Repository;

/// Where a proxy is named. The first is the one that upstream's client knows.
const VARIABLES: [&str; 4] = ["ALL_PROXY", "all_proxy", "HTTPS_PROXY", "https_proxy"];
const EXCEPTIONS: [&str; 2] = ["NO_PROXY", "no_proxy"];
/// The port of a proxy that is named without one, as upstream's client has it.
const USUAL_PORT: u16 = 1080;

/// What the environment or the caller says of proxies. It is looked at when it matters: what is there
/// for other programs, and no proxy of ours, hinders nobody whose server is reached past it.
#[derive(Clone, Default)]
pub struct ProxySettings {
    /// For every server, whatever the environment says.
    given: Option<HttpProxy>,
    /// By which variable, and what it says: it may have a password.
    named: Option<(&'static str, String)>,
    exceptions: Option<(&'static str, String)>,
}

impl fmt::Debug for ProxySettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let variable = self.named.as_ref().map(|(variable, _)| variable);
        f.debug_struct("ProxySettings")
            .field("given", &self.given)
            .field("variable", &variable)
            .finish()
    }
}

impl ProxySettings {
    /// Of this process.
    #[must_use]
    pub fn from_environment() -> Self {
        Self::from_variables(|name| std::env::var(name).ok())
    }

    /// This one for every server, or none.
    #[must_use]
    pub fn given(given: Option<HttpProxy>) -> Self {
        Self {
            given,
            ..Self::default()
        }
    }

    fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Self {
        let first = |names: &[&'static str]| {
            names.iter().find_map(|name| {
                let text = variable(name)?.trim().to_owned();
                (!text.is_empty()).then_some((*name, text))
            })
        };
        Self {
            given: None,
            named: first(&VARIABLES),
            exceptions: first(&EXCEPTIONS),
        }
    }

    /// The proxy to this server, if there is one on the way.
    pub(super) fn on_the_way_to(&self, repository: &Repository) -> Result<Option<HttpProxy>> {
        if let Some(given) = &self.given {
            return Ok(Some(given.clone()));
        }
        let Some((variable, text)) = &self.named else {
            return Ok(None);
        };
        let exceptions = match &self.exceptions {
            Some((variable, text)) => text
                .parse::<NoProxy>()
                .map_err(|error| anyhow!("{variable}: {error}"))?,
            None => NoProxy::default(),
        };
        if exceptions.contains(&authority(repository)) {
            return Ok(None);
        }
        let proxy = HttpProxy::with_default_port(text, USUAL_PORT);
        let proxy = proxy.map_err(|error| {
            let host = repository.host();
            anyhow!("{variable}: {error}; NO_PROXY={host} reaches this server without")
        });
        proxy.map(Some)
    }
}

/// The server, as proxies are asked for it.
pub(super) fn authority(repository: &Repository) -> Authority {
    Authority {
        host: repository.host().to_owned(),
        port: repository.port(),
        header: repository.server(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxy(variables: &[(&str, &str)], repository: &str) -> Result<Option<(String, u16)>> {
        let settings = ProxySettings::from_variables(|name| {
            let found = variables.iter().find(|(variable, _)| *variable == name);
            found.map(|(_, value)| (*value).to_owned())
        });
        assert!(!format!("{settings:?}").contains("secret"));
        let proxy = settings.on_the_way_to(&repository.parse()?)?;
        Ok(proxy.map(|proxy| (proxy.host, proxy.port)))
    }

    #[test]
    fn the_first_variable_counts() {
        let all = ("ALL_PROXY", "http://u:secret@all");
        let https = ("HTTPS_PROXY", "https.lan:3128");
        let at = |host: &str, port| Some((host.to_owned(), port));
        for (variables, expected) in [
            (&[][..], None),
            (&[("ALL_PROXY", " ")], None),
            (&[all, https], at("all", 1080)),
            (&[("ALL_PROXY", ""), https], at("https.lan", 3128)),
            (&[("https_proxy", "low:1")], at("low", 1)),
            (&[("all_proxy", "low"), https], at("low", 1080)),
            (&[https, ("NO_PROXY", "example.org")], None),
            (&[https, ("no_proxy", ".org:8007")], None),
            (&[https, ("NO_PROXY", "example.com")], at("https.lan", 3128)),
        ] {
            let found = proxy(variables, "backup.example.org:main").unwrap();
            assert_eq!(found, expected, "{variables:?}");
        }
        // What is on this machine is never reached through another one.
        assert_eq!(proxy(&[all], "127.0.0.1:main").unwrap(), None);
        assert_eq!(proxy(&[all], "main").unwrap(), None);
    }

    #[test]
    fn what_is_no_proxy_hinders_only_where_it_matters() {
        let socks = ("ALL_PROXY", "socks5://u:secret@lan");
        let error = proxy(&[socks], "backup:main").unwrap_err().to_string();
        assert!(
            error.contains("ALL_PROXY") && error.contains("NO_PROXY=backup"),
            "{error}"
        );
        assert!(!error.contains("secret"), "{error}");
        assert_eq!(
            proxy(&[socks, ("NO_PROXY", "backup")], "backup:main").unwrap(),
            None
        );
        let error = proxy(&[socks, ("NO_PROXY", "a/b")], "backup:main").unwrap_err();
        assert!(error.to_string().contains("NO_PROXY: 'a/b'"), "{error}");
    }
}
