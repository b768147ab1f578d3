//! A node dies, and its sources go on at others from the byte where it stopped.

use crate::{
    harness::{Cluster, Web, until},
    lines::{SOURCES, apply, arrived, write},
};

/// DESIGN §7, "nothing is lost": at-least-once, each line under one id.
#[tokio::test]
async fn a_killed_nodes_sources_go_on_elsewhere_and_nothing_is_lost() {
    let mut cluster = Cluster::start(5).await;
    let web = Web::start().await;
    write(&web, 0..200);
    apply(&cluster, 3, &web);
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
    apply(&cluster, 3, &web);
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
