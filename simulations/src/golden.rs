//! Golden hashes: a few runs whose traces are the same on every machine and in every build, until what nodes do changes on purpose.

use std::fmt::Write as _;

use crate::{
    runs::{Plan, run},
    scenarios,
    swarm::Wishes,
};

/// The hashes as they were last blessed, a line each: what was run, and its hash.
pub const BLESSED: &str = include_str!("../golden.txt");

const HEAD: &str = "\
# Trace hashes of three runs, equal in debug and release. Whatever changes what nodes do changes them; that is then said, not noticed by chance:
#   cargo run --release -p logvine-simulations -- golden --bless
";

/// What is run: seed, scenario (none: what the seed draws), nodes, minutes.
const RUNS: [(u64, Option<&str>, usize, u64); 3] = [(1, None, 3, 1), (2, Some("crash"), 5, 1), (3, Some("lossy-25"), 5, 1)];

/// The file as it should be now.
pub fn now() -> String {
    let mut text = HEAD.to_owned();
    for (seed, scenario, nodes, minutes) in RUNS {
        let wishes = Wishes { nodes: Some(nodes), minutes: Some(minutes) };
        let plan = Plan { named: scenario.and_then(scenarios::find), wishes, canary: None };
        let outcome = run(plan.scenario(seed).expect("these sizes are possible"), None);
        let hash = outcome.map_or_else(|violation| format!("broken: {}", violation.invariant), |report| report.hash);
        let name = scenario.unwrap_or("drawn");
        writeln!(text, "seed {seed} {name} nodes {nodes} minutes {minutes} {hash}").expect("a String takes all");
    }
    text
}
