//! A node dies, and its sources go on at others from the byte where it stopped.

use std::collections::BTreeSet;

use serde_json::json;

use crate::harness::{Cluster, Web, until};

const SOURCES: usize = 6;

/// DESIGN §7, "nothing is lost": at-least-once, each line under one id.
#[tokio::test]
async fn a_killed_nodes_sources_go_on_elsewhere_and_nothing_is_lost() {
    let mut cluster = Cluster::start(4).await;
    let web = Web::start().await;
    let write = |from: u32, to: u32| {
        for source in 0..SOURCES {
            web.write(&format!("s{source}.log"), (from..to).map(|line| format!("{{\"line\":\"s{source}-{line}\"}}")));
        }
    };
    write(0, 200);
    let sources: Vec<_> = (0..SOURCES).map(|at| json!({ "id": format!("s{at}"), "url": web.url(&format!("s{at}.log")) })).collect();
    cluster.apply(
        3,
        &json!({
            "name": "web", "placement": { "spread": "collectors" }, "reader": { "type": "http", "poll_ms": 100 }, "sources": sources,
            "parse": { "type": "json" }, "senders": [{ "name": "out", "type": "file", "path": cluster.path("out/{node}.ndjson") }],
        }),
    );
    let owners = cluster.owners(0, "web", SOURCES).await;
    let lines =
        |cluster: &Cluster| cluster.by_id().values().map(|record| record["body"]["line"].as_str().unwrap().to_owned()).collect::<BTreeSet<_>>();
    until("the first lines of all sources have arrived", async || (lines(&cluster).len() == SOURCES * 200).then_some(())).await;

    let victim = owners["s0"];
    let name = cluster.nodes[victim].name.clone();
    cluster.nodes[victim].kill();
    write(200, 400);
    for node in cluster.nodes.iter().filter(|node| node.is_running()) {
        until(&format!("{} shows {name} down", node.name), async || node.sees("down").await?.contains(&name).then_some(())).await;
    }
    let asked = (victim + 1) % cluster.nodes.len();
    let owners = cluster.owners(asked, "web", SOURCES).await;
    assert_ne!(owners["s0"], victim);
    until("every line has arrived", async || (lines(&cluster).len() == SOURCES * 400).then_some(())).await;
    assert_eq!(cluster.by_id().len(), SOURCES * 400, "a line that comes again comes under its own id");

    cluster.nodes[victim].start();
    cluster.all_see_all().await;
    write(400, 500);
    until("lines arrive after the node's return", async || (lines(&cluster).len() == SOURCES * 500).then_some(())).await;
    assert_eq!(cluster.by_id().len(), SOURCES * 500);
}
