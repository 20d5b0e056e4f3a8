//! Retries on a virtual clock: how often, when, signed how, and what the errors say.
#![allow(clippy::unwrap_used)] // also in the helpers of tests

mod common;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use common::{Setup, answer, client, error, key, keys, ok};
use futures_util::future::BoxFuture;
use s3_client::env::Env;
use s3_client::transport::{Attempt, Response, Transport, TransportError};
use s3_client::{
    KeyOutcome, Operation, Phase, PutMode, PutOutcome, RetryPolicy, S3Client, S3ClientOptions,
    S3ErrorKind,
};
use tokio_util::sync::CancellationToken;

#[tokio::test(start_paused = true)]
async fn transient_failures_are_retried_up_to_six_attempts() {
    for (status, code) in [
        (500, "InternalError"),
        (503, "SlowDown"),
        (429, ""),
        (502, ""),
        (504, ""),
        (408, ""),
    ] {
        let (client, server) = client(move |_, _| error(status, code));
        let failed = client.get_object(&key("k")).await.unwrap_err();
        assert_eq!(server.count(), 6, "{status}");
        assert_eq!(failed.context().attempts, 6);
        assert!(failed.is_transient() && !failed.is_absent_proof());
        let counters = client.counters();
        let get = counters.of(Operation::GetObject);
        assert_eq!((get.attempts, get.retries, get.completed), (6, 5, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn final_answers_are_not_retried() {
    for (status, code) in [
        (400, "InvalidArgument"),
        (401, ""),
        (403, "AccessDenied"),
        (404, "NoSuchBucket"),
        (405, ""),
        (411, ""),
        (412, ""),
        (416, "InvalidRange"),
        (501, "NotImplemented"),
    ] {
        let (client, server) = client(move |_, _| error(status, code));
        client.get_object(&key("k")).await.unwrap_err();
        assert_eq!(server.count(), 1, "{status} {code}");
    }
}

#[tokio::test(start_paused = true)]
async fn every_attempt_is_signed_at_its_own_time() {
    let (client, server) = client(|index, _| match index {
        0..3 => answer(503, &[("retry-after", "1000")], ""),
        _ => ok("content"),
    });
    let policy = RetryPolicy {
        deadline: Duration::from_secs(10_000),
        ..RetryPolicy::default()
    };
    client
        .with_retry(policy)
        .get_object(&key("k"))
        .await
        .unwrap()
        .unwrap();
    let seen = server.seen();
    let signatures: std::collections::HashSet<_> = seen
        .iter()
        .map(|attempt| attempt.header("authorization").unwrap())
        .collect();
    assert_eq!(signatures.len(), 4, "each signature is a new one");
    for attempt in &seen {
        let expected = s3_client::timestamp::format_amz_date(
            common::START + i64::try_from(attempt.at.as_secs()).unwrap(),
        );
        assert_eq!(attempt.header("x-amz-date"), Some(&*expected));
    }
}

#[tokio::test(start_paused = true)]
async fn retry_after_wins_over_our_own_pause() {
    let (client, server) = client(|index, _| match index {
        0 => answer(503, &[("retry-after", "77")], ""),
        _ => ok(""),
    });
    client.get_object(&key("k")).await.unwrap();
    let waited = server.seen()[1].at - server.seen()[0].at;
    assert!((77_000..78_000).contains(&waited.as_millis()), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn a_stale_connection_is_retried_at_once() {
    let (client, server) = client(|index, _| match index {
        0 => Err(TransportError {
            stale_connection: true,
            ..TransportError::broken("closed")
        }),
        _ => ok(""),
    });
    client.get_object(&key("k")).await.unwrap();
    assert_eq!(
        server.seen()[1].at - server.seen()[0].at,
        Duration::from_millis(1)
    );
}

#[tokio::test(start_paused = true)]
async fn the_deadline_ends_retries_and_attempts() {
    // Retries that would come after it …
    let (client, server) = client(|_, _| answer(503, &[("retry-after", "3600")], ""));
    client.get_object(&key("k")).await.unwrap_err();
    assert_eq!(server.count(), 1);
    // … also when the server asks for a pause beyond all clocks …
    let forever = u64::MAX.to_string();
    let (client, server) =
        common::client(move |_, _| answer(503, &[("retry-after", &forever)], ""));
    let failed = client.get_object(&key("k")).await.unwrap_err();
    assert!(matches!(failed.kind(), S3ErrorKind::Throttled { .. }));
    assert_eq!(server.count(), 1);
    // … and an attempt that does not end.
    let setup = Setup {
        latency: Duration::from_secs(1_000_000),
        ..Setup::new()
    };
    let (client, _) = setup.client(|_, _| ok(""));
    let start = client.env().now();
    let failed = client.get_object(&key("k")).await.unwrap_err();
    assert_eq!(
        *failed.kind(),
        S3ErrorKind::Timeout {
            phase: Phase::Deadline
        }
    );
    assert_eq!((client.env().now() - start).as_secs(), 30 * 60);
}

#[tokio::test(start_paused = true)]
async fn an_outage_does_not_multiply_the_load() {
    let (client, server) = client(|_, _| error(500, "InternalError"));
    let policy = RetryPolicy {
        max_attempts: 2,
        ..RetryPolicy::default()
    };
    let client = client.with_retry(policy);
    let start = client.env().now();
    let requests = (0..100).map(|_| {
        let client = client.clone();
        tokio::spawn(async move { client.get_object(&key("k")).await.is_err() })
    });
    for request in futures_util::future::join_all(requests).await {
        assert!(request.unwrap());
    }
    let seconds = (client.env().now() - start).as_secs();
    // Ten saved retries and one per second; the tokens earned by the requests come on top.
    let retries = server.seen().iter().filter(|seen| seen.number > 1).count();
    assert_eq!(retries, 100);
    assert!((60..=100).contains(&seconds), "{seconds}");
}

#[tokio::test(start_paused = true)]
async fn the_servers_clock_is_adopted_once_and_remembered() {
    // The server is two hours ahead.
    let server_time = common::START + 7200;
    let date = "Thu, 15 Jan 2026 10:15:30 GMT";
    assert_eq!(
        s3_client::timestamp::parse_http_date(date),
        Some(server_time)
    );
    let (client, server) = client(move |_, attempt| {
        let signed = attempt
            .headers()
            .find(|(name, _)| *name == "x-amz-date")
            .unwrap()
            .1
            .to_owned();
        if signed.starts_with("20260115T1015") {
            answer(200, &[("date", date)], "")
        } else {
            let body = "<Error><Code>RequestTimeTooSkewed</Code></Error>";
            answer(403, &[("date", date)], body)
        }
    });
    client.get_object(&key("k")).await.unwrap();
    assert_eq!(server.count(), 2);
    assert!(client.clock_refused());
    let offset = client.clock_offset().unwrap();
    assert!((7_199_000..7_202_000).contains(&offset), "{offset}");
    client.get_object(&key("k")).await.unwrap();
    assert_eq!(server.count(), 3, "the correction is kept");

    // A server without the header names its time in the refusal.
    let (dateless, tries) = common::client(move |index, _| match index {
        0 => answer(
            403,
            &[],
            "<Error><Code>RequestTimeTooSkewed</Code>\
             <ServerTime>2026-01-15T10:15:30Z</ServerTime></Error>",
        ),
        _ => ok(""),
    });
    dateless.get_object(&key("k")).await.unwrap();
    let date = tries.seen()[1].header("x-amz-date").unwrap().to_owned();
    assert!(date.starts_with("20260115T1015"), "{date}");

    // A pinned time is never corrected.
    let pinned = client.signed_at(common::START);
    let refused = pinned.get_object(&key("k")).await.unwrap_err();
    assert_eq!(refused.code(), Some("RequestTimeTooSkewed"));
    assert_eq!(server.count(), 4);
    assert_eq!(
        server.seen()[3].header("x-amz-date"),
        Some("20260115T081530Z")
    );
}

#[tokio::test(start_paused = true)]
async fn an_abort_ends_waiting_and_working_at_once() {
    let cancel = CancellationToken::new();
    let (client, _) = client(|_, _| error(500, "InternalError"));
    let policy = RetryPolicy {
        base: Duration::from_secs(1000),
        cap: Duration::from_secs(1000),
        ..RetryPolicy::default()
    };
    let client = client.with_retry(policy).with_cancel(cancel.clone());
    let start = client.env().now();
    let env = client.env().clone();
    let wanted = key("k");
    let (result, ()) = tokio::join!(client.get_object(&wanted), async {
        env.sleep(Duration::from_secs(2)).await;
        cancel.cancel();
    });
    assert!(result.unwrap_err().is_aborted());
    assert_eq!((client.env().now() - start).as_secs(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_write_whose_answer_is_lost_says_so() {
    let (lost, _) = client(|_, _| Err(TransportError::broken("reset")));
    let failed = lost
        .put_object(&key("k"), "x".into(), PutMode::Replace)
        .await
        .unwrap_err();
    assert!(
        matches!(failed.kind(), S3ErrorKind::Ambiguous { keys: 1, .. }),
        "{failed}"
    );
    assert!(failed.may_have_been_applied());
    assert_eq!(failed.context().unresolved_attempts, 6);
    let read = lost.get_object(&key("k")).await.unwrap_err();
    assert!(matches!(read.kind(), S3ErrorKind::Disconnected { .. }));
    assert!(!read.may_have_been_applied());

    // The last answer may be definite: an earlier attempt still counts.
    let (denied, _) = client(|index, _| match index {
        0 => error(500, "InternalError"),
        _ => error(403, "AccessDenied"),
    });
    let failed = denied.delete_object(&key("k")).await.unwrap_err();
    assert!(matches!(failed.kind(), S3ErrorKind::Denied { .. }));
    assert!(failed.may_have_been_applied());
    let (denied, _) = client(|_, _| error(403, "AccessDenied"));
    assert!(
        !denied
            .delete_object(&key("k"))
            .await
            .unwrap_err()
            .may_have_been_applied()
    );
}

#[tokio::test(start_paused = true)]
async fn a_412_after_a_lost_answer_is_no_error() {
    let (client, server) = client(|index, _| match index {
        0 => Err(TransportError::broken("reset after the object was stored")),
        _ => error(412, "PreconditionFailed"),
    });
    let answer = client
        .put_object(&key("k"), "x".into(), PutMode::CreateOnly)
        .await
        .unwrap();
    assert_eq!(answer.outcome, PutOutcome::AlreadyExists);
    assert_eq!(server.count(), 2);
    assert!(
        server
            .seen()
            .iter()
            .all(|seen| seen.header("if-none-match") == Some("*"))
    );
}

#[tokio::test(start_paused = true)]
async fn single_attempt_deletes_know_what_they_do_not_know() {
    let run = |answer: common::Answer| async move {
        let (client, server) = client(move |_, _| answer.clone());
        let attempt = client.delete_objects_attempt(&keys(2)).await;
        assert_eq!(server.count(), 1, "never repeated");
        assert_eq!(attempt.outcomes.len(), 2);
        attempt.outcomes[0].clone()
    };
    assert_eq!(run(ok("<DeleteResult/>")).await, KeyOutcome::Deleted);
    for denied in [
        error(403, "AccessDenied"),
        error(404, "NoSuchBucket"),
        error(400, "MalformedXML"),
    ] {
        assert!(matches!(run(denied).await, KeyOutcome::Refused { .. }));
    }
    let unreachable = TransportError {
        kind: s3_client::transport::TransportErrorKind::Connect {
            target: "t".into(),
            retryable: true,
        },
        may_have_arrived: false,
        ..TransportError::broken("connection refused")
    };
    let untouched = TransportError {
        may_have_arrived: false,
        ..TransportError::broken("not sent")
    };
    for definite in [
        error(429, ""),
        error(409, "OperationAborted"),
        error(400, "BadDigest"),
        error(403, "RequestTimeTooSkewed"),
        Err(unreachable),
        Err(untouched),
    ] {
        let outcome = run(definite.clone()).await;
        assert!(
            matches!(outcome, KeyOutcome::Retryable { .. }),
            "{definite:?}: {outcome:?}"
        );
    }
    for open in [
        error(500, "InternalError"),
        error(501, "NotImplemented"),
        error(503, "SlowDown"),
        error(408, "RequestTimeout"),
        ok("<DeleteResult>"),
        ok("<html/>"),
        ok("<Error><Code>AccessDenied</Code></Error>"),
        answer(302, &[], ""),
        Err(TransportError::broken("reset")),
        Err(TransportError::timeout(Phase::Headers)),
    ] {
        assert!(
            matches!(run(open.clone()).await, KeyOutcome::Unresolved { .. }),
            "{open:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn an_aborted_delete_is_open_only_once_it_was_sent() {
    let aborted = |concurrent: usize| async move {
        let setup = Setup {
            latency: Duration::from_secs(100),
            ..Setup::new()
        };
        let (client, server) = setup.client(|_, _| ok("<DeleteResult/>"));
        let cancel = CancellationToken::new();
        let client = client.with_cancel(cancel.clone());
        let attempts = (0..concurrent).map(|_| {
            let client = client.clone();
            tokio::spawn(async move { client.delete_objects_attempt(&keys(1)).await.outcomes })
        });
        let attempts: Vec<_> = attempts.collect();
        client.env().sleep(Duration::from_secs(1)).await;
        cancel.cancel();
        let mut outcomes = Vec::new();
        for attempt in attempts {
            outcomes.extend(attempt.await.unwrap());
        }
        (server.count(), outcomes)
    };
    let (sent, outcomes) = aborted(20).await;
    let open = outcomes
        .iter()
        .filter(|outcome| !outcome.is_definite())
        .count();
    // Eight at a time: the other twelve were still waiting for their turn.
    assert_eq!((sent, open, outcomes.len()), (8, 8, 20));
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_a_connection_is_not_signed_yet() {
    let mut setup = Setup {
        latency: Duration::from_secs(800),
        ..Setup::new()
    };
    setup.endpoint.max_connections = Some(1);
    let (client, server) = setup.client(|_, _| ok("<DeleteResult/>"));
    let (get, delete) = (key("get"), keys(1));
    let both = tokio::join!(
        client.get_object(&get),
        client.delete_objects_attempt(&delete)
    );
    assert!(both.0.is_ok() && both.1.is_definite());
    let seen = server.seen();
    assert_eq!(seen[1].at - seen[0].at, Duration::from_secs(800));
    let signed = s3_client::timestamp::format_amz_date(common::START + 800);
    assert_eq!(seen[1].header("x-amz-date"), Some(&*signed));
    // Given up while it waits, it was never sent.
    let cancel = CancellationToken::new();
    let waiting = client.with_cancel(cancel.clone());
    let (_, attempt, ()) = tokio::join!(
        client.head_bucket(),
        waiting.delete_objects_attempt(&delete),
        async {
            client.env().sleep(Duration::from_secs(1)).await;
            cancel.cancel();
        }
    );
    assert!(attempt.is_definite());
    assert_eq!(server.count(), 3);
}

#[tokio::test(start_paused = true)]
async fn put_rate_is_global_over_all_clients_of_the_limits() {
    let mut setup = Setup::new();
    setup.endpoint.put_rate_limit = Some(10);
    let env = setup.env.clone();
    let limits = s3_client::limits::EndpointLimits::new(&env, s3_client::rates(&setup.endpoint));
    let clients: Vec<_> = (0..2)
        .map(|_| {
            let options = s3_client::S3ClientOptions {
                limits: Some(limits.clone()),
                ..s3_client::S3ClientOptions::new(setup.endpoint.clone(), Some(common::bucket()))
            };
            let (_, server) = client(|_, _| ok(""));
            s3_client::S3Client::with_transport(options, env.clone(), server).unwrap()
        })
        .collect();
    let start = env.now();
    let puts = (0..40).map(|n| {
        let client = clients[n % 2].clone();
        async move {
            client
                .put_object(&key("k"), "x".into(), PutMode::Replace)
                .await
        }
    });
    for put in futures_util::future::join_all(puts).await {
        put.unwrap();
    }
    // A burst of ten, then ten per second.
    let millis = (env.now() - start).as_millis();
    assert!((3000..3100).contains(&millis), "{millis}");
}

/// Announces the length of its answer, then takes its time.
struct Slow {
    env: Env,
    announced: u64,
    takes: Duration,
}

impl Transport for Slow {
    fn send(&self, attempt: Attempt) -> BoxFuture<'_, Result<Response, TransportError>> {
        Box::pin(async move {
            attempt.announced.store(self.announced, Ordering::Relaxed);
            self.env.sleep(self.takes).await;
            ok("body")
        })
    }
}

/// A download gets as much time for its size as an upload: a large object over a slow line must
/// not fail while it is still coming in.
#[tokio::test(start_paused = true)]
async fn the_deadline_of_a_download_grows_with_what_is_announced() {
    for (mib, takes, arrives) in [
        (0, 1799, true),
        (0, 1801, false),
        (1, 1801, false),
        (8, 8000, true),
        (8, 8193, false),
    ] {
        let env = Env::seeded(7, common::START);
        let slow = Slow {
            env: env.clone(),
            announced: mib << 20,
            takes: Duration::from_secs(takes),
        };
        let options = S3ClientOptions::new(common::endpoint(), Some(common::bucket()));
        let client = S3Client::with_transport(options, env, Arc::new(slow)).unwrap();
        let object = client.get_object(&key("k")).await;
        assert_eq!(
            object.is_ok(),
            arrives,
            "{mib} MiB in {takes} s: {object:?}"
        );
    }
}

/// Uploads that give up in the queue must not have spent the rate of those behind them.
#[tokio::test(start_paused = true)]
async fn a_token_of_the_put_rate_is_taken_behind_the_slot() {
    let mut setup = Setup::new();
    setup.endpoint.upload_concurrency = Some(1);
    setup.endpoint.put_rate_limit = Some(1);
    setup.latency = Duration::from_secs(10);
    let (client, server) = setup.client(|_, _| ok(""));
    let put = |client: s3_client::S3Client| async move {
        client
            .put_object(&key("k"), "x".into(), PutMode::Replace)
            .await
    };
    let first = tokio::spawn(put(client.clone()));
    tokio::task::yield_now().await;
    let cancel = CancellationToken::new();
    let queued: Vec<_> = (0..30)
        .map(|_| tokio::spawn(put(client.with_cancel(cancel.clone()))))
        .collect();
    Env::seeded(7, common::START)
        .sleep(Duration::from_secs(1))
        .await;
    cancel.cancel();
    for queued in queued {
        assert!(queued.await.unwrap().is_err());
    }
    put(client).await.unwrap();
    first.await.unwrap().unwrap();
    let started: Vec<_> = server.seen().iter().map(|seen| seen.at.as_secs()).collect();
    assert_eq!(started, [0, 10], "at once when the slot is free");
}
