//! How fast a cluster that was split in two is one again, and whether it always is.

use std::time::Duration;

use rand::{RngExt, seq::SliceRandom};

use super::{
    Effort, Row,
    field::{Field, LAN, quantile, seconds},
};
use crate::{
    network::{CutId, Direction},
    report::Violation,
};

const GOAL: Duration = Duration::from_secs(10);
/// A cluster that is not whole by then never heals by itself.
const NEVER: Duration = Duration::from_secs(300);

/// Halves that see nothing of each other for one to two minutes, and then everything.
pub(super) fn healed(effort: Effort) -> Result<Vec<Row>, Box<Violation>> {
    let small = effort.of(100, 1_000, 10_000);
    let large = effort.of(1, 2, 5);
    let few = (1..=small).map(|seed| heal(seed, None)).collect::<Result<Vec<_>, _>>()?;
    let many = (1..=large).map(|seed| heal(seed, Some(256))).collect::<Result<Vec<_>, _>>()?;
    Ok(vec![row("3 to 9 nodes", &few), row("256 nodes", &many)])
}

/// How long it took; None: it never came.
fn heal(seed: u64, nodes: Option<usize>) -> Result<Option<Duration>, Box<Violation>> {
    let mut field = Field::new(seed, nodes.unwrap_or(3 + usize::try_from(seed % 7).expect("under seven")), LAN);
    field.start_all();
    field.run(Duration::from_secs(20))?;
    let mut order: Vec<usize> = field.nodes().map(|(at, _)| at).collect();
    order.shuffle(&mut field.rng);
    let (these, those) = order.split_at(order.len() / 2);
    let directions: Vec<Direction> = these.iter().flat_map(|one| those.iter().flat_map(|other| [(*one, *other), (*other, *one)])).collect();
    field.world.network.cut(field.now(), CutId(0), &directions, None);
    let length = field.rng.random_range(60_000..=120_000);
    field.run(Duration::from_millis(length))?;
    field.world.network.mend(field.world.now, CutId(0));
    let mended = field.now();
    Ok(field.run_until_complete(NEVER)?.ok().map(|since| since.since(mended)))
}

fn row(sizes: &str, times: &[Option<Duration>]) -> Row {
    let never = times.iter().filter(|time| time.is_none()).count();
    let took: Vec<_> = times.iter().map(|time| time.unwrap_or(NEVER)).collect();
    let (median, late) = (quantile(&took, 500), quantile(&took, 990));
    Row {
        measure: format!("split half/half for 60–120 s, healed → all views complete, {sizes}"),
        measured: format!("p50 {}, p99 {}, {never} never healed", seconds(median), seconds(late)),
        goal: format!("p99 ≤ {}, none unhealed", seconds(GOAL)),
        met: late <= GOAL && never == 0,
        stands_on: if times.len() == 1 { "1 run".to_owned() } else { format!("{} runs", times.len()) },
    }
}
