//! How much is done at a time of what costs threads or memory.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use anyhow::{Context as _, Result};
use hyper::StatusCode;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::quota::{Quota, Share, source};
use crate::rest::error::RestError;

/// Directories that are packed for a download. Each takes a thread, which waits for its client, and
/// up to a hundred MiB.
const PACKED: usize = 32;
/// Threads that look for something in an archive. They wait for its chunks, which need threads too:
/// together with those that pack they must be far fewer than there may be.
const READERS: usize = 64;
/// Answers that are made in memory and may be large, of each kind.
const MADE: usize = 4;
/// Of these, listings for one address: they wait for chunks, which may be far away.
const LISTED_EACH: usize = 2;
/// Large ones that are being sent.
const SENT: usize = 8;
/// Downloads, which have a chunk or two in memory each, in all and of one address.
const DOWNLOADS: u64 = 128;
const DOWNLOADS_EACH: u64 = 32;

/// Bytes of uploaded logs in memory, in all and of one address: two of the largest.
const UPLOADED: u64 = 512 << 20;
const UPLOADED_EACH: u64 = 257 << 20;

/// A place; free again when dropped.
pub type Place = OwnedSemaphorePermit;

/// One place among those of all, and among those of an address.
#[derive(Debug)]
pub struct FairPlace {
    _own: Place,
    _shared: Place,
}

/// The places that there are.
#[derive(Debug)]
pub struct Places {
    packing: Arc<Semaphore>,
    reading: Arc<Semaphore>,
    decoding: Arc<Semaphore>,
    reading_logs: Arc<Semaphore>,
    listing: Fair,
    sending: Arc<Semaphore>,
    downloads: Arc<Quota>,
    uploads: Arc<Quota>,
}

impl Default for Places {
    fn default() -> Self {
        let places = |count| Arc::new(Semaphore::new(count));
        Self {
            packing: places(PACKED),
            reading: places(READERS),
            decoding: places(MADE),
            reading_logs: places(MADE),
            listing: Fair::new(MADE, LISTED_EACH),
            sending: places(SENT),
            downloads: Quota::new(DOWNLOADS, DOWNLOADS_EACH),
            uploads: Quota::new(UPLOADED, UPLOADED_EACH),
        }
    }
}

impl Places {
    /// A place to pack a directory.
    pub fn pack(&self) -> Result<Place, RestError> {
        now(&self.packing, "directories are being downloaded")
    }

    /// Waits for a place to look for something in an archive, which does not take long.
    pub async fn read(&self) -> Result<Place> {
        wait(&self.reading).await
    }

    /// Waits for a place to decode a blob in memory.
    pub async fn decode(&self) -> Result<Place> {
        wait(&self.decoding).await
    }

    /// Waits for a place to read the log of a task: for nobody who reads anything else, since
    /// whoever started a task asks for its log every second.
    pub async fn read_log(&self) -> Result<Place> {
        wait(&self.reading_logs).await
    }

    /// Waits for a place to list a directory of an archive, behind others of the same address.
    pub async fn list(&self, address: Option<IpAddr>) -> Result<FairPlace> {
        self.listing.wait(address).await
    }

    /// A place to send a large one.
    pub fn send(&self) -> Result<Place, RestError> {
        now(&self.sending, "large answers are being sent")
    }

    /// A share of the memory for what is uploaded as a whole, of nothing yet.
    #[must_use]
    pub fn upload(&self, address: Option<IpAddr>) -> Share {
        self.uploads.share(address)
    }

    /// A place to download what is made meanwhile.
    pub fn download(&self, address: Option<IpAddr>) -> Result<Share, RestError> {
        let mut share = self.downloads.share(address);
        match share.take(1) {
            true => Ok(share),
            false => Err(too_many("downloads are under way")),
        }
    }
}

/// Places of which no address has more than a part.
#[derive(Debug)]
struct Fair {
    shared: Arc<Semaphore>,
    each: usize,
    /// Of the addresses that have one or wait for one.
    own: Mutex<HashMap<Option<IpAddr>, Weak<Semaphore>>>,
}

impl Fair {
    fn new(all: usize, each: usize) -> Self {
        Self {
            shared: Arc::new(Semaphore::new(all)),
            each,
            own: Mutex::default(),
        }
    }

    async fn wait(&self, address: Option<IpAddr>) -> Result<FairPlace> {
        // First among its own: those who wait for one of all take turns.
        let own = wait(&self.own(address.map(source))).await?;
        let shared = wait(&self.shared).await?;
        Ok(FairPlace {
            _own: own,
            _shared: shared,
        })
    }

    fn own(&self, address: Option<IpAddr>) -> Arc<Semaphore> {
        // Each change is complete before anything can panic.
        let mut all = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = all.get(&address).and_then(Weak::upgrade) {
            return own;
        }
        all.retain(|_, own| own.strong_count() > 0);
        let own = Arc::new(Semaphore::new(self.each));
        all.insert(address, Arc::downgrade(&own));
        own
    }
}

async fn wait(places: &Arc<Semaphore>) -> Result<Place> {
    let place = Arc::clone(places).acquire_owned().await;
    place.context("the server is shutting down")
}

fn now(places: &Arc<Semaphore>, what: &str) -> Result<Place, RestError> {
    let place = Arc::clone(places).try_acquire_owned();
    place.map_err(|_| too_many(what))
}

fn too_many(what: &str) -> RestError {
    let text = format!("too many {what}; try again later");
    RestError::new(StatusCode::SERVICE_UNAVAILABLE, text)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_address_leaves_places_to_others() {
        let places = Places::default();
        let (one, other) = ([10, 0, 0, 1].into(), [10, 0, 0, 2].into());
        let now = async |address| {
            let list = places.list(Some(address));
            tokio::time::timeout(Duration::from_secs(1), list).await
        };
        let first = now(one).await.unwrap();
        let second = now(one).await.unwrap();
        assert!(now(one).await.is_err());
        let _others = (now(other).await.unwrap(), now(other).await.unwrap());
        assert!(
            now([10, 0, 0, 3].into()).await.is_err(),
            "there are no more"
        );
        drop(first);
        let _third = now([10, 0, 0, 3].into()).await.unwrap();
        drop(second);
        now(one).await.unwrap().unwrap();
        // Addresses that have gone are not remembered.
        now([10, 0, 0, 4].into()).await.unwrap().unwrap();
        let known = places.listing.own.lock().unwrap();
        assert!(!known.contains_key(&Some(one)) && known.contains_key(&Some(other)));
    }
}
