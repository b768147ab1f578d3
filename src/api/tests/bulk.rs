//! What is done to several runners at once: `clear-counters` and `drop-queue` with their previews, and deletion.

use super::*;

async fn clear(api: &Api, query: &str) -> Answer {
    let body = json!({ "nodes": "all", "reason": "a new week" });
    api.send("POST", &format!("/v1/runners/fleet/clear-counters{query}"), &[], &body.to_string()).await
}

#[tokio::test]
async fn clearing_counters_is_an_operation_and_is_shown_with_its_time() {
    let api = Api::new();
    api.put_runner("fleet").await;
    let written = clear(&api, "").await;
    assert_eq!((written.status, &written.body["targets"][0]["state"]), (StatusCode::OK, &json!("applied")), "{}", written.body);
    let operation = api.get(&format!("/v1/operations/{}", written.body["operation"].as_str().unwrap())).await.body;
    assert_eq!((&operation["verb"], &operation["reason"]), (&json!("clear counters"), &json!("a new week")));
    let several = json!({ "runners": ["fleet"], "verb": "clear-counters", "nodes": "all" });
    assert_eq!(api.send("POST", "/v1/operations", &[], &several.to_string()).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_preview_tells_what_would_be_forgotten_and_changes_nothing() {
    let api = Api::new();
    api.put_runner("fleet").await;
    let operations = api.get("/v1/operations").await.body;
    let foreseen = clear(&api, "?dry_run=true").await;
    assert_eq!((foreseen.status, &foreseen.body["operation"]), (StatusCode::OK, &Value::Null), "{}", foreseen.body);
    let counters = &foreseen.body["counters"];
    assert_eq!((&counters["instances_total"], &counters["instances"][0]["runner"]), (&json!(1), &json!("fleet")), "{counters}");
    assert_eq!(api.get("/v1/operations").await.body, operations);
}

#[tokio::test]
async fn several_runners_are_deleted_as_a_whole_at_once() {
    let api = Api::new();
    api.put_runner("fleet").await;
    api.put_runner("more").await;
    let delete = |nodes: &str| json!({ "runners": ["fleet", "more"], "verb": "delete", "nodes": nodes }).to_string();
    let refused = api.send("POST", "/v1/operations", &[], &delete("name=here")).await;
    assert_eq!((refused.status, &refused.body["errors"][0]["pointer"]), (StatusCode::UNPROCESSABLE_ENTITY, &json!("/nodes")));
    assert_eq!(api.send("POST", "/v1/operations", &[], &delete("all")).await.status, StatusCode::OK);
    assert_eq!(api.get("/v1/runners").await.body["items"], json!([]));
}

async fn put_pushed(api: &Api) {
    let spec = json!({
        "placement": { "every": "all" }, "reader": { "type": "http_push", "listen": "127.0.0.1:8080" }, "senders": [{ "type": "stdout", "name": "out" }],
    });
    assert_eq!(api.send("PUT", "/v1/runners/pushed", &[], &spec.to_string()).await.status, StatusCode::OK);
}

#[tokio::test]
async fn dropping_a_queue_is_an_operation_and_its_preview_drops_nothing() {
    let api = Api::new();
    put_pushed(&api).await;
    let operations = api.get("/v1/operations").await.body;
    let body = json!({ "nodes": "all", "expected_count": 1 }).to_string();
    let foreseen = api.send("POST", "/v1/runners/pushed/drop-queue?dry_run=true", &[], &body).await;
    assert_eq!((foreseen.status, &foreseen.body["queue"]["bytes"]), (StatusCode::OK, &json!(0)), "{}", foreseen.body);
    assert_eq!(api.get("/v1/operations").await.body, operations);
    let written = api.send("POST", "/v1/runners/pushed/drop-queue", &[], &body).await;
    assert_eq!((written.status, &written.body["targets"][0]["state"]), (StatusCode::OK, &json!("applied")), "{}", written.body);
    let several = json!({ "runners": ["pushed"], "verb": "drop-queue", "nodes": "all" });
    assert_eq!(api.send("POST", "/v1/operations", &[], &several.to_string()).await.status, StatusCode::OK);
    let operations = api.get("/v1/operations?verb=drop%20queue").await.body;
    assert_eq!(operations["items"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_runner_whose_reader_can_wait_has_no_queue_to_drop() {
    let api = Api::new();
    api.put_runner("fleet").await;
    let refused = api.send("POST", "/v1/runners/fleet/drop-queue", &[], r#"{ "nodes": "all" }"#).await;
    assert_problem(&refused, 422, "urn:logvine:no-queue");
}

/// What a preview shows is what is counted: a node of the selection that the runner is not placed on is no target.
#[tokio::test]
async fn the_expected_count_is_that_of_the_targets_shown() {
    let api = Api::new();
    api.put_runner("fleet").await;
    let restart = |expected: usize| json!({ "nodes": "all", "expected_count": expected }).to_string();
    let refused = api.send("POST", "/v1/runners/fleet/restart", &[], &restart(2)).await;
    assert_eq!((refused.status, &refused.body["errors"][0]["pointer"]), (StatusCode::UNPROCESSABLE_ENTITY, &json!("/expected_count")));
    let seen = api.send("POST", "/v1/runners/fleet/restart?dry_run=true", &[], &restart(1)).await.body;
    assert_eq!(seen["targets"].as_array().unwrap().len(), 1);
    assert_eq!(api.send("POST", "/v1/runners/fleet/restart", &[], &restart(1)).await.status, StatusCode::OK);
}
