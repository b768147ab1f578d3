//! Runners and their instances.

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
};
use logvine_cluster::{
    command::Command,
    name::Name,
    spec::RunnerSpec,
    view::{self, InstanceRow, RunnerRow, RunnerView},
};

use super::{
    ApiError, ApiResult, App,
    body::Document,
    listing::{ListQuery, Listing, Params, Path},
    nodes::meant,
    problem::Problem,
    written::{WriteQuery, Writing, Written, if_match, write},
};
use crate::document;

/// All runners, by name
#[utoipa::path(get, path = "/v1/runners", operation_id = "runner_list", tag = "runners", params(ListQuery),
    responses((status = 200, body = Listing<RunnerRow>)))]
pub(super) async fn list(State(app): State<App>, Params(query): Params<ListQuery>) -> ApiResult<Json<Listing<RunnerRow>>> {
    let selection = query.selection()?;
    let rows = app.agent().look(move |node, _| {
        let meant = meant(node, selection.as_ref());
        let runs_there = |row: &RunnerRow| {
            let Some(meant) = &meant else { return true };
            row.name.parse().is_ok_and(|name: Name| node.targets(&name).iter().any(|id| meant.contains(&id.to_string())))
        };
        view::runners(node).into_iter().filter(runs_there).collect()
    });
    Ok(Json(query.page(rows.await?, |row: &RunnerRow| row.name.clone())?))
}

/// One runner, with its spec
#[utoipa::path(get, path = "/v1/runners/{runner}", operation_id = "runner_show", tag = "runners",
    responses((status = 200, body = RunnerView), (status = 404, body = Problem)))]
pub(super) async fn one(State(app): State<App>, Path(runner): Path<String>) -> ApiResult<Response> {
    let name = name(&runner)?;
    let found = app.agent().look(move |node, _| view::runner(node, &name)).await?;
    let found = found.ok_or_else(|| ApiError::not_found("runner", &runner, "GET /v1/runners"))?;
    let etag = format!("\"{}\"", found.row.revision);
    Ok(([(header::ETAG, etag)], Json(found)).into_response())
}

/// Creates or replaces a runner
#[utoipa::path(put, path = "/v1/runners/{runner}", operation_id = "runner_apply", tag = "runners", params(WriteQuery),
    request_body(content((RunnerSpec = "application/json"), (RunnerSpec = "application/yaml"), (RunnerSpec = "application/toml"))),
    responses((status = 200, body = Written), (status = 202, body = Written), (status = 207, body = Written), (status = 412, body = Problem), (status = 422, body = Problem)))]
pub(super) async fn put(
    State(app): State<App>,
    Path(runner): Path<String>,
    Writing(query): Writing,
    headers: HeaderMap,
    document: Document,
) -> ApiResult<Written> {
    let name = name(&runner)?;
    let if_match = if_match(&headers)?;
    // Compiling a transform takes milliseconds of CPU; other requests must not wait for it.
    let checked = tokio::task::spawn_blocking(move || document::runner(&document.text, document.format, Some(&name)));
    let checked =
        checked.await.map_err(|_| ApiError::bad_request("checking this runner made this node's checker fail: report it with the runner"))?;
    let spec = checked.map_err(|faults| ApiError::invalid(format!("The runner has {}.", count(faults.len(), "fault")), faults))?;
    write(&app, &query, Command::PutRunner { spec: Box::new(spec), if_match }).await
}

/// Deletes a runner and what is remembered of its sources
#[utoipa::path(delete, path = "/v1/runners/{runner}", operation_id = "runner_delete", tag = "runners", params(WriteQuery),
    responses((status = 200, body = Written), (status = 202, body = Written), (status = 207, body = Written), (status = 404, body = Problem), (status = 412, body = Problem)))]
pub(super) async fn delete(State(app): State<App>, Path(runner): Path<String>, Writing(query): Writing, headers: HeaderMap) -> ApiResult<Written> {
    write(&app, &query, Command::DeleteRunner { runner: name(&runner)?, if_match: if_match(&headers)? }).await
}

/// All instances, by runner and node
#[utoipa::path(get, path = "/v1/instances", operation_id = "instance_list", tag = "runners", params(ListQuery),
    responses((status = 200, body = Listing<InstanceRow>)))]
pub(super) async fn instances(State(app): State<App>, Params(query): Params<ListQuery>) -> ApiResult<Json<Listing<InstanceRow>>> {
    let selection = query.selection()?;
    let only = query.runner.clone();
    let rows = app.agent().look(move |node, _| {
        let meant = meant(node, selection.as_ref());
        let wanted =
            |row: &InstanceRow| meant.as_ref().is_none_or(|meant| meant.contains(&row.node)) && only.as_ref().is_none_or(|only| *only == row.runner);
        view::instances(node).into_iter().filter(wanted).collect()
    });
    Ok(Json(query.page(rows.await?, |row: &InstanceRow| format!("{}\0{}", row.runner, row.node))?))
}

pub(super) fn name(text: &str) -> ApiResult<Name> {
    text.parse().map_err(|error: logvine_cluster::name::NameError| ApiError::bad_request(error.to_string()))
}

fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}
