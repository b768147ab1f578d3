//! Cluster-wide settings: what holds, what it may be, and changing it.

use axum::{Json, extract::State};
use logvine_cluster::{
    command::Command,
    setting::{SETTINGS, Setting},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    ApiError, ApiResult, App,
    body::Document,
    listing::{Listing, PageQuery, Params, Path},
    problem::Problem,
    written::{RevisionHeaders, WriteQuery, Writing, Written, write},
};

/// A cluster-wide setting.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SettingRow {
    name: &'static str,
    /// What holds now.
    value: u64,
    /// What the value counts.
    unit: &'static str,
    default: u64,
    least: u64,
    most: u64,
    /// What it does.
    description: &'static str,
    /// The stamp of its last change; null while the default holds.
    revision: Option<String>,
}

/// A setting's new value.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewValue {
    value: u64,
}

/// All settings of the cluster, by name
#[utoipa::path(get, path = "/v1/settings", operation_id = "setting_list", tag = "settings", params(PageQuery),
    responses((status = 200, body = Listing<SettingRow>)))]
pub(super) async fn list(State(app): State<App>, Params(query): Params<PageQuery>) -> ApiResult<Json<Listing<SettingRow>>> {
    let rows = app.agent().look(|node, _| {
        let row = |setting: &'static Setting| {
            let set = node.catalog().setting(setting);
            let Setting { name, unit, default, least, most, sentence } = *setting;
            let (value, revision) = set.map_or((default, None), |(stamp, value)| (value, Some(stamp.to_string())));
            SettingRow { name, value, unit, default, least, most, description: sentence, revision }
        };
        SETTINGS.iter().map(row).collect()
    });
    Ok(Json(query.page(rows.await?, |row: &SettingRow| row.name.to_owned())?))
}

/// Sets a setting on all nodes
#[utoipa::path(put, path = "/v1/settings/{setting}", operation_id = "setting_set", tag = "settings", params(WriteQuery, RevisionHeaders), request_body = NewValue,
    responses((status = 200, body = Written), (status = 202, body = Written), (status = 207, body = Written), (status = 404, body = Problem), (status = 412, body = Problem), (status = 422, body = Problem)))]
pub(super) async fn set(State(app): State<App>, Path(name): Path<String>, Writing(query): Writing, document: Document) -> ApiResult<Written> {
    let setting = find(&name)?;
    let value = document.read::<NewValue>()?.value;
    write(&app, &query, Command::Set { setting, value: Some(value) }).await
}

/// Takes a setting back to its default
#[utoipa::path(delete, path = "/v1/settings/{setting}", operation_id = "setting_unset", tag = "settings", params(WriteQuery, RevisionHeaders),
    responses((status = 200, body = Written), (status = 202, body = Written), (status = 207, body = Written), (status = 404, body = Problem), (status = 412, body = Problem)))]
pub(super) async fn unset(State(app): State<App>, Path(name): Path<String>, Writing(query): Writing) -> ApiResult<Written> {
    let setting = find(&name)?;
    write(&app, &query, Command::Set { setting, value: None }).await
}

fn find(name: &str) -> ApiResult<&'static Setting> {
    Setting::find(name)
        .ok_or_else(|| ApiError::not_found("setting", name, "GET /v1/settings").near(name, SETTINGS.iter().map(|setting| setting.name)))
}
