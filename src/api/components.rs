//! What a runner can be made of: each reader, parse stage, transform and sender, with the schema of its part of a runner.

use std::sync::LazyLock;

use axum::Json;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::{
    ApiResult,
    listing::{Listing, PageQuery, Params},
    process::OPENAPI,
};

/// A part that a runner can have.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct ComponentRow {
    /// `reader`, `parse`, `transform`, `sender`: where it stands in a runner.
    kind: &'static str,
    /// What its `type` says; of the transform: its key.
    name: String,
    description: String,
    /// JSON Schema 2020-12; `$ref` points into `/openapi.json`.
    #[schema(value_type = Object)]
    schema: Value,
}

/// The parts, by kind and name, as the API's own description has them.
static COMPONENTS: LazyLock<Vec<ComponentRow>> = LazyLock::new(|| {
    let description: Value = serde_json::from_str(OPENAPI).unwrap_or_default();
    components(&description)
});

fn components(description: &Value) -> Vec<ComponentRow> {
    let schema = |name: &str| description.pointer(&format!("/components/schemas/{name}")).cloned().unwrap_or_default();
    let text = |value: &Value| value["description"].as_str().unwrap_or_default().to_owned();
    let mut rows = Vec::new();
    for (kind, of) in [("reader", "ReaderSpec"), ("parse", "ParseSpec"), ("sender", "SenderSpec")] {
        for variant in schema(of)["oneOf"].as_array().into_iter().flatten() {
            let named = variant["$ref"].as_str().and_then(|path| path.rsplit('/').next());
            let whole = named.map_or_else(|| variant.clone(), schema);
            let name = whole["properties"]["type"]["enum"][0].as_str().unwrap_or_default().to_owned();
            rows.push(ComponentRow { kind, name, description: text(variant), schema: whole });
        }
    }
    // Without the feature a runner with this stage is refused.
    if cfg!(feature = "vrl") {
        let whole = schema("TransformSpec");
        rows.push(ComponentRow { kind: "transform", name: "vrl".to_owned(), description: text(&whole["properties"]["vrl"]), schema: whole });
    }
    rows.sort_by_key(order);
    rows
}

fn order(row: &ComponentRow) -> String {
    format!("{}\0{}", row.kind, row.name)
}

/// What a runner can be made of, with the schemas
#[utoipa::path(get, path = "/v1/components", operation_id = "component_list", tag = "runners", params(PageQuery),
    responses((status = 200, body = Listing<ComponentRow>)))]
pub(super) async fn list(Params(query): Params<PageQuery>) -> ApiResult<Json<Listing<ComponentRow>>> {
    Ok(Json(query.page(COMPONENTS.clone(), order)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A component that cannot be seen here cannot be chosen in the console.
    #[test]
    fn each_part_of_a_runner_is_listed_with_its_schema() {
        let names: Vec<String> = COMPONENTS.iter().map(|row| format!("{} {}", row.kind, row.name)).collect();
        let known = [
            ("parse", &["apache", "csv", "grok", "json", "logfmt", "nginx", "raw", "regex", "syslog"][..]),
            ("reader", &["file", "http", "http_push", "journal", "stdin", "syslog"]),
            ("sender", &["file", "http", "stdout"]),
        ];
        for known in known.iter().flat_map(|(kind, known)| known.iter().map(move |name| format!("{kind} {name}"))) {
            assert!(names.contains(&known), "{known} is not in {names:?}");
        }
        for row in COMPONENTS.iter() {
            assert!(!row.description.is_empty() && row.schema["properties"].is_object(), "{row:?}");
        }
    }
}
