//! Live sight: what an instance's own node knows of it, its records on their way, and a runner tried before it is applied.

use std::{collections::BTreeMap, convert::Infallible, time::Duration};

use axum::{
    Extension, Json,
    extract::State,
    response::{
        IntoResponse, Response, Sse,
        sse::{Event, KeepAlive},
    },
};
use futures::{Stream, stream};
use logvine_cluster::{
    name::Name,
    spec::{RunnerSpec, SpecFault},
    view::{self, InstanceRow, Place, name_of, places, rfc3339},
};
use logvine_gossip::NodeId;
use logvine_runner::{
    sample::{Input, LINES_MAX, Sample, SampleSpec},
    sight::{Detail, ErrorNote},
    tap::{Fetched, Stage, TapSpec, Tapped, pattern},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, value::RawValue};
use tokio::sync::mpsc;
use utoipa::{IntoParams, ToSchema};

use super::{
    ApiError, ApiResult, App,
    access::Who,
    body::Document,
    known::not_found,
    listing::{Params, Path},
    nodes::resolve,
    problem::Problem,
    runners::name,
};
use crate::{
    agent::asking::{Ask, AskError, Told},
    document::{self, Format},
    events::{Look, looked},
};

/// Nodes that one stream looks at.
const TAPPED_MAX: usize = 16;
/// After a node did not answer.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// An instance, with what only its own node knows.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct InstanceView {
    #[serde(flatten)]
    row: InstanceRow,
    /// Why the rest is missing: its node does not answer, or it does not run there.
    unanswered: Option<String>,
    /// Age of the oldest byte that its node has seen and its senders have not acknowledged; 0: nothing waits.
    lag_s: Option<u64>,
    /// Since `counted_since`: what was read, and what of it all senders have acknowledged.
    read_records: u64,
    read_bytes: u64,
    acknowledged_bytes: u64,
    /// Files that were rotated, truncated or deleted and whose unread rest was not found: what is missing in the sinks.
    rotation_gaps: u64,
    /// Records that no sender took, as no `when` held for them.
    unrouted: u64,
    /// What waits in the disk queue of a reader that cannot wait, and what its senders have in hand of it.
    queue_bytes: u64,
    stages: Vec<StageRow>,
    senders: Vec<SenderRow>,
    /// The first 1,000, by name.
    sources: Vec<SourceAtRow>,
    sources_total: u64,
}

/// The errors of one stage.
#[derive(Debug, Serialize, ToSchema)]
struct StageRow {
    /// `read`, `parse`, `transform`, `route`, `send NAME`, `finder`, `dead letters`, `instance`.
    stage: String,
    /// Since `counted_since`.
    errors: u64,
    /// The last 100 of this process, the newest first; equal ones in a row are one.
    recent: Vec<ErrorRow>,
}

/// An error of a stage.
#[derive(Debug, Serialize, ToSchema)]
struct ErrorRow {
    error: String,
    /// The source on which it came last.
    source: Option<String>,
    /// How often it came in a row.
    count: u64,
    first_seen: String,
    last_seen: String,
}

/// How a sender does.
#[derive(Debug, Serialize, ToSchema)]
struct SenderRow {
    name: String,
    /// Records that its sink has acknowledged since `counted_since`, and their bytes as they were sent.
    records: u64,
    bytes: u64,
    /// Sends that failed and are repeated.
    retries: u64,
    dead_lettered: u64,
    /// Sends without an answer yet.
    in_flight: u64,
    /// How long the last acknowledged send took, its time in the queue included.
    ack_ms: Option<u64>,
    acknowledged: Option<String>,
    /// Why it does not get on now.
    trouble: Option<String>,
}

/// Where a source is.
#[derive(Debug, Serialize, ToSchema)]
struct SourceAtRow {
    source: String,
    /// Of a file of the node itself.
    path: Option<String>,
    lag_bytes: u64,
    lag_s: u64,
    error: Option<String>,
    acknowledged: Vec<Place>,
}

