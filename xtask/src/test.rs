//! `cargo xtask test`: every check there is, and one line at the end.

use std::{
    io::{BufRead, BufReader, Write},
    process::{Command, Stdio},
    time::Instant,
};

use anyhow::Context;

use crate::{console, packages, python, tests_summary::Summary};

/// Seeds that are tried for each canary before it counts as missed. By hand there are more (`logvine-simulations canaries`).
const CANARY_SEEDS: &str = "200";

/// Each kind of fault comes about once in it. By hand there is more (`cargo xtask torture`).
const TORTURE_MINUTES: &str = "1.5";

/// Mutated inputs for each fuzz target, besides its corpus: seconds of a build that asserts and checks for overflow.
const MUTATIONS: &str = "4000";

/// The pure packages, in whose dependencies there may be no runtime and no socket (ARCHITECTURE).
const PURE: [&str; 2] = ["logvine-gossip", "logvine-cluster"];
const IMPURE: [&str; 6] = ["tokio", "mio", "quinn", "socket2", "reqwest", "redb"];

/// Runs everything. False if something failed.
pub(crate) fn run(skip_missing: bool) -> anyhow::Result<bool> {
    let mut without = packages::provide(skip_missing)?;
    let mut provided = |environment: &python::Environment| match environment.provide() {
        Err(error) if skip_missing => {
            println!("xtask: without the tests {}: {error:#}", environment.needed_by);
            without.push(environment.needed_by);
            Ok(None)
        }
        program => program.map(Some),
    };
    let (schemathesis, moto) = (provided(&python::SCHEMATHESIS)?, provided(&python::MOTO)?);
    let mut sum = Summary::default();
    let mut failed = Vec::new();
    let mut step = |name: &str, summary: Summary| {
        if summary.failed > 0 {
            failed.push(format!("{name} ({} failed)", summary.failed));
        }
        sum += summary;
    };
    step("format", check("format", cargo(&["fmt", "--all", "--check"]))?);
    step("lints", check("lints", cargo(&["clippy", "--workspace", "--all-targets", "--features", "logvine/full", "--", "-D", "warnings"]))?);
    step("fences", fences()?);
    step("deny", deny()?);
    let mut tests = vec!["test", "--workspace", "--no-fail-fast", "--"];
    tests.extend(without.iter().flat_map(|name| ["--skip", name]));
    let mut tests = cargo(&tests);
    tests.envs(schemathesis.map(|program| ("SCHEMATHESIS", program)));
    step("tests", libtest("tests", tests)?);
    step("torture", check("torture", torture_command(&["--minutes", TORTURE_MINUTES]))?);
    // Senders whose libraries only the packages' build has.
    for (feature, tests) in [("kafka", "sender::kafka"), ("nats", packages::NATS), ("s3", python::MOTO.needed_by)] {
        let name = format!("sender {feature}");
        if without.contains(&tests) {
            step(&name, Summary::one_skipped());
            continue;
        }
        let mut command = cargo(&["test", "--package", "logvine-runner", "--features", "kafka,nats,s3", "--lib", tests]);
        command.envs(moto.as_ref().map(|python| ("MOTO_PYTHON", python)));
        // What the filter leaves out ran a moment ago, without the feature: it is not skipped.
        step(&name, Summary { skipped: 0, ..libtest(&name, command)? });
    }
    if console::has_node() {
        for (name, script) in console::CHECKS {
            step(name, check(name, console::npm(script))?);
        }
    } else {
        println!("\n== console: skipped, as it was left out of the build: Node is not installed");
        step("console", Summary::one_skipped());
    }
    if console::has_node() && !without.contains(&console::JOURNEYS) {
        step(console::JOURNEYS, check(console::JOURNEYS, console::journeys()?)?);
    } else {
        step(console::JOURNEYS, Summary::one_skipped());
    }
    step("fuzz targets", check("fuzz targets", cargo(&["run", "--package", "logvine-fuzz-targets", "--", "run", "--mutations", MUTATIONS]))?);
    // Tests that plant a bug and must turn red; `canar` is in all their names.
    let planted = ["test", "--package", "logvine-gossip", "--package", "logvine-cluster", "--features", "canary", "--lib", "canar"];
    // What the filter leaves out ran a moment ago, without the feature: it is not skipped.
    step("canaries in tests", Summary { skipped: 0, ..libtest("canaries in tests", cargo(&planted))? });
    // Built for speed: only the pure packages are, which takes a minute and saves ten.
    let simulations = ["run", "--release", "--package", "logvine-simulations"];
    step("simulations", check("simulations", cargo(&[&simulations[..], &["--", "ci"]].concat()))?);
    step("model", check("model", cargo(&[&simulations[..], &["--", "model"]].concat()))?);
    let planted = ["--features", "canary", "--", "model", "--ablations"];
    step("ablations", check("ablations", cargo(&[&simulations[..], &planted].concat()))?);
    let planted = ["--features", "canary", "--", "canaries", "--seeds", CANARY_SEEDS];
    step("canaries", check("canaries", cargo(&[&simulations[..], &planted].concat()))?);
    if !failed.is_empty() {
        println!("\nxtask: failed: {}", failed.join(", "));
    }
    println!("\n{sum}");
    Ok(sum.failed == 0)
}

