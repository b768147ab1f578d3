//! What would move if… (DESIGN §5.6). It changes nothing.

use std::collections::BTreeSet;

use axum::{Json, extract::State};
use logvine_cluster::{
    name::Name,
    node::Node,
    plan::{Change, PlanError, Snapshot},
    ranking::Capacity,
    selection::Selection,
    spec::SpecFault,
    view::{self, PlanView},
};
use logvine_gossip::NodeId;
use serde::Deserialize;
use utoipa::ToSchema;

use super::{ApiError, ApiResult, App, body::Document, nodes::resolve, problem::Problem};

/// More is another cluster, not a plan.
const CHANGES_MAX: usize = 1_000;

/// What may come to pass, one after another; nothing: what is to move anyway.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Question {
    changes: Vec<Asked>,
}

/// Something that may come to pass. Nodes by id, a unique beginning of it, or name.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Asked {
    /// A node is gone without a word.
    Dies(String),
    /// It is drained.
    Leaves(String),
    /// A node comes.
    Joins(Joiner),
    /// It can bear more, or less.
    Bears(Bearing),
    /// Sources are added to a runner.
    Adds(Addition),
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Joiner {
    name: Name,
    #[serde(default)]
    #[schema(value_type = Vec<Name>)]
    tags: BTreeSet<Name>,
    /// In quarter octaves; without it, what is usual here.
    capacity: Option<u8>,
    /// 32 hex digits, where it is known already: without it, what the node gets is right in number only.
    id: Option<String>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Bearing {
    node: String,
    /// In quarter octaves: 4 more is twice as much.
    capacity: u8,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Addition {
    runner: Name,
    /// How many.
    #[schema(minimum = 0, maximum = 100000)]
    sources: usize,
    /// What narrows the runner's placement for them.
    #[schema(value_type = Option<String>)]
    selection: Option<Selection>,
}

/// What would move if something came to pass: from where to where, and what each node would have
#[utoipa::path(post, path = "/v1/plan", operation_id = "plan", tag = "sources", request_body = Question,
    responses((status = 200, body = PlanView), (status = 404, body = Problem), (status = 422, body = Problem)))]
pub(super) async fn plan(State(app): State<App>, document: Document) -> ApiResult<Json<PlanView>> {
    let Question { changes } = document.read()?;
    if changes.len() > CHANGES_MAX {
        return Err(ApiError::too_many("/changes", changes.len(), CHANGES_MAX));
    }
    let looked = app.agent().look(move |node, now| {
        let changes = changes.into_iter().enumerate().map(|(at, asked)| change(node, at, asked)).collect::<ApiResult<Vec<_>>>()?;
        Ok::<_, ApiError>((Snapshot::of(node, now), changes))
    });
    let (snapshot, changes) = looked.await??;
    // It takes a second for a hundred thousand sources; neither the node nor other requests wait for it.
    let planned = tokio::task::spawn_blocking(move || snapshot.plan(&changes).map(|plan| view::plan(&plan)));
    let planned = planned.await.map_err(|_| ApiError::bad_request("planning this made this node's planner fail: report it with the changes"))?;
    planned.map(Json).map_err(|error| match error {
        PlanError::NoNode(id) => ApiError::not_found("node", &id.to_string(), "GET /v1/nodes"),
        PlanError::NoRunner(runner) => ApiError::not_found("runner", runner.as_str(), "GET /v1/runners"),
        error @ PlanError::TooMany { .. } => ApiError::invalid(error.to_string(), Vec::new()),
    })
}

fn change(node: &Node, at: usize, asked: Asked) -> ApiResult<Change> {
    Ok(match asked {
        Asked::Dies(name) => Change::Dies(resolve(node, &name)?),
        Asked::Leaves(name) => Change::Leaves(resolve(node, &name)?),
        Asked::Joins(Joiner { name, tags, capacity, id }) => {
            let pointer = format!("/changes/{at}/joins/id");
            let id = id.map(|text| {
                let detail = format!("`{text}` is no node's id: 32 hex digits, as `logvine self` shows them on that node");
                text.parse::<NodeId>().map_err(|_| ApiError::invalid("A node's id is none.", vec![SpecFault { pointer, detail }]))
            });
            Change::Joins { id: id.transpose()?, name, tags, capacity: capacity.map(Capacity) }
        }
        Asked::Bears(Bearing { node: name, capacity }) => Change::Bears { node: resolve(node, &name)?, capacity: Capacity(capacity) },
        Asked::Adds(Addition { runner, sources, selection }) => Change::Adds { runner, sources, selection },
    })
}
