//! `user.cfg`: users and their API tokens.

use std::path::Path;

use api_types::access::{ApiToken, User};
use api_types::auth::{Authid, Userid};
use s3_client::env::Env;

use super::{ConfigFile, Entity, Entries};

/// A section of `user.cfg`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserEntry {
    /// The name in the header: printed once, since it is asked for as text.
    id: String,
    content: Content,
}

/// What a section is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// A user.
    User(User),
    /// A token.
    Token(ApiToken),
}

/// The users and tokens of an installation.
pub type Users = Entries<UserEntry>;

impl UserEntry {
    /// What it is about.
    #[must_use]
    pub const fn content(&self) -> &Content {
        &self.content
    }

    /// What it is about, to be changed; the name stays.
    pub const fn content_mut(&mut self) -> &mut Content {
        &mut self.content
    }
}

impl From<User> for UserEntry {
    fn from(user: User) -> Self {
        Self {
            id: user.userid.to_string(),
            content: Content::User(user),
        }
    }
}

impl From<ApiToken> for UserEntry {
    fn from(token: ApiToken) -> Self {
        Self {
            id: token.tokenid.to_string(),
            content: Content::Token(token),
        }
    }
}

impl Entity for UserEntry {
    const FILE: &'static str = "user";
    const TYPES: &'static [&'static str] = &[User::SECTION_TYPE, ApiToken::SECTION_TYPE];
    const SECRET: bool = false;

    fn id(&self) -> &str {
        &self.id
    }

    fn section_type(&self) -> &'static str {
        match self.content {
            Content::User(_) => User::SECTION_TYPE,
            Content::Token(_) => ApiToken::SECTION_TYPE,
        }
    }

    fn from_section(
        section_type: &str,
        id: &str,
        properties: &[(String, String)],
    ) -> Result<Self, String> {
        let entry = if section_type == ApiToken::SECTION_TYPE {
            ApiToken::from_properties(id, properties).map(Self::from)
        } else {
            User::from_properties(id, properties).map(Self::from)
        };
        entry.map_err(|error| error.to_string())
    }

    fn to_section(&self) -> Vec<(String, String)> {
        match &self.content {
            Content::User(user) => user.to_properties(),
            Content::Token(token) => token.to_properties(),
        }
    }

    fn nothing_to_remove(id: &str) -> String {
        format!("user '{id}' does not exist.")
    }
}

impl Users {
    /// All users; `root@pam` is there even when the file does not name it.
    #[must_use]
    pub fn users(&self) -> Vec<User> {
        let mut users: Vec<User> = self
            .entries
            .iter()
            .filter_map(|entry| match &entry.content {
                Content::User(user) => Some(user.clone()),
                Content::Token(_) => None,
            })
            .collect();
        if !users.iter().any(|user| user.userid.is_root()) {
            users.push(User::new(Authid::root().user));
        }
        users
    }

    /// The tokens of a user.
    pub fn tokens_of(&self, user: &Userid) -> impl Iterator<Item = &ApiToken> {
        self.entries
            .iter()
            .filter_map(move |entry| match &entry.content {
                Content::Token(token) if token.tokenid.user == *user => Some(token),
                _ => None,
            })
    }

    /// Whether it exists and may be used at `now`: a token only while its user may.
    #[must_use]
    pub fn is_active(&self, auth_id: &Authid, now: i64) -> bool {
        let user = self
            .users()
            .into_iter()
            .find(|user| user.userid == auth_id.user);
        let Some(user) = user else {
            return false;
        };
        user.account.is_active(now)
            && (!auth_id.is_token()
                || self
                    .tokens_of(&auth_id.user)
                    .any(|token| token.tokenid == *auth_id && token.account.is_active(now)))
    }
}

/// The file in the directory `config`.
#[must_use]
pub fn user_file(config: &Path, env: Env) -> ConfigFile<UserEntry> {
    ConfigFile::new(config, env)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> Result<Users, super::super::ConfigError> {
        let dir = support::scratch().unwrap();
        std::fs::write(dir.path().join("user.cfg"), text).unwrap();
        user_file(dir.path(), Env::system()).load()
    }

    #[test]
    fn a_file_of_the_real_system() {
        let users =
            load("user: test@pbs\n\nuser: root@pam\n\tcomment Superuser\n\ntoken: test@pbs!tok1\n")
                .unwrap();
        assert_eq!(users.users().len(), 2);
        let id = |text: &str| text.parse::<Authid>().unwrap();
        assert!(users.is_active(&id("test@pbs!tok1"), 1));
        assert!(users.is_active(&id("root@pam"), 1));
        assert!(!users.is_active(&id("test@pbs!tok2"), 1));
        assert!(!users.is_active(&id("other@pbs"), 1));
    }

    #[test]
    fn a_token_is_active_while_its_user_is() {
        let users = load("user: a@pbs\n\texpire 50\n\ntoken: a@pbs!t\n\texpire 0\n").unwrap();
        let token: Authid = "a@pbs!t".parse().unwrap();
        assert!(users.is_active(&token, 49));
        assert!(!users.is_active(&token, 50));
        assert!(users.is_active(&Authid::root(), 50), "without being listed");
    }

    #[test]
    fn other_sections_are_refused() {
        let error = load("group: x\n").unwrap_err().to_string();
        assert!(error.contains("expected 'user' or 'token'"), "{error}");
        assert!(load("user: a\n").is_err());
    }

    #[tokio::test]
    async fn changes_keep_types_and_order() {
        let dir = support::scratch().unwrap();
        let file = user_file(dir.path(), Env::system());
        let change = |users: &mut Users| {
            users.insert(User::new("a@pbs".parse().unwrap()).into())?;
            users.insert(ApiToken::from_properties("a@pbs!t", &[]).unwrap().into())?;
            users.insert(User::new("b@pbs".parse().unwrap()).into())
        };
        file.update(None, change).await.unwrap();
        let text = std::fs::read_to_string(dir.path().join("user.cfg")).unwrap();
        assert_eq!(text, "user: a@pbs\n\ntoken: a@pbs!t\n\nuser: b@pbs\n");
        let again = file.update(None, change).await.unwrap_err();
        assert_eq!(again.to_string(), "user 'a@pbs' already exists.");
    }
}
