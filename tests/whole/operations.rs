//! Commands through any node, whoever else is dead (DESIGN §6).

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::harness::{Cluster, Node, client, logvine, until};

async fn post(node: &Node, path: &str, body: &Value) -> (u16, Value) {
    let answer = client().post(format!("{}{path}", node.api())).json(body).send().await.expect("a live node answers");
    (answer.status().as_u16(), answer.json().await.expect("in JSON"))
}

/// The states of an operation's rows as a node shows them, by the nodes' names.
async fn rows(node: &Node, operation: &str) -> Option<BTreeMap<String, String>> {
    let found = node.get(&format!("/v1/operations/{operation}")).await?;
    let text = |row: &Value, field: &str| row[field].as_str().unwrap_or_default().to_owned();
    Some(found["targets"].as_array()?.iter().map(|row| (text(row, "node_name"), text(row, "state"))).collect())
}

/// Lists are answered from the asked node's own view, at once, whoever is dead.
async fn answers_every_list(node: &Node) {
    for list in
        ["self", "cluster", "nodes", "tags", "runners", "instances", "sources", "assignments/check", "operations", "events", "series", "settings"]
    {
        let answer = client().get(format!("{}/v1/{list}", node.api())).send().await.expect("a live node answers");
        assert_eq!(answer.status(), 200, "{} of {list}", node.name);
    }
}

fn runner(cluster: &Cluster) -> Value {
    json!({
        "name": "files", "placement": { "every": "collectors" }, "reader": { "type": "file", "paths": [cluster.path("in/*.log")] },
        "senders": [{ "name": "out", "type": "file", "path": cluster.path("out/{node}.ndjson") }],
    })
}

fn all(cluster: &Cluster, state: impl Fn(&Node) -> &'static str) -> BTreeMap<String, String> {
    cluster.nodes.iter().map(|node| (node.name.clone(), state(node).to_owned())).collect()
}

/// The measure of issue 5: 5 nodes, 1 to 4 of them killed. Every survivor answers, takes commands, and shows the dead as pending; they do on their return.
#[tokio::test]
async fn any_survivor_takes_commands_and_the_dead_carry_them_out_on_their_return() {
    let mut cluster = Cluster::start(5).await;
    cluster.apply(4, &runner(&cluster));
    let mut operation = String::new();
    for killed in 0..4 {
        cluster.nodes[killed].kill();
        for (at, verb) in (killed + 1..5).zip(["stop", "start", "stop", "start"]) {
            let survivor = &cluster.nodes[at];
            until("the dead are known", async || (survivor.sees("down").await?.len() == killed + 1).then_some(())).await;
            let (status, answer) = post(survivor, &format!("/v1/runners/files/{verb}"), &json!({ "nodes": "all", "reason": "a drill" })).await;
            assert_eq!((status, &answer["accepted"]), (207, &json!(true)), "{answer}");
            answer["operation"].as_str().expect("it has an id").clone_into(&mut operation);
            let expected = all(&cluster, |node| if node.is_running() { "applied" } else { "pending" });
            for reader in cluster.nodes.iter().filter(|node| node.is_running()) {
                answers_every_list(reader).await;
                until("every survivor shows who has done it", async || (rows(reader, &operation).await? == expected).then_some(())).await;
            }
        }
    }
    for killed in 0..4 {
        cluster.nodes[killed].start();
    }
    cluster.all_see_all().await;
    let done = all(&cluster, |_| "applied");
    for reader in &cluster.nodes {
        until("who was dead has done it", async || (rows(reader, &operation).await? == done).then_some(())).await;
    }
    let shown = cluster.nodes[0].get("/v1/operations?limit=1").await.expect("it answers");
    assert_eq!((&shown["items"][0]["reason"], &shown["items"][0]["actor"]), (&json!("a drill"), &json!("admin")));
}

/// Killing the relay loses nothing: the others show the operation, and those that are away then find it.
#[tokio::test]
async fn an_operation_outlives_the_node_that_was_asked() {
    let mut cluster = Cluster::start(4).await;
    cluster.apply(0, &runner(&cluster));
    cluster.nodes[3].kill();
    until("its death is known", async || (cluster.nodes[0].sees("down").await?.len() == 1).then_some(())).await;
    let (_, answer) = post(&cluster.nodes[0], "/v1/operations", &json!({ "runners": ["files"], "verb": "stop", "nodes": "collectors" })).await;
    let operation = answer["operation"].as_str().expect("it has an id").to_owned();
    assert_eq!(answer["accepted"], json!(true));
    cluster.nodes[0].kill();
    cluster.nodes[3].start();
    for reader in &cluster.nodes[1..] {
        let done = async || {
            let rows = rows(reader, &operation).await?;
            ["n2", "n3", "n4"].iter().all(|name| rows.get(*name).map(String::as_str) == Some("applied")).then_some(())
        };
        until("all who live have done it, also who was away", done).await;
    }
    let shown = logvine().args(["operation", "show", &operation, "--api", &cluster.nodes[1].api()]).output().expect("the command line runs");
    assert!(shown.status.success(), "{}", String::from_utf8_lossy(&shown.stdout));
}

/// PITFALLS §5, logkit and Elastic Fleet: nothing is everything, and a selection that has changed is not the one that was looked at.
#[tokio::test]
async fn what_is_not_meant_is_not_done_and_what_is_said_twice_is_done_once() {
    let cluster = Cluster::start(3).await;
    let node = &cluster.nodes[0];
    cluster.apply(0, &runner(&cluster));
    for (body, pointer) in [(json!({ "nodes": "" }), "/nodes"), (json!({ "nodes": "collectors", "expected_count": 111 }), "/expected_count")] {
        let (status, problem) = post(node, "/v1/runners/files/stop", &body).await;
        assert_eq!((status, &problem["errors"][0]["pointer"]), (422, &json!(pointer)), "{problem}");
    }
    let (status, _) = post(node, "/v1/operations", &json!({ "runners": [], "verb": "stop", "nodes": "all" })).await;
    assert_eq!(status, 422);
    let (status, would) = post(node, "/v1/runners/files/stop?dry_run=true", &json!({ "nodes": "all" })).await;
    assert_eq!((status, would["targets"].as_array().map(Vec::len), &would["operation"]), (200, Some(3), &Value::Null));

    let mut operations = Vec::new();
    for at in [0, 1] {
        let request = client().post(format!("{}/v1/runners/files/stop", cluster.nodes[at].api())).header("Idempotency-Key", "k-17");
        let answer: Value = request.json(&json!({ "nodes": "all" })).send().await.unwrap().json().await.unwrap();
        operations.push(answer["operation"].clone());
    }
    assert!(operations[0].is_string() && operations[0] == operations[1], "{operations:?}");
}