/// One instance, by its node (id, a unique beginning of it, or name) and runner: positions, lag, each stage's errors, each sender, asked of that node
#[utoipa::path(get, path = "/v1/instances/{node}/{runner}", operation_id = "instance_show", tag = "runners",
    responses((status = 200, body = InstanceView), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub(super) async fn instance(State(app): State<App>, Path((node, runner)): Path<(String, String)>) -> ApiResult<Json<InstanceView>> {
    let runner_name = name(&runner)?;
    let looked = app.agent().look({
        let (text, runner) = (node.clone(), runner.clone());
        move |node, _| {
            let id = resolve(node, &text)?;
            if !node.catalog().runners().any(|(name, _)| name.as_str() == runner) {
                return Err(not_found(node, "runner", &runner));
            }
            let of = id.to_string();
            Ok::<_, ApiError>((id, view::instances(node).into_iter().find(|row| row.node == of && row.runner == runner)))
        }
    });
    let (id, row) = looked.await??;
    let row = row.ok_or_else(|| ApiError::not_found("instance", &format!("{node}/{runner}"), "GET /v1/instances"))?;
    let (detail, unanswered) = match app.asking().ask(id, &Ask::Instance { runner: runner_name }).await {
        Ok(Told::Instance(Some(detail))) => (*detail, None),
        Ok(_) => (Detail::default(), Some("it does not run there now".to_owned())),
        // The view still has its row: an answer that says what it lacks is better than none.
        Err(error) => (Detail::default(), Some(error.to_string())),
    };
    Ok(Json(shaped(row, detail, unanswered)))
}

fn shaped(row: InstanceRow, detail: Detail, unanswered: Option<String>) -> InstanceView {
    let error = |note: &ErrorNote| ErrorRow {
        error: note.error.clone(),
        source: note.source.clone(),
        count: note.count,
        first_seen: rfc3339(note.first_seen),
        last_seen: rfc3339(note.last_seen),
    };
    let stages = detail.stages.into_iter().map(|(stage, errors)| StageRow {
        stage,
        errors: errors.count,
        recent: errors.recent.iter().rev().map(error).collect(),
    });
    let senders = detail.senders.into_iter().map(|(name, note)| SenderRow {
        name,
        records: note.counts.records,
        bytes: note.counts.bytes,
        retries: note.counts.retries,
        dead_lettered: note.counts.dead_lettered,
        in_flight: note.in_flight,
        ack_ms: note.ack_ms,
        acknowledged: note.acknowledged_at.map(rfc3339),
        trouble: note.trouble,
    });
    let sources = detail.sources.into_iter().map(|at| SourceAtRow {
        acknowledged: places(&at.acknowledged),
        source: at.source,
        path: at.path,
        lag_bytes: at.lag_bytes,
        lag_s: at.lag_s,
        error: at.error,
    });
    InstanceView {
        row,
        lag_s: unanswered.is_none().then_some(detail.lag_s),
        unanswered,
        read_records: detail.read_records,
        read_bytes: detail.read_bytes,
        acknowledged_bytes: detail.bytes,
        rotation_gaps: detail.rotation_gaps,
        unrouted: detail.unrouted,
        queue_bytes: detail.queue_bytes,
        stages: stages.collect(),
        senders: senders.collect(),
        sources: sources.collect(),
        sources_total: detail.sources_total,
    }
}

/// What is looked at.
#[derive(Debug, Clone, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct TapQuery {
    /// Where on their way: `read`, `parse`, `transform` or `send`.
    #[serde(default = "stage")]
    #[param(default = "send")]
    stage: Stage,
    /// Only on this node; without it on those that run the runner, at most 16.
    node: Option<String>,
    /// Only of this source.
    source: Option<String>,
    /// Only records in whose text this regular expression is found.
    grep: Option<String>,
    /// Of those one of so many: 1 to 1,000,000.
    #[serde(default = "one")]
    #[param(minimum = 1, maximum = 1_000_000, default = 1)]
    sample: u32,
    /// The stream ends after so many: 1 to 100,000.
    #[serde(default = "limit")]
    #[param(minimum = 1, maximum = 100_000, default = 1_000)]
    limit: u32,
}

fn stage() -> Stage {
    Stage::Send
}

fn one() -> u32 {
    1
}

fn limit() -> u32 {
    1_000
}

/// The data of a `record` event: a record on its way. `line` of the stage `read`, else `record`.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TapRow {
    /// The id and the name of the node where it was seen.
    node: String,
    node_name: String,
    source: String,
    sender: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    record: Option<Box<RawValue>>,
    /// It is longer than 16 KiB: then it is text, and this is its beginning.
    cut: bool,
}

