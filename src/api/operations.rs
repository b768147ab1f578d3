//! Operations: what was commanded, and what became of it.

use std::collections::BTreeSet;

use axum::{Json, extract::State};
use logvine_cluster::{
    catalog::Desired,
    command::Command,
    name::Name,
    selection::{Selection, SelectionError},
    spec::SpecFault,
    view::{self, OperationRow, OperationView},
};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use super::{
    ApiError, ApiResult, App,
    body::Document,
    counters::clear_counters,
    listing::{Listing, PageQuery, Params, Path, selection, words},
    problem::Problem,
    queues::drop_queue,
    rewinds::rewind,
    runners::name,
    written::{RevisionHeaders, WriteQuery, Writing, Written, write},
};

words! {
    /// What was asked for.
    VerbWord {
        Apply = "apply",
        Delete = "delete",
        Start = "start",
        Stop = "stop",
        Remove = "remove",
        Follow = "follow",
        Restart = "restart",
        Rewind = "rewind",
        ClearCounters = "clear counters",
        DropQueue = "drop queue",
        PatchSources = "patch sources",
        SetTags = "set tags",
        RenameTag = "rename tag",
        Drain = "drain",
        Undrain = "undrain",
        Forget = "forget",
        Set = "set",
    }
}

words! {
    /// How far an operation is.
    OperationStateWord {
        Proposed = "proposed",
        Published = "published",
        Accepted = "accepted",
        Withdrawn = "withdrawn",
    }
}

/// Which operations.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct OperationQuery {
    /// Rows on a page: 1 to 1,000.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<usize>,
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
    /// Only those that concern these nodes: `web`, `name=web-1`, `status=down`, `tag in (a, b)`.
    selector: Option<String>,
    /// Only those on this runner.
    runner: Option<String>,
    /// Only those with this verb.
    #[param(inline)]
    verb: Option<VerbWord>,
    /// Only those in this state.
    #[param(inline)]
    state: Option<OperationStateWord>,
}

/// All operations of the last seven days, the newest first
#[utoipa::path(get, path = "/v1/operations", operation_id = "operation_list", tag = "operations", params(OperationQuery),
    responses((status = 200, body = Listing<OperationRow>)))]
pub(super) async fn list(State(app): State<App>, Params(query): Params<OperationQuery>) -> ApiResult<Json<Listing<OperationRow>>> {
    let OperationQuery { limit, cursor, selector, runner, verb, state } = query;
    let (selection, page) = (selection(selector.as_deref())?, PageQuery { limit, cursor });
    let (before, most) = (page.after()?, page.most()?);
    let rows = app.agent().look(move |node, _| {
        let meant = super::nodes::meant(node, selection.as_ref());
        let concerns = |row: &OperationRow| {
            let of_runner = runner.as_ref().is_none_or(|runner| row.runners.contains(runner));
            let of_node = |meant: &BTreeSet<String>| view::targets_of(node, &row.id).iter().any(|target| meant.contains(&target.node));
            let is = |wanted: Option<&str>, given: &String| wanted.is_none_or(|wanted| wanted == given);
            let by_word = is(verb.map(VerbWord::word), &row.verb) && is(state.map(OperationStateWord::word), &row.state);
            of_runner && by_word && meant.as_ref().is_none_or(of_node)
        };
        view::operations(node, before.as_deref()).filter(concerns).take(most).collect()
    });
    Ok(Json(page.cut(rows.await?, |row: &OperationRow| row.id.clone())))
}

/// One operation, with what became of it on each of its targets; any node tells it
#[utoipa::path(get, path = "/v1/operations/{operation}", operation_id = "operation_show", tag = "operations",
    responses((status = 200, body = OperationView), (status = 404, body = Problem)))]
pub(super) async fn one(State(app): State<App>, Path(operation): Path<String>) -> ApiResult<Json<OperationView>> {
    let id = operation.clone();
    let found = app.agent().look(move |node, _| view::operation(node, &id)).await?;
    found.map(Json).ok_or_else(|| ApiError::not_found("operation", &operation, "GET /v1/operations"))
}

/// Runners in one command. Their names travel with it to all nodes.
const RUNNERS_MAX: usize = 10_000;

/// What to do with several runners at once.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Bulk {
    runners: Vec<Name>,
    verb: RunnerVerb,
    /// `all`, `web`, `name=web-1`, `tag in (a, b)`
    nodes: String,
    /// Refuse if it concerns another number of nodes than this: as many as a dry run has shown as `targets`.
    expected_count: Option<usize>,
    /// Why, for the log.
    reason: Option<String>,
}

/// What to do with a runner on its nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum RunnerVerb {
    Start,
    Stop,
    /// It is as if it were not meant for these nodes.
    Remove,
    /// Forget what was said of single nodes: they do as the runner does.
    Follow,
    /// Begin anew where it runs.
    Restart,
    /// Read its sources again from their beginning: all, those of these nodes, or single ones.
    Rewind,
    /// Count records, errors and dead letters from nothing again.
    #[serde(rename = "clear-counters")]
    ClearCounters,
    /// Throw away what waits in the disk queue of a reader that cannot wait (`syslog`, `http_push`, `stdin`).
    #[serde(rename = "drop-queue")]
    DropQueue,
    /// Several at once, on `all` nodes; a single one by `DELETE`.
    Delete,
}

