//! Logging in with a password or a ticket (`auth.md` §6, §7).

use api_types::auth::Userid;

use super::attempts::Turn;
use super::control::{AccessControl, AuthError};
use super::password::Kind;
use super::ticket::PREFIX;
use super::{pam, ticket};

/// Longer texts are nobody's password.
const MAX_PASSWORD: usize = 1024;

impl AccessControl {
    /// Whether `user` may log in with `password`, which can be a ticket of theirs as well.
    pub async fn login(&self, user: &Userid, password: &str, turn: &Turn) -> Result<(), AuthError> {
        if password.starts_with(PREFIX) {
            match self.login_by_ticket(user, password) {
                // A password may begin like a ticket.
                Err(AuthError::Ticket(
                    ticket::TicketError::Malformed | ticket::TicketError::Signature,
                )) => {}
                other => return other,
            }
        }
        self.check_password(user, password, turn).await
    }

    /// Whether `ticket` is one of `user`, who is active.
    pub fn login_by_ticket(&self, user: &Userid, ticket: &str) -> Result<(), AuthError> {
        if self.check_ticket(ticket)? == *user {
            Ok(())
        } else {
            Err(AuthError::WrongUser)
        }
    }

    /// Whether `password` is the password of `user`, who is active. The turn is kept.
    pub async fn check_password(
        &self,
        user: &Userid,
        password: &str,
        turn: &Turn,
    ) -> Result<(), AuthError> {
        if password.is_empty() || password.len() > MAX_PASSWORD {
            return Err(AuthError::Wrong);
        }
        if !self.is_active(&user.clone().into())? {
            return Err(AuthError::Inactive);
        }
        turn.take().await?;
        match user.realm().as_str() {
            "pbs" => self.check_own(user, password).await,
            "pam" => pam::check(user.name(), password, &self.env).await,
            other => Err(AuthError::Realm(format!("realm '{other}' does not exist"))),
        }
    }

    /// The realm `pbs`: by the hashes in `shadow.json`.
    async fn check_own(&self, user: &Userid, password: &str) -> Result<(), AuthError> {
        let hash = self.passwords.get(user.name())?.ok_or(AuthError::Wrong)?;
        if !self.hashing.verify(password, &hash).await? {
            return Err(AuthError::Wrong);
        }
        if Kind::of(&hash) != Some(Kind::Yescrypt)
            && let Err(error) = self.set_password(user, password).await
        {
            // The login is good all the same.
            tracing::warn!("failed to renew the password hash of '{user}': {error:#}");
        }
        Ok(())
    }

    /// Sets the password of a user of the realm `pbs`.
    pub async fn set_password(&self, user: &Userid, password: &str) -> anyhow::Result<()> {
        let hash = self.hashing.hash(password).await?;
        self.passwords.set(user.name(), hash).await?;
        Ok(())
    }
}
