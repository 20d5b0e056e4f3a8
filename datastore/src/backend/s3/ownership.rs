//! One owner of a bucket prefix: the in-use marker and the fence made from it (`gc.md` §6.6,
//! `s3-backend.md` §15).
//!
//! The marker alone is no fence: whoever took the prefix over writes another instance id into it,
//! and we notice at our next look. So the look is never older than a minute when a delete or a
//! manifest is sent, and that request is signed with the server time of the look: a process that
//! was paused in between has its late request refused by the signature's age.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use s3_client::env::Env;
use s3_client::{ObjectKey, PutMode, PutOutcome, S3Client};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::error::{Error, Result};

use super::bounded::{Bounded, get_small};

/// How long a look at the marker is good for.
const LOOK_VALID: Duration = Duration::from_secs(60);
/// Pause before a claim is read again, to notice a competing one.
const CLAIM_SETTLE: Duration = Duration::from_secs(2);

/// Who we are: the installation's id and the node's name.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Instance {
    /// UUID of the installation.
    pub id: String,
    /// Short host name, as upstream writes it into the marker.
    pub hostname: String,
}

/// Content of `S/.in-use`: upstream's host name first, our fields behind it.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct InUse {
    /// Node name of the owner.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// Installation id of the owner; absent in upstream's markers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance_id: Option<String>,
    /// When the prefix was claimed, seconds since the epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<i64>,
    /// Name of the owner's software.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub product: Option<String>,
}

impl InUse {
    /// Parses a marker; like upstream, an undecodable one is a marker without a name.
    #[must_use]
    pub fn parse(body: &[u8]) -> Self {
        serde_json::from_slice(body).unwrap_or_default()
    }

    /// Whether the marker is `instance`'s own. One without instance id (written by upstream) is
    /// compared by host name.
    #[must_use]
    pub fn is_of(&self, instance: &Instance) -> bool {
        match &self.instance_id {
            Some(id) => *id == instance.id,
            None => self.hostname.as_deref() == Some(instance.hostname.as_str()),
        }
    }

    /// The owner's name for messages.
    #[must_use]
    pub fn owner(&self) -> String {
        let host = self.hostname.as_deref().unwrap_or("an unknown host");
        match &self.instance_id {
            Some(id) => format!("{host} (instance {id})"),
            None => host.to_owned(),
        }
    }
}

/// Proof of a recent look at the marker, to be spent on one request.
#[derive(Clone, Copy, Debug)]
pub struct Fence {
    /// Server time of the look, seconds since the epoch: the time to sign the request with.
    pub signed_at: i64,
}

#[derive(Clone, Copy, Debug)]
struct Look {
    at: Instant,
    server_time: i64,
}

/// The in-use marker of one prefix.
#[derive(Debug)]
pub struct Ownership {
    env: Env,
    key: ObjectKey,
    instance: Instance,
    look: Mutex<Option<Look>>,
}

impl Ownership {
    /// The marker at `key`, looked at on behalf of `instance`.
    #[must_use]
    pub fn new(env: Env, key: ObjectKey, instance: Instance) -> Self {
        Self {
            env,
            key,
            instance,
            look: Mutex::new(None),
        }
    }

    /// This installation.
    #[must_use]
    pub fn instance(&self) -> &Instance {
        &self.instance
    }

    /// Reads the marker; `None` if the prefix is not claimed.
    ///
    /// # Errors
    /// If the bucket does not answer.
    pub async fn read(&self, client: &S3Client) -> Result<Option<InUse>> {
        Ok(match get_small(client, &self.key).await? {
            Bounded::Found(object) => Some(InUse::parse(&object.body)),
            Bounded::Absent => None,
            Bounded::Oversized => Some(InUse::default()),
        })
    }

    /// Confirms that the prefix is ours, by a look that is less than a minute old.
    ///
    /// # Errors
    /// [`Error::Fenced`] if it is somebody else's, [`Error::NeedsRefresh`] if nobody owns it.
    pub async fn check(&self, client: &S3Client, action: &'static str) -> Result<Fence> {
        let now = self.env.now();
        if let Some(look) = self.last_look()
            && now.saturating_duration_since(look.at) < LOOK_VALID
        {
            return Ok(Fence {
                signed_at: look.server_time,
            });
        }
        self.look_now(client, action).await
    }

