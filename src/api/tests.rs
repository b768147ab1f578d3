mod access;
mod bulk;
pub(super) mod fixtures;
mod hang_up;
mod refusals;
mod rewinds;

use axum::{
    body::{Body, to_bytes},
    http::{Request, StatusCode, header},
};
use clap::CommandFactory;
use expect_test::expect_file;
use logvine_gossip::seal::ClusterKey;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::*;
use crate::{
    agent::{test_asking, test_handle, test_keys},
    cli::Cli,
    config::load,
};

fn cluster_key(secret: u8) -> ClusterKey {
    ClusterKey::new(ClusterId([7; 8]), [secret; 32])
}

/// A node's API without sockets: real routes, real node, no peers.
struct Api {
    router: Router,
    app: App,
    home: tempfile::TempDir,
}

struct Answer {
    status: StatusCode,
    headers: axum::http::HeaderMap,
    body: Value,
}

impl Api {
    fn new() -> Self {
        Self::with_tokens(&[])
    }

    /// `tokens`: roles and tokens of the token file; none: no file.
    fn with_tokens(tokens: &[(&str, &str)]) -> Self {
        Self::with_lines(&tokens.iter().map(|(role, token)| (*role, *token, "")).collect::<Vec<_>>())
    }

    /// With the names of the tokens' holders.
    fn with_lines(tokens: &[(&str, &str, &str)]) -> Self {
        let home = tempfile::tempdir().unwrap();
        let mut config = load(&crate::config::AgentArgs::default()).unwrap().config;
        config.name = "here".parse().unwrap();
        if !tokens.is_empty() {
            let path = home.path().join("tokens");
            let lines: String = tokens.iter().map(|(role, token, name)| format!("{role} {} {name}\n", token_hash(token))).collect();
            std::fs::write(&path, lines).unwrap();
            config.token_file = Some(path);
        }
        let access = Access::load(&config).unwrap();
        let (agent, me) = test_handle(&config);
        let events = EventLog::new(me);
        let keys = test_keys(home.path(), agent.clone(), cluster_key(1), events.clone());
        let asking = test_asking(home.path(), agent.clone(), me, cluster_key(1), keys.clone(), events.clone());
        let app = App::new(agent, asking, keys, events, crate::series::Series::default(), &config, access, ClusterId([7; 8]));
        Self { router: router(app.clone()), app, home }
    }

    async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        if !headers.iter().any(|(name, _)| *name == "host") {
            request = request.header("host", "127.0.0.1:7948");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = self.router.clone().oneshot(request.body(Body::from(body.to_owned())).unwrap()).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = to_bytes(body, usize::MAX).await.unwrap();
        let body = serde_json::from_slice(&bytes).unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&bytes).into_owned()));
        Answer { status: parts.status, headers: parts.headers, body }
    }

    async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], "").await
    }

    async fn put_runner(&self, name: &str) -> Answer {
        self.send("PUT", &format!("/v1/runners/{name}"), &[("content-type", "application/json")], &runner().to_string()).await
    }
}

fn runner() -> Value {
    json!({
        "placement": { "spread": "all" },
        "reader": { "type": "http" },
        "sources": [{ "id": "s-1", "url": "http://127.0.0.1:1/log" }],
        "senders": [{ "name": "out", "type": "stdout" }],
    })
}

/// What a problem document must always have.
fn assert_problem(answer: &Answer, status: u16, kind: &str) {
    assert_eq!((answer.status.as_u16(), answer.body["type"].as_str()), (status, Some(kind)), "{}", answer.body);
    assert_eq!(answer.headers[header::CONTENT_TYPE], "application/problem+json");
    assert_eq!(answer.body["status"], status);
    for key in ["title", "detail", "action"] {
        assert!(answer.body[key].as_str().is_some_and(|text| !text.is_empty()), "{key}: {}", answer.body);
    }
}

/// Run with UPDATE_EXPECT=1 after a change of the API.
#[test]
fn the_committed_description_is_the_codes() {
    let mut text = description::finished(routes().into_openapi()).to_pretty_json().unwrap();
    text.push('\n');
    expect_file!["openapi.json"].assert_eq(&text);
}

