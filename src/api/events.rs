//! What happened: a list, or a stream of server-sent events.

use std::{collections::VecDeque, convert::Infallible, sync::Arc};

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, header},
    response::{
        IntoResponse, Response, Sse,
        sse::{Event, KeepAlive},
    },
};
use futures::{Stream, stream};
use logvine_gossip::Stamp;
use serde::{Deserialize, Serialize};
use utoipa::{
    IntoParams, ToSchema,
    openapi::schema::{Object, Type},
};

use super::{
    ApiError, ApiResult, App,
    listing::{Listing, PageQuery, Params, refused},
    nodes::find,
};
use crate::{
    document::Unknown,
    events::{EventLog, EventRow, KINDS},
};

/// Which events.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct EventQuery {
    /// Rows on a page: 1 to 1,000.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<usize>,
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
    /// Only of this kind, or of kinds that begin so: `member`, `source.taken`.
    #[param(schema_with = kinds_schema)]
    kind: Option<String>,
    /// Only about this node (its id, a unique beginning of it, or its name).
    node: Option<String>,
    /// Only about this runner.
    runner: Option<String>,
    /// Only after this event (its id), or this time (RFC 3339).
    since: Option<String>,
}

/// The kinds of events, each after what it begins with: all that a filter can mean.
fn kinds() -> Vec<&'static str> {
    let mut words: Vec<_> = KINDS.iter().flat_map(|kind| kind.split_once('.').map(|(begin, _)| begin).into_iter().chain([*kind])).collect();
    words.sort_unstable();
    words.dedup();
    words
}

fn kinds_schema() -> Object {
    Object::builder().schema_type(Type::String).enum_values(Some(kinds())).build()
}

/// A word that no kind is or begins with would find nothing for ever, and look as if nothing had happened.
fn known(kind: &str) -> ApiResult<()> {
    let known = kinds();
    if known.contains(&kind) {
        return Ok(());
    }
    let words = format!("`{kind}` is not known here: the known ones are {}", known.join(", "));
    Err(refused("kind", &Unknown { given: kind, known, words }))
}

/// The data of a `reset`: something is missing before what follows.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Reset {
    /// Why.
    detail: &'static str,
}

/// A query with its node as its id.
#[derive(Debug, Clone, Default)]
struct Filter {
    kind: Option<String>,
    node: Option<String>,
    runner: Option<String>,
}

impl Filter {
    fn wants(&self, row: &EventRow) -> bool {
        let is = |wanted: &Option<String>, given: &Option<String>| wanted.is_none() || wanted == given;
        let kind =
            self.kind.as_ref().is_none_or(|kind| row.kind == *kind || row.kind.strip_prefix(kind.as_str()).is_some_and(|rest| rest.starts_with('.')));
        kind && is(&self.node, &row.node) && is(&self.runner, &row.runner)
    }
}

/// What this node has seen happen in the cluster, oldest first; with `Accept: text/event-stream` also what is to come
///
/// Each node tells what it sees, under ids of its own. A stream goes on after `Last-Event-ID`, on the node that told it or on any other: there it begins half a
/// minute earlier, as clocks differ. Where what follows that point is no longer kept, the stream says `reset` first.
#[utoipa::path(get, path = "/v1/events", operation_id = "events", tag = "events",
    params(EventQuery, ("Last-Event-ID" = Option<String>, Header, description = "The id of the last event that was received")),
    responses((status = 200, content((Listing<EventRow> = "application/json"), (String = "text/event-stream")))))]
pub(super) async fn list(State(app): State<App>, Params(query): Params<EventQuery>, headers: HeaderMap) -> ApiResult<Response> {
    query.kind.as_deref().map(known).transpose()?;
    let text = |name| headers.get(name).and_then(|value: &axum::http::HeaderValue| value.to_str().ok());
    let last = text(header::HeaderName::from_static("last-event-id"));
    let since = last.or(query.since.as_deref()).map(|point| app.events().point(point).or_else(|| time(point)).ok_or(point));
    let since =
        since.transpose().map_err(|point| ApiError::bad_request(format!("since: `{point}` is neither an event's id nor a time (RFC 3339)")))?;
    let node = match &query.node {
        // One that was forgotten has no row any more; its events have its id.
        Some(node) if node.len() == 32 => Some(node.clone()),
        Some(node) => Some(find(&app, node.clone()).await?.to_string()),
        None => None,
    };
    let filter = Filter { kind: query.kind.clone(), node, runner: query.runner.clone() };
    if text(header::ACCEPT).is_some_and(|accept| accept.contains("text/event-stream")) {
        let stream = follow(app.events().clone(), since.unwrap_or(Stamp::ZERO), filter);
        return Ok(Sse::new(stream).keep_alive(KeepAlive::default()).into_response());
    }
    let page = PageQuery { limit: query.limit, cursor: query.cursor };
    let after = page.after()?.map(|id| app.events().point(&id).ok_or_else(|| ApiError::bad_request("cursor: begin again without it"))).transpose()?;
    let rows = gather(app.events(), after.or(since).unwrap_or(Stamp::ZERO), &filter, page.most()?).await;
    Ok(Json(page.cut(rows, |row: &Arc<EventRow>| row.id.clone())).into_response())
}

