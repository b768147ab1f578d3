//! A node dies, and its sources go on at others from the byte where it stopped.

use std::collections::BTreeSet;

use serde_json::json;

use crate::harness::{Cluster, Web, until};

const SOURCES: usize = 6;

/// Applies a runner that collects the sources s0, s1, … by `http`.
fn apply(cluster: &Cluster, web: &Web) {
    let sources: Vec<_> = (0..SOURCES).map(|at| json!({ "id": format!("s{at}"), "url": web.url(&format!("s{at}.log")) })).collect();
    cluster.apply(
        3,
        &json!({
            "name": "web", "placement": { "spread": "collectors" }, "reader": { "type": "http", "poll_ms": 100 }, "sources": sources,
            "parse": { "type": "json" }, "senders": [{ "name": "out", "type": "file", "path": cluster.path("out/{node}.ndjson") }],
        }),
    );
}

/// Appends numbered lines to every source.
fn write(web: &Web, lines: std::ops::Range<usize>) {
    for source in 0..SOURCES {
        web.write(&format!("s{source}.log"), lines.clone().map(|line| format!("{{\"line\":\"s{source}-{line}\"}}")));
    }
}

/// The lines that have arrived, each once.
fn arrived(cluster: &Cluster) -> BTreeSet<String> {
    cluster.by_id().values().map(|record| record["body"]["line"].as_str().expect("every record has its line").to_owned()).collect()
}

/// DESIGN §7, "nothing is lost": at-least-once, each line under one id.
#[tokio::test]
async fn a_killed_nodes_sources_go_on_elsewhere_and_nothing_is_lost() {
    let mut cluster = Cluster::start(4).await;
    let web = Web::start().await;
    write(&web, 0..200);
    apply(&cluster, &web);
    let owners = cluster.owners(0, "web", SOURCES).await;
    until("the first lines of all sources have arrived", async || (arrived(&cluster).len() == SOURCES * 200).then_some(())).await;

    let victim = owners["s0"];
    let name = cluster.nodes[victim].name.clone();
    cluster.nodes[victim].kill();
    write(&web, 200..400);
    for node in cluster.nodes.iter().filter(|node| node.is_running()) {
        until(&format!("{} shows {name} down", node.name), async || node.sees("down").await?.contains(&name).then_some(())).await;
    }
    let asked = (victim + 1) % cluster.nodes.len();
    let owners = cluster.owners(asked, "web", SOURCES).await;
    assert_ne!(owners["s0"], victim);
    until("every line has arrived", async || (arrived(&cluster).len() == SOURCES * 400).then_some(())).await;
    assert_eq!(cluster.by_id().len(), SOURCES * 400, "a line that comes again comes under its own id");

    cluster.nodes[victim].start();
    cluster.all_see_all().await;
    write(&web, 400..500);
    until("lines arrive after the node's return", async || (arrived(&cluster).len() == SOURCES * 500).then_some(())).await;
    assert_eq!(cluster.by_id().len(), SOURCES * 500);
}

/// DESIGN §5.3, "Repair": a witness that stays away is replaced, and the sources that it was a witness of are collected on meanwhile.
#[tokio::test]
async fn a_dead_witness_is_replaced_while_lines_go_on_and_nothing_is_lost() {
    let mut cluster = Cluster::start(4).await;
    let web = Web::start().await;
    write(&web, 0..10);
    apply(&cluster, &web);
    let owners = cluster.owners(0, "web", SOURCES).await;
    until("the first lines have arrived", async || (arrived(&cluster).len() == SOURCES * 10).then_some(())).await;

    let victim = (0..cluster.nodes.len()).find(|at| !owners.values().any(|owner| owner == at)).unwrap_or(owners["s0"]);
    let name = cluster.nodes[victim].name.clone();
    cluster.nodes[victim].kill();
    let asked = (victim + 1) % cluster.nodes.len();
    let mut written = 10;
    until("nobody counts on the dead witness", async || {
        write(&web, written..written + 1);
        written += 1;
        let page = cluster.nodes[asked].get("/v1/sources?runner=web&limit=1000").await?;
        let rows = page["items"].as_array()?;
        let counted = |row: &serde_json::Value| row["witnesses"].as_array().is_some_and(|all| all.len() == 3 && all.iter().all(|one| *one != name));
        (rows.len() == SOURCES && rows.iter().all(counted)).then_some(())
    })
    .await;
    write(&web, written..written + 100);
    until("every line has arrived", async || (arrived(&cluster).len() == SOURCES * (written + 100)).then_some(())).await;
    assert_eq!(cluster.by_id().len(), SOURCES * (written + 100), "a line that comes again comes under its own id");
}
