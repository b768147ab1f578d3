//! `canaries`: plants each bug in turn, and says which seed found it by which invariant.

use clap::Args;
use logvine_simulations::{canaries, canaries::Search};

use super::{Failure, canary, pool};

#[derive(Debug, Args)]
pub(crate) struct Canaries {
    /// Only these; without, all that simulations are meant to find.
    names: Vec<String>,
    /// The most seeds that are tried for each.
    #[arg(long, value_name = "MAX", default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    seeds: u64,
    /// Searches at once [default: one per core].
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=256))]
    jobs: Option<u16>,
}

impl Canaries {
    pub(crate) fn carry_out(self) -> Result<(), Failure> {
        for name in &self.names {
            canary(Some(name))?;
        }
        let wanted: Vec<_> = match self.names.as_slice() {
            [] => canaries::all().filter(canaries::Canary::is_for_simulations).collect(),
            names => canaries::all().filter(|canary| names.iter().any(|name| name == canary.name)).collect(),
        };
        if let Some(first) = wanted.first() {
            canary(Some(first.name))?;
        }
        let (count, jobs) = (wanted.len() as u64, self.jobs.map_or_else(pool::cores, usize::from));
        let mut missed = 0_u64;
        // The panics that some of them end in are what is looked for.
        std::panic::set_hook(Box::new(|_| {}));
        pool::each(
            wanted.into_iter(),
            Some(count),
            jobs,
            |canary, progress| canary.search(self.seeds, progress),
            |canary, found| {
                let name = canary.name;
                match found {
                    Search::Found { seed, violation } => println!("{name:<26} seed {seed:<4} {}", violation.invariant),
                    Search::Unsound { seed, violation } => {
                        println!("{name:<26} seed {seed:<4} fails also without it: {}", violation.invariant);
                        missed += 1;
                    }
                    Search::Missed { seeds } => {
                        println!("{name:<26} not found by {seeds} seeds: {}", canary.plan().command(1));
                        missed += 1;
                    }
                }
                true
            },
        );
        drop(std::panic::take_hook());
        println!("{} of {count} canaries found", count - missed);
        for canary in canaries::all().filter(|canary| !canary.is_for_simulations() && self.names.is_empty()) {
            let by = if canary.is_for_the_model() { "the model (model --ablations)" } else { "a test of its package" };
            println!("{:<26} by {by}", canary.name);
        }
        if missed == 0 { Ok(()) } else { Err(Failure::Broken) }
    }
}
