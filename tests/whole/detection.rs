//! A process dies, and its host says so.

use crate::harness::{Cluster, until};

/// DESIGN §3.1, "Refusal is evidence": every other node knows, and says how.
#[tokio::test]
async fn a_killed_agent_is_proved_gone_to_all_others() {
    let mut cluster = Cluster::start(4).await;
    let name = cluster.nodes[2].name.clone();
    cluster.nodes[2].kill();
    for node in cluster.nodes.iter().filter(|node| node.is_running()) {
        let told = until(&format!("{} tells that {name} is down", node.name), async || {
            let page = node.get("/v1/events?kind=member.down&limit=1000").await?;
            let details = page["items"].as_array()?.iter().filter_map(|row| row["detail"].as_str());
            details.map(str::to_owned).find(|detail| detail.starts_with(&name))
        })
        .await;
        assert!(told.contains("its host says that no process listens there"), "{}: {told}", node.name);
    }
}
