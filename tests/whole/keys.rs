//! The cluster's key is changed while the cluster works (DESIGN §3.3), and who was not there for it is told so by both sides.

use std::{collections::BTreeSet, fs};

use serde_json::{Value, json};

use crate::harness::{Cluster, Node, Web, printed, run, stderr, until};

/// Lines that have arrived, each once.
async fn arrive(cluster: &Cluster, lines: usize) {
    until(&format!("{lines} lines have arrived"), async || (cluster.by_id().len() == lines).then_some(())).await;
}

/// What one node, or another, says of the keys of all: `fingerprint`, `sealing`, `nodes`.
fn keys(node: &Node) -> Vec<Value> {
    let listed: Value = serde_json::from_str(&printed(&["key", "list", "-o", "json", "--api", &node.api()])).expect("JSON");
    listed["items"].as_array().expect("rows").clone()
}

/// Who was ever declared down, as a node has told it.
async fn declared_down(node: &Node) -> BTreeSet<String> {
    let page = node.get("/v1/events?kind=member.down&limit=1000").await.expect("it answers");
    page["items"]
        .as_array()
        .expect("rows")
        .iter()
        .map(|event| event["detail"].as_str().expect("a text").split(' ').next().expect("a name").to_owned())
        .collect()
}

/// What `cluster status` warns of.
fn warnings(node: &Node) -> String {
    let output = run(&["cluster", "status", "--api", &node.api()]);
    assert!(output.status.success(), "{}", stderr(&output));
    stderr(&output)
}

/// Install, use, remove: nobody is declared down for it, and lines go on. n4 and n5 were off meanwhile: they hear each other and none of the rest. They
/// say so, and so do those who hear nothing of them; with the present key in their file they are back.
#[tokio::test]
async fn a_clusters_key_is_changed_while_it_works_and_who_missed_it_is_told() {
    let mut cluster = Cluster::start(5).await;
    for late in [3, 4] {
        cluster.nodes[late].kill();
    }
    until("both are down", async || (cluster.nodes[0].sees("down").await?.len() == 2).then_some(())).await;
    let web = Web::start().await;
    let write = |lines: std::ops::Range<usize>| web.write("app.log", lines.map(|line| format!("line {line}")));
    write(0..100);
    cluster.apply(
        0,
        &json!({
            "name": "web", "placement": { "spread": "collectors" }, "reader": { "type": "http", "poll_ms": 100 },
            "sources": [{ "id": "app", "url": web.url("app.log") }],
            "senders": [{ "name": "out", "type": "file", "path": cluster.path("out/{node}.ndjson") }],
        }),
    );
    arrive(&cluster, 100).await;
    let owner = cluster.owners(0, "web", 1).await;

    let api = cluster.nodes[1].api();
    let [old_file, new_file] = [cluster.path("cluster.key"), cluster.path("next.key")].map(|path| path.to_str().expect("a text path").to_owned());
    fs::write(&new_file, printed(&["keygen", "--next", &old_file])).expect("write the next key");
    let old = keys(&cluster.nodes[0])[0]["fingerprint"].as_str().expect("a fingerprint").to_owned();
    let planned = printed(&["key", "install", &new_file, "--dry-run", "--api", &api]);
    assert_eq!((planned.matches("planned").count(), keys(&cluster.nodes[1]).len()), (3, 1), "{planned}");
    printed(&["key", "install", &new_file, "--reason", "once a year", "--api", &api]);
    let new = keys(&cluster.nodes[1]).iter().filter_map(|row| row["fingerprint"].as_str()).find(|key| *key != old).expect("the new key").to_owned();
    write(100..200);
    arrive(&cluster, 200).await;

    let refused = run(&["key", "use", &new, "--api", &api]);
    assert_eq!(refused.status.code(), Some(3), "{}", stderr(&refused));
    assert!(stderr(&refused).contains("n4 (down) does not have the key") && stderr(&refused).contains("n5 (down)"), "{}", stderr(&refused));
    printed(&["key", "use", &new, "--force", "--api", &api]);
    write(200..300);
    arrive(&cluster, 300).await;
    printed(&["key", "remove", &old, "--yes", "--force", "--api", &api]);
    write(300..400);
    arrive(&cluster, 400).await;

    for (at, node) in cluster.nodes[..3].iter().enumerate() {
        // Who was asked tells of the orders, and each node of what it did.
        let told = async |kind: &str| {
            let page = node.get(&format!("/v1/events?kind={kind}")).await.expect("it answers");
            page["items"].as_array().expect("rows").iter().map(|event| event["detail"].as_str().expect("a text").to_owned()).collect::<Vec<_>>()
        };
        let by = format!("key install {new} by admin through n2 (once a year)");
        let (commanded, concluded, changed) = (told("key.commanded").await, told("key.concluded").await, told("key.changed").await);
        assert_eq!((commanded.len(), concluded.len(), changed.len()), if at == 1 { (3, 3, 3) } else { (0, 0, 3) }, "{changed:?}");
        assert!(at != 1 || commanded[0] == format!("{by}: 3 node(s) are told") && concluded[0] == format!("{by}: 3 of 3 have carried it out"));
        assert_eq!(changed[0], format!("key install {new} by admin (once a year): {} has carried it out", node.name));
        until(&format!("{} knows that three nodes seal with the new key", node.name), async || {
            keys(node).iter().any(|row| row["fingerprint"] == *new && row["sealing"] == 3).then_some(())
        })
        .await;
        assert!(declared_down(node).await.is_subset(&BTreeSet::from(["n4".to_owned(), "n5".to_owned()])), "{}", node.name);
    }
    assert_eq!(cluster.owners(0, "web", 1).await, owner, "a change of keys moves nothing");

    for late in [3, 4] {
        cluster.nodes[late].start();
    }
    until("both sides say who is not heard", async || {
        let left_behind = async |at: usize| Some(cluster.nodes[at].get("/v1/self").await?["left_behind"].as_str()?.to_owned());
        (left_behind(3).await?.contains("n1 (") && left_behind(0).await?.contains("n4 (")).then_some(())
    })
    .await;
    assert!(cluster.nodes[3].sees("alive").await.expect("it answers").contains("n5"), "those two still hear each other");
    assert!(cluster.nodes[3].said().contains("left behind when the cluster's key was changed"), "{}", cluster.nodes[3].said());
    assert!(warnings(&cluster.nodes[3]).contains("n1 (") && warnings(&cluster.nodes[0]).contains("n4 ("));
    let ready = crate::harness::client().get(cluster.nodes[3].api() + "/readyz").send().await.expect("it answers").text().await.expect("a text");
    assert!(ready.contains("warning: not all nodes are heard"), "{ready}");

    fs::copy(&new_file, &old_file).expect("the present key takes the old one's place");
    for late in [3, 4] {
        assert!(cluster.nodes[late].stop().await.success());
        cluster.nodes[late].start();
    }
    cluster.all_see_all().await;
    write(400..500);
    arrive(&cluster, 500).await;
}
