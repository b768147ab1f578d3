//! Runs scenarios: one, or what a seed draws, twice if need be; and says how to see a failure again.

use std::{
    fmt::Write as _,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, atomic::AtomicU64},
};

use logvine_gossip::Instant;

use crate::{
    canaries,
    recording::Recorder,
    report::{Report, Violation},
    scenario::Scenario,
    scenarios::{Named, SizeError},
    swarm::{Wishes, draw},
    trace::{Level, Listener, Trace},
    world::World,
};

/// The invariant of [`run_twice`].
pub const REPEATABLE: &str = "a seed is always the same run";
/// The invariant that a panic breaks.
pub const NO_PANIC: &str = "no node panics";

/// What accompanies a run. Nothing of it changes the run but the canary.
#[derive(Default)]
pub struct Company {
    pub listener: Option<(Level, Listener)>,
    /// Draws the run.
    pub recorder: Option<Recorder>,
    /// Gets the virtual time, in microseconds.
    pub progress: Option<Arc<AtomicU64>>,
    /// The bug that is planted while it runs.
    pub canary: Option<&'static str>,
}

impl std::fmt::Debug for Company {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Company").field("canary", &self.canary).finish_non_exhaustive()
    }
}

/// Runs a scenario. A panic of the code under test is a violation like any other.
pub fn run(scenario: Scenario, listener: Option<(Level, Listener)>) -> Result<Report, Box<Violation>> {
    run_in(scenario, Company { listener, ..Company::default() })
}

/// Runs a scenario in company.
pub fn run_in(scenario: Scenario, company: Company) -> Result<Report, Box<Violation>> {
    let seed = scenario.seed;
    let Company { listener, recorder, progress, canary } = company;
    canaries::plant(canary);
    let outcome = catch_unwind(AssertUnwindSafe(|| World::new(scenario, Trace::new(listener)).accompanied(recorder, progress).run()));
    canaries::plant(None);
    outcome.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
        let detail = text.unwrap_or("with something that is not a text").to_owned();
        Err(Box::new(Violation { invariant: NO_PANIC.into(), detail, at: Instant::ZERO, seed, last: Vec::new() }))
    })
}

/// Runs a scenario twice: the same scenario and commit are the same run.
pub fn run_twice(scenario: &Scenario, canary: Option<&'static str>) -> Result<Report, Box<Violation>> {
    let once = || run_in(scenario.clone(), Company { canary, ..Company::default() });
    let (first, second) = (once()?, once()?);
    if first == second {
        return Ok(first);
    }
    let detail = format!("first {first}\nthen  {second}");
    Err(Box::new(Violation { invariant: REPEATABLE.into(), detail, at: Instant::ZERO, seed: scenario.seed, last: Vec::new() }))
}

/// What a seed is run as: as it draws, or a scenario of a name; with what a person wishes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Plan {
    pub named: Option<&'static Named>,
    pub wishes: Wishes,
    pub canary: Option<&'static str>,
}

impl Plan {
    /// The scenario of a seed.
    ///
    /// Errors: the named scenario is not possible in this size.
    pub fn scenario(&self, seed: u64) -> Result<Scenario, SizeError> {
        match self.named {
            Some(named) => named.scenario(seed, self.wishes),
            None => Ok(draw(seed, self.wishes)),
        }
    }

    /// The command that runs a seed again, and says what happens.
    pub fn command(&self, seed: u64) -> String {
        let Self { named, wishes: Wishes { nodes, minutes }, canary } = self;
        let mut command = format!("{} run --seed {seed}", cargo_run(*canary));
        let mut option = |name: &str, value: Option<String>| {
            if let Some(value) = value {
                write!(command, " --{name} {value}").expect("a String takes all");
            }
        };
        option("scenario", named.map(|named| named.name.to_owned()));
        option("nodes", nodes.map(|nodes| nodes.to_string()));
        option("minutes", minutes.map(|minutes| minutes.to_string()));
        option("canary", canary.map(str::to_owned));
        command + " --story"
    }
}

/// How this program is started, with the features that a run needs.
pub fn cargo_run(canary: Option<&str>) -> String {
    let features = if canary.is_some() { " --features canary" } else { "" };
    format!("cargo run --release -p logvine-simulations{features} --")
}
