//! One node, two processes: which of them goes on, and what the other says (DESIGN §3.1, "Identity").

use std::path::Path;

use serde_json::Value;

use crate::harness::{Cluster, Node, own_address, run, stderr, until};

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir(to).expect("make the copy's directory");
    for entry in std::fs::read_dir(from).expect("the data directory") {
        let entry = entry.expect("an entry");
        if entry.file_type().expect("its type").is_file() {
            std::fs::copy(entry.path(), to.join(entry.file_name())).expect("copy a file");
        }
    }
}

async fn id(node: &Node) -> Value {
    node.get("/v1/self").await.expect("it answers")["id"].clone()
}

/// The data directory of a node at work is copied to another machine and started there: the copy proves its key to the original, says what is wrong, and
/// ends with the code for a conflict. The original and the others go on as if nothing had happened.
#[tokio::test]
async fn a_copy_of_a_running_node_ends_and_says_why() {
    let mut cluster = Cluster::start(3).await;
    let original = id(&cluster.nodes[2]).await;
    copy(&cluster.path("n3"), &cluster.path("copy"));
    let key = cluster.path("cluster.key");
    let mut twin = Node::new("copy", own_address(), cluster.dir.path(), &key).with(&["--join", &cluster.nodes[0].address.to_string()]);
    twin.start();
    let status = twin.end().await;
    assert_eq!(status.code(), Some(3), "{}", twin.said());
    let address = cluster.nodes[2].address.to_string();
    assert!(twin.said().contains("two copies of one data directory run") && twin.said().contains(&address), "{}", twin.said());
    cluster.all_see_all().await;
    assert_eq!(id(&cluster.nodes[2]).await, original);

    // The original dies: now the copy is that node, which has moved.
    cluster.nodes[2].kill();
    twin.start();
    until("the others see it at its new address", async || {
        let row = cluster.nodes[0].get(&format!("/v1/nodes/{}", original.as_str()?)).await?;
        (row["status"] == "alive" && row["name"] == "copy").then_some(())
    })
    .await;
    assert_eq!(id(&twin).await, original);
}

/// DESIGN §3.1: a node that is down stays in the view until an operator forgets it; if it lives after all it comes back by itself.
#[tokio::test]
async fn a_dead_node_is_forgotten_and_returns_when_it_lives() {
    let mut cluster = Cluster::start(3).await;
    let api = cluster.nodes[0].api();
    let refused = run(&["node", "forget", "n3", "--yes", "--api", &api]);
    assert_eq!(refused.status.code(), Some(3), "it lives: {}", stderr(&refused));
    cluster.nodes[2].kill();
    until("it is down", async || cluster.nodes[0].sees("down").await?.contains("n3").then_some(())).await;
    let forgotten = run(&["node", "forget", "n3", "--yes", "--api", &api]);
    assert!(forgotten.status.success(), "{}", stderr(&forgotten));
    for node in &cluster.nodes[..2] {
        until("nobody knows it", async || {
            let page = node.get("/v1/nodes").await?;
            page["items"].as_array()?.iter().all(|row| row["name"] != "n3").then_some(())
        })
        .await;
    }
    cluster.nodes[2].start();
    cluster.all_see_all().await;
}
