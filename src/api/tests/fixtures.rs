//! Golden JSON of each shape that the API answers, in `ui/fixtures`: written here (UPDATE_EXPECT=1), read by the console's tests and its mock server.

use super::*;

/// What differs from run to run is told in one word for each kind.
fn settled(value: &mut Value) {
    match value {
        Value::Object(fields) => fields.iter_mut().for_each(|(key, value)| match (key.as_str(), &value) {
            ("uptime_s" | "cpu_pct" | "memory_pct" | "disk_pct" | "memory_bytes" | "disk_bytes" | "cpus", Value::Number(_)) => *value = json!(1),
            ("catalog_digest", _) => *value = json!("0123456789abcdef"),
            ("version", Value::String(_)) => *value = json!("0.1.0"),
            _ => settled(value),
        }),
        Value::Array(items) => items.iter_mut().for_each(settled),
        Value::String(text) if chrono::DateTime::parse_from_rfc3339(text).is_ok() => *text = "2026-01-01T00:00:00.000Z".to_owned(),
        Value::String(text) => *text = settled_digits(text),
        _ => {}
    }
}

/// Stamps of our days and generations have many digits; all of them become one, of as many.
fn settled_digits(text: &str) -> String {
    let mut settled = String::new();
    let mut rest = text;
    while let Some(begin) = rest.find(|letter: char| letter.is_ascii_digit()) {
        let (before, digits) = rest.split_at(begin);
        let end = digits.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(digits.len());
        settled += before;
        settled += if end < 13 { &digits[..end] } else { &"00115757460480000000"[..end.min(20)] };
        rest = &digits[end..];
    }
    settled + rest
}

async fn golden(name: &str, answer: Answer) {
    golden_json(name, answer.body);
}

/// The same of what is no answer of its own.
pub(in crate::api) fn golden_json(name: &str, mut body: Value) {
    assert!(body.is_object(), "{name}: {body}");
    settled(&mut body);
    body.sort_all_objects();
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("ui/fixtures").join(format!("{name}.json"));
    expect_test::expect_file![path].assert_eq(&format!("{body:#}\n"));
}

#[tokio::test]
async fn each_shape_is_as_the_console_knows_it() {
    let api = Api::new();
    api.send("PUT", "/v1/nodes/here/tags", &[], r#"{"tags": ["web"]}"#).await;
    golden("written", api.put_runner("fleet").await).await;
    // Its data plane is a stub, which has it at once; the node's own loop takes a moment.
    while api.get("/v1/sources/fleet/s-1").await.body["state"] != "collected" {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    for (name, path) in
        [("sources", "/v1/sources"), ("source", "/v1/sources/fleet/s-1"), ("instances", "/v1/instances"), ("instance", "/v1/instances/here/fleet")]
    {
        golden(name, api.get(path).await).await;
    }
    let series = api.app.series().clone();
    api.app.agent().look(move |node, now| series.measure(node, now.wall)).await.unwrap();
    let stopped = api.send("POST", "/v1/runners/fleet/stop", &[], r#"{"nodes": "web", "reason": "a drill"}"#).await;
    let operation = stopped.body["operation"].as_str().unwrap().to_owned();
    for (name, path) in [
        ("self", "/v1/self"),
        ("cluster", "/v1/cluster"),
        ("nodes", "/v1/nodes"),
        ("node", "/v1/nodes/here"),
        ("tags", "/v1/tags"),
        ("runners", "/v1/runners"),
        ("runner", "/v1/runners/fleet"),
        ("assignments_check", "/v1/assignments/check"),
        ("operations", "/v1/operations"),
        ("settings", "/v1/settings"),
        ("series", "/v1/series?runner=fleet"),
        ("revisions", "/v1/runners/fleet/revisions"),
        ("components", "/v1/components"),
        ("problem_not_found", "/v1/runners/fleat"),
    ] {
        golden(name, api.get(path).await).await;
    }
    golden("operation", api.get(&format!("/v1/operations/{operation}")).await).await;
    golden("plan", api.send("POST", "/v1/plan", &[], r#"{"changes": [{"joins": {"name": "there", "capacity": 16}}]}"#).await).await;
    let trial = json!({
        "runner": { "name": "trial", "placement": { "spread": "web" }, "reader": { "type": "http" }, "parse": { "type": "json" }, "senders": [{ "name": "out", "type": "stdout" }] },
        "lines": [r#"{"level": "warn"}"#, "no json"],
    });
    let trial = trial.to_string();
    golden("tried", api.send("POST", "/v1/try/parse", &[], &trial).await).await;
    let install = json!({ "key": cluster_key(2).to_text().as_str() }).to_string();
    golden("key_written", api.send("POST", "/v1/keys", &[], &install).await).await;
    api.send("POST", &format!("/v1/keys/{}/use", cluster_key(2).fingerprint()), &[], "").await;
    golden("keys", api.get("/v1/keys").await).await;
    golden("events", api.get("/v1/events").await).await;
    golden("problem_invalid", api.send("PUT", "/v1/runners/bad", &[], "{}").await).await;
    golden(
        "problem_revision",
        api.send(
            "PUT",
            "/v1/runners/fleet",
            &[("if-match", "\"1\"")],
            r#"{"placement": {"spread": "web"}, "reader": {"type": "http"}, "senders": [{"name": "out", "type": "stdout"}]}"#,
        )
        .await,
    )
    .await;
}