/// The console's types are made from it: a schema that is missing stops its build.
#[test]
fn each_reference_in_the_description_leads_somewhere() {
    fn references(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(members) => {
                found.extend(members.get("$ref").and_then(Value::as_str).map(str::to_owned));
                members.values().for_each(|member| references(member, found));
            }
            Value::Array(items) => items.iter().for_each(|item| references(item, found)),
            _ => {}
        }
    }
    let description = serde_json::to_value(description::finished(routes().into_openapi())).unwrap();
    let mut found = Vec::new();
    references(&description, &mut found);
    assert!(!found.is_empty());
    for reference in found {
        assert!(description.pointer(reference.trim_start_matches('#')).is_some(), "{reference}");
    }
}

#[test]
fn each_operation_has_a_verb() {
    let description = serde_json::to_value(description::finished(routes().into_openapi())).unwrap();
    let operations = description["paths"].as_object().unwrap().values().flat_map(|path| path.as_object().unwrap().values());
    let verbs =
        operations.filter(|operation| operation["tags"][0] != "process").map(|operation| operation["operationId"].as_str().unwrap().to_owned());
    let command = Cli::command();
    for verb in verbs {
        let found = verb.split('_').try_fold(&command, |command, word| command.find_subcommand(word));
        assert!(found.is_some(), "`logvine {verb}` is no verb");
    }
    let of_runners = command.find_subcommand("runner").unwrap();
    for verb in description["components"]["schemas"]["RunnerVerb"]["enum"].as_array().unwrap() {
        let verb = verb.as_str().unwrap().replace('_', "-");
        assert!(of_runners.find_subcommand(&verb).is_some(), "`logvine runner {verb}` is no verb");
    }
}

/// DESIGN §3.3: a node alone is a cluster whose key can be changed. No answer ever shows one.
#[tokio::test]
async fn a_key_is_installed_used_and_the_old_one_removed() {
    let api = Api::new();
    let [old, new] = [1, 2].map(|secret| cluster_key(secret).fingerprint().to_string());
    let install = json!({ "key": cluster_key(2).to_text().as_str() }).to_string();
    let planned = api.send("POST", "/v1/keys?dry_run=true", &[], &install).await;
    assert_eq!((planned.status, &planned.body["nodes"][0]["outcome"]), (StatusCode::OK, &json!("planned")), "{}", planned.body);
    assert_problem(&api.send("POST", "/v1/keys", &[("if-match", "\"1\"")], &install).await, 400, "urn:logvine:unconditional");
    assert_problem(&api.send("POST", &format!("/v1/keys/{new}/use?dry_run=true"), &[], "").await, 409, "urn:logvine:unheard");
    let listed = api.get("/v1/keys").await.body;
    assert!(!listed.to_string().contains(&new), "nothing has changed yet: {listed}");
    let installed = api.send("POST", "/v1/keys", &[], &install).await;
    assert_eq!((installed.status, &installed.body["nodes"][0]["outcome"]), (StatusCode::OK, &json!("applied")), "{}", installed.body);
    assert_problem(&api.send("DELETE", &format!("/v1/keys/{old}"), &[], "").await, 409, "urn:logvine:unheard");
    assert_eq!(api.send("POST", &format!("/v1/keys/{new}/use"), &[], "").await.status, StatusCode::OK);
    let listed = api.get("/v1/keys").await.body;
    let of = |key: &str| listed["items"].as_array().unwrap().iter().find(|row| row["fingerprint"] == key).cloned().unwrap();
    assert_eq!((&of(&new)["sealing"], &of(&old)["sealing"], &of(&old)["nodes"]), (&json!(1), &json!(0), &json!(1)));
    assert_eq!(api.send("DELETE", &format!("/v1/keys/{old}"), &[], "").await.status, StatusCode::OK);
    let listed = api.get("/v1/keys").await.body;
    assert_eq!(listed["items"].as_array().unwrap().len(), 1);
    let events = api.get("/v1/events?kind=key").await.body;
    assert_eq!(events["items"].as_array().unwrap().len(), 9, "of each step: it is said, done, and what came of it: {events}");
    assert!(!format!("{listed}{events}").contains("0202020202"), "{listed}{events}");
}

