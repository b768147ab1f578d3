//! The command line: which runs are made, by how many threads, and what is said of them.

mod canaries;
mod ci;
mod golden;
mod list;
mod measure;
mod model;
mod pool;
mod replay;
mod run;

use clap::{Args, Parser, Subcommand};
use logvine_simulations::{
    runs::Plan,
    scenarios,
    swarm::Wishes,
    trace::{Level, Listener},
};

/// Runs the real gossip and cluster code in a simulated world: virtual time, and every fault that a network, a disk and a clock have.
#[derive(Debug, Parser)]
#[command(version)]
pub(crate) struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Runs what seeds draw, or a named scenario under them. Exit code 1: an invariant was broken.
    Run(run::Run),
    /// Says which scenarios, invariants, expectations and canaries there are.
    List,
    /// Looks for the smallest scenario that breaks what a seed or a file breaks, and writes it.
    Shrink(replay::Shrink),
    /// Measures gossip and the simulator, and prints the table with the goals.
    Measure(measure::Measure),
    /// Runs a scenario file, and says what happens.
    Replay(replay::Replay),
    /// Plants each canary in turn, and says which seed found it by which invariant. Exit code 1: one was not found.
    Canaries(canaries::Canaries),
    /// Compares the trace hashes of three runs with those that are written down.
    Golden(golden::Golden),
    /// Looks into every history of taking an epoch, at small bounds. Exit code 1: one breaks what must hold; its steps are printed.
    Model(model::Model),
    /// What every change must hold: a thousand seeds and a thousand node-hours, some of the runs twice, and the golden hashes.
    Ci(ci::Ci),
    /// Runs a script, for example "nodes a b c; sources 6; crash b at 20; run 60", and says what happens.
    Script(replay::Script),
}

/// Why it does not end well.
#[derive(Debug)]
pub(crate) enum Failure {
    /// An invariant was broken; all is said.
    Broken,
    /// A file could not be read or written.
    Effect(String),
    /// The command line asks for what cannot be.
    Usage(String),
}

impl Cli {
    pub(crate) fn carry_out(self) -> Result<(), Failure> {
        match self.verb {
            Verb::Run(run) => run.carry_out(),
            Verb::List => {
                print!("{}", list::text());
                Ok(())
            }
            Verb::Measure(measure) => measure.carry_out(),
            Verb::Shrink(shrink) => shrink.carry_out(),
            Verb::Replay(replay) => replay.carry_out(),
            Verb::Canaries(canaries) => canaries.carry_out(),
            Verb::Golden(golden) => golden.carry_out(),
            Verb::Model(model) => model.carry_out(),
            Verb::Ci(ci) => ci.carry_out(),
            Verb::Script(script) => script.carry_out(),
        }
    }
}

/// Largest simulation that is known to be possible (DESIGN §10).
const NODES_MAX: i64 = 10_000;
const MINUTES_MAX: i64 = 10_000;

/// What seeds are run as.
#[derive(Debug, Clone, Args)]
struct Wanted {
    /// A named scenario instead of what the seed draws (see `list`).
    #[arg(long, value_name = "NAME")]
    scenario: Option<String>,
    /// So many nodes, whatever the seed would draw.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=NODES_MAX))]
    nodes: Option<u16>,
    /// So many virtual minutes of faults, whatever the seed would draw.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=MINUTES_MAX as u64))]
    minutes: Option<u64>,
    /// A planted bug (see `list`); needs a build with `--features canary`.
    #[arg(long, value_name = "NAME")]
    canary: Option<String>,
}

impl Wanted {
    /// Whether seeds draw all that they would draw.
    fn is_whole(&self) -> bool {
        let Self { scenario, nodes, minutes, canary } = self;
        scenario.is_none() && nodes.is_none() && minutes.is_none() && canary.is_none()
    }

    fn plan(&self) -> Result<Plan, Failure> {
        let named = match &self.scenario {
            Some(name) => Some(scenarios::find(name).ok_or_else(|| unknown("scenario", name, &list::scenarios()))?),
            None => None,
        };
        let wishes = Wishes { nodes: self.nodes.map(usize::from), minutes: self.minutes };
        let plan = Plan { named, wishes, canary: canary(self.canary.as_deref())? };
        plan.scenario(1).map_err(|error| Failure::Usage(format!("{error}. There are:\n{}", list::scenarios())))?;
        Ok(plan)
    }
}

/// The planted bug of this name, if this build can plant one.
fn canary(name: Option<&str>) -> Result<Option<&'static str>, Failure> {
    let Some(name) = name else { return Ok(None) };
    let known = logvine_simulations::canaries::all().find(|canary| canary.name == name);
    let known = known.ok_or_else(|| unknown("canary", name, &list::canaries()))?;
    if !logvine_gossip::canary::COMPILED {
        let again = logvine_simulations::runs::cargo_run(Some(name));
        return Err(Failure::Usage(format!("this build has no place for planted bugs; build it with them:\n  {again} … --canary {name}")));
    }
    Ok(Some(known.name))
}

fn unknown(what: &str, name: &str, list: &str) -> Failure {
    Failure::Usage(format!("there is no {what} `{name}`. There are:\n{list}"))
}

#[derive(Debug, Clone, Copy, Args)]
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
