//! What gossip costs the network while nothing happens.

use std::time::Duration;

use logvine_gossip::{Sent, Traffic};

use super::{
    Effort, Row,
    field::{Field, LAN},
};
use crate::report::Violation;

const SIZES: &[usize] = &[16, 256, 1_024];
const MEMBERSHIP_GOAL: f64 = 350.0;
const STATE_GOAL: f64 = 300.0;
/// IPv4's and UDP's headers, for those who size a network.
const HEADERS: f64 = 28.0;

/// Counts what all nodes send, once their start is forgotten.
pub(super) fn traffic(effort: Effort) -> Result<Vec<Row>, Box<Violation>> {
    let mut rows = Vec::new();
    for nodes in SIZES.iter().copied().filter(|nodes| effort != Effort::Quick || *nodes <= 256) {
        // A round of announces is 30 s.
        let time = Duration::from_secs(120);
        let mut field = Field::joined(1, nodes, LAN)?;
        let before = sent(&field);
        field.run(time)?;
        let after = sent(&field);
        let rate = |before: Sent, after: Sent| {
            let each = |count: u64| count as f64 / nodes as f64 / time.as_secs_f64();
            (each(after.messages - before.messages), each(after.bytes - before.bytes))
        };
        let stands_on = format!("{nodes} nodes, {} s", time.as_secs());
        let mut row = |what: &str, (messages, bytes): (f64, f64), goal: f64| {
            rows.push(Row {
                measure: format!("idle, per node: {what}, {nodes} nodes"),
                measured: format!("{bytes:.0} B/s ({:.0} with IP and UDP headers, {messages:.1} packets/s)", bytes + messages * HEADERS),
                goal: format!("≤ {goal:.0} B/s"),
                met: bytes <= goal,
                stands_on: stands_on.clone(),
            });
        };
        row("membership", rate(before.membership, after.membership), MEMBERSHIP_GOAL);
        row("replicated state", rate(before.state, after.state), STATE_GOAL);
    }
    Ok(rows)
}

/// By all nodes.
fn sent(field: &Field) -> Traffic {
    let add = |sum: Sent, one: Sent| Sent { messages: sum.messages + one.messages, bytes: sum.bytes + one.bytes };
    field.nodes().map(|(_, node)| node.gossip().traffic()).fold(Traffic::default(), |sum, one| Traffic {
        membership: add(sum.membership, one.membership),
        state: add(sum.state, one.state),
        rumours: add(sum.rumours, one.rumours),
    })
}
