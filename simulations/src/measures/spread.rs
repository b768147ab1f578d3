//! How fast what one node knows is known to all.

use std::{collections::BTreeSet, time::Duration};

use logvine_cluster::{command::Command, event::Event as Told, node::CommandId};

use super::{
    Effort, Row, Size,
    field::{Field, LAN, quantile, seconds},
};
use crate::{network::NetworkPlan, report::Violation};

const URGENT: &[Size] = &[Size::new(64, 50), Size::new(256, 80), Size::new(1_024, 120)];
const URGENT_P99: Duration = Duration::from_millis(600);
const URGENT_P99_LOSSY: Duration = Duration::from_secs(2);
/// By then none may be missing.
const LONGEST: Duration = Duration::from_secs(10);
/// From one entry to the next, so that the budget for rumours is full again.
const APART: Duration = Duration::from_secs(2);

/// An operator sets a tag of some node by some other: a catalog entry.
pub(super) fn urgent(effort: Effort) -> Result<Vec<Row>, Box<Violation>> {
    let mut rows = Vec::new();
    for size in effort.sizes(URGENT) {
        for loss in [0, 100] {
            let entries = if size.nodes > 256 { effort.of(0, 20, 100) } else { effort.of(20, 50, 100) };
            let known = tags(size.nodes, NetworkPlan { loss, ..LAN }, entries)?;
            let missed = known.iter().filter(|time| time.is_none()).count();
            let times: Vec<_> = known.iter().map(|time| time.unwrap_or(LONGEST)).collect();
            let (median, late) = (quantile(&times, 500), quantile(&times, 990));
            let (median_goal, late_goal) = match loss {
                0 => (Duration::from_millis(size.median_ms), URGENT_P99),
                _ => (LONGEST, URGENT_P99_LOSSY),
            };
            let goal = if loss == 0 {
                format!("p50 ≤ {}, p99 ≤ {}", seconds(median_goal), seconds(late_goal))
            } else {
                format!("p99 ≤ {}", seconds(late_goal))
            };
            rows.push(Row {
                measure: format!("an urgent entry (tag) known to all, {} nodes, {} % loss", size.nodes, loss / 10),
                measured: format!("p50 {:.3} s, p99 {:.3} s, {missed} missing after 10 s", median.as_secs_f64(), late.as_secs_f64()),
                goal: format!("{goal}, none missing after 10 s"),
                met: median <= median_goal && late <= late_goal && missed == 0,
                stands_on: format!("{entries} entries"),
            });
        }
    }
    Ok(rows)
}

/// How long until the last node knew of each; None: one did not in time.
fn tags(nodes: usize, network: NetworkPlan, entries: usize) -> Result<Vec<Option<Duration>>, Box<Violation>> {
    let mut field = Field::joined(1, nodes, network)?;
    let mut known = Vec::new();
    for number in 0..entries {
        let (writer, target) = (field.any(), field.any());
        let (id, tag) = (field.id(target), format!("tag-{number}"));
        let key = format!("tag/{id}/{tag}");
        let tags = BTreeSet::from([tag.parse().expect("letters and digits are a name")]);
        field.command(writer, Command::SetTags { node: id, tags }, CommandId(number as u64));
        let others: BTreeSet<usize> = (0..nodes).filter(|at| *at != writer).collect();
        let is_it = |told: &Told| matches!(told, Told::Catalog { key: known, .. } if *known == key);
        let times = field.run_until_told(others, LONGEST, is_it)?;
        known.push(times.ok().map(|times| times.last().copied().unwrap_or_default()));
        field.run(APART)?;
    }
    Ok(known)
}
