//! `/healthz` and `/readyz`, which everybody may ask, and `/metrics` for who may see the state of
//! the system (`Sys.Audit` on `/system/status`).

use std::net::SocketAddr;
use std::sync::Arc;

use api_types::access::Privilege;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{HeaderMap, Method, Response, StatusCode};

use super::{CONTENT_TYPE as METRICS_TYPE, HEALTHY, metrics};
use crate::access::attempts::Turn;
use crate::access::control::AuthError;
use crate::daemon::Server;
use crate::rest::answer::{AnswerBody, full};
use crate::rest::dispatch::log_failure;
use crate::rest::error::RestError;

/// Answers what monitoring asks; nothing if it is something else that is asked for.
pub async fn respond(
    server: &Arc<Server>,
    method: &Method,
    path: &str,
    headers: &HeaderMap,
    peer: Option<SocketAddr>,
    turn: &Turn,
) -> Option<Response<AnswerBody>> {
    if ![Method::GET, Method::HEAD].contains(method) {
        return None;
    }
    Some(match path {
        "/healthz" => text(StatusCode::OK, HEALTHY.to_owned()),
        "/readyz" => match server.readiness.ask(server).await {
            Ok(()) => text(StatusCode::OK, HEALTHY.to_owned()),
            // What is wrong is in the log: everybody may ask.
            Err(reason) => {
                tracing::warn!("not ready: {reason}");
                text(StatusCode::SERVICE_UNAVAILABLE, "not ready\n".to_owned())
            }
        },
        "/metrics" => numbers(server, method, headers, peer, turn).await,
        _ => return None,
    })
}

async fn numbers(
    server: &Arc<Server>,
    method: &Method,
    headers: &HeaderMap,
    peer: Option<SocketAddr>,
    turn: &Turn,
) -> Response<AnswerBody> {
    let auth_id = match server.access.authenticate(method, headers, turn).await {
        Ok(auth_id) => auth_id,
        Err(AuthError::Busy(busy)) => {
            let error = RestError::from(busy);
            return text(error.status, error.message);
        }
        Err(error) => {
            log_failure(peer, None, &error);
            return text(StatusCode::UNAUTHORIZED, "authentication failed".to_owned());
        }
    };
    let path = ["system", "status"];
    if let Err(error) = server.access.check(&auth_id, &path, &[Privilege::SysAudit]) {
        return text(error.status, error.message);
    }
    match metrics(server).await {
        Ok(numbers) => text(StatusCode::OK, numbers),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error:#}")),
    }
}

fn text(status: StatusCode, content: String) -> Response<AnswerBody> {
    let mut response = Response::new(full(content));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(METRICS_TYPE));
    response
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;
    use hyper::header::AUTHORIZATION;
    use s3_client::env::Env;

    use super::*;
    use crate::config::ConfigError;
    use crate::paths::Paths;
    use crate::s3::S3Options;

    async fn ask(server: &Arc<Server>, path: &str, headers: &HeaderMap) -> (u16, String) {
        let turn = Turn::of_nobody(server.env.clone());
        let response = respond(server, &Method::GET, path, headers, None, &turn).await;
        let response = response.unwrap();
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn who_may_ask_what() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::below(dir.path());
        let server = Server::open(paths, &S3Options::default(), Env::system()).unwrap();
        let nobody = HeaderMap::new();
        let ok = (200, "ok\n".to_owned());
        assert_eq!(ask(&server, "/healthz", &nobody).await, ok);
        assert_eq!(ask(&server, "/readyz", &nobody).await, ok);
        assert_eq!(ask(&server, "/metrics", &nobody).await.0, 401);
        let turn = Turn::of_nobody(server.env.clone());
        for (method, path) in [(Method::POST, "/healthz"), (Method::GET, "/api2/json")] {
            let other = respond(&server, &method, path, &nobody, None, &turn).await;
            assert!(other.is_none());
        }

        let users = "token: root@pam!t\n";
        std::fs::write(server.paths.config.join("user.cfg"), users).unwrap();
        let token: api_types::auth::Authid = "root@pam!t".parse().unwrap();
        let secret = server.access.new_token_secret(&token).await.unwrap();
        let mut headers = HeaderMap::new();
        let value = format!("PBSAPIToken={token}:{secret}");
        headers.insert(AUTHORIZATION, value.parse().unwrap());
        assert_eq!(ask(&server, "/metrics", &headers).await.0, 403);
        server
            .access
            .acl()
            .update(None, |tree| {
                let role = api_types::access::Role::Audit;
                tree.insert(&"/system".parse().unwrap(), token, role, true);
                Ok::<_, ConfigError>(())
            })
            .await
            .unwrap();
        let (status, numbers) = ask(&server, "/metrics", &headers).await;
        assert_eq!(status, 200);
        assert!(numbers.contains("coffer_tasks_running 0\n"), "{numbers}");

        server.shutdown.cancel();
        assert_eq!(
            ask(&server, "/readyz", &nobody).await,
            (503, "not ready\n".to_owned())
        );
    }
}
