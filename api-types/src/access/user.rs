//! Users and API tokens as they are configured (`auth.md` §2, §9).

use serde::{Deserialize, Serialize};

use crate::ParseError;
use crate::auth::{Authid, Userid};
use crate::property::{PropertyReader, PropertyWriter};
use crate::text::SingleLine;

/// What users and tokens have in common.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Account {
    /// A remark.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comment: Option<SingleLine>,
    /// Whether it may be used; absent: yes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enable: Option<bool>,
    /// Until when it may be used, seconds since the epoch; absent or 0: for ever.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expire: Option<i64>,
}

impl Account {
    /// Whether it may be used at `now`.
    #[must_use]
    pub fn is_active(&self, now: i64) -> bool {
        let expired = self
            .expire
            .is_some_and(|expire| expire > 0 && expire <= now);
        self.enable.unwrap_or(true) && !expired
    }

    fn read(reader: &mut PropertyReader) -> Result<Self, ParseError> {
        Ok(Self {
            comment: reader.take("comment")?,
            enable: reader.take_bool("enable")?,
            expire: reader.take_number("expire", 0..=i64::MAX)?,
        })
    }

    fn write(&self, writer: &mut PropertyWriter) {
        writer.push_opt("comment", self.comment.as_ref());
        writer.push_opt("enable", self.enable.as_ref());
        writer.push_opt("expire", self.expire.as_ref());
    }
}

/// A user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct User {
    /// Who.
    pub userid: Userid,
    /// Comment, enabled, expiry.
    #[serde(flatten)]
    pub account: Account,
    /// Given name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub firstname: Option<SingleLine>,
    /// Family name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lastname: Option<SingleLine>,
    /// Where to write to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email: Option<SingleLine>,
}

/// An API token of a user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ApiToken {
    /// Which one; always has a token name.
    pub tokenid: Authid,
    /// Comment, enabled, expiry.
    #[serde(flatten)]
    pub account: Account,
}

impl User {
    /// Type of its section in `user.cfg`.
    pub const SECTION_TYPE: &'static str = "user";

    /// A user with nothing but a name.
    #[must_use]
    pub fn new(userid: Userid) -> Self {
        Self {
            userid,
            account: Account::default(),
            firstname: None,
            lastname: None,
            email: None,
        }
    }

    /// From the header and the properties of its section.
    pub fn from_properties(id: &str, properties: &[(String, String)]) -> Result<Self, ParseError> {
        let mut reader = PropertyReader::new("user", id, properties);
        let user = Self {
            userid: id.parse()?,
            account: Account::read(&mut reader)?,
            firstname: reader.take("firstname")?,
            lastname: reader.take("lastname")?,
            email: reader.take("email")?,
        };
        reader.finish()?;
        Ok(user)
    }

    /// The properties of its section, ordered by key.
    #[must_use]
    pub fn to_properties(&self) -> Vec<(String, String)> {
        let mut writer = PropertyWriter::default();
        self.account.write(&mut writer);
        writer.push_opt("firstname", self.firstname.as_ref());
        writer.push_opt("lastname", self.lastname.as_ref());
        writer.push_opt("email", self.email.as_ref());
        writer.into_sorted()
    }
}

impl ApiToken {
    /// Type of its section in `user.cfg`.
    pub const SECTION_TYPE: &'static str = "token";

    /// From the header and the properties of its section.
    pub fn from_properties(id: &str, properties: &[(String, String)]) -> Result<Self, ParseError> {
        let tokenid: Authid = id.parse()?;
        if !tokenid.is_token() {
            return Err(ParseError::new(
                "token",
                id,
                "there is no token name after '!'",
            ));
        }
        let mut reader = PropertyReader::new("token", id, properties);
        let account = Account::read(&mut reader)?;
        reader.finish()?;
        Ok(Self { tokenid, account })
    }

    /// The properties of its section, ordered by key.
    #[must_use]
    pub fn to_properties(&self) -> Vec<(String, String)> {
        let mut writer = PropertyWriter::default();
        self.account.write(&mut writer);
        writer.into_sorted()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        pairs.iter().map(owned).collect()
    }

    #[test]
    fn sections_round_trip() {
        let properties = pairs(&[
            ("comment", "the boss"),
            ("email", "a@example.org"),
            ("enable", "false"),
            ("expire", "1790000000"),
            ("firstname", "A"),
            ("lastname", "B"),
        ]);
        let user = User::from_properties("a@pbs", &properties).unwrap();
        assert_eq!(user.to_properties(), properties);
        let token = ApiToken::from_properties("a@pbs!t", &properties[2..4]).unwrap();
        assert_eq!(token.to_properties(), properties[2..4]);
        for (id, properties) in [
            ("a", pairs(&[])),
            ("a@pbs", pairs(&[("expire", "-1")])),
            ("a@pbs", pairs(&[("enable", "maybe")])),
            ("a@pbs", pairs(&[("phone", "1")])),
        ] {
            assert!(
                User::from_properties(id, &properties).is_err(),
                "{id} {properties:?}"
            );
        }
        assert!(ApiToken::from_properties("a@pbs", &[]).is_err());
        assert!(ApiToken::from_properties("a@pbs!t", &pairs(&[("email", "x")])).is_err());
    }

    #[test]
    fn activity() {
        let account = |enable, expire| Account {
            enable,
            expire,
            ..Account::default()
        };
        assert!(account(None, None).is_active(100));
        assert!(account(Some(true), Some(0)).is_active(100));
        assert!(account(None, Some(101)).is_active(100));
        assert!(!account(None, Some(100)).is_active(100));
        assert!(!account(Some(false), None).is_active(100));
    }

    #[test]
    fn answers_are_flat() {
        let user = User::from_properties("a@pbs", &pairs(&[("comment", "x")])).unwrap();
        let json = serde_json::to_string(&user).unwrap();
        assert_eq!(json, r#"{"userid":"a@pbs","comment":"x"}"#);
    }
}
