//! How long until nodes that start together see each other.

use std::time::Duration;

use super::{
    Effort, Row, Size,
    field::{Field, LAN, seconds},
};
use crate::report::Violation;

const JOIN: &[Size] = &[Size::new(256, 7_000), Size::new(1_024, 14_000)];
const LONGEST: Duration = Duration::from_secs(120);

/// All nodes start at once, with three seeds among them.
pub(super) fn at_once(effort: Effort) -> Result<Vec<Row>, Box<Violation>> {
    let mut rows = Vec::new();
    for size in effort.sizes(JOIN) {
        let runs = if size.nodes > 256 { 1 } else { effort.of(1, 3, 5) };
        let mut worst = Duration::ZERO;
        for seed in 1..=runs {
            let mut field = Field::new(seed, size.nodes, LAN);
            field.start_all();
            let took = field.run_until_complete(LONGEST)?.map_or(LONGEST, |at| at.since(logvine_gossip::Instant::ZERO));
            worst = worst.max(took);
        }
        rows.push(Row {
            measure: format!("all join at once → all views complete, {} nodes", size.nodes),
            measured: seconds(worst),
            goal: format!("≤ {}", seconds(Duration::from_millis(size.median_ms))),
            met: worst <= Duration::from_millis(size.median_ms),
            stands_on: if runs == 1 { "1 run".to_owned() } else { format!("worst of {runs} runs") },
        });
    }
    Ok(rows)
}
