//! Whether anything is under way on an HTTP/2 connection.
//!
//! HTTP/1.1 has a limit for the time until the next head. On HTTP/2 a connection may say nothing
//! for ever, from its first byte on, and keep its place from others.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::BodyExt as _;
use hyper::Response;
use s3_client::env::Env;
use tokio::sync::watch;

use crate::rest::answer::AnswerBody;

/// How much is under way on a connection.
#[derive(Clone, Debug, Default)]
pub struct Activity(Arc<watch::Sender<usize>>);

/// Something under way, until it is dropped.
#[derive(Debug)]
pub struct Busy(Activity);

impl Activity {
    /// Something begins.
    #[must_use]
    pub fn begin(&self) -> Busy {
        self.0.send_modify(|count| *count += 1);
        Busy(self.clone())
    }

    /// Waits until nothing has been under way for so long.
    pub async fn idle_for(&self, limit: Duration, env: &Env) {
        let mut count = self.0.subscribe();
        loop {
            let is_idle = *count.borrow_and_update() == 0;
            tokio::select! {
                // There is a sender as long as there is this.
                _ = count.changed() => {}
                () = env.sleep(limit), if is_idle => return,
            }
        }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.0.send_modify(|count| *count -= 1);
    }
}

impl Busy {
    /// Under way until the client has the whole answer.
    pub fn until_sent(self, response: Response<AnswerBody>) -> Response<AnswerBody> {
        response.map(|body| {
            let body = body.map_frame(move |frame| {
                let _under_way = &self;
                frame
            });
            body.boxed_unsync()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn idle_is_what_nothing_happens_on_for_long() {
        let env = Env::system();
        let activity = Activity::default();
        let begun = env.now();
        let short = async {
            env.sleep(LIMIT / 2).await;
            drop(activity.begin());
            env.sleep(LIMIT / 2).await;
            let busy = activity.begin();
            env.sleep(LIMIT * 3).await;
            drop(busy);
        };
        tokio::join!(short, activity.idle_for(LIMIT, &env));
        assert_eq!(env.now() - begun, LIMIT * 5);
        activity.idle_for(LIMIT, &env).await;
        assert_eq!(env.now() - begun, LIMIT * 6);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_under_way_until_it_is_sent() {
        let activity = Activity::default();
        let response = Response::new(crate::rest::answer::full("data"));
        let response = activity.begin().until_sent(response);
        let env = Env::system();
        let idle = tokio::time::timeout(LIMIT * 10, activity.idle_for(LIMIT, &env));
        assert!(idle.await.is_err());
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(&*body, b"data");
        activity.idle_for(LIMIT, &env).await;
    }
}
