//! Planned absence (DESIGN §5.5): drains and restarts that move what they must, and lose and repeat nothing.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::{
    harness::{Cluster, Web, printed, run, until},
    lines::{SOURCES, all_arrive, all_is_well, apply, repeated, write},
};

/// A drain hands everything over without a gap or a repeat, is seen to be done, and ends in a goodbye.
#[tokio::test]
async fn a_drained_node_gives_everything_away_and_is_seen_to_be_done() {
    let mut cluster = Cluster::start(5).await;
    let web = Web::start().await;
    write(&web, 0..100);
    apply(&cluster, 3, &web);
    let owners = cluster.owners(0, "web", SOURCES).await;
    all_arrive(&cluster, 100).await;

    let drained = owners["s0"];
    let name = cluster.nodes[drained].name.clone();
    let asked = (drained + 1) % cluster.nodes.len();
    let api = cluster.nodes[asked].api();
    // Lines go on while it drains.
    let drain = tokio::task::spawn_blocking({
        let (name, api) = (name.clone(), api.clone());
        move || run(&["node", "drain", &name, "--wait", "--api", &api])
    });
    for line in 100..200 {
        write(&web, line..line + 1);
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let output = drain.await.expect("the verb ends");
    let told = crate::harness::stderr(&output);
    assert!(output.status.success() && told.contains("done: nothing depends on it any more"), "{}: {told}", output.status);
    let row: Value = serde_json::from_str(&printed(&["node", "show", &name, "-o", "json", "--api", &api])).expect("JSON");
    assert_eq!((&row["drain"]["done"], &row["sources"], &row["phase"]), (&Value::Bool(true), &Value::from(0), &Value::from("draining")), "{row}");
    let after = cluster.owners(asked, "web", SOURCES).await;
    assert!(after.values().all(|owner| *owner != drained), "{after:?}");
    let unmoved = owners.iter().filter(|(_, owner)| **owner != drained);
    for (source, owner) in unmoved {
        assert_eq!(after[source], *owner, "{source} was not the drained node's, and need not move");
    }
    all_arrive(&cluster, 200).await;
    let row = cluster.nodes[asked].get("/v1/sources/web/s0").await.expect("it answers");
    assert_eq!(row["why"], format!("handed over by {name}, which drains"));

    let status = cluster.nodes[drained].stop().await;
    assert!(status.success(), "{status}");
    until("the others see that it has left", async || cluster.nodes[asked].sees("left").await?.contains(&name).then_some(())).await;
    write(&web, 200..300);
    all_arrive(&cluster, 300).await;
    assert_eq!(repeated(&cluster), 0, "a planned handover repeats nothing");
    all_is_well(&cluster).await;
}

/// What each node says that it took: by the event's id, and in which words.
async fn taken(cluster: &Cluster) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for node in &cluster.nodes {
        let page = node.get("/v1/events?kind=source.taken&limit=1000").await.expect("it answers");
        let events = page["items"].as_array().expect("a list").iter();
        found.extend(events.map(|event| (event["id"].as_str().expect("an id").to_owned(), event["detail"].as_str().expect("words").to_owned())));
    }
    found
}

/// A rolling restart of the whole cluster moves nothing, loses nothing and repeats nothing.
#[tokio::test]
async fn a_rolling_restart_moves_nothing() {
    let mut cluster = Cluster::start(5).await;
    let web = Web::start().await;
    write(&web, 0..50);
    apply(&cluster, 0, &web);
    let owners = cluster.owners(0, "web", SOURCES).await;
    all_arrive(&cluster, 50).await;
    // What was taken at first is told for ever; a node's history outlives it.
    let before = taken(&cluster).await;
    let mut written = 50;
    for at in 0..cluster.nodes.len() {
        let status = cluster.nodes[at].stop().await;
        assert!(status.success(), "{status}");
        write(&web, written..written + 50);
        written += 50;
        cluster.nodes[at].start();
        cluster.all_see_all().await;
        // It collects again before the next one goes: its sources are waited for, not taken.
        all_arrive(&cluster, written).await;
        all_is_well(&cluster).await;
    }
    for asked in 0..cluster.nodes.len() {
        assert_eq!(cluster.owners(asked, "web", SOURCES).await, owners, "as n{} sees it", asked + 1);
    }
    let after = taken(&cluster).await;
    assert!(before.keys().all(|id| after.contains_key(id)), "{before:?}\n{after:?}");
    for (id, detail) in after.iter().filter(|(id, _)| !before.contains_key(*id)) {
        assert!(detail.contains("resumed"), "{id}: {detail}");
    }
    assert!(after.len() > before.len(), "each node takes its sources up again");
    assert_eq!(repeated(&cluster), 0, "what was flushed and held is not sent again");
}
