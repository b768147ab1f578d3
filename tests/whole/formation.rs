//! Nodes find each other, and what one is told all know.

use std::collections::BTreeSet;

use serde_json::json;

use crate::harness::{Cluster, printed, until};

#[tokio::test]
async fn five_nodes_with_two_seeds_see_each_other() {
    let cluster = Cluster::start(5).await;
    for node in &cluster.nodes {
        let names = printed(&["node", "list", "-o", "name", "--api", &node.api()]);
        assert_eq!(names.lines().collect::<BTreeSet<_>>(), ["n1", "n2", "n3", "n4", "n5"].into());
    }
}

#[tokio::test]
async fn a_runner_applied_on_one_node_is_known_to_all() {
    let cluster = Cluster::start(3).await;
    let out = cluster.path("out/{node}.ndjson");
    cluster.apply(
        1,
        &json!({
            "name": "files", "placement": { "every": "collectors" },
            "reader": { "type": "file", "paths": [cluster.path("no-such-*.log")] },
            "senders": [{ "name": "out", "type": "file", "path": out }],
        }),
    );
    let told = cluster.nodes[1].get("/v1/runners/files").await.expect("the node that was told knows it");
    for node in &cluster.nodes {
        let runner = until(&format!("{} knows the runner", node.name), async || node.get("/v1/runners/files").await).await;
        assert_eq!((&runner["revision"], &runner["spec"]), (&told["revision"], &told["spec"]));
    }
}

/// A node that starts last, and knows one seed only, learns all: members and catalog.
#[tokio::test]
async fn a_late_node_learns_all() {
    let mut cluster = Cluster::prepare(3, &[]);
    cluster.nodes[0].start();
    cluster.nodes[1].start();
    cluster.all_see_all().await;
    let out = cluster.path("out/{node}.ndjson");
    let spec = json!({
        "name": "files", "placement": { "every": "collectors" },
        "reader": { "type": "file", "paths": [cluster.path("app.log")] },
        "senders": [{ "name": "out", "type": "file", "path": out }],
    });
    cluster.apply(0, &spec);
    std::fs::write(cluster.path("app.log"), "one\ntwo\n").unwrap();
    cluster.nodes[2].start();
    cluster.all_see_all().await;
    until("each of the three nodes has collected the file", async || (cluster.records().len() == 6).then_some(())).await;
}
