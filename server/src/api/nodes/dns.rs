//! `/nodes/{node}/dns`: whom the machine asks for addresses.

use std::io;
use std::path::Path;

use api_types::access::Privilege;
use hyper::Method;
use openssl::sha::sha256;
use serde::Serialize;

use crate::api::entry;
use crate::api::fields::{DIGEST, NODE};
use crate::api::target::refused;
use crate::config::{ConfigError, read_bounded, replace_file};
use crate::rest::answer::Answer;
use crate::rest::call::Call;
use crate::rest::endpoint::Param;
use crate::rest::error::RestError;
use crate::rest::schema::{Schema, Text};
use crate::rest::table::{Access, Endpoint};

const RESOLV_CONF: &str = "/etc/resolv.conf";
const MODE: u32 = 0o644;
const SERVERS: [&str; 3] = ["dns1", "dns2", "dns3"];

const ADDRESS: Schema = Schema::Text(Text {
    form: "ip address",
    check: |text| match text.parse::<std::net::IpAddr>() {
        Ok(_) => Ok(()),
        Err(_) => Err("value is not an IP address".into()),
    },
    max_len: 64,
});
const DOMAIN: Schema = Schema::Text(Text {
    form: "domain",
    check: |text| {
        let is_name = !text.is_empty()
            && text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'));
        if is_name {
            Ok(())
        } else {
            Err("not a domain name".into())
        }
    },
    max_len: 255,
});

/// The endpoints of this module.
pub const ENDPOINTS: &[Endpoint] = &[
    entry(
        Method::GET,
        "/nodes/{node}/dns",
        "Tell whom the machine asks for addresses.",
        &[NODE],
        Access::Privileges {
            path: "/system/network/dns",
            any: &[Privilege::SysAudit],
        },
        |_| Box::pin(get()),
    ),
    entry(
        Method::PUT,
        "/nodes/{node}/dns",
        "Set whom the machine asks for addresses, if the server may.",
        &[
            NODE,
            Param::optional("search", "Domain to search in.", DOMAIN),
            Param::optional("dns1", "First name server.", ADDRESS),
            Param::optional("dns2", "Second name server.", ADDRESS),
            Param::optional("dns3", "Third name server.", ADDRESS),
            Param::optional(
                "delete",
                "Properties to unset.",
                Schema::Array(&Schema::Choice(&["dns1", "dns2", "dns3"])),
            ),
            DIGEST,
        ],
        Access::Privileges {
            path: "/system/network/dns",
            any: &[Privilege::SysModify],
        },
        |call| Box::pin(put(call)),
    ),
];

/// What the file says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
struct Resolver {
    #[serde(skip_serializing_if = "Option::is_none")]
    search: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dns1: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dns2: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dns3: Option<String>,
    /// Other lines, kept as they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    options: Option<String>,
    digest: String,
}

impl Resolver {
    fn read(path: &Path) -> Result<Self, ConfigError> {
        let bytes = read_bounded(path)?.unwrap_or_default();
        let mut resolver = Self::parse(&String::from_utf8_lossy(&bytes));
        resolver.digest = hex::encode(sha256(&bytes));
        Ok(resolver)
    }

    fn parse(text: &str) -> Self {
        let mut resolver = Self::default();
        let mut options: Vec<&str> = Vec::new();
        for line in text.lines() {
            let mut words = line.split_ascii_whitespace();
            match (words.next(), words.next()) {
                (Some("search" | "domain"), Some(domain)) => {
                    resolver.search = Some(domain.to_owned());
                }
                (Some("nameserver"), Some(server)) => {
                    let mut places = resolver.servers().into_iter();
                    if let Some(place) = places.find(|place| place.is_none()) {
                        *place = Some(server.to_owned());
                    }
                }
                (None, _) => {}
                _ => options.push(line),
            }
        }
        if !options.is_empty() {
            resolver.options = Some(options.join("\n"));
        }
        resolver
    }

    fn servers(&mut self) -> [&mut Option<String>; 3] {
        [&mut self.dns1, &mut self.dns2, &mut self.dns3]
    }

    fn to_text(&self) -> String {
        let mut text = String::new();
        if let Some(search) = &self.search {
            text += &format!("search {search}\n");
        }
        for server in [&self.dns1, &self.dns2, &self.dns3].into_iter().flatten() {
            text += &format!("nameserver {server}\n");
        }
        if let Some(options) = &self.options {
            text += &format!("{options}\n");
        }
        text
    }

    /// With what a call sets and unsets.
    fn change(&mut self, set: impl Fn(&str) -> Option<String>, unset: &[String]) {
        self.search = set("search").or_else(|| self.search.take());
        for (name, place) in SERVERS.iter().zip(self.servers()) {
            if unset.iter().any(|other| other == name) {
                *place = None;
            }
            if let Some(server) = set(name) {
                *place = Some(server);
            }
        }
    }

    fn write(&self, path: &Path) -> io::Result<()> {
        // A link is followed: the file that it leads to is the one that counts.
        let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        replace_file(&path, self.to_text().as_bytes(), MODE)
    }
}

async fn get() -> Result<Answer, RestError> {
    Answer::of(Resolver::read(Path::new(RESOLV_CONF)).map_err(refused)?)
}

async fn put(call: Call) -> Result<Answer, RestError> {
    let path = Path::new(RESOLV_CONF);
    let mut resolver = Resolver::read(path).map_err(refused)?;
    if call
        .params
        .text(DIGEST.name)
        .is_some_and(|expected| expected != resolver.digest)
    {
        return Err(refused(ConfigError::Modified));
    }
    let unset: Vec<String> = call
        .params
        .get("delete")
        .and_then(|list| serde_json::from_value(list.clone()).ok())
        .unwrap_or_default();
    resolver.change(|name| call.params.text(name).map(str::to_owned), &unset);
    resolver.write(path).map_err(|error| {
        RestError::bad_request(format!(
            "failed to write {RESOLV_CONF}: {error}; the server runs without the rights to \
             configure the machine, change the file as root"
        ))
    })?;
    Ok(Answer::null())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_read_and_changed_and_keeps_what_is_not_known() {
        let dir = support::scratch().unwrap();
        let path = dir.path().join("resolv.conf");
        let text = "# made by hand\nsearch example.org\nnameserver 192.0.2.1\nnameserver ::1\n\
                    options edns0\n";
        std::fs::write(&path, text).unwrap();
        let mut resolver = Resolver::read(&path).unwrap();
        assert_eq!(resolver.search.as_deref(), Some("example.org"));
        assert_eq!(resolver.dns2.as_deref(), Some("::1"));
        assert_eq!(resolver.dns3, None);
        assert_eq!(resolver.digest.len(), 64);
        let set = |name: &str| (name == "dns1").then(|| "192.0.2.9".to_owned());
        resolver.change(set, &["dns2".to_owned()]);
        resolver.write(&path).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let expected = "search example.org\nnameserver 192.0.2.9\n# made by hand\noptions edns0\n";
        assert_eq!(text, expected);
        let none = Resolver::read(&dir.path().join("none")).unwrap();
        assert_eq!(none.to_text(), "");
    }
}
