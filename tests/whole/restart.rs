//! Planned absence (DESIGN §5.5): a node that says when it goes loses nothing and keeps what it had.

use serde_json::json;

use crate::harness::{Cluster, Web, until};

#[tokio::test]
async fn a_restarted_node_keeps_its_name_its_sources_and_every_line() {
    let mut cluster = Cluster::start(3).await;
    let web = Web::start().await;
    web.write("app.log", (0..100).map(|line| format!("line {line}")));
    cluster.apply(
        0,
        &json!({
            "name": "web", "placement": { "spread": "collectors" }, "reader": { "type": "http", "poll_ms": 100 },
            "sources": [{ "id": "app", "url": web.url("app.log") }],
            "senders": [{ "name": "out", "type": "file", "path": cluster.path("out/{node}.ndjson") }],
        }),
    );
    let owner = cluster.owners(0, "web", 1).await["app"];
    until("the first lines have arrived", async || (cluster.records().len() == 100).then_some(())).await;
    let id = cluster.nodes[owner].get("/v1/self").await.expect("it answers")["id"].clone();

    let status = cluster.nodes[owner].stop().await;
    assert!(status.success(), "SIGTERM ends an agent well: {status}\n{}", cluster.nodes[owner].said());
    let (other, away) = ((owner + 1) % 3, cluster.nodes[owner].name.clone());
    until("the others say whom the source waits for", async || {
        let row = cluster.nodes[other].get("/v1/sources/web/app").await?;
        let waits = row["state"] == "waiting" && row["owner_name"] == away.as_str();
        (waits && row["why"].as_str()?.starts_with(&format!("{away} is away"))).then_some(())
    })
    .await;
    web.write("app.log", (100..200).map(|line| format!("line {line}")));
    cluster.nodes[owner].start();
    cluster.all_see_all().await;

    until("the lines written meanwhile have arrived", async || (cluster.by_id().len() == 200).then_some(())).await;
    assert_eq!(cluster.nodes[owner].get("/v1/self").await.expect("it answers")["id"], id);
    assert_eq!(cluster.records().len(), 200, "what was flushed is not sent again");
    assert_eq!(cluster.owners(owner, "web", 1).await["app"], owner, "a node that is back within its grace keeps its sources");
}

/// A cluster that was off as a whole goes on where it was: catalog and checkpoints were on disk.
#[tokio::test]
async fn a_whole_cluster_killed_at_once_goes_on() {
    let mut cluster = Cluster::start(3).await;
    let web = Web::start().await;
    web.write("app.log", (0..100).map(|line| format!("line {line}")));
    cluster.apply(
        0,
        &json!({
            "name": "web", "placement": { "spread": "collectors" }, "reader": { "type": "http", "poll_ms": 100 },
            "sources": [{ "id": "app", "url": web.url("app.log") }],
            "senders": [{ "name": "out", "type": "file", "path": cluster.path("out/{node}.ndjson") }],
        }),
    );
    until("the first lines have arrived", async || (cluster.by_id().len() == 100).then_some(())).await;
    for node in &mut cluster.nodes {
        node.kill();
    }
    web.write("app.log", (100..150).map(|line| format!("line {line}")));
    for node in &mut cluster.nodes {
        node.start();
    }
    cluster.all_see_all().await;
    until("the rest has arrived", async || (cluster.by_id().len() == 150).then_some(())).await;
}
