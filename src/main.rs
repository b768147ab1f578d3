//! `logvine`: see `logvine --help`.

fn main() -> std::process::ExitCode {
    logvine::cli::run()
}
