//! What happened: a list, or a stream of server-sent events.

use std::{convert::Infallible, sync::Arc};

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, header},
    response::{
        IntoResponse, Response, Sse,
        sse::{Event, KeepAlive},
    },
};
use futures::{Stream, StreamExt, stream};
use logvine_gossip::Stamp;
use serde::Deserialize;
use tokio::sync::broadcast::{Receiver, error::RecvError};
use utoipa::IntoParams;

use super::{
    ApiError, ApiResult, App,
    listing::{ListQuery, Listing, Params},
};
use crate::events::EventRow;

/// Which events.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct EventQuery {
    /// Rows on a page: 1 to 1,000.
    limit: Option<usize>,
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
    /// Only of this kind, or of kinds that begin so: `member`, `source.taken`.
    kind: Option<String>,
    /// Only about this node (its id).
    node: Option<String>,
    /// Only about this runner.
    runner: Option<String>,
    /// Only after this event (its id).
    since: Option<String>,
}

impl EventQuery {
    fn wants(&self, row: &EventRow) -> bool {
        let is = |wanted: &Option<String>, given: &Option<String>| wanted.is_none() || wanted == given;
        let kind =
            self.kind.as_ref().is_none_or(|kind| row.kind == *kind || row.kind.strip_prefix(kind.as_str()).is_some_and(|rest| rest.starts_with('.')));
        kind && is(&self.node, &row.node) && is(&self.runner, &row.runner)
    }
}

/// The last events of this node, oldest first; with `Accept: text/event-stream` also those to come
#[utoipa::path(get, path = "/v1/events", operation_id = "events", tag = "events", params(EventQuery),
    responses((status = 200, content((Listing<EventRow> = "application/json"), (String = "text/event-stream")))))]
pub(super) async fn list(State(app): State<App>, Params(query): Params<EventQuery>, headers: HeaderMap) -> ApiResult<Response> {
    let text = |name| headers.get(name).and_then(|value: &axum::http::HeaderValue| value.to_str().ok());
    let since = text(header::HeaderName::from_static("last-event-id")).or(query.since.as_deref()).map(point).transpose()?.unwrap_or(Stamp::ZERO);
    if text(header::ACCEPT).is_some_and(|accept| accept.contains("text/event-stream")) {
        let (kept, following) = app.events().follow(since);
        return Ok(Sse::new(follow(kept, following, query)).keep_alive(KeepAlive::default()).into_response());
    }
    let kept = app.events().since(since).or_else(|| app.events().since(Stamp::ZERO)).unwrap_or_default();
    let rows: Vec<Arc<EventRow>> = kept.into_iter().filter(|row| query.wants(row)).collect();
    let page = ListQuery { limit: query.limit, cursor: query.cursor, ..ListQuery::default() };
    // Ids have as many digits as stamps have, for some thousand years.
    Ok(Json(page.page(rows, |row| row.id.clone())?).into_response())
}

fn point(id: &str) -> ApiResult<Stamp> {
    let stamp = id.split('-').next().and_then(|stamp| stamp.parse().ok());
    stamp.ok_or_else(|| ApiError::bad_request(format!("`{id}` is not an event's id")))
}

type Sent = Result<Event, Infallible>;

/// What is kept, then what comes. Begins with `reset` where what was asked for is no longer kept, and says it again where the listener was too slow.
fn follow(kept: Option<Vec<Arc<EventRow>>>, following: Receiver<Arc<EventRow>>, query: EventQuery) -> impl Stream<Item = Sent> {
    let reset = kept.is_none().then(reset);
    let before: Vec<Sent> = kept.unwrap_or_default().iter().filter(|row| query.wants(row)).map(|row| sent(row)).collect();
    let after = stream::unfold((following, query), |(mut following, query)| async move {
        loop {
            match following.recv().await {
                Ok(row) if query.wants(&row) => return Some((sent(&row), (following, query))),
                Ok(_) => {}
                Err(RecvError::Lagged(_)) => return Some((reset_event(), (following, query))),
                Err(RecvError::Closed) => return None,
            }
        }
    });
    stream::iter(reset.into_iter().chain(before)).chain(after)
}

fn reset() -> Sent {
    reset_event()
}

fn reset_event() -> Sent {
    Ok(Event::default().event("reset").data("{}"))
}

fn sent(row: &EventRow) -> Sent {
    // Rows are texts: they always make JSON.
    let event = Event::default().id(row.id.clone()).event(row.kind.clone());
    Ok(event.json_data(row).unwrap_or_else(|_| Event::default().event("reset").data("{}")))
}
