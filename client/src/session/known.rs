//! The chunks that the server has, or is about to have, in this session.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use api_types::digest::Digest;
use tokio::sync::watch;

use super::digests::DigestSet;

/// Which chunks need not be sent again, whatever archive they are in.
#[derive(Debug, Default)]
pub struct Known(Mutex<Chunks>);

#[derive(Debug, Default)]
struct Chunks {
    stored: DigestSet,
    /// Under way; it is told when that ends.
    sending: HashMap<Digest, watch::Receiver<bool>>,
}

/// What is to be done about a chunk.
#[derive(Debug)]
pub enum Claim {
    /// Nothing.
    Stored,
    /// Somebody sends it.
    Sending(Wait),
    /// It is to be sent.
    New(Sending),
}

/// For the end of another one's upload.
#[derive(Debug)]
pub struct Wait(watch::Receiver<bool>);

/// The right, and the duty, to send a chunk. Dropped before it was, the chunk is new again.
#[derive(Debug)]
pub struct Sending {
    known: Arc<Known>,
    digest: Digest,
    done: watch::Sender<bool>,
}

impl Known {
    /// Learns of chunks of the last backup.
    pub fn extend(&self, digests: impl IntoIterator<Item = Digest>) {
        let stored = &mut self.chunks().stored;
        for digest in digests {
            stored.insert(&digest);
        }
    }

    /// Whether nothing is to be done about a chunk.
    #[must_use]
    pub fn contains(&self, digest: &Digest) -> bool {
        self.chunks().stored.contains(digest)
    }

    /// Asks for a chunk.
    #[must_use]
    pub fn claim(self: &Arc<Self>, digest: Digest) -> Claim {
        let mut chunks = self.chunks();
        if chunks.stored.contains(&digest) {
            return Claim::Stored;
        }
        if let Some(wait) = chunks.sending.get(&digest) {
            return Claim::Sending(Wait(wait.clone()));
        }
        let (done, wait) = watch::channel(false);
        chunks.sending.insert(digest, wait);
        Claim::New(Sending {
            known: Arc::clone(self),
            digest,
            done,
        })
    }

    fn chunks(&self) -> MutexGuard<'_, Chunks> {
        // Nothing panics while it is held.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wait {
    /// Whether it went well.
    pub async fn stored(mut self) -> bool {
        self.0.wait_for(|done| *done).await.is_ok()
    }
}

impl Sending {
    /// The server has it.
    pub fn stored(self) {
        self.known.chunks().stored.insert(&self.digest);
        // Whoever waits hears it before it is dropped.
        self.done.send_replace(true);
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        self.known.chunks().sending.remove(&self.digest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(byte: u8) -> Digest {
        Digest::from_bytes([byte; 32])
    }

    #[tokio::test]
    async fn a_chunk_is_sent_once_and_others_wait_for_it() {
        let known = Arc::new(Known::default());
        known.extend([digest(1)]);
        assert!(matches!(known.claim(digest(1)), Claim::Stored));
        let Claim::New(sending) = known.claim(digest(2)) else {
            panic!("it is new");
        };
        let Claim::Sending(wait) = known.claim(digest(2)) else {
            panic!("it is under way");
        };
        sending.stored();
        assert!(wait.stored().await);
        assert!(matches!(known.claim(digest(2)), Claim::Stored));
    }

    #[tokio::test]
    async fn who_waits_hears_of_a_failure_and_another_may_try() {
        let known = Arc::new(Known::default());
        let first = known.claim(digest(3));
        let Claim::Sending(wait) = known.claim(digest(3)) else {
            panic!("it is under way");
        };
        drop(first);
        assert!(!wait.stored().await);
        assert!(matches!(known.claim(digest(3)), Claim::New(_)));
    }
}
