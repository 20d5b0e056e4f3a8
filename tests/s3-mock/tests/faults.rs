//! Each mishap of the script, and what is applied of the request.

mod common;

use std::time::Duration;

use common::{Ask, BUCKET, delete_objects, server};
use s3_mock::behaviour::Behaviour;
use s3_mock::{Action, ClientSees, Fault, MockS3, Op, Reply, What};

fn put(key: &str) -> Ask {
    Ask::key("PUT", key).body("body")
}

fn has(server: &MockS3, key: &str) -> bool {
    server.get(BUCKET, key).is_some()
}

/// Lets the client's request run beside the test.
fn in_background(
    server: &MockS3,
    ask: Ask,
) -> tokio::task::JoinHandle<Result<common::Got, hyper::Error>> {
    let server = server.clone();
    tokio::spawn(async move { ask.send(&server).await })
}

#[tokio::test]
async fn scripted_answers_count_down() {
    let server = server().await;
    let id = server.script(
        Fault::on(
            Op::PutObject,
            Action::Reply(Reply::slow_down().retry_after(7)),
        )
        .times(2),
    );
    for _ in 0..2 {
        let got = put("k").ok(&server).await;
        assert_eq!(
            (got.status, got.code().as_str(), got.header("retry-after")),
            (503, "SlowDown", "7")
        );
        assert!(!has(&server, "k"));
    }
    assert_eq!(put("k").ok(&server).await.status, 200);
    assert_eq!(server.fault_hits(id), 2);
    server.script(Fault::on(Op::GetObject, Action::Reply(Reply::foreign_404())).keys("k"));
    let got = Ask::key("GET", "k").ok(&server).await;
    assert_eq!((got.status, got.header("content-type")), (404, "text/html"));
}

#[tokio::test]
async fn dropped_before_and_after_the_request_is_applied() {
    let server = server().await;
    server.script(Fault::on(Op::PutObject, Action::Drop).keys("before"));
    server.script(Fault::on(Op::PutObject, Action::ApplyThenDrop).keys("after"));
    assert!(put("before").send(&server).await.is_err());
    assert!(put("after").send(&server).await.is_err());
    assert_eq!(server.keys(BUCKET, ""), ["after"]);
    let drops = |event: &&s3_mock::Event| event.what == What::Dropped;
    assert_eq!(server.journal().events.iter().filter(drops).count(), 2);
}

#[tokio::test]
async fn applied_but_answered_with_an_error() {
    let server = server().await;
    server.script(Fault::on(
        Op::PutObject,
        Action::ApplyThenReply(Reply::internal_error()),
    ));
    assert_eq!(put("k").ok(&server).await.status, 500);
    assert!(has(&server, "k"));
}

#[tokio::test]
async fn a_late_delete_removes_what_was_written_after_it() {
    let server = server().await;
    server.put(BUCKET, "k", "old");
    server.script(Fault::on(Op::DeleteObjects, Action::late()).keys("k"));
    assert!(delete_objects(true, &["k"]).send(&server).await.is_err());
    let late = server.wait_late(1).await;
    assert_eq!(
        (late[0].op, late[0].keys.as_slice()),
        (Op::DeleteObjects, &["k".to_owned()][..])
    );
    assert_eq!(put("k").ok(&server).await.status, 200);
    assert_eq!(server.release_late(late[0].id), Some(200));
    assert!(!has(&server, "k"));
    assert_eq!(server.release_late(late[0].id), None);
    assert_eq!(server.journal().deleted_keys(), ["k"]);
}

#[tokio::test(start_paused = true)]
async fn late_after_a_time() {
    let server = server().await;
    let action = Action::Late {
        after: Some(Duration::from_secs(120)),
        client: ClientSees::Reply(Reply::internal_error()),
    };
    server.script(Fault::on(Op::PutObject, action));
    let got = put("k").send_over(&server, server.connect()).await.unwrap();
    assert_eq!(got.status, 500);
    tokio::time::advance(Duration::from_secs(119)).await;
    settle().await;
    assert!(!has(&server, "k"));
    tokio::time::advance(Duration::from_secs(2)).await;
    settle().await;
    assert!(has(&server, "k"));
}

