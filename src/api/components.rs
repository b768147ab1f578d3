//! What a runner can be made of: each reader, parse stage, transform and sender, with the schema of its part of a runner.

use std::sync::LazyLock;

use axum::Json;
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::{
    ApiResult,
    listing::{Listing, PageQuery, Params},
    process::OPENAPI,
};

/// A part that a runner can have.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct ComponentRow {
    /// `reader`, `parse`, `transform`, `sender`: where it stands in a runner; `runner`: the whole of one.
    kind: &'static str,
    /// What its `type` says; of the transform: its key; of the whole: `runner`.
    name: String,
    description: String,
    /// Why a runner with it is refused here: what this build lacks. Absent where it has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    missing: Option<String>,
    /// JSON Schema 2020-12, whole in itself: `$ref` points into its own `$defs`.
    #[schema(value_type = Object)]
    schema: Value,
}

/// The parts that only some builds have: kind, name, the feature of the build, whether this one has it.
const FEATURES: [(&str, &str, &str, bool); 4] = [
    ("transform", "vrl", "vrl", cfg!(feature = "vrl")),
    ("sender", "kafka", "kafka", cfg!(feature = "kafka")),
    ("sender", "nats", "nats", cfg!(feature = "nats")),
    ("sender", "s3", "s3", cfg!(feature = "s3")),
];

/// What to say of a part that this build lacks.
fn missing(kind: &str, name: &str) -> Option<String> {
    let (.., feature, has) = FEATURES.into_iter().find(|(of, part, ..)| (*of, *part) == (kind, name))?;
    (!has).then(|| format!("this build lacks the feature `{feature}`: install a package, or build with `--features {feature}`"))
}

/// Where the API's description keeps its schemas.
const SCHEMAS: &str = "#/components/schemas/";

/// A schema with all that it refers to in its own `$defs`.
fn standing_alone(mut schema: Value, schemas: &Map<String, Value>) -> Value {
    let mut defs = Map::new();
    let mut open = Vec::new();
    localise(&mut schema, &mut open);
    while let Some(name) = open.pop() {
        if defs.contains_key(&name) {
            continue;
        }
        let mut def = schemas.get(&name).cloned().unwrap_or_default();
        localise(&mut def, &mut open);
        defs.insert(name, def);
    }
    if !defs.is_empty() {
        schema["$defs"] = Value::Object(defs);
    }
    schema
}

/// Turns each `$ref` below `value` to `$defs`, and adds the names that they mean to `found`.
fn localise(value: &mut Value, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            for (key, inner) in members {
                if key != "$ref" {
                    localise(inner, found);
                } else if let Some(name) = inner.as_str().and_then(|path| path.strip_prefix(SCHEMAS)).map(str::to_owned) {
                    *inner = format!("#/$defs/{name}").into();
                    found.push(name);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| localise(item, found)),
        _ => {}
    }
}

/// The parts, by kind and name, as the API's own description has them.
static COMPONENTS: LazyLock<Vec<ComponentRow>> = LazyLock::new(|| {
    let description: Value = serde_json::from_str(OPENAPI).unwrap_or_default();
    components(&description)
});

fn components(description: &Value) -> Vec<ComponentRow> {
    let schemas = description["components"]["schemas"].as_object().cloned().unwrap_or_default();
    let schema = |name: &str| schemas.get(name).cloned().unwrap_or_default();
    let text = |value: &Value| value["description"].as_str().unwrap_or_default().to_owned();
    let row = |kind: &'static str, name: &str, description: String, whole: Value| ComponentRow {
        kind,
        name: name.to_owned(),
        description,
        missing: missing(kind, name),
        schema: standing_alone(whole, &schemas),
    };
    let mut rows = Vec::new();
    for (kind, of) in [("reader", "ReaderSpec"), ("parse", "ParseSpec"), ("sender", "SenderSpec")] {
        for variant in schema(of)["oneOf"].as_array().into_iter().flatten() {
            let named = variant["$ref"].as_str().and_then(|path| path.rsplit('/').next());
            let whole = named.map_or_else(|| variant.clone(), schema);
            let name = whole["properties"]["type"]["enum"][0].as_str().unwrap_or_default().to_owned();
            rows.push(row(kind, &name, text(variant), whole));
        }
    }
    let transform = schema("TransformSpec");
    rows.push(row("transform", "vrl", text(&transform["properties"]["vrl"]), transform));
    let runner = schema("RunnerSpec");
    rows.push(row("runner", "runner", text(&runner), runner));
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

    /// Whoever makes a form of a schema, or checks a file by it, needs nothing else.
    #[test]
    fn a_schema_refers_to_nothing_outside_itself() {
        fn refs(value: &Value) -> Vec<String> {
            let within = value.as_object().into_iter().flat_map(|members| members.values()).chain(value.as_array().into_iter().flatten());
            let own = value.get("$ref").and_then(Value::as_str).map(str::to_owned);
            own.into_iter().chain(within.flat_map(refs)).collect()
        }
        for row in COMPONENTS.iter() {
            for path in refs(&row.schema) {
                assert!(row.schema.pointer(path.trim_start_matches('#')).is_some_and(Value::is_object), "{} {}: {path}", row.kind, row.name);
            }
        }
    }

    /// What a build lacks is listed with the reason, so that nobody looks for it in vain.
    #[test]
    fn a_part_that_the_build_lacks_says_so() {
        let vrl = COMPONENTS.iter().find(|row| (row.kind, row.name.as_str()) == ("transform", "vrl"));
        assert_eq!(vrl.map(|row| row.missing.is_some()), Some(cfg!(not(feature = "vrl"))));
        assert_eq!(missing("reader", "file"), None);
    }
}