impl TapRow {
    fn new(node: NodeId, node_name: &str, stage: Stage, Tapped { source, sender, text, cut }: Tapped) -> Self {
        // Only the agent's own words are JSON for sure: a line may look like it.
        let record = if stage == Stage::Read || cut { None } else { serde_json::from_str(&text).ok() };
        let line = if record.is_none() { Some(text) } else { None };
        Self { node: node.to_string(), node_name: node_name.to_owned(), source, sender, line, record, cut }
    }
}

/// The data of the other events: `skipped` (records that matched and had no room), `trouble` (a node that does not answer), `end`.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TapWord {
    node_name: Option<String>,
    detail: String,
}

/// Live records of a runner, from the nodes that have them: sampled, bounded, and never in their way
///
/// Events: `record`, and `skipped`, `trouble`, `end` with a word. Wants the role `operate`: records are what logs say, not what the cluster does.
#[utoipa::path(get, path = "/v1/runners/{runner}/tap", operation_id = "runner_tap", tag = "runners", params(TapQuery),
    responses((status = 200, body = TapRow, content_type = "text/event-stream"), (status = 400, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub(super) async fn tap(
    State(app): State<App>,
    Extension(who): Extension<Who>,
    Path(runner): Path<String>,
    Params(query): Params<TapQuery>,
) -> ApiResult<Response> {
    let runner_name = name(&runner)?;
    if let Some(text) = &query.grep {
        pattern(text).map_err(|error| ApiError::bad_request(error.to_string()))?;
    }
    for (what, given, most) in [("sample", query.sample, 1_000_000), ("limit", query.limit, 100_000)] {
        if !(1..=most).contains(&given) {
            return Err(ApiError::bad_request(format!("{what}: {given} is not from 1 to {most}")));
        }
    }
    let nodes = tapped(&app, &runner_name, query.node.clone()).await?;
    let id = getrandom::u64().map_err(|error| ApiError::unreachable(format!("the system gives no random number: {error}")))?;
    let by = who.to_string();
    tell(&app, &nodes, &Look { by: &by, runner: &runner, at: query.stage.word() }, None).await?;
    let spec = TapSpec { id, stage: query.stage, source: query.source, grep: query.grep, one_of: query.sample, by };
    let (events, arriving) = mpsc::channel(1);
    for (node, node_name) in nodes {
        tokio::spawn(fetch(app.clone(), node, node_name, runner_name.clone(), spec.clone(), events.clone()));
    }
    Ok(Sse::new(limited(arriving, query.stage, query.limit)).keep_alive(KeepAlive::default()).into_response())
}

/// The nodes that have a runner's records, with their names.
async fn tapped(app: &App, runner: &Name, only: Option<String>) -> ApiResult<Vec<(NodeId, String)>> {
    let runner = runner.clone();
    let looked = app.agent().look(move |node, _| {
        if node.catalog().runner(&runner).is_none() {
            return Err(not_found(node, "runner", runner.as_str()));
        }
        let only = only.map(|text| resolve(node, &text)).transpose()?;
        let lives = |id: &NodeId| node.view().get(id).is_some_and(logvine_cluster::member::NodeInfo::is_live);
        let wanted = node.targets(&runner).into_iter().filter(|id| only.is_none_or(|only| only == *id) && lives(id));
        let nodes: Vec<_> = wanted.take(TAPPED_MAX).map(|id| (id, name_of(node, &id))).collect();
        if nodes.is_empty() { Err(ApiError::not_running(runner.as_str())) } else { Ok(nodes) }
    });
    looked.await?
}

/// Takes note of a look at others' records; a look at this node's own is told where it is answered.
async fn tell(app: &App, nodes: &[(NodeId, String)], look: &Look<'_>, outcome: Option<Result<(), &str>>) -> ApiResult<()> {
    let me = app.agent().look(|node, _| node.id()).await?;
    let others: Vec<_> = nodes.iter().filter(|(node, _)| *node != me).cloned().collect();
    if !others.is_empty() {
        app.events().tell(app.agent().now().wall, looked(&others, look, outcome));
    }
    Ok(())
}

/// Fetches from one node as long as somebody listens.
async fn fetch(app: App, node: NodeId, node_name: String, runner: Name, tap: TapSpec, events: mpsc::Sender<Arrived>) {
    let ask = Ask::Tap { runner, tap };
    loop {
        let fetched = tokio::select! {
            told = app.asking().ask(node, &ask) => match told {
                Ok(Told::Tap(fetched)) => Ok(fetched),
                Ok(_) => Err("its answer makes no sense".to_owned()),
                Err(error) => Err(error.to_string()),
            },
            () = events.closed() => return,
        };
        let failed = fetched.is_err();
        if events.send((node, node_name.clone(), fetched)).await.is_err() {
            return;
        }
        if failed {
            tokio::time::sleep(RETRY_AFTER).await;
        }
    }
}

type Sent = Result<Event, Infallible>;
/// From which node, with its name, what it brought or why it brought nothing.
type Arrived = (NodeId, String, Result<Fetched, String>);

/// What arrives, until it is enough.
fn limited(arriving: mpsc::Receiver<Arrived>, stage: Stage, limit: u32) -> impl Stream<Item = Sent> {
    let troubles = BTreeMap::<NodeId, String>::new();
    let state = (arriving, Vec::<Event>::new().into_iter(), limit, troubles);
    stream::unfold(state, move |(mut arriving, mut ready, mut left, mut troubles)| async move {
        loop {
            if let Some(event) = ready.next() {
                return Some((Ok(event), (arriving, ready, left, troubles)));
            }
            if left == 0 {
                return None;
            }
            let (node, node_name, fetched) = arriving.recv().await?;
            let mut events = Vec::new();
            match fetched {
                Ok(Fetched { records, skipped }) => {
                    troubles.remove(&node);
                    for record in records.into_iter().take(left as usize) {
                        left -= 1;
                        let row = TapRow::new(node, &node_name, stage, record);
                        events.push(Event::default().event("record").json_data(row).unwrap_or_default());
                    }
                    if skipped > 0 {
                        events.push(word(
                            "skipped",
                            Some(&node_name),
                            format!("{skipped} records that match had no room: sample them, or grep for less"),
                        ));
                    }
                }
                // Said once, not each second that it lasts.
                Err(why) if troubles.get(&node) != Some(&why) => {
                    events.push(word("trouble", Some(&node_name), why.clone()));
                    troubles.insert(node, why);
                }
                Err(_) => {}
            }
            if left == 0 {
                events.push(word("end", None, "that is as many as were asked for".to_owned()));
            }
            ready = events.into_iter();
        }
    })
}

fn word(kind: &str, node_name: Option<&str>, detail: String) -> Event {
    Event::default().event(kind).json_data(TapWord { node_name: node_name.map(str::to_owned), detail }).unwrap_or_default()
}

/// A runner to try, and where.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Try {
    /// A runner, as it would be applied; nothing of it is kept.
    #[schema(value_type = RunnerSpec)]
    runner: Value,
    /// The node that tries it (its id, a unique beginning of it, or its name); the asked one without it.
    node: Option<String>,
    /// Of `read`: which of its sources (an id, a path that its globs find, or a URL); the first without it.
    source: Option<String>,
    /// Of `read`: so many lines, 1 to 100.
    #[schema(minimum = 1, maximum = 100, default = 10)]
    count: Option<usize>,
    /// Of `parse` and `transform`: the lines, at most 100.
    #[serde(default)]
    lines: Vec<String>,
}

impl Try {
    /// A body within its bounds, whatever of it is looked at.
    fn read(document: &Document) -> ApiResult<Self> {
        let body: Self = document.read()?;
        if let Some(count) = body.count.filter(|count| !(1..=LINES_MAX).contains(count)) {
            return Err(fault("/count", format!("{count} is not from 1 to {LINES_MAX}")));
        }
        if body.lines.len() > LINES_MAX {
            return Err(fault("/lines", format!("{} lines are more than {LINES_MAX}", body.lines.len())));
        }
        Ok(body)
    }
}

/// What a node found when it tried a runner.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Tried {
    /// The id of the node that tried it.
    node: String,
    #[serde(flatten)]
    sample: Sample,
}

