//! Instances: runners at work on nodes.

use axum::{Json, extract::State};
use logvine_cluster::view::{self, InstanceRow};
use serde::Deserialize;
use utoipa::IntoParams;

use super::{
    ApiResult, App,
    listing::{Listing, PageQuery, Params, selection, words},
    nodes::meant,
    runners::name,
};

words! {
    /// What an instance does.
    InstanceStateWord {
        Starting = "starting",
        Running = "running",
        Paused = "paused",
        Failed = "failed",
        Stopped = "stopped",
        WaitingForNode = "waiting for node",
    }
}

/// Which instances.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct InstanceQuery {
    /// Rows on a page: 1 to 1,000.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<usize>,
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
    /// Only those on these nodes: `web`, `name=web-1`, `status=down`, `tag in (a, b)`.
    selector: Option<String>,
    /// Only those of this runner.
    runner: Option<String>,
    /// Only those in this state.
    #[param(inline)]
    state: Option<InstanceStateWord>,
}

/// All instances, by runner and node
#[utoipa::path(get, path = "/v1/instances", operation_id = "instance_list", tag = "runners", params(InstanceQuery),
    responses((status = 200, body = Listing<InstanceRow>)))]
pub(super) async fn list(State(app): State<App>, Params(query): Params<InstanceQuery>) -> ApiResult<Json<Listing<InstanceRow>>> {
    let InstanceQuery { limit, cursor, selector, runner, state } = query;
    let selection = selection(selector.as_deref())?;
    let runner = runner.as_deref().map(name).transpose()?;
    let rows = app.agent().look(move |node, _| {
        let meant = meant(node, selection.as_ref());
        let there = |row: &InstanceRow| meant.as_ref().is_none_or(|meant| meant.contains(&row.node));
        let of_runner = |row: &InstanceRow| runner.as_ref().is_none_or(|runner| runner.as_str() == row.runner);
        let in_state = |row: &InstanceRow| state.is_none_or(|state| state.word() == row.state);
        view::instances(node).into_iter().filter(|row| there(row) && of_runner(row) && in_state(row)).collect()
    });
    Ok(Json(PageQuery { limit, cursor }.page(rows.await?, |row: &InstanceRow| format!("{}\0{}", row.runner, row.node))?))
}
