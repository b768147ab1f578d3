//! Writes: a command to the node, or a look at what it would concern.

use axum::{
    Json,
    http::{HeaderMap, header},
};
use logvine_cluster::{
    catalog::Desired,
    command::{Answer, Command, CommandError},
    member::status_word,
    name::Name,
    node::Node,
    selection::Selection,
    view::name_of,
};
use logvine_gossip::{NodeId, Stamp};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{ApiError, ApiResult, App};

/// What all writes take.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields, default)]
pub(super) struct WriteQuery {
    /// Check it, say which nodes it would concern, and change nothing.
    pub(super) dry_run: bool,
    /// Why, for the log.
    pub(super) reason: Option<String>,
}

/// What became of a write: it is on the asked node's disk, and on its way to the others.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct Written {
    /// The stamp of the last entry written; null for a dry run, and where all was as asked before.
    revision: Option<String>,
    dry_run: bool,
    /// The nodes that it concerns now.
    targets: Vec<Target>,
}

/// A node that a write concerns.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct Target {
    node: String,
    node_name: String,
}

/// Carries `command` out, or only looks.
pub(super) async fn write(app: &App, query: &WriteQuery, command: Command) -> ApiResult<Json<Written>> {
    if query.dry_run {
        let looked = app.agent().look(move |node, _| preview(node, &command).map(|targets| rows(node, &targets))).await?;
        return Ok(Json(Written { revision: None, dry_run: true, targets: looked? }));
    }
    tracing::info!(command = verb(&command), reason = query.reason.as_deref(), "an operator's command");
    match app.agent().command(command).await?? {
        Answer::Written { stamp, targets } => {
            let targets = app.agent().look(move |node, _| rows(node, &targets)).await?;
            Ok(Json(Written { revision: (stamp > Stamp::ZERO).then(|| stamp.to_string()), dry_run: false, targets }))
        }
        Answer::Inspected(_) => unreachable!("a write is not answered as a question"),
    }
}

fn rows(node: &Node, targets: &[NodeId]) -> Vec<Target> {
    targets.iter().map(|id| Target { node: id.to_string(), node_name: name_of(node, id) }).collect()
}

fn verb(command: &Command) -> &'static str {
    match command {
        Command::PutRunner { .. } => "put runner",
        Command::DeleteRunner { .. } => "delete runner",
        Command::Desire { desired: Desired::Running, .. } => "start",
        Command::Desire { desired: Desired::Stopped, .. } => "stop",
        Command::Desire { desired: Desired::Absent, .. } => "remove",
        Command::Follow { .. } => "follow",
        Command::PatchSources { .. } => "patch sources",
        Command::SetTags { .. } => "set tags",
        Command::Drain { draining: true, .. } => "drain",
        Command::Drain { draining: false, .. } => "undrain",
        Command::Forget { .. } => "forget",
        Command::Set { value: Some(_), .. } => "set",
        Command::Set { value: None, .. } => "unset",
        Command::Inspect { .. } => "inspect",
    }
}

/// The nodes that a command would concern.
fn preview(node: &Node, command: &Command) -> Result<Vec<NodeId>, CommandError> {
    let exists = |runner: &Name| match node.catalog().runner(runner) {
        Some(runner) => Ok(runner.spec.placement.selection().to_owned()),
        None => Err(CommandError::NotFound { kind: "runner", name: runner.to_string() }),
    };
    match command {
        Command::PutRunner { spec, .. } => Ok(selected(node, spec.placement.selection())),
        Command::DeleteRunner { runner, .. } => exists(runner).map(|_| node.targets(runner)),
        Command::PatchSources { runner, .. } | Command::Desire { runner, nodes: None, .. } => {
            exists(runner).map(|placement| selected(node, &placement))
        }
        Command::Desire { runner, nodes: Some(nodes), .. } | Command::Follow { runner, nodes } => {
            exists(runner)?;
            let targets = selected(node, &nodes.to_string());
            if targets.is_empty() { Err(CommandError::NobodySelected { selection: nodes.to_string() }) } else { Ok(targets) }
        }
        Command::SetTags { node: id, .. } | Command::Drain { node: id, .. } => Ok(vec![*id]),
        Command::Forget { node: id } => match node.view().get(id).filter(|info| info.is_live()) {
            Some(info) => Err(CommandError::Alive { node: name_of(node, id), status: status_word(info.status) }),
            None => Ok(vec![*id]),
        },
        Command::Set { setting, value } => match value.and_then(|value| setting.fault(value)) {
            Some(fault) => Err(CommandError::Invalid { faults: vec![fault] }),
            None => Ok(node.view().keys().copied().collect()),
        },
        Command::Inspect { .. } => Ok(Vec::new()),
    }
}

/// The nodes of a selection; none for a text that is none, which the caller's check has told.
pub(super) fn selected(node: &Node, selection: &str) -> Vec<NodeId> {
    let selection = selection.parse::<Selection>();
    node.view().values().filter(|info| selection.as_ref().is_ok_and(|selection| selection.matches(*info))).map(|info| info.id).collect()
}

/// The revision that `If-Match` asks for; `If-None-Match: *` asks that there is none.
pub(super) fn if_match(headers: &HeaderMap) -> ApiResult<Option<Stamp>> {
    if headers.get(header::IF_NONE_MATCH).is_some_and(|value| value == "*") {
        return Ok(Some(Stamp::ZERO));
    }
    let Some(value) = headers.get(header::IF_MATCH) else { return Ok(None) };
    let text = value.to_str().unwrap_or("?").trim().trim_matches('"');
    text.parse().map(Some).map_err(|_| ApiError::bad_request(format!("If-Match: `{text}` is not a revision: send one that a GET has given")))
}
