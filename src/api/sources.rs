//! Movable sources and their owners.

use axum::{Json, extract::State};
use logvine_cluster::{
    command::{Command, CommandError},
    name::Name,
    operation::ENTRIES_MAX,
    spec::SourceSpec,
    view::{self, Finding, SourceRow, SourceState, SourceView},
};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use super::{
    ApiError, ApiResult, App,
    body::Document,
    known::{explain, no_source},
    listing::{Listing, PageQuery, Params, Path, selection},
    nodes::meant,
    problem::Problem,
    runners::name,
    written::{RevisionHeaders, WriteQuery, Writing, Written, obey},
};
use crate::agent::asking::{Ask, Told};

/// Which sources.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct SourceQuery {
    /// Rows on a page: 1 to 1,000.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<usize>,
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
    /// Only those that these nodes own: `web`, `name=web-1`, `status=down`, `tag in (a, b)`.
    selector: Option<String>,
    /// Only those of this runner.
    runner: Option<String>,
    /// Only those in this state.
    state: Option<SourceState>,
}

/// All movable sources with their owners, by runner and id
#[utoipa::path(get, path = "/v1/sources", operation_id = "source_list", tag = "sources", params(SourceQuery),
    responses((status = 200, body = Listing<SourceRow>)))]
pub(super) async fn list(State(app): State<App>, Params(query): Params<SourceQuery>) -> ApiResult<Json<Listing<SourceRow>>> {
    let SourceQuery { limit, cursor, selector, runner, state } = query;
    let selection = selection(selector.as_deref())?;
    let only = runner.as_deref().map(name).transpose()?;
    let page = PageQuery { limit, cursor };
    let (after, most) = (page.after()?, page.most()?);
    let rows = app.agent().look(move |node, now| {
        let meant = meant(node, selection.as_ref());
        let owned_there = |row: &SourceRow| meant.as_ref().is_none_or(|meant| row.owner.as_ref().is_some_and(|owner| meant.contains(owner)));
        let in_state = |row: &SourceRow| state.is_none_or(|state| state == row.state);
        view::sources(node, now, only.as_ref(), after.as_deref()).filter(|row| owned_there(row) && in_state(row)).take(most).collect()
    });
    Ok(Json(page.cut(rows.await?, |row: &SourceRow| view::source_order(&row.runner, &row.id))))
}

/// One source, with the position that its owner knows
#[utoipa::path(get, path = "/v1/sources/{runner}/{source}", operation_id = "source_show", tag = "sources",
    responses((status = 200, body = SourceView), (status = 404, body = Problem)))]
pub(super) async fn one(State(app): State<App>, Path((runner, source)): Path<(String, String)>) -> ApiResult<Json<SourceView>> {
    let (runner_name, source_name) = (name(&runner)?, name(&source)?);
    let claimed = app.agent().look({
        let (runner, source) = (runner_name.clone(), source_name.clone());
        move |node, _| view::claimant(node, &runner, &source).ok_or_else(|| no_source(node, runner.as_str(), source.as_str()))
    });
    let (key, claimant) = claimed.await??;
    let inspected = match claimant {
        Some(claimant) => Some(match app.asking().ask(claimant, &Ask::Source(key)).await {
            Ok(Told::Source(Some(inspected))) => Ok(*inspected),
            Ok(_) => Err("it does not own it now".to_owned()),
            // The view still has its row: an answer that says what it lacks is better than none.
            Err(error) => Err(error.to_string()),
        }),
        None => None,
    };
    let looked = app.agent().look(move |node, now| {
        let found = view::source(node, now, &runner_name, &source_name, inspected);
        found.ok_or_else(|| no_source(node, runner_name.as_str(), source_name.as_str()))
    });
    looked.await?.map(Json)
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
#[utoipa::path(patch, path = "/v1/runners/{runner}/sources", operation_id = "source_add", tag = "sources", params(WriteQuery, RevisionHeaders), request_body = Patch,
    responses((status = 200, body = Written), (status = 202, body = Written), (status = 207, body = Written), (status = 404, body = Problem), (status = 412, body = Problem), (status = 422, body = Problem)))]
pub(super) async fn patch(State(app): State<App>, Path(runner): Path<String>, Writing(mut query): Writing, document: Document) -> ApiResult<Written> {
    let Patch { put, remove, reason } = document.read()?;
    for (pointer, count) in [("/put", put.len()), ("/remove", remove.len())] {
        if count > ENTRIES_MAX {
            return Err(ApiError::too_many(pointer, count, ENTRIES_MAX));
        }
    }
    query.give_reason(reason)?;
    match obey(&app, &query, Command::PatchSources { runner: name(&runner)?, put, remove }).await? {
        Ok(written) => Ok(written),
        // The command names the source alone.
        Err(CommandError::NotFound { kind: "source", name }) => {
            Err(explain(&app, CommandError::NotFound { kind: "source", name: format!("{runner}/{name}") }).await)
        }
        Err(error) => Err(explain(&app, error).await),
    }
}

/// Sources with no owner or two, and those that wait, as this node sees it
#[utoipa::path(get, path = "/v1/assignments/check", operation_id = "assignment_check", tag = "sources", params(PageQuery),
    responses((status = 200, body = Listing<Finding>)))]
pub(super) async fn check(State(app): State<App>, Params(query): Params<PageQuery>) -> ApiResult<Json<Listing<Finding>>> {
    let findings = app.agent().look(view::check).await?;
    Ok(Json(query.page(findings, |finding: &Finding| view::source_order(&finding.runner, &finding.source))?))
}
