//! The cluster's keys: which nodes have which, and the three steps of changing one. Never a key itself.

use std::collections::BTreeMap;

use axum::{
    Json,
    extract::{FromRequestParts, State},
    http::{StatusCode, request::Parts},
};
use logvine_cluster::{
    command::CommandError,
    keys::{self, CarriedKey, KeyOrder},
};
use logvine_gossip::seal::{ClusterKey, Fingerprint};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    ApiError, ApiResult, App,
    access::Who,
    body::Document,
    listing::{Listing, PageQuery, Params, Path},
    problem::Problem,
    written::{if_match, reason_of_body, reason_of_query},
};
use crate::agent::{KeyWord, Manner, Refused, Relayed};

/// A key of the ring, by its fingerprint.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct KeyRow {
    /// 16 hex digits that tell nothing of the key.
    fingerprint: String,
    /// How many nodes seal with it.
    sealing: usize,
    /// How many nodes accept it.
    nodes: usize,
    /// The nodes that have not said that they accept it.
    missing: Vec<String>,
}

/// A new key.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewKey {
    /// As `logvine keygen --next` prints it.
    #[schema(format = Password)]
    key: String,
    /// Why, for the log.
    reason: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields, default)]
pub(super) struct OrderQuery {
    /// Also if it leaves nodes unheard.
    force: bool,
    /// Check it, say which nodes could be told, and change nothing.
    dry_run: bool,
    /// Why, for the log.
    reason: Option<String>,
    /// Who asks.
    #[serde(skip)]
    by: String,
}

/// How a step is to be taken, from the query and the headers.
pub(super) struct Ordering(OrderQuery);

impl<S: Send + Sync> FromRequestParts<S> for Ordering {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> ApiResult<Self> {
        let Params(query) = Params::<OrderQuery>::from_request_parts(parts, state).await?;
        reason_of_query(query.reason.as_deref())?;
        if if_match(&parts.headers)?.is_some() {
            return Err(CommandError::Unconditional.into());
        }
        let by = parts.extensions.get::<Who>().map(ToString::to_string).unwrap_or_default();
        Ok(Self(OrderQuery { by, ..query }))
    }
}

/// What became of a step, node by node.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct KeyChange {
    fingerprint: String,
    dry_run: bool,
    nodes: Vec<KeyOutcome>,
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct KeyOutcome {
    node: String,
    node_name: String,
    outcome: StepOutcome,
    /// Why it failed.
    error: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum StepOutcome {
    Applied,
    /// It has not said that it is done: the same step again mends it.
    Failed,
    /// Of a dry run: it answers, and would be told.
    Planned,
}

/// The keys that nodes have, as this node knows it
#[utoipa::path(get, path = "/v1/keys", operation_id = "key_list", tag = "keys", params(PageQuery),
    responses((status = 200, body = Listing<KeyRow>)))]
pub(super) async fn list(State(app): State<App>, Params(query): Params<PageQuery>) -> ApiResult<Json<Listing<KeyRow>>> {
    let rings = app.agent().look(|node, _| keys::rings(node)).await?;
    let mut rows: BTreeMap<Fingerprint, KeyRow> = BTreeMap::new();
    for key in rings.iter().flat_map(|ring| ring.keys.iter().flatten()) {
        rows.entry(*key).or_insert_with(|| {
            let has = |ring: &&keys::RingRow| ring.keys.as_ref().is_some_and(|keys| keys.contains(key));
            let seals = |ring: &&keys::RingRow| ring.keys.as_ref().is_some_and(|keys| keys.first() == Some(key));
            KeyRow {
                fingerprint: key.to_string(),
                sealing: rings.iter().filter(seals).count(),
                nodes: rings.iter().filter(has).count(),
                missing: rings.iter().filter(|ring| !has(ring)).map(|ring| ring.name.clone()).collect(),
            }
        });
    }
    Ok(Json(query.page(rows.into_values().collect(), |row: &KeyRow| row.fingerprint.clone())?))
}

/// Has all live nodes accept a key beside those that they have
///
/// A step may be repeated: what a node has done, it has done.
#[utoipa::path(post, path = "/v1/keys", operation_id = "key_install", tag = "keys", params(OrderQuery), request_body = NewKey,
    responses((status = 200, body = KeyChange), (status = 207, body = KeyChange), (status = 422, body = Problem)))]
pub(super) async fn install(State(app): State<App>, Ordering(mut query): Ordering, document: Document) -> ApiResult<(StatusCode, Json<KeyChange>)> {
    let NewKey { key, reason } = document.read()?;
    let key = key.parse::<ClusterKey>().map_err(|error| ApiError::key(error.to_string()))?;
    if key.cluster() != app.0.cluster {
        let detail = format!("the key is of cluster {}, and this is {}", key.cluster(), app.0.cluster);
        return Err(ApiError::key(detail));
    }
    query.reason = query.reason.take().or(reason_of_body(reason)?);
    let fingerprint = key.fingerprint();
    order(&app, fingerprint, KeyOrder::Install(CarriedKey(key)), query).await
}

/// Has all live nodes seal with a key that they accept
#[utoipa::path(post, path = "/v1/keys/{key}/use", operation_id = "key_use", tag = "keys", params(OrderQuery),
    responses((status = 200, body = KeyChange), (status = 207, body = KeyChange), (status = 409, body = Problem)))]
pub(super) async fn seal_with(
    State(app): State<App>,
    Path(text): Path<String>,
    Ordering(query): Ordering,
) -> ApiResult<(StatusCode, Json<KeyChange>)> {
    let key = fingerprint(&text)?;
    order(&app, key, KeyOrder::Use(key), query).await
}

/// Has all live nodes accept a key no more
#[utoipa::path(delete, path = "/v1/keys/{key}", operation_id = "key_remove", tag = "keys", params(OrderQuery),
    responses((status = 200, body = KeyChange), (status = 207, body = KeyChange), (status = 409, body = Problem)))]
pub(super) async fn remove(State(app): State<App>, Path(text): Path<String>, Ordering(query): Ordering) -> ApiResult<(StatusCode, Json<KeyChange>)> {
    let key = fingerprint(&text)?;
    order(&app, key, KeyOrder::Remove(key), query).await
}

fn fingerprint(text: &str) -> ApiResult<Fingerprint> {
    text.parse().map_err(|_| ApiError::not_found("key", text, "GET /v1/keys"))
}

async fn order(app: &App, key: Fingerprint, order: KeyOrder, query: OrderQuery) -> ApiResult<(StatusCode, Json<KeyChange>)> {
    let OrderQuery { force, dry_run, reason, by } = query;
    let word = KeyWord { order, by, reason };
    let relayed = app.keys().relay(app.asking(), word, Manner { force, dry_run }).await.map_err(|refused| match refused {
        Refused::Hindered(hindrances) => ApiError::unheard(hindrances),
        Refused::Unavailable(error) => error.into(),
    })?;
    let all = relayed.iter().all(|relayed| relayed.outcome.is_ok());
    let row = |Relayed { id, name, outcome }: Relayed| KeyOutcome {
        node: id.to_string(),
        node_name: name,
        outcome: match outcome {
            Ok(_) if dry_run => StepOutcome::Planned,
            Ok(_) => StepOutcome::Applied,
            Err(_) => StepOutcome::Failed,
        },
        error: outcome.err(),
    };
    let change = KeyChange { fingerprint: key.to_string(), dry_run, nodes: relayed.into_iter().map(row).collect() };
    Ok((if all || dry_run { StatusCode::OK } else { StatusCode::MULTI_STATUS }, Json(change)))
}
