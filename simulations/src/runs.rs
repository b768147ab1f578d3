//! Runs seeds: one, many, each twice; and says how to see a failure again.

use std::panic::{AssertUnwindSafe, catch_unwind};

use logvine_gossip::Instant;

use crate::{
    report::{Report, Violation},
    scenario::Scenario,
    swarm::{Wishes, draw},
    trace::{Level, Listener, Trace},
    world::World,
};

/// Runs a scenario. A panic of the code under test is a violation like any other.
pub fn run(scenario: Scenario, listener: Option<(Level, Listener)>) -> Result<Report, Box<Violation>> {
    let seed = scenario.seed;
    let outcome = catch_unwind(AssertUnwindSafe(|| World::new(scenario, Trace::new(listener)).run()));
    outcome.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
        let detail = text.unwrap_or("with something that is not a text").to_owned();
        Err(Box::new(Violation { invariant: "no node panics".into(), detail, at: Instant::ZERO, seed, last: Vec::new() }))
    })
}

/// Runs what a seed draws, twice: the same seed and commit are the same run.
pub fn run_twice(seed: u64, wishes: Wishes) -> Result<Report, Box<Violation>> {
    let first = run(draw(seed, wishes), None)?;
    let second = run(draw(seed, wishes), None)?;
    if first == second {
        return Ok(first);
    }
    let detail = format!("first {first}\nthen  {second}");
    Err(Box::new(Violation { invariant: "a seed is always the same run".into(), detail, at: Instant::ZERO, seed, last: Vec::new() }))
}

/// The command that runs a seed again and shows all of it.
pub fn replay(seed: u64, wishes: Wishes) -> String {
    let nodes = wishes.nodes.map(|nodes| format!(" --nodes {nodes}")).unwrap_or_default();
    let minutes = wishes.minutes.map(|minutes| format!(" --minutes {minutes}")).unwrap_or_default();
    format!("cargo run -p logvine-simulations --release -- run --seed {seed}{nodes}{minutes} --trace")
}
