//! How often healthy nodes are declared down.

use std::{collections::BTreeSet, time::Duration};

use logvine_cluster::event::Event as Told;
use logvine_gossip::Status;

use super::{
    Effort, Row,
    field::{Field, LAN, Word},
};
use crate::{
    chance::Delay,
    network::{CutId, Direction, NetworkPlan},
    report::Violation,
    scenario::Deed,
};

const NODES: usize = 256;
/// A slow node comes to each input so late, and now and then much later: about the pauses of a machine that swaps.
const LATENESS: Delay = Delay { least: Duration::from_millis(50), half: Duration::from_millis(400) };

/// Loss, slow nodes, and a node that nobody reaches but that reaches all.
pub(super) fn false_deaths(effort: Effort) -> Result<Vec<Row>, Box<Violation>> {
    let mut rows = Vec::new();
    for (loss, hours) in [(100, effort.of(1, 8, 64)), (250, effort.of(1, 4, 32))] {
        let mut field = Field::joined(1, NODES, NetworkPlan { loss, ..LAN })?;
        let words = field.run(node_hours(hours))?;
        rows.push(row(&format!("{} % loss", loss / 10), &words, |_| true, hours, &field));
    }
    let hours = effort.of(1, 4, 32);
    let mut field = Field::joined(1, NODES, LAN)?;
    let slow: BTreeSet<usize> = (0..NODES).step_by(20).collect();
    for node in &slow {
        field.world.befall(&Deed::Slow { node: *node, lateness: LATENESS });
    }
    let words = field.run(node_hours(hours))?;
    rows.push(row("5 % slow nodes", &words, |node| !slow.contains(&node), hours, &field));
    let mut field = Field::joined(1, NODES, LAN)?;
    let deaf = field.any();
    let directions: Vec<Direction> = (0..NODES).filter(|at| *at != deaf).map(|at| (at, deaf)).collect();
    field.world.network.cut(field.now(), CutId(0), &directions, None);
    let words = field.run(node_hours(hours))?;
    rows.push(row("one deaf node", &words, |node| node != deaf, hours, &field));
    Ok(rows)
}

/// The virtual time in which all nodes together live so many hours.
fn node_hours(hours: u64) -> Duration {
    Duration::from_secs(hours * 3_600 / NODES as u64)
}

/// Nothing died: each death of a node of which `is_healthy` holds is a false one.
fn row(trouble: &str, words: &[Word], is_healthy: impl Fn(usize) -> bool, hours: u64, field: &Field) -> Row {
    let victim = |told: &Told| match told {
        Told::Member { node, to: Status::Down, .. } => field.place(node).filter(|at| is_healthy(*at)),
        _ => None,
    };
    let victims: BTreeSet<usize> = words.iter().filter_map(|(_, _, told)| victim(told)).collect();
    Row {
        measure: format!("healthy nodes declared down, {NODES} nodes, {trouble}"),
        measured: victims.len().to_string(),
        goal: "0".to_owned(),
        met: victims.is_empty(),
        stands_on: format!("{hours} node-hours"),
    }
}
