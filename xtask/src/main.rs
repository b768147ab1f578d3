//! The project's chores: `cargo xtask test` is what CI runs, `cargo xtask bench` prints the measures.

mod bench;
mod console;
mod packages;
mod python;
mod test;
mod tests_summary;

use std::process::ExitCode;

const USAGE: &str = "\
cargo xtask test [--skip-missing]   format, lints, fences, unit, whole-program and doc tests, the console, simulations; ends with one summary line
cargo xtask torture [--minutes M] [--seed S] [--keep]
                                    real agents under faults that the seed draws, every line accounted for (docs/torture.md)
cargo xtask bench [agents] [--nodes 5,32] [--profile release]
                                    time to notice and to take over after a SIGKILL; memory, CPU and traffic of an idle agent
cargo xtask bench api [--sources 10000] [--rate 1000] [--seconds 30] [--profile release]
                                    how long a node's API takes for the first page of its sources, under a steady load
cargo xtask bench dataplane [--megabytes 256] [--seconds 30] [--profile release] [--without-vrl]
                                    MB a CPU-second and memory of one runner over one file, beside bare loops and the peers that are installed;
                                    CPU and memory over many files, and over a dead sink
cargo xtask bench gossip [MEASURE…] [--quick|--whole]
                                    gossip and the simulator against their goals, in virtual time
cargo xtask bench orders [--nodes 32] [--runners 1000] [--profile release]
                                    time to stop all runners on all agents by one word
cargo xtask bench assignment [MEASURE…] [--quick|--whole]
                                    how even the load is, and what that costs in moves";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let result = match args.as_slice() {
        ["test"] => test::run(false),
        ["test", "--skip-missing"] => test::run(true),
        ["torture", options @ ..] => test::torture(options),
        ["bench", options @ ..] => bench::Options::parse(options).and_then(|options| bench::run(&options)),
        _ => {
            eprintln!("usage:\n{USAGE}");
            return ExitCode::from(64);
        }
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
