//! `rewind`, and its preview.

use super::*;

async fn rewind(api: &Api, query: &str, body: Value) -> Answer {
    api.send("POST", &format!("/v1/runners/fleet/rewind{query}"), &[], &body.to_string()).await
}

#[tokio::test]
async fn a_rewind_is_an_operation_with_a_row_for_each_node() {
    let api = Api::new();
    api.put_runner("fleet").await;
    let written = rewind(&api, "", json!({ "nodes": "all", "reason": "the index was lost" })).await;
    assert_eq!((written.status, &written.body["targets"][0]["state"]), (StatusCode::OK, &json!("applied")), "{}", written.body);
    let operation = api.get(&format!("/v1/operations/{}", written.body["operation"].as_str().unwrap())).await.body;
    assert_eq!((&operation["verb"], &operation["reason"]), (&json!("rewind"), &json!("the index was lost")));
    let single = rewind(&api, "", json!({ "nodes": "all", "sources": ["s-1"] })).await;
    assert_eq!(single.status, StatusCode::OK, "{}", single.body);
    let several = json!({ "runners": ["fleet"], "verb": "rewind", "nodes": "all" });
    assert_eq!(api.send("POST", "/v1/operations", &[], &several.to_string()).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_preview_tells_what_would_be_read_again_and_changes_nothing() {
    let api = Api::new();
    api.put_runner("fleet").await;
    let operations = api.get("/v1/operations").await.body;
    let foreseen = rewind(&api, "?dry_run=true", json!({ "nodes": "all" })).await;
    assert_eq!((foreseen.status, &foreseen.body["operation"]), (StatusCode::OK, &Value::Null), "{}", foreseen.body);
    assert_eq!(foreseen.body["rewind"], json!({ "bytes": 0, "sources_total": 0, "sources": [], "unanswered": [] }));
    assert_eq!(api.get("/v1/operations").await.body, operations);
}

#[tokio::test]
async fn what_cannot_be_rewound_is_told_with_what_can() {
    let api = Api::new();
    api.put_runner("fleet").await;
    let unknown = rewind(&api, "", json!({ "nodes": "all", "sources": ["s-2"] })).await;
    assert_problem(&unknown, 404, "urn:logvine:not-found");
    assert_eq!(unknown.body["nearest"], json!(["s-1"]));
    for (body, pointer) in [(json!({ "nodes": "name=here" }), "/nodes"), (json!({ "nodes": "name=here", "sources": ["s-1"] }), "/sources")] {
        let refused = rewind(&api, "", body).await;
        assert_eq!((refused.status, &refused.body["errors"][0]["pointer"]), (StatusCode::UNPROCESSABLE_ENTITY, &json!(pointer)));
    }
    let stop = api.send("POST", "/v1/runners/fleet/stop", &[], r#"{"nodes": "all", "sources": ["s-1"]}"#).await;
    assert_eq!(stop.body["errors"][0]["pointer"], json!("/sources"));
}