/// Reads the first lines of a source on a node, under that node's policy, and takes them through the stages
#[utoipa::path(post, path = "/v1/try/read", operation_id = "try_read", tag = "runners", request_body = Try,
    responses((status = 200, body = Tried), (status = 404, body = Problem), (status = 422, body = Problem), (status = 502, body = Problem)))]
pub(super) async fn try_read(State(app): State<App>, Extension(who): Extension<Who>, document: Document) -> ApiResult<Json<Tried>> {
    let Try { runner, node, source, count, lines: _ } = Try::read(&document)?;
    tried(&app, &who, runner, node, Input::Source { source, lines: count.unwrap_or(10) }).await
}

/// Takes lines through the parse stage and the transform of a runner
#[utoipa::path(post, path = "/v1/try/parse", operation_id = "try_parse", tag = "runners", request_body = Try,
    responses((status = 200, body = Tried), (status = 404, body = Problem), (status = 422, body = Problem), (status = 502, body = Problem)))]
pub(super) async fn try_parse(State(app): State<App>, Extension(who): Extension<Who>, document: Document) -> ApiResult<Json<Tried>> {
    try_lines(&app, &who, &document).await
}

/// The same; the answer has each record before and after its transform
#[utoipa::path(post, path = "/v1/try/transform", operation_id = "try_transform", tag = "runners", request_body = Try,
    responses((status = 200, body = Tried), (status = 404, body = Problem), (status = 422, body = Problem), (status = 502, body = Problem)))]
