//! What is done to several runners at once: `clear-counters` with its preview, and deletion.

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
