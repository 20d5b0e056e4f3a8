//! Who we are to the server: an API token, or a ticket that is renewed in time.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use hyper::header::{AUTHORIZATION, COOKIE, HeaderName, HeaderValue};
use hyper::{Method, StatusCode};
use s3_client::encode::encode_component;
use serde_json::{Value, json};

use super::answer::{Refused, data_of, json_of};
use super::connect::ConnectOptions;
use super::repository::Repository;
use super::secret::Secret;
use super::tickets::{Ticket, TicketCache};
use super::{Call, Inner};

/// A ticket is good for two hours; upstream's client renews its own as often.
const RENEWAL: Duration = Duration::from_secs(15 * 60);

/// How a ticket begins that is good for nothing but giving a second factor.
const HALF: &str = "PBS:!tfa!";

const SHORTEST_PAUSE: Duration = Duration::from_secs(30);

/// The credentials, and where they are kept.
#[derive(Debug)]
pub(super) struct Login {
    cache: TicketCache,
    credentials: Mutex<Credentials>,
}

#[derive(Clone, Debug)]
enum Credentials {
    None,
    Token(Secret),
    Ticket {
        ticket: Ticket,
        /// It is of an earlier invocation: the server may have forgotten it.
        old: bool,
        /// It is in the cache.
        kept: bool,
    },
}

impl Login {
    pub(super) fn new(options: &ConnectOptions) -> Self {
        Self {
            cache: TicketCache::new(&options.dirs),
            credentials: Mutex::new(Credentials::None),
        }
    }

    fn credentials(&self) -> Credentials {
        let credentials = self.credentials.lock();
        credentials.unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, new: Credentials) {
        let credentials = self.credentials.lock();
        *credentials.unwrap_or_else(PoisonError::into_inner) = new;
    }

    /// Whether a refusal may only mean that a ticket from before has lost its worth.
    pub(super) fn may_be_outdated(&self) -> bool {
        matches!(self.credentials(), Credentials::Ticket { old: true, .. })
    }

    /// Whether later invocations need no password.
    pub(super) fn is_kept(&self) -> bool {
        matches!(self.credentials(), Credentials::Ticket { kept: true, .. })
    }

    /// What a request carries.
    pub(super) fn headers(&self) -> Result<Vec<(HeaderName, HeaderValue)>> {
        let header = |name: HeaderName, value: String| {
            let value = HeaderValue::from_str(&value);
            let mut value = value.context("a credential has characters that no header may have")?;
            value.set_sensitive(true);
            anyhow::Ok((name, value))
        };
        Ok(match self.credentials() {
            Credentials::None => Vec::new(),
            Credentials::Token(value) => {
                vec![header(AUTHORIZATION, value.expose().to_owned())?]
            }
            Credentials::Ticket { ticket, .. } => vec![
                header(
                    COOKIE,
                    format!("PBSAuthCookie={}", cookie_value(&ticket.ticket)),
                )?,
                header(HeaderName::from_static("csrfpreventiontoken"), ticket.token)?,
            ],
        })
    }
}

impl Inner {
    /// Gets credentials; a ticket of an earlier login is taken as it is.
    pub(super) async fn log_in(&self) -> Result<()> {
        let (repository, options) = (self.connector.repository(), self.connector.options());
        if repository.user().is_token() {
            let secret = options.password(repository).await?;
            let secret = encode_component(secret.expose());
            let value = format!("PBSAPIToken {}:{secret}", repository.user());
            self.login.set(Credentials::Token(Secret::new(value)));
            return Ok(());
        }
        let now = options.env.unix_secs();
        match self.login.cache.get(repository, now) {
            Some(ticket) if !options.fresh_login => {
                self.login.set(Credentials::Ticket {
                    ticket,
                    old: true,
                    kept: true,
                });
                Ok(())
            }
            _ => self.log_in_by_password().await,
        }
    }

    pub(super) async fn log_in_by_password(&self) -> Result<()> {
        let (repository, options) = (self.connector.repository(), self.connector.options());
        let password = options.password(repository).await?;
        let ticket = self.ask_for_ticket(&password).await.map_err(|error| {
            let refused = Refused::status_of(&error) == Some(StatusCode::UNAUTHORIZED);
            let (user, server) = (repository.user(), repository.server());
            if refused {
                // It says no more than that permission is missing.
                error.context(format!(
                    "authentication as {user} at {server} has failed: no such user, or the password \
                     is wrong"
                ))
            } else {
                error.context(format!("failed to log in to {server} as {user}"))
            }
        })?;
        self.take_ticket(ticket);
        Ok(())
    }