pub(super) async fn try_transform(State(app): State<App>, Extension(who): Extension<Who>, document: Document) -> ApiResult<Json<Tried>> {
    try_lines(&app, &who, &document).await
}

/// Builds all of a runner on a node and looks at its senders' sinks, which get nothing: whether secrets, files and addresses are there, allowed and answer
#[utoipa::path(post, path = "/v1/try/send", operation_id = "try_send", tag = "runners", request_body = Try,
    responses((status = 200, body = Tried), (status = 404, body = Problem), (status = 422, body = Problem), (status = 502, body = Problem)))]
pub(super) async fn try_send(State(app): State<App>, Extension(who): Extension<Who>, document: Document) -> ApiResult<Json<Tried>> {
    let Try { runner, node, .. } = Try::read(&document)?;
    tried(&app, &who, runner, node, Input::Nothing).await
}

async fn try_lines(app: &App, who: &Who, document: &Document) -> ApiResult<Json<Tried>> {
    let Try { runner, node, lines, .. } = Try::read(document)?;
    tried(app, who, runner, node, Input::Lines(lines)).await
}

fn fault(pointer: &str, detail: String) -> ApiError {
    ApiError::invalid("The body has a fault.", vec![SpecFault { pointer: pointer.to_owned(), detail }])
}

