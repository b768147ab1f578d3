//! A client that hangs up (issue 5): what it had said whole is carried out, what it had begun was never there, and nothing of it stays behind.

use std::time::Duration;

use futures::StreamExt;

use super::*;

/// Far longer than anything here takes: a test that waits in vain ends.
const IN_VAIN: Duration = Duration::from_secs(120);

async fn until<T>(what: &str, mut done: impl AsyncFnMut() -> Option<T>) -> T {
    let waiting = async {
        loop {
            if let Some(value) = done().await {
                return value;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(IN_VAIN, waiting).await.unwrap_or_else(|_| panic!("waited in vain until {what}"))
}

fn tasks() -> usize {
    tokio::runtime::Handle::current().metrics().num_alive_tasks()
}

/// Its connection, and with it the request's future, is dropped when the handler has just begun: here it compiles, and the node has not heard of it.
#[tokio::test]
async fn a_command_whose_client_hangs_up_is_carried_out() {
    let api = Api::new();
    let before = tasks();
    {
        let mut asked = Box::pin(api.put_runner("fleet"));
        assert!(futures::poll!(&mut asked).is_pending());
        assert!(tasks() > before, "it does not depend on its connection");
    }
    until("the runner is there", async || (api.get("/v1/runners/fleet").await.status == StatusCode::OK).then_some(())).await;
    let operations = api.get("/v1/operations").await.body;
    assert_eq!(operations["items"].as_array().unwrap().len(), 1, "{operations}");
    {
        let mut asked = Box::pin(api.send("POST", "/v1/runners/fleet/stop", &[], r#"{"nodes": "all"}"#));
        assert!(futures::poll!(&mut asked).is_pending());
    }
    until("it is stopped", async || (api.get("/v1/runners/fleet").await.body["desired"] == "stopped").then_some(())).await;
    until("no task is left of them", async || (tasks() == before).then_some(())).await;
}

/// Half a body, then the connection breaks: no command, and no task that waits for the rest.
#[tokio::test]
async fn half_a_command_is_none() {
    let api = Api::new();
    let before = tasks();
    let body = runner().to_string();
    let half = Ok(body[..body.len() / 2].to_owned());
    let broken = Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset));
    let request = Request::put("/v1/runners/fleet").header("host", "127.0.0.1:7948");
    let request = request.body(Body::from_stream(futures::stream::iter([half, broken]))).unwrap();
    let refused = api.router.clone().oneshot(request).await.unwrap();
    assert_eq!(refused.status(), StatusCode::BAD_REQUEST);
    assert_eq!(api.get("/v1/runners/fleet").await.status, StatusCode::NOT_FOUND);
    until("no task is left of it", async || (tasks() == before).then_some(())).await;
}

/// Streams end with whoever listens to them: the tap's fetching on other nodes, too.
#[tokio::test]
async fn a_stream_whose_listener_hangs_up_leaves_nothing_behind() {
    let api = Api::new();
    api.put_runner("fleet").await;
    let before = tasks();
    for (path, accept) in [("/v1/runners/fleet/tap", "*/*"), ("/v1/events", "text/event-stream")] {
        let mut bodies = Vec::new();
        for _ in 0..8 {
            let request = Request::get(path).header("host", "127.0.0.1:7948").header("accept", accept).body(Body::empty()).unwrap();
            let response = api.router.clone().oneshot(request).await.unwrap();
            assert_eq!(response.status(), StatusCode::OK);
            bodies.push(response.into_body().into_data_stream());
        }
        if accept == "*/*" {
            assert!(tasks() > before, "somebody fetches");
            for body in &mut bodies {
                let first = body.next().await.unwrap().unwrap();
                assert!(first.starts_with(b"event: "), "{first:?}");
            }
        }
        drop(bodies);
        until("no task is left of them", async || (tasks() == before).then_some(())).await;
    }
}