/// The first `most` events after a point that are wanted.
async fn gather(log: &EventLog, mut after: Stamp, filter: &Filter, most: usize) -> Vec<Arc<EventRow>> {
    let mut rows = Vec::new();
    while rows.len() < most {
        let slice = log.after(after).await;
        if slice.rows.is_empty() {
            break;
        }
        after = slice.until;
        rows.extend(slice.rows.into_iter().filter(|row| filter.wants(row)).take(most - rows.len()));
    }
    rows
}

/// The moment before a time.
fn time(text: &str) -> Option<Stamp> {
    let time = chrono::DateTime::parse_from_rfc3339(text).ok()?;
    let millis = u64::try_from(time.timestamp_millis()).ok()?;
    Some(Stamp(Stamp::from_millis(millis).0.saturating_sub(1)))
}

type Sent = Result<Event, Infallible>;

/// What is kept, then what comes. Says `reset` where something is missing in between: also where the listener was too slow for what is kept.
fn follow(log: EventLog, after: Stamp, filter: Filter) -> impl Stream<Item = Sent> {
    let told = log.listen();
    stream::unfold((log, told, after, filter, VecDeque::new()), |(log, mut told, mut after, filter, mut ready)| async move {
        loop {
            if let Some(event) = ready.pop_front() {
                return Some((Ok(event), (log, told, after, filter, ready)));
            }
            told.borrow_and_update();
            let slice = log.after(after).await;
            ready.extend(slice.gap.then(reset));
            ready.extend(slice.rows.iter().filter(|row| filter.wants(row)).map(|row| sent(row)));
            after = slice.until;
            if slice.rows.is_empty() {
                // After a gap with nothing behind it: all that comes is new.
                after = if slice.gap { Stamp::ZERO } else { after };
                if ready.is_empty() && told.changed().await.is_err() {
                    return None;
                }
            }
        }
    })
}

fn reset() -> Event {
    let data = Reset { detail: "events before the next one are not kept any more, or were not seen by this node: look at what is instead" };
    Event::default().event("reset").json_data(data).unwrap_or_default()
}

fn sent(row: &EventRow) -> Event {
    let event = Event::default().id(row.id.clone()).event(row.kind.clone());
    event.json_data(row).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use futures::StreamExt;

    use super::*;

    /// The text of the first `count` events of a stream.
    async fn heard(stream: impl Stream<Item = Sent>, count: usize) -> String {
        let events: Vec<Sent> = stream.take(count).collect().await;
        let body = Sse::new(stream::iter(events)).into_response().into_body();
        String::from_utf8(axum::body::to_bytes(body, usize::MAX).await.unwrap().to_vec()).unwrap()
    }

    fn told(log: &EventLog, last: &str) {
        let me = logvine_gossip::NodeId([1; 16]);
        log.tell(logvine_gossip::UnixMicros(1_000_000_000), crate::events::started(me, Some(last)));
    }

    #[tokio::test]
    async fn a_stream_has_what_is_kept_and_then_what_comes() {
        let log = EventLog::new(logvine_gossip::NodeId([1; 16]));
        told(&log, "first");
        let stream = follow(log.clone(), Stamp::ZERO, Filter::default());
        let (text, ()) = tokio::join!(heard(stream, 2), async {
            tokio::task::yield_now().await;
            told(&log, "second");
        });
        let at = |word: &str| text.find(word).unwrap_or_else(|| panic!("{word} is missing: {text}"));
        assert!(at("since first") < at("since second") && text.contains("event: node.started\n") && !text.contains("reset"), "{text}");
    }

    /// Hidden, a gap would look like quiet.
    #[tokio::test]
    async fn a_stream_from_a_point_that_is_not_kept_says_so_first_and_once() {
        let log = EventLog::new(logvine_gossip::NodeId([1; 16]));
        told(&log, "first");
        let stream = follow(log.clone(), Stamp(1), Filter::default());
        let (text, ()) = tokio::join!(heard(stream, 3), async {
            tokio::task::yield_now().await;
            told(&log, "second");
        });
        assert!(text.starts_with("event: reset\n") && text.matches("event: reset").count() == 1, "{text}");
        assert!(text.contains("since first") && text.contains("since second"), "{text}");
    }

    #[test]
    fn a_kind_means_those_that_begin_so() {
        let row = |kind: &str| EventRow {
            id: String::new(),
            time: String::new(),
            kind: kind.to_owned(),
            node: None,
            runner: None,
            source: None,
            sources: None,
            operation: None,
            detail: String::new(),
        };
        let member = Filter { kind: Some("member".to_owned()), ..Filter::default() };
        assert!(member.wants(&row("member.down")) && member.wants(&row("member")) && !member.wants(&row("members.x")));
        assert!(!Filter { node: Some("n".to_owned()), ..Filter::default() }.wants(&row("member.down")));
    }

    #[test]
    fn a_time_is_the_moment_before_it() {
        assert_eq!(time("1970-01-01T00:00:01Z"), Some(Stamp(Stamp::from_millis(1_000).0 - 1)));
        assert_eq!((time("yesterday"), time("1969-01-01T00:00:00Z")), (None, None));
    }
}
