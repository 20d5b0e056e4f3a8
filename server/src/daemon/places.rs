//! How much is done at a time of what costs threads or memory.

use std::net::IpAddr;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use hyper::StatusCode;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::quota::{Quota, Share};
use crate::rest::error::RestError;

/// Directories that are packed for a download. Each takes a thread, which waits for its client, and
/// up to a hundred MiB.
const PACKED: usize = 32;
/// Threads that look for something in an archive. They wait for its chunks, which need threads too:
/// together with those that pack they must be far fewer than there may be.
const READERS: usize = 64;
/// Answers that are made in memory and may be large.
const MADE: usize = 4;
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

/// The places that there are.
#[derive(Debug)]
pub struct Places {
    packing: Arc<Semaphore>,
    reading: Arc<Semaphore>,
    making: Arc<Semaphore>,
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
            making: places(MADE),
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

    /// Waits for a place to make an answer in memory that may be large.
    pub async fn make(&self) -> Result<Place> {
        wait(&self.making).await
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
