//! Tells the data plane this node's tags, which operators may change while it runs.

use std::time::Duration;

use logvine_gossip::NodeId;
use logvine_runner::Tags;
use tokio::time::sleep;

use super::AgentHandle;

/// How soon records have a new tag.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// For as long as the node runs.
pub(super) async fn watch(handle: AgentHandle, me: NodeId, tags: Tags) {
    loop {
        let known = handle.look(move |node, _| node.view().get(&me).map(|info| info.tags.clone())).await;
        match known {
            Ok(known) => tags.set(known.unwrap_or_default()),
            Err(_) => return,
        }
        sleep(LOOK_EVERY).await;
    }
}
