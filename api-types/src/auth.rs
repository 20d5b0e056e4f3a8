//! Who acts: users, realms and API tokens.

use std::fmt;
use std::str::FromStr;

use crate::ParseError;
use crate::macros::{serde_as_string, string_id};
use crate::names::check_safe_id_len;

/// Most characters of a user id, realm included.
const MAX_USERID_CHARS: usize = 64;

string_id! {
    /// Where a user is authenticated: a safe id of 2 to 32 characters, like `pam`.
    Realm, "realm", |text: &str| check_safe_id_len(text, 2, 32)
}

string_id! {
    /// Name of an API token within its user: a safe id.
    TokenName, "token name", |text: &str| check_safe_id_len(text, 1, 64)
}

/// A user: `name@realm`. The name may contain `@` itself, the last one separates.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Userid {
    name: Box<str>,
    realm: Realm,
}

impl Userid {
    /// The super-user, who always exists and cannot lose rights.
    pub const ROOT: &'static str = "root@pam";

    /// The part before the realm.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where the user is authenticated.
    #[must_use]
    pub const fn realm(&self) -> &Realm {
        &self.realm
    }

    /// Whether this is the super-user.
    #[must_use]
    pub fn is_root(&self) -> bool {
        &*self.name == "root" && self.realm.as_str() == "pam"
    }
}

impl FromStr for Userid {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let error = |reason: String| ParseError::new("user id", text, reason);
        let (name, realm) = text
            .rsplit_once('@')
            .ok_or_else(|| error("expected the form NAME@REALM".into()))?;
        if name.is_empty() {
            return Err(error("the name before the realm is empty".into()));
        }
        if let Some(bad) = name
            .chars()
            .find(|c| c.is_whitespace() || c.is_control() || matches!(c, ':' | '/'))
        {
            return Err(error(format!(
                "character {bad:?} is not allowed in a user name"
            )));
        }
        let realm: Realm = realm
            .parse()
            .map_err(|e: ParseError| error(format!("realm {:?}: {}", e.value, e.reason)))?;
        if text.chars().count() > MAX_USERID_CHARS {
            return Err(error(format!("longer than {MAX_USERID_CHARS} characters")));
        }
        Ok(Self {
            name: name.into(),
            realm,
        })
    }
}

impl fmt::Display for Userid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}@{}", self.name, self.realm))
    }
}

impl fmt::Debug for Userid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Userid({self})")
    }
}

serde_as_string!(Userid, "a user id");

/// A user or one of a user's API tokens: `name@realm` or `name@realm!token`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Authid {
    /// The user.
    pub user: Userid,
    /// The token, if it is one that acts.
    pub token: Option<TokenName>,
}

impl Authid {
    /// `root@pam`, as whom scheduled jobs run.
    #[must_use]
    pub fn root() -> Self {
        let user = Userid {
            name: "root".into(),
            realm: Realm("pam".into()),
        };
        Self { user, token: None }
    }

    /// Whether this is one of a user's tokens.
    #[must_use]
    pub const fn is_token(&self) -> bool {
        self.token.is_some()
    }

    /// Whether a group of this owner may be written by `caller`: the owner itself, or the user
    /// whose token owns it. A token never acts for its user or for a sibling.
    #[must_use]
    pub fn is_owner_ok(owner: &Self, caller: &Self) -> bool {
        owner == caller || (!caller.is_token() && owner.is_token() && owner.user == caller.user)
    }
}

impl From<Userid> for Authid {
    fn from(user: Userid) -> Self {
        Self { user, token: None }
    }
}

impl FromStr for Authid {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        // User names may contain '@' and '!', realms and tokens neither.
        let realm_at = text.rfind('@').map_or(0, |at| at + 1);
        let in_authid = |e: ParseError| {
            ParseError::new(
                "auth id",
                text,
                format!("{} {:?}: {}", e.what, e.value, e.reason),
            )
        };
        match text[realm_at..].rfind('!') {
            None => Ok(Self::from(text.parse::<Userid>().map_err(in_authid)?)),
            Some(bang) => {
                let (user, token) = text.split_at(realm_at + bang);
                Ok(Self {
                    user: user.parse().map_err(in_authid)?,
                    token: Some(token[1..].parse().map_err(in_authid)?),
                })
            }
        }
    }
}

impl fmt::Display for Authid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.token {
            None => f.pad(&self.user.to_string()),
            Some(token) => f.pad(&format!("{}!{token}", self.user)),
        }
    }
}

impl fmt::Debug for Authid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Authid({self})")
    }
}

serde_as_string!(Authid, "an auth id");

#[cfg(test)]
mod tests {
    use super::*;

    fn authid(text: &str) -> Authid {
        text.parse().unwrap()
    }

    #[test]
    fn the_last_at_and_the_last_bang_separate() {
        let id = authid("me@home!x@pbs!tok1");
        assert_eq!(id.user.name(), "me@home!x");
        assert_eq!(id.user.realm().as_str(), "pbs");
        assert_eq!(id.token.as_ref().unwrap().as_str(), "tok1");
        assert_eq!(id.to_string(), "me@home!x@pbs!tok1");
        assert_eq!(authid("root@pam"), Authid::root());
        assert!(authid("root@pam").user.is_root());
    }

    #[test]
    fn malformed_ones_are_refused() {
        for bad in [
            "",
            "root",
            "@pam",
            "root@",
            "root@p",
            "root@pam!",
            "root@pam!a!b",
            "ro ot@pam",
            "ro:ot@pam",
            "a/b@pam",
            "a\0@pam",
            "root@pam\n",
            "root@.pam",
            "root@pam!.x",
            "!x",
            &format!("{}@pam", "x".repeat(61)),
            &format!("root@{}", "x".repeat(33)),
        ] {
            assert!(bad.parse::<Authid>().is_err(), "{bad:?}");
        }
        assert!(format!("{}@pam", "x".repeat(60)).parse::<Authid>().is_ok());
    }

    #[test]
    fn owners_and_their_tokens() {
        let ok = |owner, caller| Authid::is_owner_ok(&authid(owner), &authid(caller));
        assert!(ok("a@pbs", "a@pbs"));
        assert!(ok("a@pbs!t", "a@pbs!t"));
        assert!(ok("a@pbs!t", "a@pbs"));
        assert!(!ok("a@pbs", "a@pbs!t"));
        assert!(!ok("a@pbs!t", "a@pbs!u"));
        assert!(!ok("a@pbs!t", "b@pbs"));
        assert!(!ok("a@pbs", "b@pbs"));
    }
}
