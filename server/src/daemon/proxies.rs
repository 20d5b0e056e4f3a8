//! Reverse proxies in front of the daemon: they say in a header whom a request comes from.
//!
//! That is believed of proxies in the networks that are named, and of nobody else. It counts for
//! logs, for the limit on failed logins and for traffic control, never for access.

use std::net::{IpAddr, SocketAddr};

use hyper::HeaderMap;
use hyper::header::{FORWARDED, HeaderName};

use crate::network::Network;

/// Whom to believe.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Reverse proxy")]
pub struct ProxyOptions {
    /// Network of a reverse proxy whose word on the client's address is believed; may be given more
    /// than once.
    #[arg(
        long,
        env = "COFFER_TRUSTED_PROXY",
        value_name = "NETWORK",
        value_delimiter = ','
    )]
    pub trusted_proxy: Vec<Network>,
    /// The header that it is in: 'Forwarded', or one that holds nothing but the address.
    #[arg(
        long,
        env = "COFFER_PROXY_HEADER",
        value_name = "HEADER",
        default_value = "x-real-ip"
    )]
    pub proxy_header: HeaderName,
}

impl Default for ProxyOptions {
    fn default() -> Self {
        Self {
            trusted_proxy: Vec::new(),
            proxy_header: HeaderName::from_static("x-real-ip"),
        }
    }
}

impl ProxyOptions {
    /// Whether this is the address of a proxy that is believed.
    #[must_use]
    pub fn trusts(&self, address: IpAddr) -> bool {
        let mut networks = self.trusted_proxy.iter();
        networks.any(|network| network.contains(address))
    }

    /// Whom a request comes from that `peer` sent. The port is the proxy's, if that says none.
    #[must_use]
    pub fn client(&self, peer: SocketAddr, headers: &HeaderMap) -> SocketAddr {
        if !self.trusts(peer.ip()) {
            return peer;
        }
        // The last one was added by the proxy that we know.
        let Some(value) = headers.get_all(&self.proxy_header).iter().next_back() else {
            return peer;
        };
        let Ok(text) = value.to_str() else {
            return peer;
        };
        let last = text.rsplit(',').next().unwrap_or_default().trim();
        let address = if self.proxy_header == FORWARDED {
            last.split(';').find_map(|pair| {
                let (name, value) = pair.split_once('=')?;
                name.trim().eq_ignore_ascii_case("for").then_some(value)
            })
        } else {
            Some(last)
        };
        address.map_or(peer, |text| parse(text, peer.port()).unwrap_or(peer))
    }
}

/// `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `"[2001:db8::1]:80"`.
fn parse(text: &str, port: u16) -> Option<SocketAddr> {
    let text = text.trim().trim_matches('"');
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(SocketAddr::new(address, port));
    }
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Some(address);
    }
    let address = text.strip_prefix('[')?.strip_suffix(']')?;
    Some(SocketAddr::new(address.parse().ok()?, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(header: &'static str, values: &[&'static str], peer: &str) -> String {
        let options = ProxyOptions {
            trusted_proxy: vec!["10.0.0.0/8".parse().unwrap()],
            proxy_header: HeaderName::from_static(header),
        };
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header, value.parse().unwrap());
        }
        options.client(peer.parse().unwrap(), &headers).to_string()
    }

    #[test]
    fn a_known_proxy_is_believed_and_nobody_else() {
        let real = |values: &[&'static str], peer: &str| client("x-real-ip", values, peer);
        assert_eq!(real(&["192.0.2.1"], "10.0.0.1:5"), "192.0.2.1:5");
        assert_eq!(real(&["192.0.2.1"], "[::ffff:10.0.0.1]:5"), "192.0.2.1:5");
        assert_eq!(real(&["192.0.2.1"], "11.0.0.1:5"), "11.0.0.1:5");
        assert_eq!(real(&[], "10.0.0.1:5"), "10.0.0.1:5");
        assert_eq!(real(&["nonsense"], "10.0.0.1:5"), "10.0.0.1:5");
        // What the client itself has sent comes before what the proxy added.
        assert_eq!(real(&["1.1.1.1", "2.2.2.2"], "10.0.0.1:5"), "2.2.2.2:5");
        assert_eq!(real(&["1.1.1.1, 2.2.2.2"], "10.0.0.1:5"), "2.2.2.2:5");
    }

    #[test]
    fn forwarded_is_understood() {
        let forwarded = |value: &'static str| client("forwarded", &[value], "10.0.0.1:5");
        assert_eq!(forwarded("for=192.0.2.1;proto=https"), "192.0.2.1:5");
        assert_eq!(
            forwarded("proto=https; For=\"[2001:db8::1]:80\""),
            "[2001:db8::1]:80"
        );
        assert_eq!(forwarded("for=\"[2001:db8::1]\""), "[2001:db8::1]:5");
        assert_eq!(forwarded("for=1.1.1.1, for=2.2.2.2"), "2.2.2.2:5");
        assert_eq!(forwarded("for=unknown"), "10.0.0.1:5");
        assert_eq!(forwarded("by=192.0.2.1"), "10.0.0.1:5");
    }
}
