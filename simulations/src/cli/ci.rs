//! `ci`: the share of simulations that every change must hold.

use std::sync::{Arc, atomic::AtomicU64};

use clap::Args;
use logvine_simulations::{
    golden,
    report::{Report, Violation},
    runs::{Company, Plan, run_in, run_twice},
    scenarios,
    swarm::Wishes,
    totals::Totals,
};

use super::{Failure, golden as golden_verb, pool, run};

/// What seeds draw: that many of them, small clusters and much trouble.
const SEEDS: u64 = 1_000;
/// Scenarios by name, for the hours: scenario, seeds, nodes, minutes. Drawn seeds give some 300 node-hours; the long ones give most of the rest, at about
/// four for each second of a core.
const NAMED: &[(&str, u64, usize, u64)] = &[
    ("crash", 10, 16, 3),
    ("mass-crash", 5, 24, 4),
    ("rolling-restart", 10, 5, 2),
    ("join-storm", 4, 48, 2),
    ("split-heal", 20, 5, 5),
    ("lossy-25", 4, 16, 30),
    ("flapping", 21, 32, 60),
    ("slow-nodes", 5, 20, 8),
    ("clock-skew", 10, 7, 3),
    ("disk-loss", 10, 5, 5),
    ("long-away", 2, 5, 26),
];
/// Of every other scenario so many seeds, at its own size and length.
const OTHERS: u64 = 2;
/// It is a measure: minutes of a core.
const TOO_LONG: &str = "thousand-nodes";
/// Each so many-th run is made twice: five in a hundred.
const TWICE: u64 = 20;

#[derive(Debug, Args)]
pub(crate) struct Ci {
    /// Runs at once [default: one per core].
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=256))]
    jobs: Option<u16>,
}

/// One run of the share.
#[derive(Debug, Clone, Copy)]
struct Job {
    plan: Plan,
    seed: u64,
    twice: bool,
}

fn jobs() -> Vec<Job> {
    let named = NAMED.iter().flat_map(|(name, seeds, nodes, minutes)| {
        let wishes = Wishes { nodes: Some(*nodes), minutes: Some(*minutes) };
        let plan = Plan { named: scenarios::find(name), wishes, canary: None };
        (1..=*seeds).map(move |seed| (plan, seed))
    });
    let is_other = |scenario: &&scenarios::Named| scenario.name != TOO_LONG && NAMED.iter().all(|(name, ..)| *name != scenario.name);
    let others = scenarios::all().filter(is_other).flat_map(|scenario| {
        let plan = Plan { named: Some(scenario), ..Plan::default() };
        (1..=OTHERS).map(move |seed| (plan, seed))
    });
    // The long ones first, so that no core waits for the last of them.
    let all = named.chain(others).chain((1..=SEEDS).map(|seed| (Plan::default(), seed)));
    all.enumerate().map(|(number, (plan, seed))| Job { plan, seed, twice: (number as u64).is_multiple_of(TWICE) }).collect()
}

impl Ci {
    pub(crate) fn carry_out(self) -> Result<(), Failure> {
        let all = jobs();
        let count = all.len() as u64;
        let threads = self.jobs.map_or_else(pool::cores, usize::from);
        let mut totals = Totals::default();
        let mut failed = Vec::new();
        pool::each(all.into_iter(), Some(count), threads, run_job, |job, outcome| {
            match outcome {
                Ok(report) => totals.add(&report),
                Err(violation) => {
                    eprintln!("{violation}\nto see it again:\n  {}", job.plan.command(job.seed));
                    failed.push((job, violation));
                }
            }
            true
        });
        if let Some((job, violation)) = failed.first() {
            let scenario = job.plan.scenario(job.seed).map_err(|error| Failure::Usage(error.to_string()))?;
            run::shrink_and_say(scenario, violation, None)?;
        }
        println!("{totals}; {} failed; {SEEDS} drawn seeds, one run in {TWICE} made twice", failed.len());
        println!("{}trace {}", totals.tally(), totals.hash());
        run::rare_situations_were_reached(&totals)?;
        golden_verb::check(&golden::now())?;
        if failed.is_empty() { Ok(()) } else { Err(Failure::Broken) }
    }
}

fn run_job(job: &Job, progress: &Arc<AtomicU64>) -> Result<Report, Box<Violation>> {
    let scenario = job.plan.scenario(job.seed).expect("the share is of possible sizes");
    if job.twice {
        return run_twice(&scenario, None);
    }
    run_in(scenario, Company { progress: Some(Arc::clone(progress)), ..Company::default() })
}