/// Tortures a cluster. False if a line was lost.
pub(crate) fn torture(options: &[&str]) -> anyhow::Result<bool> {
    let mut command = torture_command(options);
    Ok(command.status().with_context(|| format!("run {command:?}"))?.success())
}

fn torture_command(options: &[&str]) -> Command {
    cargo(&[&["test", "--quiet", "--package", "logvine", "--test", "torture", "--"], options].concat())
}

fn cargo(args: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(args);
    command
}

/// A command that passes or fails as a whole.
fn check(name: &str, mut command: Command) -> anyhow::Result<Summary> {
    let begin = announce(name);
    let status = command.status().with_context(|| format!("run {command:?}"))?;
    finish(name, begin);
    Ok(Summary::one(status.success()))
}

/// Runs test binaries and adds up their last lines. One that ends without such a line (it did not compile, it was killed) counts as a failed test.
fn libtest(name: &str, mut command: Command) -> anyhow::Result<Summary> {
    let begin = announce(name);
    let mut child = command.stdout(Stdio::piped()).spawn().with_context(|| format!("run {command:?}"))?;
    let output = child.stdout.take().context("stdout is piped")?;
    let mut sum = Summary::default();
    for line in BufReader::new(output).split(b'\n') {
        let line = line.context("read what the tests say")?;
        let mut out = std::io::stdout().lock();
        out.write_all(&line).and_then(|()| out.write_all(b"\n")).context("pass on what the tests say")?;
        if let Some(summary) = Summary::of_line(&String::from_utf8_lossy(&line)) {
            sum += summary;
        }
    }
    let status = child.wait().with_context(|| format!("wait for {command:?}"))?;
    if !status.success() && sum.failed == 0 {
        sum += Summary::one(false);
    }
    finish(name, begin);
    Ok(sum)
}

/// The pure packages depend on nothing that has effects.
fn fences() -> anyhow::Result<Summary> {
    let begin = announce("fences");
    let mut sum = Summary::default();
    for package in PURE {
        let output = cargo(&["tree", "--package", package, "--edges", "normal", "--prefix", "none", "--format", "{lib}"])
            .output()
            .context("run cargo tree")?;
        let tree = String::from_utf8_lossy(&output.stdout).into_owned();
        let found: Vec<_> = IMPURE.into_iter().filter(|name| tree.lines().any(|line| line.trim_end_matches(" (*)") == *name)).collect();
        if !output.status.success() {
            eprintln!("{}", String::from_utf8_lossy(&output.stderr));
        }
        if !found.is_empty() {
            println!("{package} is pure, but depends on {}", found.join(", "));
        }
        sum += Summary::one(output.status.success() && found.is_empty());
    }
    finish("fences", begin);
    Ok(sum)
}

/// Licences, bans and sources of the dependencies. Advisories need the network, and are not a property of this commit.
fn deny() -> anyhow::Result<Summary> {
    let installed = cargo(&["deny", "--version"]).stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success());
    if !installed {
        println!("\n== deny: skipped, cargo-deny is not installed (`cargo install cargo-deny`)");
        return Ok(Summary::one_skipped());
    }
    check("deny", cargo(&["deny", "--offline", "--workspace", "check", "bans", "licenses", "sources"]))
}

fn announce(name: &str) -> Instant {
    println!("\n== {name}");
    Instant::now()
}

fn finish(name: &str, begin: Instant) {
    println!("== {name}: {} s", begin.elapsed().as_secs());
}