#[tokio::test]
async fn a_key_that_is_none_for_this_cluster_is_refused() {
    let api = Api::new();
    let stranger = ClusterKey::new(ClusterId([9; 8]), [1; 32]);
    for key in [stranger.to_text().as_str(), "0707070707070707.beef"] {
        let refused = api.send("POST", "/v1/keys", &[], &json!({ "key": key }).to_string()).await;
        assert_problem(&refused, 422, "urn:logvine:key");
        assert!(!refused.body.to_string().contains("beef"), "{}", refused.body);
    }
    assert_problem(&api.send("POST", "/v1/keys/beef/use", &[], "").await, 404, "urn:logvine:not-found");
    let unknown = api.send("POST", "/v1/keys/00000000000000ff/use?force=true", &[], "").await;
    assert_eq!((unknown.status, &unknown.body["nodes"][0]["outcome"]), (StatusCode::MULTI_STATUS, &json!("failed")), "{}", unknown.body);
}

#[tokio::test]
async fn a_runner_is_written_read_and_deleted() {
    let api = Api::new();
    let written = api.put_runner("fleet").await;
    assert_eq!((written.status, written.body["dry_run"].as_bool()), (StatusCode::OK, Some(false)), "{}", written.body);
    let read = api.get("/v1/runners/fleet").await;
    assert_eq!(read.body["spec"]["sources"], runner()["sources"]);
    assert_eq!(read.headers[header::ETAG], format!("{}", read.body["spec_revision"]));
    let sources = api.get("/v1/sources?runner=fleet").await;
    assert_eq!((sources.body["items"][0]["id"].as_str(), sources.body["next_cursor"].is_null()), (Some("s-1"), true), "{}", sources.body);
    assert_eq!(api.send("DELETE", "/v1/runners/fleet", &[], "").await.status, StatusCode::OK);
    assert_problem(&api.get("/v1/runners/fleet").await, 404, "urn:logvine:not-found");
    assert_eq!(api.get("/v1/sources").await.body["items"], json!([]));
}

#[tokio::test]
async fn the_same_runner_may_come_as_yaml_or_toml() {
    let api = Api::new();
    let yaml = "placement: {spread: all}\nreader: {type: http}\nsenders: [{name: out, type: stdout}]";
    let toml = "placement = {spread = 'all'}\nreader = {type = 'http'}\nsenders = [{name = 'out', type = 'stdout'}]";
    assert_eq!(api.send("PUT", "/v1/runners/y", &[("content-type", "application/yaml")], yaml).await.status, StatusCode::OK);
    assert_eq!(api.send("PUT", "/v1/runners/t", &[("content-type", "application/toml; charset=utf-8")], toml).await.status, StatusCode::OK);
    assert_problem(&api.send("PUT", "/v1/runners/x", &[("content-type", "text/plain")], "x").await, 415, "urn:logvine:media-type");
}

#[tokio::test]
async fn an_unknown_reader_is_refused_with_its_place_and_the_known_ones() {
    let mut spec = runner();
    spec["reader"]["type"] = "ftp".into();
    let answer = Api::new().send("PUT", "/v1/runners/fleet", &[], &spec.to_string()).await;
    assert_problem(&answer, 422, "urn:logvine:invalid");
    assert_eq!(answer.body["errors"][0]["pointer"], "/reader/type");
    assert_eq!(answer.body["errors"][0]["detail"], "`ftp` is not known here: the known ones are file, http, journal, syslog, http_push, stdin");
}

#[cfg(feature = "vrl")]
#[tokio::test]
async fn a_vrl_program_that_does_not_compile_is_refused_with_vrls_words() {
    let mut spec = runner();
    spec["transform"] = json!({ "vrl": ".a = no_such_function(1)" });
    let answer = Api::new().send("PUT", "/v1/runners/fleet", &[], &spec.to_string()).await;
    assert_problem(&answer, 422, "urn:logvine:invalid");
    assert_eq!(answer.body["errors"][0]["pointer"], "/transform/vrl");
    assert!(answer.body["errors"][0]["detail"].as_str().unwrap().contains("no_such_function"), "{}", answer.body);
}

