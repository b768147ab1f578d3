//! Nodes, their tags, and the cluster as a whole.

use std::collections::BTreeSet;

use axum::{Extension, Json, extract::State};
use logvine_cluster::{
    command::Command,
    name::Name,
    node::Node,
    view::{self, ClusterRow, NodeRow, TagRow},
};
use logvine_gossip::NodeId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    ApiError, ApiResult, App,
    access::Who,
    body::Document,
    known::not_found,
    listing::{ListQuery, Listing, Params, Path},
    problem::Problem,
    written::{RevisionHeaders, WriteQuery, Writing, Written, write},
};
use crate::agent::Unheard;

/// The node that was asked, and the caller.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SelfRow {
    #[serde(flatten)]
    node: NodeRow,
    /// 16 hex digits, the same on all nodes of the cluster.
    cluster: String,
    /// What the caller may do: `view`, `operate` or `admin`.
    role: String,
    /// Why no other node answers this one, if it has seeds and that is so.
    alone: Option<String>,
    /// While some nodes are heard: which ones seal with a key that this node does not have, and what to do.
    left_behind: Option<String>,
}

/// This node, the cluster's id, and the caller's role
#[utoipa::path(get, path = "/v1/self", operation_id = "self", tag = "nodes", responses((status = 200, body = SelfRow)))]
pub(super) async fn this(State(app): State<App>, Extension(who): Extension<Who>) -> ApiResult<Json<SelfRow>> {
    let name = app.0.name.clone();
    let row = app.agent().look(|node, now| view::node(node, now, &node.id())).await?;
    let node = row.ok_or_else(|| ApiError::not_found("node", &name, "GET /v1/nodes"))?;
    let Unheard { alone, left_behind } = app.agent().unheard();
    Ok(Json(SelfRow { node, cluster: app.0.cluster.to_string(), role: who.role.to_string(), alone, left_behind }))
}

/// The cluster at a glance, as this node sees it
#[utoipa::path(get, path = "/v1/cluster", operation_id = "cluster_status", tag = "nodes", responses((status = 200, body = ClusterRow)))]
pub(super) async fn cluster(State(app): State<App>) -> ApiResult<Json<ClusterRow>> {
    Ok(Json(app.agent().look(view::cluster).await?))
}

/// All nodes, by id
#[utoipa::path(get, path = "/v1/nodes", operation_id = "node_list", tag = "nodes", params(ListQuery),
    responses((status = 200, body = Listing<NodeRow>)))]
pub(super) async fn list(State(app): State<App>, Params(query): Params<ListQuery>) -> ApiResult<Json<Listing<NodeRow>>> {
    let selection = query.selection()?;
    let rows = app.agent().look(move |node, now| {
        let meant = meant(node, selection.as_ref());
        view::nodes(node, now).into_iter().filter(|row| meant.as_ref().is_none_or(|meant| meant.contains(&row.id))).collect()
    });
    Ok(Json(query.page().page(rows.await?, |row: &NodeRow| row.id.clone())?))
}

/// One node, by its id, a unique beginning of it (6 digits or more), or its name
#[utoipa::path(get, path = "/v1/nodes/{node}", operation_id = "node_show", tag = "nodes",
    responses((status = 200, body = NodeRow), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub(super) async fn one(State(app): State<App>, Path(text): Path<String>) -> ApiResult<Json<NodeRow>> {
    let looked = app.agent().look(move |node, now| {
        let id = resolve(node, &text)?;
        view::node(node, now, &id).ok_or_else(|| not_found(node, "node", &text))
    });
    looked.await?.map(Json)
}

/// A node's tags travel in its map, and are shown in a line.
const TAGS_MAX: usize = 256;

/// The tags that a node shall have.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Tags {
    #[schema(value_type = Vec<Name>)]
    tags: BTreeSet<Name>,
}

/// Gives a node exactly these tags
#[utoipa::path(put, path = "/v1/nodes/{node}/tags", operation_id = "node_tag", tag = "nodes", params(WriteQuery, RevisionHeaders), request_body = Tags,
    responses((status = 200, body = Written), (status = 202, body = Written), (status = 207, body = Written), (status = 404, body = Problem), (status = 412, body = Problem), (status = 422, body = Problem)))]
pub(super) async fn set_tags(State(app): State<App>, Path(text): Path<String>, Writing(query): Writing, document: Document) -> ApiResult<Written> {
    let tags = document.read::<Tags>()?.tags;
    if tags.len() > TAGS_MAX {
        return Err(ApiError::too_many("/tags", tags.len(), TAGS_MAX));
    }
    let node = find(&app, text).await?;
    write(&app, &query, Command::SetTags { node, tags }).await
}

/// Has a node hand over all its movable sources, and take none; its row tells how far that is
#[utoipa::path(post, path = "/v1/nodes/{node}/drain", operation_id = "node_drain", tag = "nodes", params(WriteQuery),
    responses((status = 200, body = Written), (status = 202, body = Written), (status = 207, body = Written), (status = 404, body = Problem)))]
pub(super) async fn drain(State(app): State<App>, Path(text): Path<String>, Writing(query): Writing) -> ApiResult<Written> {
    let node = find(&app, text).await?;
    write(&app, &query, Command::Drain { node, draining: true }).await
}

