//! `cargo run -p logvine-fuzz-targets -- run`: see the library.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use logvine_fuzz_targets::{TARGETS, bounded, record};

/// Throws the corpus and seeded mutations of it at what reads from outside.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Runs targets, each over its corpus and so many mutations
    Run {
        /// Only this one
        #[arg(long, value_parser = clap::builder::PossibleValuesParser::new(TARGETS.iter().map(|target| target.name)))]
        target: Option<String>,
        /// Mutated inputs for each target
        #[arg(long, default_value_t = 2_000)]
        mutations: u64,
        /// What draws them
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// Records the corpora of gossip anew, after a change of what nodes say
    Record,
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().verb {
        Verb::Run { target, mutations, seed } => run(target.as_deref(), mutations, seed),
        Verb::Record => record::write(&bounded::corpus()).map(|inputs| println!("wrote {inputs} inputs")),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(wanted: Option<&str>, mutations: u64, seed: u64) -> anyhow::Result<()> {
    for target in TARGETS.iter().filter(|target| wanted.is_none_or(|wanted| wanted == target.name)) {
        let report = bounded::run(*target, mutations, seed)?;
        let bounded::Report { corpus, mutations, understood } = report;
        println!(
            "{:12} {corpus:3} inputs of the corpus, {mutations} mutations (seed {seed}), {understood} of them understood: none panics",
            target.name
        );
    }
    Ok(())
}
