//! `cargo xtask torture [--minutes M] [--seed S] [--keep]`: real agents under faults that a seed draws, and every line accounted for.
//!
//! ```text
//! writers ─> files, and files behind HTTP ─> four agents ─POST─> a sink of many moods ─> account
//!    └─ ledger of what is on disk                └─ dead-letter files ──────────────────────┘
//! ```
//! The verdict: written − (delivered ∪ dead-lettered) is empty, and nothing arrives that was not written; repeats are counted by cause. The faults are
//! of `docs/torture.md`, which says what each stands for. Nothing here asserts how long something takes.
//!
//! It is no libtest: it takes its own arguments, and one run is one test.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
#![allow(clippy::print_stdout, reason = "it is a program of its own")]

mod account;
mod faults;
// What the whole-program tests use of it is more.
#[allow(dead_code)]
#[path = "../whole/harness.rs"]
mod harness;
mod scene;
mod sink;
mod writers;

use std::{
    process::{Command, ExitCode},
    time::{Duration, Instant},
};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::scene::Scene;

/// Set in the process that has mounts of its own.
const IN_NAMESPACE: &str = "TORTURE_IN_NAMESPACE";

/// What to do.
#[derive(Debug)]
struct Options {
    minutes: f64,
    seed: u64,
    keep: bool,
}

impl Options {
    /// Errors: what is wrong, for people.
    fn parse(args: &[String]) -> Result<Self, String> {
        let mut options = Self { minutes: 1.5, seed: 1, keep: false };
        let mut args = args.iter().map(String::as_str);
        while let Some(arg) = args.next() {
            let mut value = |what: &str| args.next().ok_or(format!("{arg} wants {what}"));
            match arg {
                "--minutes" => {
                    let minutes = value("a number")?.parse().ok().filter(|minutes| (0.1..=1_440.0).contains(minutes));
                    options.minutes = minutes.ok_or("--minutes: write a number from 0.1 to 1440")?;
                }
                "--seed" => options.seed = value("a number")?.parse().map_err(|_| "--seed: write a number")?,
                "--keep" => options.keep = true,
                _ => return Err(format!("unknown argument `{arg}`: there are --minutes M, --seed S and --keep")),
            }
        }
        Ok(options)
    }
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let options = match Options::parse(&args) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("torture: {error}");
            return ExitCode::from(64);
        }
    };
    if std::env::var_os(IN_NAMESPACE).is_none() && can_unshare() {
        // A small disk is mounted for one of the nodes: it must be gone with this process, however it ends.
        let program = std::env::current_exe().expect("this program");
        let status = Command::new("unshare").args(["--mount", "--"]).arg(program).args(&args).env(IN_NAMESPACE, "yes").status();
        return if status.expect("unshare runs").success() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    if runtime.block_on(run(&options)) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn can_unshare() -> bool {
    Command::new("unshare").args(["--mount", "--", "true"]).status().is_ok_and(|status| status.success())
}

/// One run. False: the account does not hold.
async fn run(options: &Options) -> bool {
    let Options { minutes, seed, keep } = *options;
    println!("torture: seed {seed}, {minutes} minutes");
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut scene = Scene::set(rng.random(), std::env::var_os(IN_NAMESPACE).is_some()).await;
    let end = Instant::now() + Duration::from_secs_f64(minutes * 60.0);
    let mut deck = faults::Deck::default();
    while Instant::now() < end {
        let fault = deck.draw(&mut rng, &scene);
        scene.suffer(fault, &mut rng).await;
    }
    let holds = scene.settle().await;
    if keep || !holds {
        println!("all of it is kept in {}", scene.keep().display());
    }
    let replay = format!("cargo xtask torture --minutes {minutes} --seed {seed}");
    println!("torture: {} (`{replay}`)", if holds { "nothing is lost" } else { "FAILED" });
    holds
}
