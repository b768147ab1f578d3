//! `logvine-simulations run --seed 7`: see the library.

use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use logvine_simulations::{
    measures::{self, Effort, MEASURES, table},
    runs::{replay, run, run_twice},
    script,
    swarm::{Wishes, draw},
    trace::{Level, Listener},
};

/// Runs the real gossip and cluster code in a simulated world.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Runs what seeds draw, one after the other, until one fails.
    Run(Run),
    /// Runs a script, for example "nodes a b c; sources 6; crash b at 20; run 60", and shows its story.
    Script(Script),
    /// Measures gossip and the simulator, and prints the table with the goals.
    Measure(Measure),
}

#[derive(Debug, Args)]
struct Measure {
    /// Which measures; without, all of them.
    names: Vec<String>,
    /// Fewer runs, and sizes up to 256.
    #[arg(long)]
    quick: bool,
}

#[derive(Debug, Args)]
struct Run {
    /// The seed.
    #[arg(long, default_value_t = 1, conflicts_with = "seeds")]
    seed: u64,
    /// Many seeds: `A..B`, without B.
    #[arg(long, value_parser = range)]
    seeds: Option<std::ops::Range<u64>>,
    /// So many nodes, whatever the seed would draw.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    nodes: Option<u16>,
    /// So many virtual minutes of faults, whatever the seed would draw.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    minutes: Option<u64>,
    /// Run each seed twice and compare the trace hashes.
    #[arg(long)]
    twice: bool,
    /// Go on after a failure.
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    show: Show,
}

#[derive(Debug, Args)]
struct Script {
    text: String,
    #[command(flatten)]
    show: Show,
}

#[derive(Debug, Args)]
struct Show {
    /// Print what happened, one line per event in virtual time.
    #[arg(long)]
    story: bool,
    /// Print everything: each packet, write and batch too.
    #[arg(long)]
    trace: bool,
}

impl Show {
    fn listener(&self) -> Option<(Level, Listener)> {
        let level = if self.trace { Level::Detail } else { Level::Story };
        let print: Listener = Box::new(|line| println!("{line}"));
        (self.trace || self.story).then_some((level, print))
    }
}

fn range(text: &str) -> Result<std::ops::Range<u64>, String> {
    let (from, to) = text.split_once("..").ok_or("write it as A..B")?;
    let number = |text: &str| text.parse::<u64>().map_err(|error| error.to_string());
    Ok(number(from)?..number(to)?)
}

fn main() -> ExitCode {
    match Cli::parse().verb {
        Verb::Run(wanted) => run_seeds(&wanted),
        Verb::Measure(wanted) => measure(&wanted),
        Verb::Script(Script { text, mut show }) => {
            show.story = true;
            match script::parse(&text) {
                Ok(scenario) => finish(run(scenario, show.listener()).map_err(|violation| violation.to_string())),
                Err(error) => finish(Err(error.to_string())),
            }
        }
    }
}

fn run_seeds(wanted: &Run) -> ExitCode {
    let wishes = Wishes { nodes: wanted.nodes.map(usize::from), minutes: wanted.minutes };
    let mut failed = 0_u64;
    for seed in wanted.seeds.clone().unwrap_or(wanted.seed..wanted.seed + 1) {
        let outcome = if wanted.twice { run_twice(seed, wishes) } else { run(draw(seed, wishes), wanted.show.listener()) };
        match outcome {
            Ok(report) => println!("{report}"),
            Err(violation) => {
                eprintln!("{violation}\nseed {seed} failed; to see it again:\n  {}", replay(seed, wishes));
                failed += 1;
                if !wanted.all {
                    break;
                }
            }
        }
    }
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Whether a goal is met is in the table, not in the exit code: a measure reports.
fn measure(wanted: &Measure) -> ExitCode {
    let effort = if wanted.quick { Effort::Quick } else { Effort::Whole };
    let found = match wanted.names.as_slice() {
        [] => Ok(MEASURES.iter().collect()),
        names => names.iter().map(|name| measures::find(name)).collect::<Result<Vec<_>, _>>(),
    };
    let mut rows = Vec::new();
    for measure in match found {
        Ok(found) => found,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(64);
        }
    } {
        eprintln!("{}: {} …", measure.name, measure.about);
        match measure.take(effort) {
            Ok(more) => rows.extend(more),
            Err(violation) => {
                eprintln!("{violation}");
                return ExitCode::FAILURE;
            }
        }
    }
    print!("{}", table(&rows));
    ExitCode::SUCCESS
}

fn finish(outcome: Result<logvine_simulations::report::Report, String>) -> ExitCode {
    match outcome {
        Ok(report) => {
            println!("{report}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
