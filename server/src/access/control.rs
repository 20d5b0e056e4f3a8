//! Who is it, and what may they do, as the daemon asks it.

use std::path::Path;
use std::sync::Arc;

use anyhow::Result;
use api_types::access::{Privilege, Privileges};
use api_types::auth::{Authid, Userid};
use hyper::{HeaderMap, Method, StatusCode};
use s3_client::env::Env;

use super::acl::Granted;
use super::acl_file::{Acl, AclFile};
use super::attempts::{Busy, Turn};
use super::cached::Cached;
use super::credentials::{Credentials, NoCredentials};
use super::csrf::CsrfKey;
use super::hashing::Hashing;
use super::keys::{csrf_key, ticket_key};
use super::secrets::SecretFile;
use super::ticket::{LOGIN, TicketError, TicketKey};
use super::verified::Verified;
use crate::config::users::{UserEntry, Users, user_file};
use crate::config::{ConfigError, ConfigFile};
use crate::paths::Paths;
use crate::rest::error::RestError;

/// Users, access rights, hashes and keys of an installation.
#[derive(Debug)]
pub struct AccessControl {
    users: ConfigFile<UserEntry>,
    acl: AclFile,
    pub(super) passwords: SecretFile,
    tokens: SecretFile,
    ticket_key: TicketKey,
    csrf_key: CsrfKey,
    pub(super) hashing: Hashing,
    verified: Verified,
    users_now: Cached<Users>,
    acl_now: Cached<Acl>,
    pub(super) env: Env,
}

