//! What must hold after whatever happened.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use api_types::names::{BackupNamespace, SnapshotPath};
use datastore::env::Env;
use datastore::refresh::RefreshOptions;
use datastore::store::DataStore;
use datastore::task::SilentTask;
use datastore::verify::{VerifyOptions, VerifyScope};
use s3_client::{DirPrefix, ListOptions, S3Client};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::ledger::Account;
use crate::place::{Place, STORE};
use crate::work::{collect, committed_snapshots, index_entries, restore};

/// Collections after which nothing but what is referred to may be left. The first may find deletes
/// unresolved; after a quarantine, the second ends them and what they stood for.
const MAX_COLLECTIONS: u32 = 4;

/// What was found.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Checked {
    /// Snapshots, all of them whole.
    pub snapshots: usize,
    /// Chunks they refer to, and so objects in the bucket.
    pub chunks: usize,
    /// Collections until nothing else was left.
    pub collections: u32,
    /// Collections that a tripwire stopped first.
    pub tripped: u32,
    /// Refreshes for the sake of a snapshot that was finished in the bucket only.
    pub refreshes: u32,
}

/// Opens the store as after a crash and checks everything.
///
/// # Errors
/// If something is lost, damaged, or does not go away.
pub async fn check(place: &Place) -> Result<Checked> {
    let env = Env::system();
    let account = Account::read(&place.ledger())?;
    if let Some(wrong) = account.wrong.first() {
        bail!("the worker saw {wrong}");
    }
    let store = place.open(&env).context("the store does not open")?;
    expect_committed(&store, &account)?;
    read_everything(&store).await?;

    let mut checked = Checked::default();
    let client = place.client(&env)?;
    loop {
        let report = match collect(&store, false).await {
            Ok(report) => report,
            Err(error) if is_tripwire(&error) => {
                checked.tripped += 1;
                collect(&store, true).await.context("forced collection")?
            }
            Err(error) => return Err(error.context("collection")),
        };
        checked.collections += 1;
        let spared = report.incomplete_snapshots.iter();
        if spared.filter(|found| !found.to_be_removed).count() > 0 {
            // Killed between the manifest in the bucket and the local one: what the log says then.
            let task = SilentTask::new();
            let refresh = store.s3_refresh(&task, RefreshOptions::default());
            refresh.await.context("refresh")?;
            checked.refreshes += 1;
        }
        let Err(left) = expect_clean(&store, &client, &mut checked).await else {
            break;
        };
        ensure!(
            checked.collections < MAX_COLLECTIONS,
            "no end after {MAX_COLLECTIONS} collections: {left:#}"
        );
        env.sleep(place.quarantine() + Duration::from_millis(100))
            .await;
        store.tend(&CancellationToken::new()).await?;
    }
    expect_committed(&store, &account)?;
    read_everything(&store).await?;
    verify(&store).await?;
    Ok(checked)
}

fn is_tripwire(error: &anyhow::Error) -> bool {
    error.to_string().contains("force")
}

fn expect_committed(store: &DataStore, account: &Account) -> Result<()> {
    let there: BTreeSet<SnapshotPath> = committed_snapshots(store)?.into_iter().collect();
    let lost: Vec<_> = account.committed.difference(&there).collect();
    ensure!(lost.is_empty(), "committed snapshots are gone: {lost:?}");
    Ok(())
}

async fn read_everything(store: &Arc<DataStore>) -> Result<()> {
    for path in committed_snapshots(store)? {
        let what = || format!("restore of {path}");
        restore(store, &path).await.with_context(what)?;
    }
    Ok(())
}

async fn verify(store: &Arc<DataStore>) -> Result<()> {
    let scope = VerifyScope {
        ns: BackupNamespace::root(),
        max_depth: None,
        may_verify: &|_, _| true,
    };
    let options = VerifyOptions {
        ignore_verified: false,
        ..VerifyOptions::default()
    };
    let report = store
        .verify_datastore(&SilentTask::new(), &scope, options)
        .await?;
    ensure!(
        report.failed.is_empty() && report.corrupt_chunks == 0 && report.missing_chunks == 0,
        "verification found {report:?}"
    );
    Ok(())
}

/// The bucket holds the chunks that the snapshots refer to and the files that are in the local
/// tree, nothing more and nothing less, and no delete is unresolved.
async fn expect_clean(
    store: &Arc<DataStore>,
    client: &S3Client,
    checked: &mut Checked,
) -> Result<()> {
    let paths = committed_snapshots(store)?;
    let mut expected = BTreeSet::new();
    let mut files = BTreeSet::new();
    for path in &paths {
        for (digest, _) in index_entries(store, path)? {
            expected.insert(format!("{}/{digest}", digest.prefix_hex()));
        }
        for entry in std::fs::read_dir(store.base().join(path.path()))? {
            let name = entry?.file_name();
            files.insert(format!("{path}/{}", name.to_string_lossy()));
        }
    }
    checked.snapshots = paths.len();
    checked.chunks = expected.len();
    let prefix = DirPrefix::new(STORE)?;
    let chunks = list(client, &prefix.child(".chunks")?).await?;
    same("chunk objects", &expected, &chunks)?;
    let mut objects = list(client, &prefix.child(".cnt")?).await?;
    // A group's own files are not of a snapshot.
    objects.retain(|key| !key.ends_with("/owner"));
    same("metadata objects", &files, &objects)?;
    let backend = store.backend().s3().context("it is in a bucket")?;
    ensure!(backend.journal_is_empty(), "deletes are unresolved");
    Ok(())
}

fn same(what: &str, expected: &BTreeSet<String>, found: &BTreeSet<String>) -> Result<()> {
    let missing: Vec<_> = expected.difference(found).collect();
    let surplus: Vec<_> = found.difference(expected).collect();
    ensure!(
        missing.is_empty() && surplus.is_empty(),
        "{what}: missing {missing:?}, too many {surplus:?}"
    );
    Ok(())
}

/// The keys below a prefix, relative to it.
async fn list(client: &S3Client, prefix: &DirPrefix) -> Result<BTreeSet<String>> {
    let mut keys = BTreeSet::new();
    let mut listing = client.list(prefix, ListOptions::default());
    while let Some(page) = listing.next_page().await {
        for object in page?.objects {
            let relative = object.key.relative_to(prefix).unwrap_or_default();
            keys.insert(relative.to_owned());
        }
    }
    Ok(keys)
}
