//! What is not understood, not known or too much, and what is said of it.

use super::*;
use crate::api::operations::VerbWord;

fn nearest(answer: &Answer) -> Vec<&str> {
    answer.body["nearest"].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

async fn post(api: &Api, path: &str, body: &Value) -> Answer {
    api.send("POST", path, &[], &body.to_string()).await
}

#[tokio::test]
async fn an_unknown_name_is_told_with_those_that_are_near() {
    let api = Api::new();
    api.put_runner("fleet").await;
    api.send("PUT", "/v1/nodes/here/tags", &[], r#"{"tags": ["collectors"]}"#).await;
    let stop = json!({ "nodes": "all" });
    for (answer, meant) in [
        (api.get("/v1/nodes/hree").await, "here"),
        (api.get("/v1/instances/hree/fleet").await, "here"),
        (api.get("/v1/instances/here/fleat").await, "fleet"),
        (api.get("/v1/runners/fleat").await, "fleet"),
        (api.get("/v1/sources/fleat/s-1").await, "fleet"),
        (api.get("/v1/sources/fleet/s-2").await, "s-1"),
        (api.send("DELETE", "/v1/runners/fleat", &[], "").await, "fleet"),
        (api.send("PATCH", "/v1/runners/fleet/sources", &[], r#"{"remove": ["s-2"]}"#).await, "s-1"),
        (post(&api, "/v1/runners/fleat/stop", &stop).await, "fleet"),
        (post(&api, "/v1/runners/fleat/stop?dry_run=true", &stop).await, "fleet"),
        (post(&api, "/v1/operations", &json!({ "runners": ["fleat"], "verb": "stop", "nodes": "all" })).await, "fleet"),
        (post(&api, "/v1/plan", &json!({ "changes": [{ "dies": "hree" }] })).await, "here"),
        (post(&api, "/v1/tags/colectors/rename", &json!({ "to": "web" })).await, "collectors"),
        (api.send("PUT", "/v1/settings/forgot_after", &[], r#"{"value": 60}"#).await, "forget_after"),
    ] {
        assert_problem(&answer, 404, "urn:logvine:not-found");
        assert!(nearest(&answer).contains(&meant), "{}", answer.body);
        assert!(answer.body["detail"].as_str().unwrap().contains(&format!("did you mean `{meant}`")), "{}", answer.body);
    }
    assert!(api.get("/v1/runners/zzz").await.body["nearest"].is_null(), "nothing is near");
}

#[tokio::test]
async fn a_selection_that_means_nobody_is_told_with_what_was_meant() {
    let api = Api::new();
    api.put_runner("fleet").await;
    api.send("PUT", "/v1/nodes/here/tags", &[], r#"{"tags": ["collectors"]}"#).await;
    let stop = async |nodes: &str| post(&api, "/v1/runners/fleet/stop", &json!({ "nodes": nodes })).await;
    for (nodes, meant) in [("colectors", "collectors"), ("name=hree", "here"), ("collectors, name in (hree)", "here")] {
        let refused = stop(nodes).await;
        assert_problem(&refused, 422, "urn:logvine:nobody");
        assert_eq!(nearest(&refused), [meant], "{}", refused.body);
    }
    let named = stop("here").await;
    assert!(named.body["action"].as_str().unwrap().contains("`name=here`"), "a node's name is no tag: {}", named.body);
    assert_problem(&stop("").await, 422, "urn:logvine:invalid");
    assert_problem(&api.get("/v1/sources?selector=").await, 400, "urn:logvine:bad-request");
}

/// A filter that a list does not have would show everything, and look as if it had filtered.
#[tokio::test]
async fn a_filter_that_a_list_does_not_have_is_refused() {
    let api = Api::new();
    for path in
        ["/v1/nodes?runner=fleet", "/v1/keys?selector=web", "/v1/settings?selector=web", "/v1/sources?state=lost", "/v1/assignments/check?kind=x"]
    {
        assert_problem(&api.get(path).await, 400, "urn:logvine:bad-request");
    }
}

/// A word that a column never shows would find nothing, and look as if there were nothing.
#[tokio::test]
async fn a_word_that_a_filter_does_not_know_is_refused_with_the_one_that_is_meant() {
    let api = Api::new();
    for (path, field, meant) in [
        ("/v1/sources?state=colected", "state", "collected"),
        ("/v1/instances?state=runing", "state", "running"),
        ("/v1/instances?state=waiting+for+nodes", "state", "waiting for node"),
        ("/v1/operations?state=acepted", "state", "accepted"),
        ("/v1/operations?verb=aply", "verb", "apply"),
        ("/v1/operations?verb=drop-queue", "verb", "drop queue"),
        ("/v1/events?kind=membr", "kind", "member"),
        ("/v1/events?kind=source.take", "kind", "source.taken"),
        ("/v1/nodes?limt=3", "", "limit"),
    ] {
        let refused = api.get(path).await;
        assert_problem(&refused, 400, "urn:logvine:bad-request");
        assert_eq!(nearest(&refused).first(), Some(&meant), "{path}: {}", refused.body);
        let detail = refused.body["detail"].as_str().unwrap();
        assert!(detail.contains(&format!("{field}: ")) || field.is_empty(), "{detail}");
        assert!(detail.contains("the known ones are "), "{detail}");
    }
    for path in [
        "/v1/events?kind=source",
        "/v1/events?kind=node_map.unsaid",
        "/v1/operations?verb=clear+counters",
        "/v1/instances?state=waiting%20for%20node",
    ] {
        assert_eq!(api.get(path).await.status.as_u16(), 200, "{path}");
    }
}

/// Each verb there is can be asked for.
#[test]
fn operations_are_filtered_by_every_verb() {
    use logvine_cluster::operation::Verb;
    let told = serde_json::from_value::<Verb>(json!("?")).unwrap_err().to_string();
    let verbs: Vec<Verb> = told.split('`').skip(3).step_by(2).map(|word| serde_json::from_value(json!(word)).unwrap()).collect();
    assert!(verbs.contains(&Verb::Apply) && verbs.contains(&Verb::Set), "the refusal names all: {told}");
    for word in verbs.into_iter().map(Verb::word) {
        let read: VerbWord = serde_json::from_value(json!(word)).unwrap();
        assert_eq!(read.word(), word);
    }
}

#[tokio::test]
async fn lists_are_filtered_by_what_they_show() {
    let api = Api::new();
    api.put_runner("fleet").await;
    api.put_runner("other").await;
    let count = async |path: &str| api.get(path).await.body["items"].as_array().map(Vec::len);
    assert_eq!((count("/v1/sources?runner=fleet").await, count("/v1/sources").await), (Some(1), Some(2)));
    let states = async |state: &str| count(&format!("/v1/sources?state={state}")).await.unwrap();
    let sum = states("collected").await + states("unowned").await + states("failing").await + states("waiting").await;
    assert_eq!((sum, states("no_node").await), (2, 0), "each source is in one state");
    assert_eq!(count("/v1/instances?runner=fleet&state=running").await, Some(1));
    assert_eq!(count("/v1/instances?state=failed").await, Some(0));
    assert_eq!((count("/v1/operations?verb=apply&runner=other").await, count("/v1/operations?verb=stop").await), (Some(1), Some(0)));
    assert_eq!(count("/v1/operations?state=accepted").await, Some(2));
    assert_eq!(api.get("/v1/instances/here/fleet").await.body["state"], "running");
}

/// Issue 5: a revision conflict shows both.
#[tokio::test]
async fn a_change_that_meets_another_is_shown_beside_it() {
    let api = Api::new();
    let put = async |headers: &[(&str, &str)], body: &Value| api.send("PUT", "/v1/runners/fleet", headers, &body.to_string()).await;
    let first = put(&[("if-none-match", "*")], &runner()).await.body["revision"].as_str().unwrap().to_owned();
    let mut theirs = runner();
    theirs["senders"][0]["name"] = json!("theirs");
    let second = put(&[], &theirs).await.body["revision"].as_str().unwrap().to_owned();
    let mut ours = runner();
    ours["senders"][0]["name"] = json!("ours");
    ours["transform"] = json!({ "vrl": ".a = 1" });
    let read = format!("\"{first}\"");
    for query in ["", "?dry_run=true"] {
        let refused = api.send("PUT", &format!("/v1/runners/fleet{query}"), &[("if-match", &read)], &ours.to_string()).await;
        assert_problem(&refused, 412, "urn:logvine:revision");
        let detail = refused.body["detail"].as_str().unwrap();
        assert!(detail.contains(&first) && detail.contains(&second), "{detail}");
        let differences = json!([
            { "pointer": "/senders/0/name", "detail": "is \"theirs\" now, and \"ours\" in what was sent" },
            { "pointer": "/transform/vrl", "detail": "is nothing now, and \".a = 1\" in what was sent" },
        ]);
        assert_eq!(refused.body["errors"], differences);
    }
    assert_eq!(api.get("/v1/runners/fleet").await.body["revision"], second.as_str(), "what is refused changes nothing");
    assert_problem(&put(&[("if-none-match", "*")], &ours).await, 412, "urn:logvine:revision");
    assert_problem(&api.send("DELETE", "/v1/runners/fleet", &[("if-match", &read)], "").await, 412, "urn:logvine:revision");
    let read = format!("\"{second}\"");
    assert!(put(&[("if-match", &read)], &ours).await.status.is_success());
    assert_problem(&put(&[("if-none-match", "\"1\"")], &ours).await, 400, "urn:logvine:bad-request");
}

/// DESIGN §8.2, `If-Match`: what is read with a thing is what a change of it may depend on; where another came between, both are shown.
#[tokio::test]
async fn tags_desires_sources_and_settings_have_revisions_too() {
    let api = Api::new();
    api.put_runner("fleet").await;
    let tags = |tag: &str| ("PUT", "/v1/nodes/here/tags", json!({ "tags": [tag] }));
    let put = |url: &str| ("PATCH", "/v1/runners/fleet/sources", json!({ "put": [{ "id": "s-1", "url": url }] }));
    let set = |value: u64| ("PUT", "/v1/settings/expect_nodes", json!({ "value": value }));
    let verb = |path| ("POST", path, json!({ "nodes": "all" }));
    let read = async |path: &str, pointer: &str| api.get(path).await.body.pointer(pointer).unwrap().as_str().map_or("0".to_owned(), str::to_owned);
    let cases = [
        (tags("ours"), tags("theirs"), "/v1/nodes/here", "/tags_revision", "is [\"theirs\"] now, and [\"ours\"] in what was sent"),
        (put("http://ours/"), put("http://theirs/"), "/v1/runners/fleet", "/sources_revision", "http://theirs/"),
        (set(2), set(3), "/v1/settings", "/items/0/revision", "is 3 now, and 2 in what was sent"),
        (
            verb("/v1/runners/fleet/stop"),
            verb("/v1/runners/fleet/start"),
            "/v1/runners/fleet",
            "/desired_revision",
            "fleet is wanted running now; stopped was sent",
        ),
    ];
    for ((method, path, ours), (other_method, other_path, theirs), at, pointer, both) in cases {
        let before = format!("\"{}\"", read(at, pointer).await);
        assert!(api.send(other_method, other_path, &[], &theirs.to_string()).await.status.is_success());
        let between = read(at, pointer).await;
        for query in ["", "?dry_run=true"] {
            let refused = api.send(method, &format!("{path}{query}"), &[("if-match", &before)], &ours.to_string()).await;
            assert_problem(&refused, 412, "urn:logvine:revision");
            let (detail, shown) = (refused.body["detail"].as_str().unwrap(), refused.body["errors"][0]["detail"].as_str().unwrap());
            // Where nothing was there before, that is what it says.
            let says_before = if before == "\"0\"" { detail.contains("what nobody had written") } else { detail.contains(before.trim_matches('"')) };
            assert!(says_before && detail.contains(&between) && shown.contains(both), "{}", refused.body);
        }
        assert_eq!(read(at, pointer).await, between, "what is refused changes nothing");
        let done = api.send(method, path, &[("if-match", &format!("\"{between}\""))], &ours.to_string()).await;
        assert!(done.status.is_success(), "{}", done.body);
    }
}

/// To ignore the condition would be to do what the caller asked not to do.
#[tokio::test]
async fn a_condition_that_is_not_looked_at_is_refused() {
    let api = Api::new();
    let refused = api.send("POST", "/v1/nodes/here/drain", &[("if-match", "\"1\"")], "").await;
    assert_problem(&refused, 400, "urn:logvine:unconditional");
    let several = json!({ "runners": ["a", "b"], "verb": "stop", "nodes": "all" }).to_string();
    assert_problem(&api.send("POST", "/v1/operations", &[("if-match", "\"1\"")], &several).await, 400, "urn:logvine:unconditional");
    assert_eq!(api.get("/v1/nodes/here").await.body["drain"], Value::Null);
}

#[tokio::test]
async fn a_key_of_the_body_that_nobody_knows_is_refused() {
    let api = Api::new();
    api.put_runner("fleet").await;
    let slip = post(&api, "/v1/runners/fleet/stop", &json!({ "nodes": "all", "expect_count": 7 })).await;
    assert_problem(&slip, 422, "urn:logvine:invalid");
    let fault = slip.body["errors"][0]["detail"].as_str().unwrap();
    assert!(fault.contains("expect_count") && fault.contains("did you mean `expected_count`?"), "{fault}");
    assert_eq!(api.get("/v1/runners/fleet").await.body["desired"], "running");
}

/// Issue 5: a million-entry list. It is refused before it holds up the node's loop.
#[tokio::test]
async fn a_list_of_a_million_is_refused_with_the_most_that_is_taken() {
    let api = Api::new();
    api.put_runner("fleet").await;
    let names = vec!["a"; 1_000_000];
    let sources: Vec<Value> = (0..100_000).map(|at| json!({ "id": format!("s-{at}"), "url": "http://127.0.0.1:1/log" })).collect();
    let whole = {
        let mut whole = runner();
        whole["sources"] = json!(sources);
        whole
    };
    for (method, path, body, pointer) in [
        ("POST", "/v1/operations", json!({ "runners": names, "verb": "stop", "nodes": "all" }), "/runners"),
        ("PATCH", "/v1/runners/fleet/sources", json!({ "remove": names }), "/remove"),
        ("PATCH", "/v1/runners/fleet/sources", json!({ "put": sources }), "/put"),
        ("PUT", "/v1/runners/fleet", whole, "/sources"),
        ("PUT", "/v1/nodes/here/tags", json!({ "tags": (0..100_000).map(|at| format!("t{at}")).collect::<Vec<_>>() }), "/tags"),
        ("POST", "/v1/plan", json!({ "changes": vec![json!({ "dies": "here" }); 100_000] }), "/changes"),
    ] {
        let refused = api.send(method, path, &[], &body.to_string()).await;
        assert_problem(&refused, 422, "urn:logvine:too-many");
        assert_eq!(refused.body["errors"][0]["pointer"], pointer, "{}", refused.body);
    }
    assert_eq!(api.get("/v1/sources?runner=fleet").await.body["items"].as_array().unwrap().len(), 1);
}

/// RFC 9110 section 15.5.6: a 405 says which methods there are.
#[tokio::test]
async fn a_method_that_is_not_there_is_told_with_those_that_are() {
    let answer = Api::new().send("PATCH", "/v1/runners/fleet", &[], "").await;
    assert_problem(&answer, 405, "urn:logvine:no-method");
    let allowed = answer.headers[header::ALLOW].to_str().unwrap();
    for method in ["GET", "PUT", "DELETE"] {
        assert!(allowed.contains(method), "{allowed}");
    }
}
