//! What the simulator itself costs. CPU time, so not exact: it is given beside the time that it simulated.

use std::{collections::BTreeSet, time::Duration};

use logvine_cluster::{command::Command, node::CommandId};

use super::{
    Effort, Row, cpu,
    field::{Field, LAN},
};
use crate::{report::Violation, runs::run, swarm::Wishes, swarm::draw};

const GOAL: Duration = Duration::from_secs(30);
/// Nodes and virtual minutes, with two crashes in each.
const THOUSAND: (usize, u64) = (1_000, 10);
/// CI's share: a thousand node-hours in six minutes.
const SHARE_GOAL: f64 = 1_000.0 / 360.0;

/// A thousand nodes for ten minutes; and seeds as CI runs them.
pub(super) fn costs(effort: Effort) -> Result<Vec<Row>, Box<Violation>> {
    let (nodes, minutes) = effort.of((200, 2), (1_000, 2), THOUSAND);
    let (taken, played) = cpu::of(|| crashes(nodes, minutes));
    played?;
    let virtual_time = Duration::from_secs(minutes * 60);
    let seeds = effort.of(20, 100, 200);
    let (seeds_taken, hours) = cpu::of(|| node_hours(seeds));
    let hours = hours?;
    let cpu =
        |taken: Option<Duration>| taken.map_or_else(|| "not told by this system".to_owned(), |taken| format!("{:.1} CPU-s", taken.as_secs_f64()));
    let per_second = seeds_taken.map(|taken| hours / taken.as_secs_f64());
    Ok(vec![
        Row {
            measure: format!("simulator: {nodes} nodes, {minutes} virtual minutes, 2 crashes a minute, node maps and catalog on"),
            measured: format!("{}, the join within", cpu(taken)),
            goal: format!("≤ {} CPU-s on one core for {} nodes, {} minutes", GOAL.as_secs(), THOUSAND.0, THOUSAND.1),
            met: taken.is_some_and(|taken| {
                taken <= GOAL.mul_f64((nodes as f64 / THOUSAND.0 as f64) * (virtual_time.as_secs_f64() / (THOUSAND.1 * 60) as f64))
            }),
            stands_on: "1 run".to_owned(),
        },
        Row {
            measure: "CI's share: node-hours per CPU-second".to_owned(),
            measured: per_second.map_or_else(|| cpu(None), |rate| format!("{rate:.1} ({hours:.1} node-hours in {})", cpu(seeds_taken))),
            goal: format!("≥ {SHARE_GOAL:.1} (1,000 in 6 minutes of one core)"),
            met: per_second.is_some_and(|rate| rate >= SHARE_GOAL),
            stands_on: format!("{seeds} seeds"),
        },
    ])
}

/// Every half minute a node crashes, and is back a quarter of a minute later; a tag is set in between.
fn crashes(nodes: usize, minutes: u64) -> Result<(), Box<Violation>> {
    let mut field = Field::new(1, nodes, LAN);
    field.start_all();
    for half in 0..minutes * 2 {
        let (victim, tagged) = (field.any(), field.any());
        field.run(Duration::from_secs(10))?;
        field.crash(victim);
        field.run(Duration::from_secs(15))?;
        field.start(victim);
        let tags = BTreeSet::from(["tagged".parse().expect("letters are a name")]);
        let writer = field.any();
        field.command(writer, Command::SetTags { node: field.id(tagged), tags }, CommandId(half));
        field.run(Duration::from_secs(5))?;
    }
    Ok(())
}

/// What the first seeds simulate.
fn node_hours(seeds: u64) -> Result<f64, Box<Violation>> {
    let mut seconds = 0;
    for seed in 1..=seeds {
        let report = run(draw(seed, Wishes::default()), None)?;
        seconds += report.virtual_seconds * report.nodes as u64;
    }
    Ok(seconds as f64 / 3_600.0)
}
