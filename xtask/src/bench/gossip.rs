//! `cargo xtask bench gossip`: the simulator's own measures, in virtual time; it knows them and their goals.

use std::process::Command;

use anyhow::Context;

/// Handed on: the simulator says which measures there are.
#[derive(Debug)]
pub(crate) struct Options(Vec<String>);

impl Options {
    pub(crate) fn parse(args: &[&str]) -> Self {
        Self(args.iter().map(|arg| (*arg).to_owned()).collect())
    }
}

pub(super) fn run(Options(args): &Options) -> anyhow::Result<bool> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["run", "--quiet", "--release", "--package", "logvine-simulations", "--", "measure"]).args(args);
    Ok(command.status().context("run cargo")?.success())
}
