//! What it means for all others that one chunk cannot be read.

use std::io;
use std::time::Duration;

use hyper::StatusCode;
use thiserror::Error;
use tokio::task::JoinError;

use crate::remote::Refused;

/// The first pause before a chunk is asked for again; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// The longest one.
const LONGEST_PAUSE: Duration = Duration::from_secs(16);

/// Whoever reads does not want to any more.
#[derive(Debug, Error)]
#[error("the restore was interrupted")]
pub(super) struct Interrupted;

/// The server has refused one chunk after the other: that is no damage to some of them.
#[derive(Debug, Error)]
#[error(
    "the server has refused {0} chunks in a row; see its log for what it lacks, then restore again"
)]
pub(super) struct GivenUp(pub(super) u32);

/// What an error of reading a chunk says of this one and the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// Nothing will be read any more.
    Over,
    /// The answer was cut off, or there is no connection.
    Lost,
    /// None may be read.
    Denied,
    /// The server cannot give it now, for a reason that will pass.
    Unavailable,
    /// The server cannot give it. It does not say whether it ever will: some have one status for
    /// what is missing and for what their bucket does not give at the moment.
    Refused,
    /// It is not what it should be; others need not be so.
    Damaged,
}

impl Fault {
    /// By an error, with whatever context.
    pub(super) fn of(error: &anyhow::Error) -> Self {
        let is_over = error.is::<Interrupted>() || error.is::<JoinError>();
        if is_over || error.is::<GivenUp>() {
            return Self::Over;
        }
        if error.chain().any(|cause| cause.is::<hyper::Error>()) {
            return Self::Lost;
        }
        match Refused::status_of(error) {
            Some(StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => Self::Denied,
            Some(StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS) => Self::Unavailable,
            Some(status) if status.is_server_error() => Self::Unavailable,
            // As clear as a refusal can be.
            Some(StatusCode::NOT_FOUND) | None => Self::Damaged,
            Some(_) => Self::Refused,
        }
    }

    /// How long to wait before the chunk is asked for once more after so many failures; none if
    /// that does not help.
    pub(super) fn pause(self, failures: u32) -> Option<Duration> {
        let most = match self {
            Self::Over | Self::Denied | Self::Damaged => 0,
            Self::Refused | Self::Lost => 2,
            // Three quarters of a minute: whatever the server asks has been asked often by itself.
            Self::Unavailable => 7,
        };
        let pause = FIRST_PAUSE.saturating_mul(1 << failures.saturating_sub(1).min(16));
        (failures <= most).then_some(pause.min(LONGEST_PAUSE))
    }

    /// What the reader of an archive is told: [`io::ErrorKind::InvalidData`] where the rest of it
    /// may be good.
    pub(super) fn kind(self) -> io::ErrorKind {
        match self {
            Self::Over | Self::Lost => io::ErrorKind::ConnectionAborted,
            Self::Denied => io::ErrorKind::PermissionDenied,
            Self::Unavailable => io::ErrorKind::TimedOut,
            Self::Refused | Self::Damaged => io::ErrorKind::InvalidData,
        }
    }
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    #[test]
    fn only_what_concerns_a_chunk_alone_counts_as_damage() {
        let refused = |status| anyhow::Error::from(Refused::new(status, b"no"));
        let damaged = anyhow::anyhow!("its content is not what its digest says");
        let given_up = refused(StatusCode::BAD_REQUEST).context(GivenUp(16));
        for (error, fault, is_damage, attempts) in [
            (Interrupted.into(), Fault::Over, false, 1),
            (given_up, Fault::Over, false, 1),
            (refused(StatusCode::FORBIDDEN), Fault::Denied, false, 1),
            (refused(StatusCode::UNAUTHORIZED), Fault::Denied, false, 1),
            (
                refused(StatusCode::BAD_GATEWAY),
                Fault::Unavailable,
                false,
                8,
            ),
            (
                refused(StatusCode::SERVICE_UNAVAILABLE),
                Fault::Unavailable,
                false,
                8,
            ),
            (refused(StatusCode::BAD_REQUEST), Fault::Refused, true, 3),
            (refused(StatusCode::NOT_FOUND), Fault::Damaged, true, 1),
            (damaged, Fault::Damaged, true, 1),
        ] {
            let error = Err::<(), anyhow::Error>(error);
            let error = error.context("failed to read a chunk").unwrap_err();
            assert_eq!(Fault::of(&error), fault, "{error:#}");
            assert_eq!(fault.kind() == io::ErrorKind::InvalidData, is_damage);
            let pauses = (1..).map_while(|failures| fault.pause(failures));
            assert_eq!(pauses.count() + 1, attempts, "{fault:?}");
        }
        let all = (1..).map_while(|failures| Fault::Unavailable.pause(failures));
        assert_eq!(all.sum::<Duration>(), Duration::from_millis(47_500));
    }
}
