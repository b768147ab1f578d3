//! `run`: seeds, one after the other or side by side, and what came of them.

use std::{
    fs,
    ops::Range,
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicU64},
};

use clap::Args;
use logvine_simulations::{
    file, html,
    recording::Recording,
    report::{Report, Violation},
    runs::{Company, Plan, cargo_run, run_in, run_twice},
    scenario::Scenario,
    shrink,
    totals::Totals,
    trace::{Level, Listener},
};

use super::{Failure, Show, Wanted, pool};

/// Up to so many runs get a line each; more are summed up.
const LINES_MAX: u64 = 40;
/// Seeds above it could not be written into a file: TOML's integers are signed.
const SEED_MAX: u64 = i64::MAX as u64;
/// Where shrunk scenarios are written: beside what cargo builds.
const SHRUNK: &str = "target/simulations";

#[derive(Debug, Args)]
pub(crate) struct Run {
    /// The seed.
    #[arg(long, default_value_t = 1, conflicts_with = "seeds", value_parser = clap::value_parser!(u64).range(..=SEED_MAX))]
    seed: u64,
    /// Many seeds: `A..B`, without B.
    #[arg(long, value_parser = range)]
    seeds: Option<Range<u64>>,
    #[command(flatten)]
    wanted: Wanted,
    /// Draw the run: one self-contained HTML page. Of several seeds, the one that failed, or the last.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Make each N-th run twice and compare the trace hashes; alone: each.
    #[arg(long, value_name = "N", num_args = 0..=1, default_missing_value = "1", value_parser = clap::value_parser!(u64).range(1..))]
    twice: Option<u64>,
    /// Go on after a failure.
    #[arg(long)]
    all: bool,
    /// Runs at once [default: one per core].
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=256))]
    jobs: Option<u16>,
    /// Leave a failure as it is, instead of looking for the smallest scenario that still fails.
    #[arg(long)]
    no_shrink: bool,
    #[command(flatten)]
    show: Show,
}

fn range(text: &str) -> Result<Range<u64>, String> {
    let (from, to) = text.split_once("..").ok_or("write it as A..B")?;
    let number = |text: &str| text.parse::<u64>().map_err(|error| error.to_string());
    let range = number(from)?..number(to)?;
    if range.is_empty() || range.end > SEED_MAX { Err(format!("{text} holds no seed, or one above {SEED_MAX}")) } else { Ok(range) }
}

impl Run {
    pub(crate) fn carry_out(self) -> Result<(), Failure> {
        let plan = self.wanted.plan()?;
        let seeds = self.seeds.clone().unwrap_or(self.seed..self.seed + 1);
        let count = seeds.end - seeds.start;
        let shown = self.show.listener().is_some();
        // Lines of several runs at once would be nobody's.
        let jobs = if shown { 1 } else { self.jobs.map_or_else(pool::cores, usize::from) }.min(usize::try_from(count).unwrap_or(usize::MAX));
        let mut totals = Totals::default();
        let mut failed = Vec::new();
        let run = |seed: &u64, progress: &Arc<AtomicU64>| self.run_seed(&plan, *seed, progress);
        pool::each(seeds.clone(), Some(count), jobs, run, |seed, outcome| match outcome {
            Ok(report) => {
                if count <= LINES_MAX {
                    println!("{report}");
                }
                totals.add(&report);
                true
            }
            Err(violation) => {
                eprintln!("{violation}\nseed {seed} failed; to see it again:\n  {}", plan.command(seed));
                failed.push((seed, violation));
                self.all
            }
        });
        if let Some(path) = &self.report {
            let seed = failed.first().map_or(seeds.end - 1, |(seed, _)| *seed);
            draw(scenario(&plan, seed), plan.canary, path)?;
        }
        if let Some((seed, violation)) = failed.first() {
            if !self.no_shrink {
                shrink_and_say(scenario(&plan, *seed), violation, plan.canary)?;
            }
            println!("{} of {count} seeds failed: {}", failed.len(), failed.iter().map(|(seed, _)| seed.to_string()).collect::<Vec<_>>().join(" "));
            return Err(Failure::Broken);
        }
        if count > 1 {
            println!("{totals}\n{}", totals.tally());
        }
        println!("trace {}", totals.hash());
        // What a person narrows down cannot be held to what the seeds of all kinds come into.
        if self.wanted.is_whole() { rare_situations_were_reached(&totals) } else { Ok(()) }
    }

