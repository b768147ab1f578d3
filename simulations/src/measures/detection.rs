//! How long until all know that a node is gone.

use std::{collections::BTreeSet, time::Duration};

use logvine_cluster::event::Event as Told;
use logvine_gossip::Status;

use super::{
    Effort, Row, Size,
    field::{Field, LAN, quantile, seconds},
};
use crate::report::Violation;

/// The lan preset: 500 ms of probing and 4 s of suspicion, and then the news must spread.
const SILENCE: &[Size] = &[Size::new(16, 5_500), Size::new(256, 5_500), Size::new(1_024, 6_000)];
const SILENCE_WORST: Duration = Duration::from_secs(8);
/// From one kill to the next, at least: the one before is back and known by then.
const RECOVERS: Duration = Duration::from_secs(5);
const LONGEST: Duration = Duration::from_secs(60);

/// A host falls silent.
pub(super) fn silence(effort: Effort) -> Result<Vec<Row>, Box<Violation>> {
    let kills = effort.of(10, 100);
    let mut rows = Vec::new();
    for size in effort.sizes(SILENCE) {
        let known = kill(size.nodes, kills)?;
        let (median, worst) = (quantile(&known, 500), quantile(&known, 1_000));
        rows.push(Row {
            measure: format!("host dead (silence) → all know, {} nodes", size.nodes),
            measured: format!("p50 {}, worst {}", seconds(median), seconds(worst)),
            goal: format!("p50 ≤ {}, worst ≤ {}", seconds(Duration::from_millis(size.median_ms)), seconds(SILENCE_WORST)),
            met: median <= Duration::from_millis(size.median_ms) && worst <= SILENCE_WORST,
            stands_on: format!("{kills} kills"),
        });
    }
    Ok(rows)
}

/// Kills one node after the other, each back again before the next; how long each time until the last survivor knew.
fn kill(nodes: usize, kills: usize) -> Result<Vec<Duration>, Box<Violation>> {
    let mut field = Field::joined(1, nodes, LAN)?;
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