/// Lets a drained node take part again
#[utoipa::path(post, path = "/v1/nodes/{node}/undrain", operation_id = "node_undrain", tag = "nodes", params(WriteQuery),
    responses((status = 200, body = Written), (status = 202, body = Written), (status = 207, body = Written), (status = 404, body = Problem)))]
pub(super) async fn undrain(State(app): State<App>, Path(text): Path<String>, Writing(query): Writing) -> ApiResult<Written> {
    let node = find(&app, text).await?;
    write(&app, &query, Command::Drain { node, draining: false }).await
}

/// Forgets a node that is down or has left; if it lives after all it comes back by itself
#[utoipa::path(delete, path = "/v1/nodes/{node}", operation_id = "node_forget", tag = "nodes", params(WriteQuery),
    responses((status = 200, body = Written), (status = 202, body = Written), (status = 207, body = Written), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub(super) async fn forget(State(app): State<App>, Path(text): Path<String>, Writing(query): Writing) -> ApiResult<Written> {
    let node = find(&app, text).await?;
    write(&app, &query, Command::Forget { node }).await
}

/// All tags with their nodes
#[utoipa::path(get, path = "/v1/tags", operation_id = "tag_list", tag = "nodes", params(ListQuery),
    responses((status = 200, body = Listing<TagRow>)))]
pub(super) async fn tags(State(app): State<App>, Params(query): Params<ListQuery>) -> ApiResult<Json<Listing<TagRow>>> {
    let selection = query.selection()?;
    let rows = app.agent().look(move |node, _| view::tags(node, selection.as_ref())).await?;
    Ok(Json(query.page().page(rows, |row: &TagRow| row.tag.clone())?))
}

/// A tag's other name.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Renamed {
    #[schema(value_type = String)]
    to: Name,
    /// Why, for the log.
    reason: Option<String>,
}

/// Gives a tag another name, on its nodes and in all that is placed by it: in steps, which the operation shows
#[utoipa::path(post, path = "/v1/tags/{tag}/rename", operation_id = "tag_rename", tag = "nodes", params(WriteQuery), request_body = Renamed,
    responses((status = 200, body = Written), (status = 202, body = Written), (status = 207, body = Written), (status = 404, body = Problem)))]
pub(super) async fn rename_tag(
    State(app): State<App>,
    Path(tag): Path<String>,
    Writing(mut query): Writing,
    document: Document,
) -> ApiResult<Written> {
    let from = super::runners::name(&tag)?;
    let Renamed { to, reason } = document.read()?;
    query.give_reason(reason)?;
    write(&app, &query, Command::RenameTag { from, to }).await
}

/// The ids of a selection's nodes; None: all.
pub(super) fn meant(node: &Node, selection: Option<&logvine_cluster::selection::Selection>) -> Option<BTreeSet<String>> {
    selection.map(|selection| node.view().values().filter(|info| selection.matches(*info)).map(|info| info.id.to_string()).collect())
}

pub(super) async fn find(app: &App, text: String) -> ApiResult<NodeId> {
    app.agent().look(move |node, _| resolve(node, &text)).await?
}

/// The node that a text means: an id, a name, or a unique beginning of an id.
pub(super) fn resolve(node: &Node, text: &str) -> ApiResult<NodeId> {
    let names = node.view().values().map(|info| (info.id, info.name.as_ref().map(Name::as_str)));
    match meaning(text, names) {
        Meaning::One(id) => Ok(id),
        Meaning::None => Err(not_found(node, "node", text)),
        Meaning::Many(ids) => Err(ApiError::ambiguous(text, &ids.iter().map(NodeId::to_string).collect::<Vec<_>>())),
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Meaning {
    None,
    One(NodeId),
    Many(Vec<NodeId>),
}

fn meaning<'a>(text: &str, nodes: impl Iterator<Item = (NodeId, Option<&'a str>)>) -> Meaning {
    let (mut named, mut begun) = (Vec::new(), Vec::new());
    for (id, name) in nodes {
        let digits = id.to_string();
        if digits == text {
            return Meaning::One(id);
        }
        if name == Some(text) {
            named.push(id);
        }
        if text.len() >= 6 && digits.starts_with(text) {
            begun.push(id);
        }
    }
    let ids = if named.is_empty() { begun } else { named };
    match ids.as_slice() {
        [] => Meaning::None,
        [id] => Meaning::One(*id),
        _ => Meaning::Many(ids),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_meant_by_its_id_its_name_or_a_unique_beginning() {
        let [a, b, c] = [0xaa, 0xab, 0xcc].map(|byte| NodeId([byte; 16]));
        let nodes = || [(a, Some("web")), (b, Some("db")), (c, Some("web"))].into_iter();
        assert_eq!(meaning(&a.to_string(), nodes()), Meaning::One(a));
        assert_eq!(meaning("db", nodes()), Meaning::One(b));
        assert_eq!(meaning("ababab", nodes()), Meaning::One(b));
        assert_eq!(meaning("web", nodes()), Meaning::Many(vec![a, c]));
        assert_eq!(meaning("ababa", nodes()), Meaning::None, "five digits are too few to be meant as an id");
        assert_eq!(meaning("nobody", nodes()), Meaning::None);
    }
}
