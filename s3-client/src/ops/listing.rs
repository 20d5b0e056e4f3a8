//! A listing under way: page by page, or with a task that is one page ahead.

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::list::{IncompleteReason, ListError, ListPage, Pages};

/// A listing under way. Dropping it ends it.
pub struct Listing {
    state: State,
}

enum State {
    /// Only while it changes from one to the other.
    Over,
    /// Not begun, or fetched page by page on demand.
    Direct(Box<Pages>),
    /// A task is one page ahead.
    Ahead(Ahead),
}

struct Ahead {
    /// `None` is the end. That the channel closes is not: a task that died of a panic closes it
    /// too, and what it did not list would be taken for missing.
    pages: mpsc::Receiver<Option<Result<ListPage, ListError>>>,
    task: JoinHandle<()>,
    prefix: String,
    received: u64,
    over: bool,
}

impl Ahead {
    fn start(mut pages: Pages) -> Self {
        // The task fetches one page beyond the one in the channel.
        let (sender, receiver) = mpsc::channel(1);
        let prefix = pages.prefix.as_str().to_owned();
        let task = tokio::spawn(async move {
            loop {
                let page = pages.next().await;
                let over = page.is_none();
                if sender.send(page).await.is_err() || over {
                    return;
                }
            }
        });
        Self {
            pages: receiver,
            task,
            prefix,
            received: 0,
            over: false,
        }
    }

    async fn next(&mut self) -> Option<Result<ListPage, ListError>> {
        if self.over {
            return None;
        }
        let page = self.pages.recv().await.unwrap_or_else(|| {
            Some(Err(ListError::Incomplete {
                prefix: self.prefix.clone(),
                reason: IncompleteReason::Interrupted,
                pages: self.received,
            }))
        });
        self.over = !matches!(page, Some(Ok(_)));
        self.received += 1;
        page
    }
}

impl Listing {
    pub(super) fn new(pages: Pages) -> Self {
        Self {
            state: State::Direct(Box::new(pages)),
        }
    }

    /// The next page; `None` at the end. After an error there is nothing more.
    ///
    /// Dropping the future loses nothing when the listing fetches ahead (the default).
    pub async fn next_page(&mut self) -> Option<Result<ListPage, ListError>> {
        self.state = match std::mem::replace(&mut self.state, State::Over) {
            State::Direct(pages) if pages.options.prefetch => State::Ahead(Ahead::start(*pages)),
            other => other,
        };
        match &mut self.state {
            State::Direct(pages) => pages.next().await,
            State::Ahead(ahead) => ahead.next().await,
            State::Over => None,
        }
    }
}

impl Drop for Listing {
    fn drop(&mut self) {
        if let State::Ahead(ahead) = &self.state {
            ahead.task.abort();
        }
    }
}