/// On which nodes.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct OnNodes {
    /// `all`, `web`, `name=web-1`, `tag in (a, b)`
    nodes: String,
    /// Refuse if it concerns another number of nodes than this: as many as a dry run has shown as `targets`.
    expected_count: Option<usize>,
    /// `rewind` only, and with `nodes` as `all`: these sources and no others. A file's is as `GET /v1/instances/{node}/{runner}` tells it.
    #[serde(default)]
    sources: BTreeSet<Name>,
    /// Why, for the log.
    reason: Option<String>,
}

/// Starts, stops, removes, lets follow, restarts, rewinds, deletes, clears the counters or drops the disk queues of several runners at once
#[utoipa::path(post, path = "/v1/operations", operation_id = "runner_stop", tag = "operations", params(WriteQuery), request_body = Bulk,
    responses((status = 200, body = Written), (status = 202, body = Written), (status = 207, body = Written), (status = 404, body = Problem),
        (status = 422, body = Problem)))]
pub(super) async fn bulk(State(app): State<App>, Writing(query): Writing, document: Document) -> ApiResult<Written> {
    let Bulk { runners, verb, nodes, expected_count, reason } = document.read()?;
    if runners.is_empty() {
        let detail = "no runner is named: an empty list is not all of them".to_owned();
        return Err(ApiError::invalid("No runner is meant.", vec![SpecFault { pointer: "/runners".to_owned(), detail }]));
    }
    if runners.len() > RUNNERS_MAX {
        return Err(ApiError::too_many("/runners", runners.len(), RUNNERS_MAX));
    }
    command(&app, query, runners, verb, OnNodes { nodes, expected_count, sources: BTreeSet::new(), reason }).await
}

/// Starts, stops, removes, lets follow, restarts, rewinds, clears the counters or drops the disk queue of a runner: on `all` it is the runner's own state, on other selections that of each node that matches now
///
/// `rewind` has its sources read again from their beginning, once, whoever collects them by then; a dry run tells how much that would be. The sources of a
/// reader that nodes share (`http`) are no node's own: rewind `all` of them, or name some. `clear-counters` changes nothing but what is shown; a dry run tells
/// what would be. `drop-queue` throws away what came in and was not sent yet, on the nodes where the runner is to run and that hear of it within a minute; a
/// dry run tells how much that is.
#[utoipa::path(post, path = "/v1/runners/{runner}/{verb}", operation_id = "runner_start", tag = "runners",
    params(WriteQuery, RevisionHeaders, ("verb" = String, Path, description = "`start`, `stop`, `remove`, `follow`, `restart`, `rewind`, `clear-counters`, `drop-queue`")),
    request_body = OnNodes, responses((status = 200, body = Written), (status = 202, body = Written), (status = 207, body = Written),
        (status = 404, body = Problem), (status = 412, body = Problem), (status = 422, body = Problem)))]
pub(super) async fn verb(
    State(app): State<App>,
    Path((runner, verb)): Path<(String, String)>,
    Writing(query): Writing,
    document: Document,
) -> ApiResult<Written> {
    let verb = match verb.as_str() {
        "start" => RunnerVerb::Start,
        "stop" => RunnerVerb::Stop,
        "remove" => RunnerVerb::Remove,
        "follow" => RunnerVerb::Follow,
        "restart" => RunnerVerb::Restart,
        "rewind" => RunnerVerb::Rewind,
        "clear-counters" => RunnerVerb::ClearCounters,
        "drop-queue" => RunnerVerb::DropQueue,
        _ => return Err(ApiError::no_route(&format!("/v1/runners/{runner}/{verb}"))),
    };
    command(&app, query, vec![name(&runner)?], verb, document.read()?).await
}

async fn command(app: &App, mut query: WriteQuery, runners: Vec<Name>, verb: RunnerVerb, on: OnNodes) -> ApiResult<Written> {
    let fault =
        |pointer: &str, detail: String| ApiError::invalid("The selection is not one.", vec![SpecFault { pointer: pointer.to_owned(), detail }]);
    let selection: Selection = on.nodes.parse().map_err(|error: SelectionError| fault("/nodes", error.to_string()))?;
    if !on.sources.is_empty() && (verb != RunnerVerb::Rewind || on.nodes.trim() != "all") {
        return Err(fault("/sources", "single sources are for `rewind`, with `nodes` as `all`".to_owned()));
    }
    query.give_reason(on.reason)?;
    query.expected = on.expected_count;
    let nodes = (on.nodes.trim() != "all").then(|| selection.clone());
    let command = match verb {
        RunnerVerb::Start => Command::Desire { runners, nodes, desired: Desired::Running },
        RunnerVerb::Stop => Command::Desire { runners, nodes, desired: Desired::Stopped },
        RunnerVerb::Remove => Command::Desire { runners, nodes, desired: Desired::Absent },
        RunnerVerb::Follow => Command::Follow { runners, nodes: selection },
        RunnerVerb::Restart => Command::Restart { runners, nodes },
        RunnerVerb::Delete if nodes.is_some() => {
            return Err(fault("/nodes", "a runner is deleted as a whole: say `all`, or `remove` it from these nodes".to_owned()));
        }
        RunnerVerb::Delete => Command::DeleteRunners { runners },
        RunnerVerb::DropQueue => return drop_queue(app, &query, runners, nodes).await,
        RunnerVerb::ClearCounters => return clear_counters(app, &query, runners, nodes).await,
        RunnerVerb::Rewind => return rewind(app, &query, runners, nodes, on.sources).await,
    };
    write(app, &query, command).await
}
