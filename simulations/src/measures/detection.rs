//! How long until all know that a node is gone.

use std::{collections::BTreeSet, time::Duration};

use logvine_cluster::event::Event as Told;
use logvine_gossip::Status;

use super::{
    Effort, Row, Size,
    field::{Field, LAN, quantile, seconds},
};
use crate::{network::NetworkPlan, report::Violation};

/// The lan preset: 500 ms of probing and 4 s of suspicion, and then the news must spread.
const SILENCE: &[Size] = &[Size::new(16, 5_500), Size::new(256, 5_500), Size::new(1_024, 6_000)];
const SILENCE_WORST: Duration = Duration::from_secs(8);
/// From one kill to the next, at least: the one before is back and known by then.
const RECOVERS: Duration = Duration::from_secs(5);
const LONGEST: Duration = Duration::from_secs(60);

/// The host says at once that no process is there.
const KILLED: &[Size] = &[Size::new(16, 1_200), Size::new(256, 1_500), Size::new(1_024, 2_000)];
const KILLED_WORST: Duration = Duration::from_secs(3);

/// A process is killed.
pub(super) fn killed(effort: Effort) -> Result<Vec<Row>, Box<Violation>> {
    let network = NetworkPlan { refusals: true, ..LAN };
    effort.sizes(KILLED).map(|size| row("process killed, host refuses", effort, size, network, KILLED_WORST)).collect()
}

/// A host falls silent.
pub(super) fn silence(effort: Effort) -> Result<Vec<Row>, Box<Violation>> {
    effort.sizes(SILENCE).map(|size| row("host dead (silence)", effort, size, LAN, SILENCE_WORST)).collect()
}

fn row(how: &str, effort: Effort, size: Size, network: NetworkPlan, worst_goal: Duration) -> Result<Row, Box<Violation>> {
    let kills = if size.nodes > 256 { effort.of(0, 10, 100) } else { effort.of(10, 30, 100) };
    let known = kill(size.nodes, kills, network)?;
    let (median, worst) = (quantile(&known, 500), quantile(&known, 1_000));
    let median_goal = Duration::from_millis(size.median_ms);
    Ok(Row {
        measure: format!("{how} → all know, {} nodes", size.nodes),
        measured: format!("p50 {}, worst {}", seconds(median), seconds(worst)),
        goal: format!("p50 ≤ {}, worst of 100 ≤ {}", seconds(median_goal), seconds(worst_goal)),
        met: median <= median_goal && worst <= worst_goal,
        stands_on: format!("{kills} kills"),
    })
}

/// Kills one node after the other, each back again before the next; how long each time until the last survivor knew.
fn kill(nodes: usize, kills: usize, network: NetworkPlan) -> Result<Vec<Duration>, Box<Violation>> {
    let mut field = Field::joined(1, nodes, network)?;
    let mut known = Vec::new();
    for _ in 0..kills {
        let victim = field.any();
        let id = field.id(victim);
        field.crash(victim);
        let survivors: BTreeSet<usize> = field.nodes().map(|(at, _)| at).collect();
        let is_it = |told: &Told| matches!(told, Told::Member { node, to: Status::Down, .. } if *node == id);
        let times = field.run_until_told(survivors, LONGEST, is_it)?;
        known.push(times.map_or(LONGEST, |times| times.last().copied().unwrap_or_default()));
        field.start(victim);
        field.run(RECOVERS)?;
        // A late one is the next kill's trouble too.
        let _ = field.run_until_complete(LONGEST)?;
    }
    Ok(known)
}
