//! A command that has come whole is carried out, whoever still waits for the answer.

use std::{panic::resume_unwind, sync::Arc};

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use tokio::sync::Semaphore;
use tracing::Instrument;

use super::ApiError;
use crate::agent::Unavailable;

/// Writes at once, those included whose clients have hung up: a connection each, as many as there may be.
const WRITES_MAX: usize = 512;

/// How many writes there may be at once. Clones count together.
#[derive(Debug, Clone)]
pub(super) struct Writes(Arc<Semaphore>);

impl Writes {
    pub(super) fn new() -> Self {
        Self(Arc::new(Semaphore::new(WRITES_MAX)))
    }
}

/// Runs what may change something in a task of its own. A handler is dropped together with its connection, in the middle of whatever it does; an operator whose
/// network breaks off then would not know whether the command was given. The task ends by itself: a body that broke off is an error, and the node's answer is
/// waited for only so long.
pub(super) async fn to_the_end(State(Writes(writes)): State<Writes>, request: Request, next: Next) -> Response {
    if request.method().is_safe() {
        return next.run(request).await;
    }
    let permit = writes.acquire_owned().await;
    let task = tokio::spawn(
        async move {
            let _permit = permit;
            next.run(request).await
        }
        .in_current_span(),
    );
    match task.await {
        Ok(response) => response,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => resume_unwind(panic),
            // Nobody else cancels it than the end of the process.
            Err(_) => ApiError::from(Unavailable::Stopping).into_response(),
        },
    }
}

#[cfg(test)]
mod tests {
    use axum::{Router, body::Body, http::Request, middleware, routing::any};
    use tokio::sync::{Notify, mpsc};
    use tower::ServiceExt;

    use super::*;

    /// Whether a handler comes to its end whose client hangs up in its middle.
    async fn ends(method: &str) -> bool {
        let gate = Arc::new(Notify::new());
        let (ended, mut end) = mpsc::unbounded_channel();
        let handler = {
            let gate = gate.clone();
            move || {
                let (gate, ended) = (gate.clone(), ended.clone());
                async move {
                    gate.notified().await;
                    ended.send(()).expect("the test listens");
                }
            }
        };
        let router = Router::new().route("/", any(handler)).layer(middleware::from_fn_with_state(Writes::new(), to_the_end));
        let mut asked = Box::pin(router.oneshot(Request::builder().method(method).uri("/").body(Body::empty()).unwrap()));
        assert!(futures::poll!(&mut asked).is_pending());
        drop(asked);
        gate.notify_one();
        end.recv().await.is_some()
    }

    #[tokio::test]
    async fn what_may_change_something_outlives_its_client_and_a_look_does_not() {
        assert!(ends("PUT").await && ends("POST").await && ends("DELETE").await);
        assert!(!ends("GET").await);
    }
}