/// Why a request or a login is not believed. For the log: the client is told nothing of it.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// Nothing, or nothing understandable, was shown.
    #[error(transparent)]
    Credentials(#[from] NoCredentials),
    /// The ticket is not good.
    #[error(transparent)]
    Ticket(#[from] TicketError),
    /// The ticket is somebody else's.
    #[error("ticket login failed - wrong userid")]
    WrongUser,
    /// The token against request forgery is missing, wrong or too old.
    #[error("invalid CSRF prevention token")]
    Csrf,
    /// There is none, or it is disabled or expired.
    #[error("user or token is unknown, disabled or expired")]
    Inactive,
    /// The password or secret is wrong, or there is none.
    #[error("invalid credentials")]
    Wrong,
    /// The realm cannot do it.
    #[error("{0}")]
    Realm(String),
    /// Too many others are asked at the same time.
    #[error(transparent)]
    Busy(#[from] Busy),
    /// A second factor was shown, and there are none.
    #[error("second factors are not supported")]
    SecondFactor,
    /// It could not be found out.
    #[error("{0:#}")]
    Failed(anyhow::Error),
}

impl From<ConfigError> for AuthError {
    fn from(error: ConfigError) -> Self {
        Self::Failed(error.into())
    }
}

impl AccessControl {
    /// The files below `paths`; keys that are missing are made.
    pub fn open(paths: &Paths, env: Env) -> Result<Self> {
        let config: &Path = &paths.config;
        let users = user_file(config, env.clone());
        let acl = AclFile::new(config, env.clone());
        Ok(Self {
            users_now: Cached::new(users.path().to_owned()),
            acl_now: Cached::new(acl.path().to_owned()),
            users,
            acl,
            passwords: SecretFile::passwords(config, env.clone()),
            tokens: SecretFile::tokens(config, env.clone()),
            ticket_key: ticket_key(config)?,
            csrf_key: csrf_key(config)?,
            hashing: Hashing::default(),
            verified: Verified::new()?,
            env,
        })
    }

    /// `user.cfg`, to be changed.
    #[must_use]
    pub const fn users(&self) -> &ConfigFile<UserEntry> {
        &self.users
    }

    /// `acl.cfg`, to be changed.
    #[must_use]
    pub const fn acl(&self) -> &AclFile {
        &self.acl
    }

    /// The hashes of token secrets.
    #[must_use]
    pub const fn token_secrets(&self) -> &SecretFile {
        &self.tokens
    }

    /// The hashes of passwords of the realm `pbs`, by user name.
    #[must_use]
    pub const fn password_hashes(&self) -> &SecretFile {
        &self.passwords
    }

    /// Users and tokens, as of now.
    pub fn current_users(&self) -> Result<Arc<Users>, ConfigError> {
        self.users_now.get(|| self.users.load())
    }

    /// Access rights, as of now.
    pub fn current_acl(&self) -> Result<Arc<Acl>, ConfigError> {
        self.acl_now.get(|| self.acl.load())
    }

    /// Whether it exists and may be used.
    pub fn is_active(&self, auth_id: &Authid) -> Result<bool, ConfigError> {
        let now = self.env.unix_secs();
        Ok(self.current_users()?.is_active(auth_id, now))
    }

    /// What `auth_id` may do at the path of these components. While the rights cannot be read
    /// nobody but the super-user may do anything.
    #[must_use]
    pub fn granted(&self, auth_id: &Authid, path: &[&str]) -> Granted {
        self.acl_or_nothing().tree.granted(auth_id, path)
    }

    fn acl_or_nothing(&self) -> Arc<Acl> {
        self.current_acl().unwrap_or_else(|error| {
            tracing::error!("nobody has any rights: {error}");
            Arc::default()
        })
    }

    /// What `auth_id` may do at the path itself.
    #[must_use]
    pub fn privileges(&self, auth_id: &Authid, path: &[&str]) -> Privileges {
        self.granted(auth_id, path).here
    }

    /// Whether `auth_id` has one of `wanted` at the path or somewhere below it: whether a
    /// datastore's name may be seen.
    #[must_use]
    pub fn has_any_below(&self, auth_id: &Authid, path: &[&str], wanted: Privileges) -> bool {
        match self.current_acl() {
            Ok(acl) => acl.tree.has_any_below(auth_id, path, wanted),
            Err(error) => {
                tracing::error!("nobody has any rights: {error}");
                *auth_id == Authid::root()
            }
        }
    }

    /// Refuses whoever has none of these privileges at the path, as the table of endpoints does:
    /// 403.
    pub fn check(
        &self,
        auth_id: &Authid,
        path: &[&str],
        any: &[Privilege],
    ) -> Result<(), RestError> {
        if self.privileges(auth_id, path).has_any(Privileges::of(any)) {
            return Ok(());
        }
        Err(RestError::new(
            StatusCode::FORBIDDEN,
            "permission check failed",
        ))
    }

    /// Refuses whoever has none of these privileges at the path, as handlers do: 400, naming them.
    pub fn require(
        &self,
        auth_id: &Authid,
        path: &[&str],
        any: &[Privilege],
    ) -> Result<(), RestError> {
        let wanted = Privileges::of(any);
        if self.privileges(auth_id, path).has_any(wanted) {
            return Ok(());
        }
        Err(lacking(wanted, &path.join("/")))
    }

    /// The same for the path and everything below it.
    pub fn require_throughout(
        &self,
        auth_id: &Authid,
        path: &[&str],
        any: &[Privilege],
    ) -> Result<(), RestError> {
        let wanted = Privileges::of(any);
        let acl = self.acl_or_nothing();
        match acl.tree.lacking_below(auth_id, path, wanted) {
            None => Ok(()),
            Some(names) => Err(lacking(wanted, &names.join("/"))),
        }
    }

    /// Whether `auth_id` may touch all groups of a namespace, since it has one of `full` there
    /// (`true`), or only its own ones, since it has one of `partial` (`false`); else 403. `path` is
    /// `["datastore", store, namespace components …]`.
    pub fn check_ns(
        &self,
        auth_id: &Authid,
        path: &[&str],
        full: &[Privilege],
        partial: &[Privilege],
    ) -> Result<bool, RestError> {
        let has = self.privileges(auth_id, path);
        if has.has_any(Privileges::of(full)) {
            return Ok(true);
        }
        if has.has_any(Privileges::of(partial)) {
            return Ok(false);
        }
        let wanted = Privileges::of(full) | Privileges::of(partial);
        Err(RestError::new(
            StatusCode::FORBIDDEN,
            format!(
                "permission check failed - missing {} on /{}",
                wanted.join("|"),
                path.join("/")
            ),
        ))
    }

    /// Who a request is from, by what its headers show. It takes its turn only if something has to
    /// be hashed, and gives it back if it is good.
    pub async fn authenticate(
        &self,
        method: &Method,
        headers: &HeaderMap,
        turn: &Turn,
    ) -> Result<Authid, AuthError> {
        match Credentials::from_headers(headers)? {
            Credentials::Ticket { ticket, csrf } => {
                let user = self.check_ticket(&ticket)?;
                let now = self.env.unix_secs();
                let is_wanted = *method != Method::GET;
                let is_shown = csrf.is_some_and(|csrf| self.csrf_key.is_valid(&csrf, &user, now));
                if is_wanted && !is_shown {
                    return Err(AuthError::Csrf);
                }
                Ok(user.into())
            }
            Credentials::Token { auth_id, secret } => {
                self.check_token(&auth_id, &secret, turn).await?;
                Ok(auth_id)
            }
        }
    }

    /// Whose ticket it is, if it is good and the user is active.
    pub fn check_ticket(&self, ticket: &str) -> Result<Userid, AuthError> {
        let user = self
            .ticket_key
            .verify(ticket, self.env.unix_secs(), LOGIN)?;
        if !self.is_active(&user.clone().into())? {
            return Err(AuthError::Inactive);
        }
        Ok(user)
    }

    /// Whether it is the secret of the token, which is active.
    pub async fn check_token(
        &self,
        auth_id: &Authid,
        secret: &str,
        turn: &Turn,
    ) -> Result<(), AuthError> {
        if !self.is_active(auth_id)? {
            return Err(AuthError::Inactive);
        }
        let name = auth_id.to_string();
        let hash = self.tokens.get(&name)?.ok_or(AuthError::Wrong)?;
        if self.verified.holds(&name, &hash, secret) {
            return Ok(());
        }
        turn.take().await?;
        if !self.hashing.verify(secret, &hash).await? {
            return Err(AuthError::Wrong);
        }
        self.verified.remember(name, &hash, secret);
        turn.give_back().await;
        Ok(())
    }

    /// Gives the token a new secret, and hands it out this one time.
    pub async fn new_token_secret(&self, token: &Authid) -> Result<String> {
        let mut random = [0; 16];
        openssl::rand::rand_bytes(&mut random)?;
        let secret = uuid::Builder::from_random_bytes(random)
            .into_uuid()
            .to_string();
        let hash = self.hashing.hash(&secret).await?;
        self.tokens.set(&token.to_string(), hash).await?;
        Ok(secret)
    }

    /// A new ticket for `user`, and the token against request forgery that goes with it.
    pub fn issue(&self, user: &Userid) -> Result<(String, String)> {
        let now = self.env.unix_secs();
        Ok((
            self.ticket_key.issue(user, now)?,
            self.csrf_key.issue(user, now)?,
        ))
    }
}

fn lacking(wanted: Privileges, path: &str) -> RestError {
    RestError::bad_request(format!(
        "missing permissions '{}' on '/{path}'",
        wanted.join("|")
    ))
}

#[cfg(test)]
mod tests;
