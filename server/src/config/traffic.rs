//! `traffic-control.cfg`: how fast connections from where and when may be (`jobs-and-sync.md` §9).

use api_types::ParseError;
use api_types::auth::Userid;
use api_types::human::ByteSize;
use api_types::names::DatastoreName;
use api_types::property::{PropertyReader, PropertyWriter};
use serde::{Serialize, Serializer};

use super::Entity;
use crate::jobs::calendar::DailyDuration;
use crate::network::Network;

/// A section `rule`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct TrafficRule {
    /// Its name.
    pub name: String,
    /// Where connections come from.
    pub network: Vec<Network>,
    /// Comment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// Bytes per second that the server receives.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_in: Option<ByteSize>,
    /// At once; the rate if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub burst_in: Option<ByteSize>,
    /// Bytes per second that the server sends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_out: Option<ByteSize>,
    /// At once; the rate if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub burst_out: Option<ByteSize>,
    /// When it counts; always if there are none.
    #[serde(skip_serializing_if = "Vec::is_empty", serialize_with = "as_texts")]
    pub timeframe: Vec<DailyDuration>,
    /// For whom; everybody if there are none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub users: Vec<Userid>,
}

fn as_texts<S: Serializer>(list: &[DailyDuration], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(list.iter().map(ToString::to_string))
}

fn parsed<T: std::str::FromStr>(
    reader: &mut PropertyReader,
    key: &str,
) -> Result<Vec<T>, ParseError>
where
    T::Err: std::fmt::Display,
{
    let texts: Vec<Line> = reader.take_all(key)?;
    texts
        .iter()
        .map(|Line(text)| {
            let error = |error: T::Err| reader.error(format!("property '{key}': {error}"));
            text.parse().map_err(error)
        })
        .collect()
}

/// Any text.
struct Line(String);

impl std::str::FromStr for Line {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        Ok(Self(text.to_owned()))
    }
}

impl Entity for TrafficRule {
    const FILE: &'static str = "traffic-control";
    const TYPES: &'static [&'static str] = &["rule"];
    const SECRET: bool = false;

    fn id(&self) -> &str {
        &self.name
    }

    fn section_type(&self) -> &'static str {
        "rule"
    }

    fn from_section(
        _section_type: &str,
        id: &str,
        properties: &[(String, String)],
    ) -> Result<Self, String> {
        let read = || {
            id.parse::<DatastoreName>()?;
            let mut reader = PropertyReader::new("traffic control rule", id, properties);
            let rule = Self {
                name: id.to_owned(),
                network: parsed(&mut reader, "network")?,
                comment: reader.take_text("comment")?,
                rate_in: reader.take("rate-in")?,
                burst_in: reader.take("burst-in")?,
                rate_out: reader.take("rate-out")?,
                burst_out: reader.take("burst-out")?,
                timeframe: parsed(&mut reader, "timeframe")?,
                users: reader.take_all("users")?,
            };
            if rule.network.is_empty() {
                return Err(reader.error("the property 'network' is missing"));
            }
            reader.finish()?;
            Ok(rule)
        };
        read().map_err(|error: ParseError| error.to_string())
    }

    fn to_section(&self) -> Vec<(String, String)> {
        let mut writer = PropertyWriter::default();
        for network in &self.network {
            writer.push("network", network);
        }
        writer.push_opt("comment", self.comment.as_ref());
        writer.push_opt("rate-in", self.rate_in.as_ref());
        writer.push_opt("burst-in", self.burst_in.as_ref());
        writer.push_opt("rate-out", self.rate_out.as_ref());
        writer.push_opt("burst-out", self.burst_out.as_ref());
        for timeframe in &self.timeframe {
            writer.push("timeframe", timeframe);
        }
        for user in &self.users {
            writer.push("users", user);
        }
        writer.into_sorted()
    }

    fn nothing_to_remove(id: &str) -> String {
        format!("traffic control rule '{id}' does not exist.")
    }

    fn no_such(id: &str) -> String {
        format!("no such rule '{id}'")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn properties(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        pairs.iter().map(owned).collect()
    }

    #[test]
    fn rules_read_back_what_they_write() {
        let text = [
            ("burst-in", "20 MiB"),
            ("network", "10.0.0.0/8"),
            ("network", "fd00::/8"),
            ("rate-in", "10 MiB"),
            ("timeframe", "mon..fri 8-17"),
            ("users", "a@pbs"),
        ];
        let rule = TrafficRule::from_section("rule", "office", &properties(&text)).unwrap();
        assert_eq!(rule.to_section(), properties(&text));
        let shown = serde_json::to_value(&rule).unwrap();
        let expected = serde_json::json!({
            "name": "office", "network": ["10.0.0.0/8", "fd00::/8"], "rate-in": "10 MiB",
            "burst-in": "20 MiB", "timeframe": ["mon..fri 8-17"], "users": ["a@pbs"]
        });
        assert_eq!(shown, expected);
        for (key, value) in [
            ("network", "10.0.0.0"),
            ("timeframe", "22-6"),
            ("users", "x"),
            ("y", "1"),
        ] {
            let mut bad = properties(&[("network", "::/0")]);
            bad.push((key.into(), value.into()));
            assert!(
                TrafficRule::from_section("rule", "office", &bad).is_err(),
                "{key}"
            );
        }
        assert!(TrafficRule::from_section("rule", "office", &[]).is_err());
    }
}
