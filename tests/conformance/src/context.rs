//! What a case works with: a client, a prefix of its own, and short forms of common steps.

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use s3_client::env::Env;
use s3_client::{
    DeleteFilter, DirPrefix, ListOptions, ListPrefix, ListedObject, ObjectKey, PutMode, PutOutcome,
    RetryPolicy, S3Client, S3ClientOptions,
};

/// Everything is written below this.
const ROOT: &str = "conformance";

/// The server under test, as a client sees it.
#[derive(Clone, Debug)]
pub struct Target {
    /// Endpoint, bucket and limits.
    pub options: S3ClientOptions,
    /// Clock and randomness for the client.
    pub env: Env,
}

impl Target {
    /// A client of its own.
    pub(crate) fn client(&self) -> anyhow::Result<S3Client> {
        Ok(S3Client::new(self.options.clone(), self.env.clone())?)
    }
}

/// The surroundings of one case.
pub(crate) struct Context {
    pub(crate) target: Target,
    pub(crate) client: S3Client,
    pub(crate) dir: DirPrefix,
}

impl Context {
    pub(crate) fn new(target: &Target, case: &str) -> anyhow::Result<Self> {
        let dir = DirPrefix::new(ROOT)?.child(case)?;
        let (client, target) = (target.client()?, target.clone());
        Ok(Self {
            target,
            client,
            dir,
        })
    }

    /// A client with changed options; one attempt only, as it is made to fail.
    pub(crate) fn changed(
        &self,
        change: impl FnOnce(&mut S3ClientOptions) -> anyhow::Result<()>,
    ) -> anyhow::Result<S3Client> {
        let mut target = self.target.clone();
        change(&mut target.options)?;
        Ok(target.client()?.with_retry(RetryPolicy::single_attempt()))
    }

    /// A key of this case.
    pub(crate) fn key(&self, name: &str) -> anyhow::Result<ObjectKey> {
        Ok(self.dir.join(name)?)
    }

    /// Writes an object, over an old one if need be.
    pub(crate) async fn put(&self, name: &str, body: &str) -> anyhow::Result<ObjectKey> {
        let key = self.key(name)?;
        let body = Bytes::copy_from_slice(body.as_bytes());
        let answer = self.client.put_object(&key, body, PutMode::Replace).await?;
        ensure!(
            !matches!(answer.outcome, PutOutcome::AlreadyExists),
            "an unconditional put of {key} says that the object exists"
        );
        Ok(key)
    }

    /// Writes empty objects.
    pub(crate) async fn put_all(&self, names: &[&str]) -> anyhow::Result<()> {
        for name in names {
            self.put(name, "").await?;
        }
        Ok(())
    }

    /// An object's content, if it is there.
    pub(crate) async fn read(&self, key: &ObjectKey) -> anyhow::Result<Option<Bytes>> {
        Ok(self.client.get_object(key).await?.map(|object| object.body))
    }

    /// A whole listing in pages of so many keys.
    pub(crate) async fn list(
        &self,
        prefix: ListPrefix,
        page: Option<u32>,
    ) -> anyhow::Result<Vec<ListedObject>> {
        list(&self.client, prefix, page).await
    }

    /// The names below this case's prefix that begin with `start`.
    pub(crate) async fn names(&self, start: &str) -> anyhow::Result<Vec<String>> {
        let objects = self.list(self.dir.string_prefix(start), None).await?;
        let relative = |object: &ListedObject| {
            let name = object
                .key
                .relative_to(&self.dir)
                .context("a key outside of the prefix")?;
            Ok(name.to_owned())
        };
        objects.iter().map(relative).collect()
    }
}

async fn list(
    client: &S3Client,
    prefix: ListPrefix,
    page: Option<u32>,
) -> anyhow::Result<Vec<ListedObject>> {
    let options = ListOptions {
        max_keys: page,
        ..ListOptions::default()
    };
    let mut listing = client.list(prefix, options);
    let mut objects = Vec::new();
    while let Some(page) = listing.next_page().await {
        objects.extend(page?.objects);
    }
    Ok(objects)
}

/// Removes what the cases have left and checks that it is gone.
pub(crate) async fn clean_up(target: &Target) -> anyhow::Result<()> {
    let client = target.client()?;
    let root = DirPrefix::new(ROOT)?;
    let report = client
        .delete_prefix(&root, DeleteFilter::Everything)
        .await?;
    ensure!(report.is_complete(), "cannot delete: {:?}", report.failures);
    let left = list(&client, root.into(), None).await?;
    ensure!(
        left.is_empty(),
        "{} objects are left, the first is {:?}",
        left.len(),
        left.first()
    );
    Ok(())
}

/// `ensure!` for equality that shows both sides.
macro_rules! ensure_eq {
    ($left:expr, $right:expr, $($what:tt)+) => {
        match (&$left, &$right) {
            (left, right) => anyhow::ensure!(
                left == right,
                "{}: got {left:?}, expected {right:?}",
                format!($($what)+)
            ),
        }
    };
}
pub(crate) use ensure_eq;
