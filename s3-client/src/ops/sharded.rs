//! Many listings at once: the shards of a prefix, each in order, side by side.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::{Semaphore, mpsc};
use tokio::task::{Id, JoinError, JoinSet};

use super::list::{IncompleteReason, ListError, ListOptions, ListPage};
use crate::client::S3Client;
use crate::key::ListPrefix;

/// What happened to a shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ShardItem {
    /// Its next page.
    Page(ListPage),
    /// It is complete.
    End,
    /// It cannot be completed; the other shards go on.
    Failed(ListError),
}

/// An event of a sharded listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardEvent {
    /// Index of the prefix.
    pub shard: usize,
    /// What happened to it.
    pub item: ShardItem,
}

/// Several listings under way. Dropping it ends them.
pub struct ShardedListing {
    events: mpsc::Receiver<ShardEvent>,
    _tasks: JoinSet<()>,
}

impl ShardedListing {
    /// The next event; `None` after the last shard has ended. The pages of one shard come in
    /// order, those of different shards interleave.
    pub async fn next(&mut self) -> Option<ShardEvent> {
        self.events.recv().await
    }
}

impl S3Client {
    /// Lists all `prefixes`, at most `concurrency` at a time, beginning with the first ones.
    /// Must be called within a tokio runtime.
    #[must_use]
    pub fn list_sharded(&self, prefixes: Vec<ListPrefix>, concurrency: usize) -> ShardedListing {
        let concurrency = concurrency.max(1);
        let (sender, events) = mpsc::channel(concurrency);
        let slots = Arc::new(Semaphore::new(concurrency));
        let client = self.clone();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut shards = JoinSet::new();
            let mut running = Running::default();
            for (shard, prefix) in prefixes.into_iter().enumerate() {
                let Ok(slot) = slots.clone().acquire_owned().await else {
                    return;
                };
                while let Some(ended) = shards.try_join_next_with_id() {
                    running.ended(ended, &sender).await;
                }
                let (client, out, name) = (client.clone(), sender.clone(), prefix.clone());
                let task = shards.spawn(async move {
                    let _slot = slot;
                    list_shard(&client, shard, prefix, &out).await;
                });
                running.0.insert(task.id(), (shard, name));
            }
            while let Some(ended) = shards.join_next_with_id().await {
                running.ended(ended, &sender).await;
            }
        });
        ShardedListing {
            events,
            _tasks: tasks,
        }
    }
}

/// The shards under way, by the task that lists them.
#[derive(Default)]
struct Running(HashMap<Id, (usize, ListPrefix)>);

impl Running {
    /// A task has ended. One that died could not say so itself, and a shard without any end would
    /// pass for a complete one.
    async fn ended(
        &mut self,
        ended: Result<(Id, ()), JoinError>,
        sender: &mpsc::Sender<ShardEvent>,
    ) {
        let (id, died) = match ended {
            Ok((id, ())) => (id, false),
            Err(error) => (error.id(), true),
        };
        let Some((shard, prefix)) = self.0.remove(&id).filter(|_| died) else {
            return;
        };
        let item = ShardItem::Failed(ListError::Incomplete {
            prefix: prefix.as_str().to_owned(),
            reason: IncompleteReason::Interrupted,
            pages: 0,
        });
        // Nobody listens any more: then nobody takes it for complete either.
        sender.send(ShardEvent { shard, item }).await.ok();
    }
}

async fn list_shard(
    client: &S3Client,
    shard: usize,
    prefix: ListPrefix,
    sender: &mpsc::Sender<ShardEvent>,
) {
    // The other shards are what is fetched meanwhile.
    let mut listing = client.list(
        prefix,
        ListOptions {
            prefetch: false,
            ..ListOptions::default()
        },
    );
    loop {
        let item = match listing.next_page().await {
            Some(Ok(page)) => ShardItem::Page(page),
            Some(Err(error)) => ShardItem::Failed(error),
            None => ShardItem::End,
        };
        let last = !matches!(item, ShardItem::Page(_));
        if sender.send(ShardEvent { shard, item }).await.is_err() || last {
            return;
        }
    }
}