    fn take_ticket(&self, ticket: Ticket) {
        let repository = self.connector.repository();
        let now = ticket.timestamp;
        let kept = self.login.cache.put(repository, ticket.clone(), now);
        self.login.set(Credentials::Ticket {
            ticket,
            old: false,
            kept: kept.is_ok(),
        });
    }

    /// A ticket for a password, or for a ticket.
    async fn ask_for_ticket(&self, password: &Secret) -> Result<Ticket> {
        let repository = self.connector.repository();
        let parameters = json!({
            "username": repository.user().to_string(),
            "password": password.expose(),
        });
        let call = Call {
            content_type: "application/json",
            body: parameters.to_string().into(),
            // A ticket that is no longer good must not stand in the way of the password.
            anonymous: true,
            ..Call::new(Method::POST, "/access/ticket", "")
        };
        let (response, sender) = self.respond_once(call).await?;
        let body = http_body_util::BodyExt::collect(response.into_body()).await?;
        self.keep(sender);
        let data = data_of(json_of(&body.to_bytes())?)?;
        let text = |name: &str| {
            let value = data.get(name).and_then(Value::as_str);
            let value = value.map(str::to_owned);
            value.with_context(|| format!("the answer to the login has no {name}"))
        };
        let ticket = text("ticket")?;
        ensure!(
            !ticket.starts_with(HALF),
            "the password is right, but {user} has a second factor, which this client cannot give: \
             make an API token for {user} in the server's web interface, with the right to this \
             datastore, and use it by PBS_REPOSITORY={user}!TOKEN@{server}:{store} and its secret \
             as PBS_PASSWORD",
            user = repository.user(),
            server = repository.server(),
            store = repository.store(),
        );
        Ok(Ticket {
            ticket,
            token: text("CSRFPreventionToken")?,
            timestamp: self.connector.options().env.unix_secs(),
        })
    }

    /// How long the ticket needs no renewal yet; nothing if there is none.
    fn fresh_for(&self) -> Option<Duration> {
        let Credentials::Ticket { ticket, .. } = self.login.credentials() else {
            return None;
        };
        let age = self.connector.options().env.unix_secs() - ticket.timestamp;
        let age = Duration::from_secs(u64::try_from(age).unwrap_or(0));
        Some(RENEWAL.saturating_sub(age))
    }

    /// Gets a ticket for the one that there is.
    pub(super) async fn renew(&self) -> Result<()> {
        if let Credentials::Ticket { ticket, .. } = self.login.credentials() {
            let renewed = self.ask_for_ticket(&Secret::new(ticket.ticket)).await?;
            self.take_ticket(renewed);
        }
        Ok(())
    }
}

/// What the server decodes to this text: only what means something in a cookie is encoded.
fn cookie_value(text: &str) -> String {
    let mut value = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'%' | b';' | b',' | b'"' | b'\\' | ..=b' ' | 0x7f.. => {
                value.push_str(&format!("%{byte:02X}"));
            }
            plain => value.push(char::from(plain)),
        }
    }
    value
}

/// Renews the ticket in time, as long as anybody uses it.
pub(super) fn renew_regularly(inner: &Arc<Inner>) {
    let env = inner.connector.options().env.clone();
    let inner = Arc::downgrade(inner);
    tokio::spawn(async move {
        while let Some(fresh_for) = inner.upgrade().and_then(|inner| inner.fresh_for()) {
            // A command that is over at once renews nothing, and one that could not does not hurry.
            env.sleep(fresh_for.max(SHORTEST_PAUSE)).await;
            let Some(inner) = inner.upgrade() else {
                return;
            };
            if inner.fresh_for() == Some(Duration::ZERO) {
                // It is tried again long before the ticket is over; who needs it then hears why.
                let _ = inner.renew().await;
            }
        }
    });
}

/// Forgets the ticket of an earlier login.
pub(super) fn forget(repository: &Repository, options: &ConnectOptions) -> Result<()> {
    TicketCache::new(&options.dirs).remove(repository, options.env.unix_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_is_encoded_where_it_must_be() {
        let plain = "PBS:test@pbs:6B02A910::aB+/9";
        assert_eq!(cookie_value(plain), plain);
        assert_eq!(cookie_value("a%3Ab; c\u{e9}\n"), "a%253Ab%3B%20c%C3%A9%0A");
    }
}
