//! What is held back, and what is limited: guesses, bodies without credentials.

use super::*;

/// A body that begins so, and does not go on.
struct Never(Option<Bytes>);

impl HttpBody for Never {
    type Data = Bytes;
    type Error = anyhow::Error;
    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<anyhow::Result<hyper::body::Frame<Bytes>>>> {
        match self.0.take() {
            Some(begin) => std::task::Poll::Ready(Some(Ok(hyper::body::Frame::data(begin)))),
            None => std::task::Poll::Pending,
        }
    }
}

#[tokio::test(start_paused = true)]
async fn bodies_without_credentials_are_small_and_few() {
    let world = world().await;
    let ticket = "/api2/json/access/ticket";
    let long = "x".repeat(WORLD_BODY.bytes + 1);
    let got = world.raw(Method::POST, ticket, "", &long, "").await;
    assert_eq!((got.status, &*got.body), (400, "Request body too large"));

    let begun = world.server.env.now();
    let peer = |last| Some(SocketAddr::from(([192, 0, 2, last], 1)));
    let stalled = (0..100).map(|_| async {
        let begin = Bytes::from(vec![b'x'; WORLD_BODY.bytes]);
        let request = Request::post(ticket).body(Never(Some(begin))).unwrap();
        let answered = respond(&world.server, request, peer(1)).await;
        answered.response.status().as_u16()
    });
    let good = async {
        world.server.env.sleep(Duration::from_secs(1)).await;
        let form = Full::from("username=a@pbs&password=secret12");
        let request = Request::post(ticket).body(form).unwrap();
        respond(&world.server, request, peer(2))
            .await
            .response
            .status()
    };
    let (statuses, good) = tokio::join!(futures_util::future::join_all(stalled), good);
    let count = |status| statuses.iter().filter(|other| **other == status).count();
    assert_eq!((count(408), count(503)), (64, 36));
    assert_eq!(good, StatusCode::OK);
    assert!(world.server.env.now().duration_since(begun) < Duration::from_secs(11));
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_come_is_not_waited_for() {
    let world = world().await;
    let mut request = Request::new(Never(None));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = "/api2/json/access/ticket".parse().unwrap();
    let answered = respond(&world.server, request, None).await;
    assert_eq!(answered.response.status(), StatusCode::REQUEST_TIMEOUT);
}

/// Sends these requests at the same time from one address, and says how each was answered.
async fn at_once(
    world: &World,
    requests: Vec<Request<Full<Bytes>>>,
) -> Vec<(StatusCode, Duration)> {
    let peer = Some(SocketAddr::from(([192, 0, 2, 1], 1)));
    let begun = world.server.env.now();
    let answers = requests.into_iter().map(|request| async {
        let answered = respond(&world.server, request, peer).await;
        let after = world.server.env.now().saturating_duration_since(begun);
        (answered.response.status(), after)
    });
    futures_util::future::join_all(answers).await
}

fn get(path: &str, name: &str, shown: &str) -> Request<Full<Bytes>> {
    let request = Request::builder().uri(path).header(name, shown);
    request.body(Full::default()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_guesser_does_not_keep_out_who_shares_the_address() {
    let world = world().await;
    let version = "/api2/json/version";
    assert_eq!(world.ask(Method::GET, version, "").await.status, 200);
    let (ticket, _) = world
        .server
        .access
        .issue(&"a@pbs".parse().unwrap())
        .unwrap();
    let mut requests: Vec<_> = (0..40)
        .map(|_| get(version, "authorization", "PBSAPIToken=root@pam!t:wrong"))
        .collect();
    requests.push(get(version, "authorization", &world.token));
    requests.push(get(version, "cookie", &format!("PBSAuthCookie={ticket}")));
    let renewal = format!("username=a@pbs&password={}", ticket.replace('+', "%2B"));
    let renewal = Request::post("/api2/json/access/ticket").body(Full::from(renewal));
    requests.push(renewal.unwrap());
    let mut answers = at_once(&world, requests).await;
    for (status, after) in answers.split_off(40) {
        assert_eq!(status, StatusCode::OK);
        assert!(after < UNAUTHORIZED_AFTER, "{after:?}");
    }
    assert!(answers.iter().all(|(status, _)| *status == 401));
    // Sixteen at a time, each for as long.
    let longest = answers.iter().map(|(_, after)| *after).max();
    assert!(longest >= Some(3 * UNAUTHORIZED_AFTER), "{longest:?}");
}

#[tokio::test(start_paused = true)]
async fn too_many_guesses_are_refused_also_where_metrics_are() {
    let world = world().await;
    for path in ["/metrics", "/api2/json/version", "/api2/extjs/version"] {
        let wrong = get(path, "authorization", "PBSAPIToken=root@pam!t:wrong");
        let requests = (0..200).map(|_| wrong.clone()).collect();
        let answers = at_once(&world, requests).await;
        let refused = answers.iter().filter(|(status, _)| *status != 401);
        assert_eq!(refused.count(), 200 - 16 - 128, "{path}");
    }
}

#[tokio::test(start_paused = true)]
async fn refusals_take_their_time_in_each_format() {
    let world = world().await;
    let form = "username=a@pbs&password=wrong";
    let path = "/api2/extjs/access/ticket";
    let got = world.raw(Method::POST, path, "", form, "").await;
    assert_eq!((got.status, &got.json()["status"]), (200, &json!(401)));
    assert!(got.forgets && got.after >= UNAUTHORIZED_AFTER);

    let (ticket, csrf) = world
        .server
        .access
        .issue(&"a@pbs".parse().unwrap())
        .unwrap();
    let request = Request::post("/api2/extjs/access/users")
        .header("cookie", format!("PBSAuthCookie={ticket}"))
        .header("CSRFPreventionToken", csrf)
        .body(Full::from("userid=c@pbs"));
    let got = world.send(request.unwrap()).await;
    assert_eq!((got.status, &got.json()["status"]), (200, &json!(403)));
    assert!(got.after >= FORBIDDEN_AFTER);
}
