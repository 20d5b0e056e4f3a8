//! Files as answers: read in blocks while the client takes them.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use futures_util::stream;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::StatusCode;
use hyper::body::Frame;
use s3_client::env::Env;

use super::http;
use crate::rest::answer::{Answer, AnswerBody};
use crate::rest::error::RestError;

/// Read at once.
const BLOCK: u64 = 1 << 20;

/// An open file on its way to a client.
#[derive(Debug)]
pub struct Download {
    file: File,
    path: PathBuf,
    env: Env,
}

impl Download {
    /// Opens a file; a missing one is status 404.
    pub async fn open(path: PathBuf, env: &Env) -> Result<Self, RestError> {
        let opened = path.clone();
        match env.blocking(move || open_regular(&opened)).await {
            Ok(file) => Ok(Self {
                file,
                path,
                env: env.clone(),
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(RestError::new(
                StatusCode::NOT_FOUND,
                format!("open file {path:?} failed - not found"),
            )),
            Err(error) => Err(RestError::bad_request(format!(
                "open file {path:?} failed: {error}"
            ))),
        }
    }

    /// Its content.
    #[must_use]
    pub fn into_answer(self) -> Answer {
        http::bytes(self.into_body())
    }

    fn into_body(self) -> AnswerBody {
        let blocks = stream::try_unfold(self, |mut download| async move {
            let env = download.env.clone();
            let (download, block) = env
                .blocking(move || {
                    let block = download.next_block();
                    (download, block)
                })
                .await;
            match block {
                Ok(block) if block.is_empty() => Ok(None),
                Ok(block) => Ok(Some((Frame::data(block), download))),
                Err(error) => {
                    let path = download.path.display();
                    Err(anyhow::Error::new(error).context(format!("failed to read file {path}")))
                }
            }
        });
        StreamBody::new(blocks).boxed_unsync()
    }

    fn next_block(&mut self) -> io::Result<Bytes> {
        let mut block = Vec::new();
        (&self.file).take(BLOCK).read_to_end(&mut block)?;
        Ok(block.into())
    }
}

/// A file, not a directory, a pipe or whatever else can be opened.
fn open_regular(path: &Path) -> io::Result<File> {
    let file = File::open(path)?;
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::Error::other("not a regular file"))
    }
}