#[tokio::test]
async fn a_dry_run_changes_nothing() {
    let api = Api::new();
    let answer = api.send("PUT", "/v1/runners/fleet?dry_run=true", &[], &runner().to_string()).await;
    assert_eq!((answer.status, answer.body["dry_run"].as_bool()), (StatusCode::OK, Some(true)));
    assert_eq!(answer.body["targets"][0]["node_name"], "here");
    assert_eq!(api.get("/v1/runners/fleet").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_write_on_an_old_revision_is_refused_and_on_the_present_one_carried_out() {
    let api = Api::new();
    api.put_runner("fleet").await;
    let revision = api.get("/v1/runners/fleet").await.body["revision"].as_str().unwrap().to_owned();
    let old = api.send("DELETE", "/v1/runners/fleet", &[("if-match", "\"1\"")], "").await;
    assert_problem(&old, 412, "urn:logvine:revision");
    assert!(old.body["action"].as_str().unwrap().contains(&revision), "{}", old.body);
    let present = api.send("DELETE", "/v1/runners/fleet", &[("if-match", &format!("\"{revision}\""))], "").await;
    assert_eq!(present.status, StatusCode::OK);
}

#[tokio::test]
async fn sources_are_added_and_removed_in_bulk() {
    let api = Api::new();
    api.put_runner("fleet").await;
    let patch = json!({ "put": [{ "id": "s-2", "url": "http://127.0.0.1:1/b" }], "remove": ["s-1"] }).to_string();
    assert_eq!(api.send("PATCH", "/v1/runners/fleet/sources", &[], &patch).await.status, StatusCode::OK);
    let ids: Vec<Value> = api.get("/v1/sources").await.body["items"].as_array().unwrap().iter().map(|row| row["id"].clone()).collect();
    assert_eq!(ids, ["s-2"]);
    let bad = json!({ "put": [{ "id": "s-3", "url": "ftp://x" }] }).to_string();
    let answer = api.send("PATCH", "/v1/runners/fleet/sources", &[], &bad).await;
    assert_problem(&answer, 422, "urn:logvine:invalid");
    assert_eq!(answer.body["errors"][0]["pointer"], "/put/0/url");
    let gone = json!({ "remove": ["nothing"] }).to_string();
    assert_problem(&api.send("PATCH", "/v1/runners/fleet/sources", &[], &gone).await, 404, "urn:logvine:not-found");
}

#[tokio::test]
async fn a_runner_is_stopped_on_all_or_on_a_selection_that_is_said() {
    let api = Api::new();
    api.put_runner("fleet").await;
    let stop = |body: Value| {
        let api = &api;
        async move { api.send("POST", "/v1/runners/fleet/stop", &[], &body.to_string()).await }
    };
    assert_problem(&stop(json!({ "nodes": "" })).await, 422, "urn:logvine:invalid");
    assert_problem(&stop(json!({ "nodes": "nobody-has-this" })).await, 422, "urn:logvine:nobody");
    assert_problem(&stop(json!({ "nodes": "all", "expected_count": 7 })).await, 422, "urn:logvine:invalid");
    let stopped = stop(json!({ "nodes": "all", "reason": "a test" })).await;
    assert_eq!((stopped.status, &stopped.body["accepted"], &stopped.body["targets"][0]["state"]), (StatusCode::OK, &json!(true), &json!("applied")));
    let operation = stopped.body["operation"].as_str().unwrap();
    let shown = api.get(&format!("/v1/operations/{operation}")).await.body;
    assert_eq!((&shown["verb"], &shown["reason"], &shown["applied"]), (&json!("stop"), &json!("a test"), &json!(1)));
    assert_eq!(api.get("/v1/operations?limit=1").await.body["items"][0]["id"], operation);
    assert_problem(&api.get("/v1/operations/17").await, 404, "urn:logvine:not-found");
    assert_eq!(api.get("/v1/runners/fleet").await.body["desired"], "stopped");
    assert_eq!(api.get("/v1/runners?selector=name=here").await.body["items"][0]["name"], "fleet", "who would start it there finds it");
    assert_problem(&api.send("POST", "/v1/runners/fleet/explode", &[], "{}").await, 404, "urn:logvine:no-route");
}

#[tokio::test]
async fn a_runner_is_restarted_where_it_runs() {
    let api = Api::new();
    api.put_runner("fleet").await;
    let restart = || api.send("POST", "/v1/runners/fleet/restart", &[], r#"{"nodes": "all"}"#);
    let restarted = restart().await;
    assert_eq!((restarted.status, &restarted.body["targets"][0]["state"]), (StatusCode::OK, &json!("applied")));
    api.send("POST", "/v1/runners/fleet/stop", &[], r#"{"nodes": "all"}"#).await;
    assert_problem(&restart().await, 409, "urn:logvine:nothing-runs");
}

#[tokio::test]
async fn earlier_revisions_of_a_runner_are_listed_and_one_of_them_can_be_applied_again() {
    let api = Api::new();
    let first = api.put_runner("fleet").await.body["revision"].clone();
    let mut spec = api.get("/v1/runners/fleet").await.body["spec"].clone();
    spec["transform"] = json!({ "vrl": ".a = 1" });
    api.send("PUT", "/v1/runners/fleet", &[], &spec.to_string()).await;
    let listed = api.get("/v1/runners/fleet/revisions").await.body["items"].clone();
    assert_eq!((&listed[0]["present"], &listed[1]["present"], &listed[1]["revision"]), (&json!(true), &json!(false), &first));
    let older = api.get("/v1/runners/fleet/revisions?limit=1").await.body["next_cursor"].as_str().unwrap().to_owned();
    assert_eq!(api.get(&format!("/v1/runners/fleet/revisions?cursor={older}")).await.body["items"], json!([listed[1]]));
    let back = api.send("PUT", "/v1/runners/fleet", &[], &listed[1]["spec"].to_string()).await;
    assert_eq!(back.status, StatusCode::OK);
    assert_eq!(api.get("/v1/runners/fleet").await.body["spec"], listed[1]["spec"]);
    assert_problem(&api.get("/v1/runners/nothing/revisions").await, 404, "urn:logvine:not-found");
}

#[tokio::test]
async fn tags_are_set_and_nodes_selected_by_them() {
    let api = Api::new();
    let answer = api.send("PUT", "/v1/nodes/here/tags", &[], r#"{"tags": ["web"]}"#).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    assert_eq!(api.get("/v1/nodes?selector=web").await.body["items"][0]["name"], "here");
    assert_eq!(api.get("/v1/nodes?selector=db").await.body["items"], json!([]));
    assert_eq!(api.get("/v1/tags").await.body["items"][0], json!({ "tag": "web", "nodes": ["here"], "worst_status": "alive" }));
    assert_problem(&api.send("PUT", "/v1/nodes/here/tags", &[], r#"{"tags": ["NO"]}"#).await, 422, "urn:logvine:invalid");
    assert_problem(&api.get("/v1/nodes/nobody").await, 404, "urn:logvine:not-found");
}

#[tokio::test]
async fn requests_that_make_no_sense_are_told_why() {
    let api = Api::new();
    assert_problem(&api.get("/v1/nothing").await, 404, "urn:logvine:no-route");
    assert_problem(&api.send("POST", "/v1/nodes", &[], "").await, 405, "urn:logvine:no-method");
    assert_problem(&api.get("/v1/nodes/%ff").await, 400, "urn:logvine:bad-request");
    let unknown = api.get("/v1/nodes?limt=1").await;
    assert_problem(&unknown, 400, "urn:logvine:bad-request");
    assert!(unknown.body["detail"].as_str().unwrap().contains("limt"), "{}", unknown.body);
    assert_problem(&api.get("/v1/nodes?selector=colour=red").await, 400, "urn:logvine:bad-request");
    let large = "x".repeat(9 << 20);
    assert_problem(&api.send("PUT", "/v1/runners/a", &[], &large).await, 413, "urn:logvine:too-large");
}

#[tokio::test]
async fn metrics_tell_what_the_view_has() {
    let api = Api::new();
    api.put_runner("fleet").await;
    let text = api.get("/metrics").await.body.as_str().unwrap().to_owned();
    for name in [
        "logvine_sources_taken_total",
        "logvine_repeated_bytes_bound_total",
        "logvine_handover_pause_seconds_count",
        "logvine_sources_unsplittable 0",
    ] {
        assert!(text.contains(&format!("\n{name}")), "{name} is missing:\n{text}");
    }
    assert!(text.contains("logvine_nodes{status=\"alive\"} 1\n") && text.contains("logvine_runners 1\n"), "{text}");
}

/// Prometheus's naming: a counter ends in `_total`, its unit before that; a family is told once, with its help and type before its samples.
#[tokio::test]
async fn metrics_are_as_prometheus_wants_them() {
    let text = Api::new().get("/metrics").await.body.as_str().unwrap().to_owned();
    let (mut families, mut samples) = (std::collections::BTreeMap::new(), std::collections::BTreeSet::new());
    let mut last = String::new();
    for line in text.lines() {
        if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').unwrap();
            assert_eq!(last, format!("# HELP {name}"), "{line}");
            assert!(name.starts_with("logvine_") && name.chars().all(|letter| matches!(letter, 'a'..='z' | '_')), "{line}");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
            assert_eq!(families.insert(name.to_owned(), kind), None, "{name} is told twice");
            last = name.to_owned();
        } else if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, help) = help.split_once(' ').unwrap();
            assert!(help.ends_with('.'), "{line}");
            last = format!("# HELP {name}");
        } else {
            let (sample, value) = line.rsplit_once(' ').unwrap();
            let name = sample.split('{').next().unwrap();
            let parts = ["_sum", "_count"].map(|part| name.strip_suffix(part));
            let name = if families.get(&last) == Some(&"summary") { parts.into_iter().flatten().next().expect("a sum or a count") } else { name };
            assert_eq!(name, last, "samples stand below their family");
            assert!(value.parse::<f64>().is_ok() && samples.insert(sample.to_owned()), "{line}");
        }
    }
    for purpose in ["membership", "state", "rumours"] {
        for of in ["logvine_gossip_messages_sent_total", "logvine_gossip_messages_sent_bytes_total"] {
            assert!(samples.contains(&format!("{of}{{purpose=\"{purpose}\"}}")), "{of} {purpose}");
        }
    }
    for reason in ["tag", "key_unknown", "limited", "repeated", "sender", "former", "malformed"] {
        assert!(samples.contains(&format!("logvine_gossip_refused_total{{reason=\"{reason}\"}}")), "{reason}");
    }
}

#[tokio::test]
async fn a_plan_tells_what_would_move_and_changes_nothing() {
    let api = Api::new();
    api.put_runner("fleet").await;
    let ask = async |changes: Value| api.send("POST", "/v1/plan", &[], &json!({ "changes": changes }).to_string()).await;
    let joined =
        ask(json!([{ "dies": "here" }, { "joins": { "name": "there", "capacity": 16 } }, { "adds": { "runner": "fleet", "sources": 3 } }])).await;
    assert_eq!(joined.status, StatusCode::OK, "{}", joined.body);
    assert_eq!((&joined.body["moves_total"], &joined.body["unowned_after"]), (&json!(4), &json!(0)), "{}", joined.body);
    assert!(joined.body["moves"].as_array().unwrap().iter().all(|row| row["to_name"] == "there"), "{}", joined.body);
    let dead = ask(json!([{ "dies": "here" }])).await;
    assert_eq!((&dead.body["moves"][0]["to"], &dead.body["unevenness_after"]), (&Value::Null, &Value::Null), "{}", dead.body);
    assert_eq!(api.get("/v1/nodes").await.body["items"].as_array().unwrap().len(), 1);
    assert_problem(&ask(json!([{ "leaves": "nobody" }])).await, 404, "urn:logvine:not-found");
    assert_problem(&ask(json!([{ "adds": { "runner": "none", "sources": 1 } }])).await, 404, "urn:logvine:not-found");
    assert_problem(&ask(json!([{ "adds": { "runner": "fleet", "sources": 100_001 } }])).await, 422, "urn:logvine:invalid");
    assert_problem(&ask(json!([{ "joins": { "name": "x", "id": "12" } }])).await, 422, "urn:logvine:invalid");
    assert_problem(&ask(json!([{ "explodes": "here" }])).await, 422, "urn:logvine:invalid");
}

#[tokio::test]
async fn a_setting_is_listed_set_checked_and_taken_back() {
    let api = Api::new();
    let forget_after = async || {
        let body = api.get("/v1/settings").await.body;
        body["items"].as_array().unwrap().iter().find(|row| row["name"] == "forget_after").cloned().unwrap()
    };
    let row = forget_after().await;
    assert_eq!((&row["name"], &row["value"], &row["revision"]), (&json!("forget_after"), &json!(259_200), &Value::Null));
    let put = async |query: &str, value: Value| {
        api.send("PUT", &format!("/v1/settings/forget_after{query}"), &[], &json!({ "value": value }).to_string()).await
    };
    assert_eq!(put("?dry_run=true", json!(3_600)).await.status, StatusCode::OK);
    assert_eq!(forget_after().await, row, "a dry run changes nothing");
    let set = put("", json!(3_600)).await;
    assert_eq!((set.status, set.body["targets"].as_array().unwrap().len()), (StatusCode::OK, 1));
    let changed = forget_after().await;
    assert_eq!((&changed["value"], &changed["revision"]), (&json!(3_600), &set.body["revision"]));
    for (query, value) in [("", json!(59)), ("?dry_run=true", json!(59)), ("", json!("72h"))] {
        let refused = put(query, value).await;
        assert_problem(&refused, 422, "urn:logvine:invalid");
        assert_eq!(refused.body["errors"][0]["pointer"], "/value", "{}", refused.body);
    }
    assert_eq!(forget_after().await, changed);
    assert_eq!(api.send("DELETE", "/v1/settings/forget_after", &[], "").await.status, StatusCode::OK);
    assert_eq!(forget_after().await, row);
    let unknown = api.send("PUT", "/v1/settings/forgetafter", &[], r#"{"value":1}"#).await;
    assert_problem(&unknown, 404, "urn:logvine:not-found");
    assert!(unknown.body["action"].as_str().unwrap().contains("/v1/settings"), "{}", unknown.body);
}

#[tokio::test]
async fn a_runner_is_tried_before_it_is_applied() {
    let api = Api::new();
    let path = api.home.path().join("a.log");
    std::fs::write(&path, "{\"n\":1}\n{\"n\":2}\nno json\n").unwrap();
    let runner = json!({
        "name": "r", "placement": { "every": "all" }, "reader": { "type": "file", "paths": [path] }, "parse": { "type": "json" },
        "senders": [{ "name": "out", "type": "stdout" }],
    });
    let ask = async |what: &str, body: Value| api.send("POST", &format!("/v1/try/{what}"), &[], &body.to_string()).await;
    let read = ask("read", json!({ "runner": runner, "node": "here", "count": 2 })).await;
    assert_eq!(read.status, StatusCode::OK, "{}", read.body);
    assert_eq!(read.body["records"][1]["record"]["body"], json!({ "n": 2 }), "{}", read.body);
    assert_eq!((&read.body["source"], read.body["records"].as_array().unwrap().len()), (&json!(path), 2));
    let parsed = ask("parse", json!({ "runner": runner, "lines": ["{", "{}"] })).await;
    assert!(parsed.body["records"][0]["error"].is_string() && parsed.body["records"][1]["error"].is_null(), "{}", parsed.body);
    let sent = ask("send", json!({ "runner": runner })).await;
    assert_eq!((sent.status, &sent.body["senders"][0]["sender"], &sent.body["senders"][0]["ok"]), (StatusCode::OK, &json!("out"), &json!(true)));
    assert_problem(&ask("read", json!({ "runner": runner, "node": "there" })).await, 404, "urn:logvine:not-found");
    let faulty = ask("read", json!({ "runner": { "name": "r" } })).await;
    assert_problem(&faulty, 422, "urn:logvine:invalid");
    assert!(faulty.body["errors"][0]["pointer"].as_str().unwrap().starts_with("/runner"), "{}", faulty.body);
    for (what, body) in [
        ("read", json!({ "runner": runner, "count": 101 })),
        ("read", json!({ "runner": runner, "source": "/nowhere" })),
        ("parse", json!({ "runner": runner, "lines": vec!["x"; 101] })),
    ] {
        assert_problem(&ask(what, body).await, 422, "urn:logvine:invalid");
    }
    assert_problem(&api.get("/v1/runners/r").await, 404, "urn:logvine:not-found");
}

/// Whoever looks at records leaves a trace: who, at what, on whom, and what came of it.
#[tokio::test]
async fn a_trial_is_told_as_an_event_with_who_and_where_and_what_came_of_it() {
    let api = Api::with_tokens(&[("operate", "token")]);
    let runner = json!({
        "name": "r", "placement": { "every": "all" }, "reader": { "type": "file", "paths": ["/x"] }, "senders": [{ "name": "out", "type": "stdout" }],
    });
    let headers = [("authorization", "Bearer token")];
    let ask = async |what: &str, body: Value| api.send("POST", &format!("/v1/try/{what}"), &headers, &body.to_string()).await.status;
    assert_eq!(ask("parse", json!({ "runner": runner, "lines": ["x"] })).await, StatusCode::OK);
    assert_eq!(ask("read", json!({ "runner": runner, "source": "/elsewhere" })).await, StatusCode::UNPROCESSABLE_ENTITY);
    let events = api.send("GET", "/v1/events?kind=runner.tried&runner=r", &headers, "").await.body;
    let told: Vec<&str> = events["items"].as_array().unwrap().iter().map(|row| row["detail"].as_str().unwrap()).collect();
    assert_eq!(told.len(), 2, "{events}");
    assert!(told.contains(&"operate tried `lines` of r on here"), "{told:?}");
    assert!(told.iter().any(|told| told.starts_with("operate tried `read` of r on here, in vain: ")), "{told:?}");
    assert!(events["items"].as_array().unwrap().iter().all(|row| row["node"].is_string()));
}

#[tokio::test]
async fn a_tap_that_makes_no_sense_is_refused_with_the_reason() {
    let api = Api::new();
    api.put_runner("fleet").await;
    assert_problem(&api.get("/v1/runners/none/tap").await, 404, "urn:logvine:not-found");
    for wrong in ["grep=(", "sample=0", "limit=0", "limit=100001", "stage=middle", "colour=red"] {
        assert_problem(&api.get(&format!("/v1/runners/fleet/tap?{wrong}")).await, 400, "urn:logvine:bad-request");
    }
}

#[tokio::test]
async fn an_instance_that_its_node_tells_nothing_of_is_shown_as_the_view_has_it() {
    let api = Api::new();
    api.put_runner("fleet").await;
    let shown = api.get("/v1/instances/here/fleet").await;
    assert_eq!((shown.status, &shown.body["node_name"], &shown.body["lag_s"]), (StatusCode::OK, &json!("here"), &Value::Null), "{}", shown.body);
    assert!(shown.body["unanswered"].is_string());
    assert_problem(&api.get("/v1/instances/here/none").await, 404, "urn:logvine:not-found");
}

#[tokio::test]
async fn series_are_told_with_their_step_and_begin_where_something_is_known() {
    let api = Api::new();
    let series = api.get("/v1/series").await;
    assert_eq!((series.status, &series.body["step_s"]), (StatusCode::OK, &json!(10)), "{}", series.body);
    assert_eq!(api.get("/v1/series?step=60").await.body["step_s"], 60);
    assert_problem(&api.get("/v1/series?step=7").await, 400, "urn:logvine:bad-request");
    assert_problem(&api.get("/v1/series?runner=none").await, 404, "urn:logvine:not-found");
}
