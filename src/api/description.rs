//! The last touches to the generated description: what holds for all operations and is said once.

use utoipa::openapi::{
    Components, Content, HttpMethod, OpenApi, Ref, RefOr, Required, Response, Schema,
    header::Header,
    path::{Operation, ParameterBuilder, ParameterIn},
    schema::{Object, SchemaType, Type},
    security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme},
};

use super::access;

const PROBLEM: &str = "application/problem+json";
const TOKEN: &str = "token";

/// The description as it is served and committed.
pub(super) fn finished(mut api: OpenApi) -> OpenApi {
    for (path, item) in &mut api.paths.paths {
        let methods = [
            (HttpMethod::Get, &mut item.get),
            (HttpMethod::Put, &mut item.put),
            (HttpMethod::Post, &mut item.post),
            (HttpMethod::Patch, &mut item.patch),
            (HttpMethod::Delete, &mut item.delete),
        ];
        for (method, operation) in methods {
            if let Some(operation) = operation {
                let is_open = method == HttpMethod::Get && access::OPEN.contains(&path.as_str());
                finish(operation, is_open);
            }
        }
    }
    if let Some(components) = &mut api.components {
        let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some("A token of the node's token file, where it has one."));
        components.security_schemes.insert(TOKEN.to_owned(), SecurityScheme::Http(scheme.build()).into());
        tagged(components);
        nameless(components);
    }
    api
}

fn finish(operation: &mut Operation, is_open: bool) {
    for (status, response) in &mut operation.responses.responses {
        let RefOr::T(response) = response else { continue };
        if status.as_str() >= "400"
            && let Some(body) = response.content.shift_remove("application/json")
        {
            response.content.insert(PROBLEM.to_owned(), body);
        }
        if status == "401" {
            response.headers.insert("www-authenticate".to_owned(), RefOr::T(Header::default()));
        }
    }
    operation.responses.responses.entry("default".to_owned()).or_insert_with(|| RefOr::T(problem()));
    if !is_open {
        // Where a node has no token file nobody is asked.
        operation.security = Some(vec![SecurityRequirement::default(), SecurityRequirement::new(TOKEN, Vec::<String>::new())]);
    }
    let parameters = operation.parameters.get_or_insert_default();
    if parameters.iter().any(|parameter| matches!(parameter, RefOr::T(parameter) if parameter.name == "dry_run")) {
        parameters.push(RefOr::T(idempotency_key()));
    }
    if parameters.is_empty() {
        operation.parameters = None;
    }
}

/// Any refusal.
fn problem() -> Response {
    let mut response = Response::new("Refused, or not possible now: `type` says why, `action` what to do");
    response.content.insert(PROBLEM.to_owned(), RefOr::T(Content::new(Some(Ref::from_schema_name("Problem")))));
    response
}

fn idempotency_key() -> utoipa::openapi::path::Parameter {
    let mut text = Object::with_type(SchemaType::Type(Type::String));
    (text.min_length, text.max_length, text.pattern) = (Some(1), Some(super::written::KEY_BYTES_MAX), Some("^[!-~]*$".to_owned()));
    ParameterBuilder::new()
        .name("Idempotency-Key")
        .parameter_in(ParameterIn::Header)
        .required(Required::False)
        .description(Some("A change that is sent again under the same key, to any node, is carried out once."))
        .schema(Some(text))
        .build()
}

/// Of a sum type with a tag, the generator says `allOf` a part that takes no further keys and one that wants the tag: nothing is both. The tag belongs
/// into the part.
fn tagged(components: &mut Components) {
    let mut tags = Vec::new();
    for schema in components.schemas.values_mut() {
        let RefOr::T(Schema::OneOf(sum)) = schema else { continue };
        for variant in &mut sum.items {
            let RefOr::T(Schema::AllOf(both)) = variant else { continue };
            if let [RefOr::Ref(part), RefOr::T(Schema::Object(tag))] = both.items.as_slice() {
                let name = part.ref_location.rsplit('/').next().unwrap_or_default().to_owned();
                tags.push((name, tag.clone()));
                *variant = RefOr::Ref(part.clone());
            }
        }
    }
    for (name, tag) in tags {
        if let Some(RefOr::T(Schema::Object(part))) = components.schemas.get_mut(&name) {
            part.properties.extend(tag.properties);
            part.required.extend(tag.required);
        }
    }
}

/// The path names a runner; its body may leave that out.
fn nameless(components: &mut Components) {
    if let Some(RefOr::T(Schema::Object(runner))) = components.schemas.get_mut("RunnerSpec") {
        runner.required.retain(|key| key != "name");
    }
}
