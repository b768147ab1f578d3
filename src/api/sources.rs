//! Movable sources and their owners.

use axum::{Json, extract::State};
use logvine_cluster::{
    command::{Answer, Command, CommandError, Said},
    name::Name,
    spec::SourceSpec,
    view::{self, Finding, SourceRow, SourceView},
};
use serde::Deserialize;
use utoipa::ToSchema;

use super::{
    ApiError, ApiResult, App,
    body::Document,
    listing::{ListQuery, Listing, Params, Path},
    nodes::meant,
    problem::Problem,
    runners::name,
    written::{WriteQuery, Writing, Written, write},
};

/// All movable sources with their owners, by runner and id
#[utoipa::path(get, path = "/v1/sources", operation_id = "source_list", tag = "sources", params(ListQuery),
    responses((status = 200, body = Listing<SourceRow>)))]
pub(super) async fn list(State(app): State<App>, Params(query): Params<ListQuery>) -> ApiResult<Json<Listing<SourceRow>>> {
    let selection = query.selection()?;
    let only = query.runner.as_deref().map(name).transpose()?;
    let (after, most) = (query.after()?, query.most()?);
    let rows = app.agent().look(move |node, now| {
        let meant = meant(node, selection.as_ref());
        let owned_there = |row: &SourceRow| meant.as_ref().is_none_or(|meant| row.owner.as_ref().is_some_and(|owner| meant.contains(owner)));
        view::sources(node, now, only.as_ref(), after.as_deref()).filter(owned_there).take(most).collect()
    });
    Ok(Json(query.cut(rows.await?, |row: &SourceRow| view::source_order(&row.runner, &row.id))))
}

/// One source, with the position that its owner knows
#[utoipa::path(get, path = "/v1/sources/{runner}/{source}", operation_id = "source_show", tag = "sources",
    responses((status = 200, body = SourceView), (status = 404, body = Problem)))]
pub(super) async fn one(State(app): State<App>, Path((runner, source)): Path<(String, String)>) -> ApiResult<Json<SourceView>> {
    let (runner_name, source_name) = (name(&runner)?, name(&source)?);
    let inspected = match app.agent().command(Command::Inspect { runner: runner_name.clone(), source: source_name.clone() }, Said::default()).await? {
        Ok(Answer::Inspected(inspected)) => inspected,
        Ok(Answer::Written { .. }) => unreachable!("a question is not answered as a write"),
        // The view still has it, though this node takes no commands any more.
        Err(CommandError::Stopping) => None,
        Err(error) => return Err(error.into()),
    };
    let found = app.agent().look(move |node, now| view::source(node, now, &runner_name, &source_name, inspected.as_ref())).await?;
    found.map(Json).ok_or_else(|| ApiError::not_found("source", &format!("{runner}/{source}"), "GET /v1/sources"))
}

/// Sources to add or replace, and to remove.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Patch {
    #[serde(default)]
    put: Vec<SourceSpec>,
    #[serde(default)]
    remove: Vec<Name>,
    /// Why, for the log.
    reason: Option<String>,
}

/// Adds, replaces and removes sources of a runner
#[utoipa::path(patch, path = "/v1/runners/{runner}/sources", operation_id = "source_add", tag = "sources", params(WriteQuery), request_body = Patch,
    responses((status = 200, body = Written), (status = 202, body = Written), (status = 207, body = Written), (status = 404, body = Problem), (status = 422, body = Problem)))]
pub(super) async fn patch(State(app): State<App>, Path(runner): Path<String>, Writing(mut query): Writing, document: Document) -> ApiResult<Written> {
    let Patch { put, remove, reason } = document.read()?;
    query.reason = query.reason.or(reason);
    write(&app, &query, Command::PatchSources { runner: name(&runner)?, put, remove }).await
}

/// Sources with no owner or two, and those that wait, as this node sees it
#[utoipa::path(get, path = "/v1/assignments/check", operation_id = "assignment_check", tag = "sources",
    responses((status = 200, body = Listing<Finding>)))]
pub(super) async fn check(State(app): State<App>) -> ApiResult<Json<Listing<Finding>>> {
    Ok(Json(Listing { items: app.agent().look(view::check).await?, next_cursor: None }))
}
