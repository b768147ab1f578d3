//! Lines that are counted one by one: each source's lines have numbers, and each must arrive under one id.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use crate::harness::{Cluster, Web, until};

pub(crate) const SOURCES: usize = 6;

/// Applies a runner through a node, that collects the sources s0, s1, … by `http`.
pub(crate) fn apply(cluster: &Cluster, through: usize, web: &Web) {
    let sources: Vec<_> = (0..SOURCES).map(|at| json!({ "id": format!("s{at}"), "url": web.url(&format!("s{at}.log")) })).collect();
    cluster.apply(
        through,
        &json!({
            "name": "web", "placement": { "spread": "collectors" }, "reader": { "type": "http", "poll_ms": 100 }, "sources": sources,
            "parse": { "type": "json" }, "senders": [{ "name": "out", "type": "file", "path": cluster.path("out/{node}.ndjson") }],
        }),
    );
}

/// Appends numbered lines to every source.
pub(crate) fn write(web: &Web, lines: std::ops::Range<usize>) {
    for source in 0..SOURCES {
        web.write(&format!("s{source}.log"), lines.clone().map(|line| format!("{{\"line\":\"s{source}-{line}\"}}")));
    }
}

/// The lines that have arrived, each once.
pub(crate) fn arrived(cluster: &Cluster) -> BTreeSet<String> {
    cluster.by_id().values().map(|record| record["body"]["line"].as_str().expect("every record has its line").to_owned()).collect()
}

/// Waits until the lines 0 to `lines` of every source have arrived. None may be missing, and none come under two ids.
pub(crate) async fn all_arrive(cluster: &Cluster, lines: usize) {
    until(&format!("{lines} lines of every source have arrived"), async || (arrived(cluster).len() == SOURCES * lines).then_some(())).await;
    assert_eq!(cluster.by_id().len(), SOURCES * lines, "a line that comes again comes under its own id");
}

/// How often lines have arrived more than once, in all.
pub(crate) fn repeated(cluster: &Cluster) -> usize {
    cluster.records().len() - cluster.by_id().len()
}

/// The most often that one line has arrived.
pub(crate) fn most_often(cluster: &Cluster) -> usize {
    let mut times = BTreeMap::new();
    cluster.records().iter().for_each(|record| *times.entry(record["id"].to_string()).or_insert(0) += 1);
    times.into_values().max().unwrap_or(0)
}

/// Waits until nothing is wrong with the assignment, as every running node sees it.
pub(crate) async fn all_is_well(cluster: &Cluster) {
    for node in cluster.nodes.iter().filter(|node| node.is_running()) {
        until(&format!("{} finds nothing wrong", node.name), async || {
            let page = node.get("/v1/assignments/check").await?;
            page["items"].as_array()?.is_empty().then_some(())
        })
        .await;
    }
}