    /// Like [`check`](Self::check), but always asks the bucket.
    ///
    /// # Errors
    /// As for [`check`](Self::check).
    pub async fn look_now(&self, client: &S3Client, action: &'static str) -> Result<Fence> {
        // The age counts from before the request: the answer may be as old as that.
        let at = self.env.now();
        let local_time = self.env.unix_secs();
        self.forget();
        let object = match get_small(client, &self.key).await? {
            Bounded::Found(object) => object,
            Bounded::Absent => {
                return Err(Error::NeedsRefresh {
                    reason: format!("the in-use marker {} is gone", self.key),
                });
            }
            Bounded::Oversized => {
                let owner = InUse::default().owner();
                return Err(Error::Fenced { owner, action });
            }
        };
        let marker = InUse::parse(&object.body);
        if !marker.is_of(&self.instance) {
            return Err(Error::Fenced {
                owner: marker.owner(),
                action,
            });
        }
        let offset = client
            .clock_offset()
            .map_or(0, |millis| millis.div_euclid(1000));
        let server_time = object
            .head
            .server_date
            .unwrap_or(local_time.saturating_add(offset));
        *self.look.lock().unwrap_or_else(PoisonError::into_inner) = Some(Look { at, server_time });
        Ok(Fence {
            signed_at: server_time,
        })
    }

    /// Claims the prefix.
    ///
    /// Without `overwrite` the marker is created only if there is none, and read again after a
    /// pause to notice a competing claim on stores that ignore the condition.
    ///
    /// # Errors
    /// [`Error::Fenced`] if another instance holds or wins the prefix.
    pub async fn claim(&self, client: &S3Client, overwrite: bool) -> Result<()> {
        self.forget();
        let previous = self.read(client).await?;
        if let Some(marker) = &previous
            && !overwrite
            && !marker.is_of(&self.instance)
        {
            return Err(Error::Fenced {
                owner: marker.owner(),
                action: "claim it",
            });
        }
        let marker = InUse {
            hostname: Some(self.instance.hostname.clone()),
            instance_id: Some(self.instance.id.clone()),
            since: Some(self.env.unix_secs()),
            product: Some("coffer".to_owned()),
        };
        let body = serde_json::to_vec(&marker).map_err(|error| {
            Error::Refused(format!("unable to encode the in-use marker: {error}"))
        })?;
        let mode = if previous.is_none() {
            // Not `CreateOnly`, which is for chunks: its last attempt may overwrite a competitor.
            PutMode::CreateExclusive
        } else {
            PutMode::Replace
        };
        let answer = client
            .put_object(&self.key, Bytes::from(body), mode)
            .await?;
        if matches!(answer.outcome, PutOutcome::AlreadyExists) {
            // Our own lost-and-retried PUT answers the same way: the look below decides.
            tracing::info!(key = %self.key, "the in-use marker appeared while it was being claimed");
        }
        self.env.sleep(CLAIM_SETTLE).await;
        self.look_now(client, "claim it").await.map(|_| ())
    }

    /// Gives the prefix up. The caller has resolved the delete journal before, so that the next
    /// owner need not wait.
    ///
    /// # Errors
    /// If the prefix is not ours or the bucket does not answer.
    pub async fn release(&self, client: &S3Client) -> Result<()> {
        let fence = self.look_now(client, "release it").await?;
        self.forget();
        client
            .signed_at(fence.signed_at)
            .delete_object(&self.key)
            .await?;
        Ok(())
    }

    fn last_look(&self) -> Option<Look> {
        *self.look.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn forget(&self) {
        *self.look.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn us() -> Instance {
        Instance {
            id: "11".into(),
            hostname: "vm".into(),
        }
    }

    #[test]
    fn upstreams_marker_is_compared_by_host_name() {
        assert!(InUse::parse(br#"{"hostname":"vm"}"#).is_of(&us()));
        assert!(!InUse::parse(br#"{"hostname":"other"}"#).is_of(&us()));
    }

    #[test]
    fn our_marker_is_compared_by_instance_only() {
        let renamed = InUse::parse(br#"{"hostname":"old-name","instance-id":"11","future":[1]}"#);
        assert!(renamed.is_of(&us()));
        assert!(!InUse::parse(br#"{"hostname":"vm","instance-id":"22"}"#).is_of(&us()));
    }

    #[test]
    fn an_undecodable_marker_is_somebody_elses() {
        for body in [&b""[..], b"{", b"null", b"[]", b"\xff"] {
            assert!(!InUse::parse(body).is_of(&us()));
        }
    }
}
