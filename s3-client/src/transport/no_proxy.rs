//! Which hosts are reached past the proxy: the conventional `NO_PROXY` list.

use std::net::IpAddr;
use std::str::FromStr;

use crate::endpoint::Authority;

/// Hosts to reach directly: `host`, `.domain` or `*.domain`, addresses, networks as
/// `address/bits`, each also with `:port`; separated by commas or blanks. `*` means all.
///
/// As usual a name also stands for every host below it. What is on this machine never goes through
/// a proxy, with or without a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NoProxy {
    entries: Vec<Entry>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    hosts: Hosts,
    port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Hosts {
    All,
    /// This name and what is below it; in lower case, without dots around it.
    Domain(String),
    /// The first bits of an address.
    Network(IpAddr, u8),
}

impl FromStr for NoProxy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let words = text.split([',', ' ', '\t']).filter(|word| !word.is_empty());
        let entries: Result<_, String> = words
            .map(|word| {
                entry(word).ok_or_else(|| {
                    format!(
                        "'{word}' is neither a host nor a network: expected host[:port], .domain \
                         or address/bits, separated by commas"
                    )
                })
            })
            .collect();
        Ok(Self { entries: entries? })
    }
}

impl NoProxy {
    /// Whether `target` is reached past the proxy.
    #[must_use]
    pub fn contains(&self, target: &Authority) -> bool {
        target.is_loopback() || self.entries.iter().any(|entry| entry.matches(target))
    }
}

impl Entry {
    fn matches(&self, target: &Authority) -> bool {
        if self.port.is_some_and(|port| port != target.port) {
            return false;
        }
        let host = target.host.trim_end_matches('.').to_ascii_lowercase();
        match &self.hosts {
            Hosts::All => true,
            Hosts::Domain(domain) => host
                .strip_suffix(domain.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.ends_with('.')),
            Hosts::Network(network, bits) => host
                .parse()
                .is_ok_and(|address: IpAddr| same_network(*network, address, *bits)),
        }
    }
}

fn entry(word: &str) -> Option<Entry> {
    let (host, port) = split_port(word)?;
    let hosts = match host.split_once('/') {
        Some((address, bits)) => {
            let address: IpAddr = address.parse().ok()?;
            let bits = bits.parse().ok().filter(|bits| *bits <= width(address))?;
            Hosts::Network(address, bits)
        }
        None if host == "*" => Hosts::All,
        None => match host.parse::<IpAddr>() {
            Ok(address) => Hosts::Network(address, width(address)),
            Err(_) => {
                let name = host.strip_prefix("*.").unwrap_or(host);
                let name = name.trim_matches('.').to_ascii_lowercase();
                let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
                if name.is_empty() || !name.chars().all(legal) {
                    return None;
                }
                Hosts::Domain(name)
            }
        },
    };
    Some(Entry { hosts, port })
}

/// Host (without brackets) and port, if there is one.
fn split_port(word: &str) -> Option<(&str, Option<u16>)> {
    if let Some(rest) = word.strip_prefix('[') {
        let (host, tail) = rest.split_once(']')?;
        return match tail.strip_prefix(':') {
            Some(port) => Some((host, Some(port.parse().ok()?))),
            None => tail.is_empty().then_some((host, None)),
        };
    }
    match word.split_once(':') {
        // More than one colon: an address of version 6.
        Some((_, rest)) if rest.contains(':') => Some((word, None)),
        Some((host, port)) => Some((host, Some(port.parse().ok()?))),
        None => Some((word, None)),
    }
}

fn width(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

fn same_network(network: IpAddr, address: IpAddr, bits: u8) -> bool {
    match (network, address) {
        (IpAddr::V4(network), IpAddr::V4(address)) => {
            let differing = network.to_bits() ^ address.to_bits();
            differing.leading_zeros() >= u32::from(bits)
        }
        (IpAddr::V6(network), IpAddr::V6(address)) => {
            let differing = network.to_bits() ^ address.to_bits();
            differing.leading_zeros() >= u32::from(bits)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_direct(list: &str, host: &str, port: u16) -> bool {
        let target = Authority {
            host: host.to_owned(),
            port,
            header: host.to_owned(),
        };
        list.parse::<NoProxy>().unwrap().contains(&target)
    }

    #[test]
    fn names_stand_for_what_is_below_them() {
        for list in ["lan", ".lan", "*.lan", "x, LAN.", "a b\tlan"] {
            assert!(is_direct(list, "s3.lan", 443), "{list}");
            assert!(is_direct(list, "Lan", 443), "{list}");
            assert!(!is_direct(list, "plan", 443), "{list}");
            assert!(!is_direct(list, "lan.example", 443), "{list}");
        }
        assert!(is_direct("*", "anything", 1));
        assert!(!is_direct("", "anything", 1));
    }

    #[test]
    fn ports_addresses_and_networks() {
        assert!(is_direct("s3.lan:9000", "s3.lan", 9000));
        assert!(!is_direct("s3.lan:9000", "s3.lan", 443));
        assert!(is_direct("10.0.0.0/8", "10.200.1.1", 443));
        assert!(!is_direct("10.0.0.0/8", "11.0.0.1", 443));
        assert!(is_direct("192.168.1.7", "192.168.1.7", 443));
        assert!(!is_direct("192.168.1.7", "192.168.1.70", 443));
        assert!(is_direct("fd00::/8", "fd12::1", 443));
        assert!(is_direct("[fd12::1]:9000", "fd12::1", 9000));
        assert!(!is_direct("[fd12::1]:9000", "fd12::1", 443));
        assert!(is_direct("0.0.0.0/0", "8.8.8.8", 443));
        assert!(!is_direct("0.0.0.0/0", "s3.lan", 443));
    }

    #[test]
    fn this_machine_is_always_reached_directly() {
        for host in ["localhost", "127.0.0.1", "::1", "s3.localhost"] {
            assert!(is_direct("", host, 9000), "{host}");
        }
    }

    #[test]
    fn nonsense_is_named() {
        for bad in ["a/b", "10.0.0.0/33", "host:port", "http://x", "[::1", "a$b"] {
            let error = bad.parse::<NoProxy>().unwrap_err();
            assert!(error.contains("neither a host nor a network"), "{bad}");
        }
    }
}