async fn tried(app: &App, who: &Who, runner: Value, node: Option<String>, input: Input) -> ApiResult<Json<Tried>> {
    let (id, node_name) = app
        .agent()
        .look(move |view, _| {
            let id = node.map_or_else(|| Ok(view.id()), |text| resolve(view, &text))?;
            Ok::<_, ApiError>((id, name_of(view, &id)))
        })
        .await??;
    let text = runner.to_string();
    // Compiling a transform takes milliseconds of CPU; other requests must not wait for it.
    let checked = tokio::task::spawn_blocking(move || document::runner(&text, Format::Json, None)).await;
    let checked = checked.map_err(|_| ApiError::bad_request("checking this runner made this node's checker fail: report it with the runner"))?;
    let spec = checked.map_err(|faults| {
        let below = |fault: SpecFault| SpecFault { pointer: format!("/runner{}", fault.pointer), ..fault };
        ApiError::invalid("The runner has faults.", faults.into_iter().map(below).collect())
    })?;
    let runner = serde_json::to_string(&spec).map_err(|error| ApiError::bad_request(error.to_string()))?;
    let (by, at) = (who.to_string(), input.word());
    let told = app.asking().ask(id, &Ask::Sample(Box::new(SampleSpec { runner, input, by: by.clone() }))).await;
    let outcome = told.as_ref().map(drop).map_err(ToString::to_string);
    let look = Look { by: &by, runner: spec.name.as_str(), at };
    tell(app, &[(id, node_name)], &look, Some(outcome.as_ref().copied().map_err(String::as_str))).await?;
    match told {
        Ok(Told::Sample(sample)) => Ok(Json(Tried { node: id.to_string(), sample })),
        Ok(_) => Err(ApiError::unreachable("its answer makes no sense: is it of another version?")),
        Err(AskError::Refused(why)) => Err(fault("/runner", why)),
        Err(AskError::Unavailable(error)) => Err(error.into()),
        Err(error @ AskError::Unreachable { .. }) => Err(ApiError::unreachable(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt;
    use serde_json::json;

    use super::*;
    use logvine_runner::tap::Tapped;

    fn record(text: &str) -> Tapped {
        Tapped { source: "s".to_owned(), sender: None, text: text.to_owned(), cut: false }
    }

    async fn text(stream: impl Stream<Item = Sent>) -> String {
        let events: Vec<Sent> = stream.collect().await;
        let body = Sse::new(stream::iter(events)).into_response().into_body();
        String::from_utf8(axum::body::to_bytes(body, usize::MAX).await.unwrap().to_vec()).unwrap()
    }

    /// A stream of a busy runner must not run on because a console was forgotten.
    #[tokio::test]
    async fn a_stream_ends_with_as_many_records_as_were_asked_for() {
        let (events, arriving) = mpsc::channel(4);
        let fetched = Fetched { records: vec![record("{\"offset\":0,\"body\":\"a\"}"), record("{\"offset\":1"), record("c")], skipped: 7 };
        events.send((NodeId([1; 16]), "n1".to_owned(), Ok(fetched))).await.unwrap();
        let text = text(limited(arriving, Stage::Send, 2)).await;
        assert_eq!(text.matches("event: record").count(), 2, "{text}");
        assert!(text.contains("\"record\":{\"offset\":0,\"body\":\"a\"}") && text.contains("\"line\":\"{\\\"offset\\\":1\""), "{text}");
        assert!(text.contains("7 records that match") && text.contains("event: end"), "{text}");
        assert!(events.is_closed(), "and who fetches for it knows");
    }

    /// The console's own tests read it.
    #[tokio::test]
    async fn what_a_tap_tells_is_as_the_console_knows_it() {
        let (events, arriving) = mpsc::channel(4);
        let cut = Tapped { sender: Some("out".to_owned()), cut: true, ..record("{\"offset\":1,\"bo") };
        let fetched = Fetched { records: vec![record("{\"offset\":0,\"body\":\"a\"}"), cut], skipped: 7 };
        events.send((NodeId([1; 16]), "n1".to_owned(), Ok(fetched))).await.unwrap();
        events.send((NodeId([2; 16]), "n2".to_owned(), Err("it does not answer".to_owned()))).await.unwrap();
        drop(events);
        let text = text(limited(arriving, Stage::Send, 9)).await;
        let pairs = text.trim().split("\n\n").map(|event| event.strip_prefix("event: ").and_then(|event| event.split_once("\ndata: ")).unwrap());
        let told: Vec<_> = pairs.map(|(event, data)| json!({ "event": event, "data": serde_json::from_str::<Value>(data).unwrap() })).collect();
        crate::api::tests::fixtures::golden_json("tapped", json!({ "told": told }));
    }

    /// What somebody logged is a line, also where it looks like a record of ours.
    #[tokio::test]
    async fn a_line_that_looks_like_a_record_is_a_line() {
        let (events, arriving) = mpsc::channel(4);
        let fetched = Fetched { records: vec![record("{\"body\":\"b\"}")], skipped: 0 };
        events.send((NodeId([1; 16]), "n1".to_owned(), Ok(fetched))).await.unwrap();
        let text = text(limited(arriving, Stage::Read, 1)).await;
        assert!(text.contains("\"line\":") && !text.contains("\"record\":"), "{text}");
    }

    #[tokio::test]
    async fn a_node_that_does_not_answer_is_said_once_for_each_reason() {
        let (events, arriving) = mpsc::channel(8);
        for why in ["gone", "gone", "slow", "gone"] {
            events.send((NodeId([1; 16]), "n1".to_owned(), Err(why.to_owned()))).await.unwrap();
        }
        drop(events);
        let text = text(limited(arriving, Stage::Send, 2)).await;
        assert_eq!(text.matches("event: trouble").count(), 3, "{text}");
    }
}