async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_request_delayed_in_the_network_is_checked_when_it_comes() {
    let server = server().await;
    server.script(Fault::on(Op::PutObject, Action::late()).in_network());
    assert!(put("k").send(&server).await.is_err());
    let late = server.wait_late(1).await;
    server.set_clock_offset_millis(16 * 60 * 1000);
    assert_eq!(server.release_late(late[0].id), Some(403));
    assert!(!has(&server, "k"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gate_holds_requests_until_the_test_opens_it() {
    let server = server().await;
    let gate = server.gate(Op::PutObject, "k");
    let paused = in_background(&server, put("k"));
    gate.arrived().await;
    assert_eq!(put("other").ok(&server).await.status, 200);
    assert!(!has(&server, "k"));
    gate.release();
    assert_eq!(paused.await.unwrap().unwrap().status, 200);
    assert_eq!(server.journal().written_keys(), ["other", "k"]);
}

#[tokio::test]
async fn a_paused_request_goes_on_without_its_client() {
    let server = server().await;
    let gate = server.gate(Op::PutObject, "k");
    let paused = in_background(&server, put("k"));
    gate.arrived().await;
    paused.abort();
    assert!(paused.await.unwrap_err().is_cancelled());
    gate.release();
    while !has(&server, "k") {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_gate_behind_the_apply() {
    let server = server().await;
    let gate = s3_mock::Gate::new();
    server.script(Fault::on(
        Op::PutObject,
        Action::ApplyThenPause(gate.clone()),
    ));
    let paused = in_background(&server, put("k"));
    gate.arrived().await;
    assert!(has(&server, "k") && !paused.is_finished());
    gate.release_one();
    assert_eq!(paused.await.unwrap().unwrap().status, 200);
}

#[tokio::test]
async fn broken_bodies() {
    let server = server().await;
    server.put(BUCKET, "k", "0123456789");
    let get = async || Ask::key("GET", "k").send(&server).await;
    server.script(Fault::on(Op::GetObject, Action::TruncateBody { keep: 4 }));
    assert!(get().await.is_err());
    server.script(Fault::on(Op::GetObject, Action::WrongLength { delta: 5 }));
    assert!(get().await.is_err());
    server.script(Fault::on(Op::GetObject, Action::WrongLength { delta: -5 }));
    assert_eq!(get().await.unwrap().text(), "01234");
    server.script(Fault::on(Op::GetObject, Action::CorruptBody));
    assert_eq!(get().await.unwrap().text(), "0123446789");
    server.configure(|b| {
        b.omit_headers.insert("content-length".to_owned());
    });
    let chunked = get().await.unwrap();
    assert_eq!(
        (chunked.text().as_str(), chunked.header("content-length")),
        ("0123456789", "")
    );
}

#[tokio::test(start_paused = true)]
async fn hanging_and_stalling() {
    let server = server().await;
    server.put(BUCKET, "k", "0123456789");
    for action in [Action::Hang, Action::StallBody { keep: 3 }] {
        server.script(Fault::on(Op::GetObject, action));
        let get = Ask::key("GET", "k").send_over(&server, server.connect());
        assert!(
            tokio::time::timeout(Duration::from_secs(3600), get)
                .await
                .is_err()
        );
    }
    server.script(Fault::on(Op::PutObject, Action::ApplyThenHang));
    let hung = put("new").send_over(&server, server.connect());
    assert!(
        tokio::time::timeout(Duration::from_secs(3600), hung)
            .await
            .is_err()
    );
    assert!(has(&server, "new"));
}

#[tokio::test(start_paused = true)]
async fn latency_and_delay_take_virtual_time_only() {
    let server = server().await;
    server.configure(|b: &mut Behaviour| {
        b.set_latency(Op::PutObject, Duration::from_secs(5));
        b.bandwidth = Some(2);
    });
    server.script(Fault::on(
        Op::PutObject,
        Action::Delay(Duration::from_secs(10)),
    ));
    let before = server.now_millis();
    assert_eq!(
        put("k")
            .send_over(&server, server.connect())
            .await
            .unwrap()
            .status,
        200
    );
    assert_eq!(server.now_millis() - before, 17_000);
}

#[tokio::test]
async fn connections_can_be_cut_and_refused() {
    let server = server().await;
    let gate = server.gate(Op::PutObject, "k");
    let cut = in_background(&server, put("k"));
    gate.arrived().await;
    server.drop_connections();
    assert!(cut.await.unwrap().is_err());
    gate.release();
    server.set_accepting(false);
    assert!(put("refused").send(&server).await.is_err());
    server.set_accepting(true);
    assert_eq!(put("accepted").ok(&server).await.status, 200);
    assert!(!has(&server, "refused"));
}

#[tokio::test]
async fn counters_know_the_most_requests_at_a_time() {
    let server = server().await;
    let gate = s3_mock::Gate::new();
    server.script(Fault::on(Op::PutObject, Action::Pause(gate.clone())).always());
    let puts: Vec<_> = (0..3)
        .map(|n| in_background(&server, put(&format!("k{n}"))))
        .collect();
    gate.arrived_count(3).await;
    assert_eq!(server.counters().in_flight[&Op::PutObject], 3);
    gate.release();
    for put in puts {
        put.await.unwrap().unwrap();
    }
    let counters = server.counters();
    assert_eq!(
        (
            counters.in_flight[&Op::PutObject],
            counters.most_in_flight[&Op::PutObject]
        ),
        (0, 3)
    );
}

#[tokio::test(start_paused = true)]
async fn exchanges_without_a_connection_meet_the_same_faults() {
    let server = server().await;
    assert_eq!(put("k").exchange(&server).await.unwrap().status, 200);
    let get = async || Ask::key("GET", "k").exchange(&server).await;
    assert_eq!(get().await.unwrap().text(), "body");
    let head = Ask::key("HEAD", "k").exchange(&server).await.unwrap();
    assert_eq!((head.header("content-length"), head.body.len()), ("4", 0));
    for action in [
        Action::Drop,
        Action::ApplyThenDrop,
        Action::TruncateBody { keep: 3 },
        Action::WrongLength { delta: 1 },
    ] {
        server.script(Fault::on(Op::GetObject, action));
        assert_eq!(get().await.unwrap_err(), s3_mock::Dropped);
    }
    server.script(Fault::on(Op::GetObject, Action::WrongLength { delta: -1 }));
    assert_eq!(get().await.unwrap().text(), "bod");
    for action in [Action::Hang, Action::StallBody { keep: 1 }] {
        server.script(Fault::on(Op::GetObject, action));
        assert!(
            tokio::time::timeout(Duration::from_secs(3600), get())
                .await
                .is_err()
        );
    }
    server.script(Fault::on(
        Op::DeleteObject,
        Action::Delay(Duration::from_secs(9)),
    ));
    let delete = Ask::key("DELETE", "k").exchange(&server);
    assert!(
        tokio::time::timeout(Duration::from_secs(5), delete)
            .await
            .is_err()
    );
    assert!(has(&server, "k"));
    tokio::time::advance(Duration::from_secs(5)).await;
    settle().await;
    assert!(!has(&server, "k"), "the request goes on without its client");
}
