//! `logvine-simulations run --seed 7`: see the library.

mod cli;

use std::process::ExitCode;

use clap::{Parser, error::ErrorKind};
use cli::Failure;

/// A node is a thousand small maps, and its messages are made and forgotten: a tenth of a run was spent in the system's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What a mistake in the command line ends with (`sysexits.h`, as the agent's command line does).
const USAGE: u8 = 64;
/// A file could not be read or written. 1 is said of broken invariants alone: whoever runs seeds by script must not take the one for the other.
const EFFECT: u8 = 2;

fn main() -> ExitCode {
    let cli = match cli::Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let asked_for = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
            // Nobody is left to hear that the terminal is gone.
            error.print().ok();
            return if asked_for { ExitCode::SUCCESS } else { ExitCode::from(USAGE) };
        }
    };
    match cli.carry_out() {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Broken) => ExitCode::FAILURE,
        Err(Failure::Effect(text)) => {
            eprintln!("{text}");
            ExitCode::from(EFFECT)
        }
        Err(Failure::Usage(text)) => {
            eprintln!("{text}");
            ExitCode::from(USAGE)
        }
    }
}