    fn run_seed(&self, plan: &Plan, seed: u64, progress: &Arc<AtomicU64>) -> Result<Report, Box<Violation>> {
        let scenario = scenario(plan, seed);
        if self.twice.is_some_and(|nth| seed.is_multiple_of(nth)) {
            return run_twice(&scenario, plan.canary);
        }
        let company = Company { listener: self.show.listener(), progress: Some(Arc::clone(progress)), canary: plan.canary, ..Company::default() };
        run_in(scenario, company)
    }
}

/// Many seeds that never come into a situation that is looked for are too tame.
pub(super) fn rare_situations_were_reached(totals: &Totals) -> Result<(), Failure> {
    let unreached = totals.tally().unreached();
    for mark in &unreached {
        eprintln!("not one of {} runs came into this: {mark}", totals.runs());
    }
    if unreached.is_empty() { Ok(()) } else { Err(Failure::Broken) }
}

fn scenario(plan: &Plan, seed: u64) -> Scenario {
    plan.scenario(seed).expect("the size was found possible when the command line was read")
}

/// Runs a scenario, says what happens in it, and draws it if asked to.
pub(super) fn show(scenario: Scenario, canary: Option<&'static str>, show: Show, report: Option<&Path>) -> Result<Report, Failure> {
    if let Some(path) = report {
        draw(scenario.clone(), canary, path)?;
    }
    let listener: Option<(Level, Listener)> = show.listener();
    run_in(scenario, Company { listener, canary, ..Company::default() }).map_err(|violation| {
        eprintln!("{violation}");
        Failure::Broken
    })
}

fn draw(scenario: Scenario, canary: Option<&'static str>, path: &Path) -> Result<(), Failure> {
    let recorder = Recording::new(&scenario);
    let outcome = run_in(scenario, Company { recorder: Some(recorder.clone()), canary, ..Company::default() });
    recorder.borrow_mut().close(outcome.as_ref().err().map(AsRef::as_ref));
    write(path, &html::page(&recorder.borrow(), outcome.as_ref().ok()))?;
    println!("report {}", path.display());
    Ok(())
}

/// Looks for the smallest scenario that breaks the same invariant, writes it and says how to run it.
pub(super) fn shrink_and_say(scenario: Scenario, violation: &Violation, canary: Option<&'static str>) -> Result<(), Failure> {
    let seed = scenario.seed;
    let before = shrink::size(&scenario);
    eprintln!("shrinking it (at most {} runs; Ctrl-C leaves it as it is)", shrink::RUNS_MAX);
    let shrunk = shrink::shrink(scenario, &violation.invariant, canary, &mut |tried, size| {
        if tried.is_multiple_of(20) {
            eprintln!("  {tried} runs: {size}");
        }
    });
    let path = Path::new(SHRUNK).join(format!("seed-{seed}.toml"));
    write(&path, &file::write(&shrunk.scenario))?;
    let canary_option = canary.map(|name| format!(" --canary {name}")).unwrap_or_default();
    println!("shrunk from {before} to {} by {} runs: {}", shrink::size(&shrunk.scenario), shrunk.runs, violation.invariant);
    println!("  {} replay {}{canary_option} --story", cargo_run(canary), path.display());
    Ok(())
}

pub(super) fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let written = folder.map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::write(path, text));
    written.map_err(|error| Failure::Effect(format!("{} cannot be written: {error}", path.display())))
}
