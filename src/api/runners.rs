//! Runners and their instances.

use super::{
    ApiError, ApiResult, App,
    body::Document,
    known::not_found,
    listing::{ListQuery, Listing, PageQuery, Params, Path},
    nodes::meant,
    problem::Problem,
    written::{RevisionHeaders, WriteQuery, Writing, Written, write},
};
use crate::document;
use axum::{
    Json,
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use logvine_cluster::{
    command::Command,
    name::Name,
    operation::ENTRIES_MAX,
    spec::RunnerSpec,
    view::{self, RevisionRow, RunnerRow, RunnerView},
};

/// All runners, by name
#[utoipa::path(get, path = "/v1/runners", operation_id = "runner_list", tag = "runners", params(ListQuery),
    responses((status = 200, body = Listing<RunnerRow>)))]
pub(super) async fn list(State(app): State<App>, Params(query): Params<ListQuery>) -> ApiResult<Json<Listing<RunnerRow>>> {
    let selection = query.selection()?;
    let rows = app.agent().look(move |node, _| {
        let meant = meant(node, selection.as_ref());
        let runs_there = |row: &RunnerRow| {
            let Some(meant) = &meant else { return true };
            row.name.parse().is_ok_and(|name: Name| node.placed_anyhow(&name).iter().any(|id| meant.contains(&id.to_string())))
        };
        view::runners(node).into_iter().filter(runs_there).collect()
    });
    Ok(Json(query.page().page(rows.await?, |row: &RunnerRow| row.name.clone())?))
}

/// One runner, with its spec
#[utoipa::path(get, path = "/v1/runners/{runner}", operation_id = "runner_show", tag = "runners",
    responses((status = 200, body = RunnerView), (status = 404, body = Problem)))]
pub(super) async fn one(State(app): State<App>, Path(runner): Path<String>) -> ApiResult<Response> {
    let name = name(&runner)?;
    let found = app.agent().look(move |node, _| view::runner(node, &name).ok_or_else(|| not_found(node, "runner", name.as_str()))).await??;
    let etag = format!("\"{}\"", found.spec_revision);
    Ok(([(header::ETAG, etag)], Json(found)).into_response())
}

/// What a runner was and is, the newest first: the last twenty revisions that the asked node stored
#[utoipa::path(get, path = "/v1/runners/{runner}/revisions", operation_id = "runner_revisions", tag = "runners", params(PageQuery),
    responses((status = 200, body = Listing<RevisionRow>), (status = 404, body = Problem)))]
pub(super) async fn revisions(
    State(app): State<App>,
    Path(runner): Path<String>,
    Params(query): Params<PageQuery>,
) -> ApiResult<Json<Listing<RevisionRow>>> {
    let name = name(&runner)?;
    let (before, most) = (query.after()?, query.most()?);
    let rows = app.agent().look(move |node, _| {
        let rows = view::revisions(node, &name);
        if rows.is_empty() { Err(not_found(node, "runner", name.as_str())) } else { Ok(rows) }
    });
    // The newest come first, so a cursor is where the older ones begin.
    let older = |row: &RevisionRow| before.as_ref().is_none_or(|before| stamp(&row.revision) < stamp(before));
    Ok(Json(query.cut(rows.await??.into_iter().filter(older).take(most).collect(), |row: &RevisionRow| row.revision.clone())))
}

fn stamp(text: &str) -> u64 {
    text.parse().unwrap_or(0)
}

/// Creates or replaces a runner
#[utoipa::path(put, path = "/v1/runners/{runner}", operation_id = "runner_apply", tag = "runners", params(WriteQuery, RevisionHeaders),
    request_body(content((RunnerSpec = "application/json"), (RunnerSpec = "application/yaml"), (RunnerSpec = "application/toml"))),
    responses((status = 200, body = Written), (status = 202, body = Written), (status = 207, body = Written), (status = 412, body = Problem), (status = 422, body = Problem)))]
pub(super) async fn put(State(app): State<App>, Path(runner): Path<String>, Writing(query): Writing, document: Document) -> ApiResult<Written> {
    let name = name(&runner)?;
    // Compiling a transform takes milliseconds of CPU; other requests must not wait for it.
    let checked = tokio::task::spawn_blocking(move || document::runner(&document.text, document.format, Some(&name)));
    let checked =
        checked.await.map_err(|_| ApiError::bad_request("checking this runner made this node's checker fail: report it with the runner"))?;
    let spec = checked.map_err(|faults| ApiError::invalid(format!("The runner has {}.", count(faults.len(), "fault")), faults))?;
    if spec.sources.len() > ENTRIES_MAX {
        return Err(ApiError::too_many("/sources", spec.sources.len(), ENTRIES_MAX));
    }
    write(&app, &query, Command::PutRunner { spec: Box::new(spec) }).await
}

/// Deletes a runner and what is remembered of its sources
#[utoipa::path(delete, path = "/v1/runners/{runner}", operation_id = "runner_delete", tag = "runners", params(WriteQuery, RevisionHeaders),
    responses((status = 200, body = Written), (status = 202, body = Written), (status = 207, body = Written), (status = 404, body = Problem), (status = 412, body = Problem)))]
pub(super) async fn delete(State(app): State<App>, Path(runner): Path<String>, Writing(query): Writing) -> ApiResult<Written> {
    write(&app, &query, Command::DeleteRunners { runners: vec![name(&runner)?] }).await
}

pub(super) fn name(text: &str) -> ApiResult<Name> {
    text.parse().map_err(|error: logvine_cluster::name::NameError| ApiError::bad_request(error.to_string()))
}

fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}
