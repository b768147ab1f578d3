//! The verbs that need no agent.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
};

use anyhow::Context;
use logvine_cluster::spec::SpecFault;
use logvine_gossip::seal::{ClusterId, ClusterKey};
use tokio::runtime::Runtime;

use super::{Exit, Failure, output};
use crate::{
    api::{Role, token_hash},
    config::{self, AgentArgs},
    demo::DemoArgs,
    document::{self, Format},
    signals,
};

pub(super) fn runtime() -> Result<Runtime, Failure> {
    Ok(tokio::runtime::Builder::new_multi_thread().enable_all().build().context("start the runtime")?)
}

pub(super) fn demo(args: DemoArgs) -> Result<Exit, Failure> {
    // From its first file on a demo undoes what it has done, however early it is interrupted.
    signals::hold_back().context("hold signals back")?;
    runtime()?.block_on(crate::demo::run(args)).map(|()| Exit::Ok).map_err(Failure::from)
}

pub(super) fn agent(args: &AgentArgs) -> Result<Exit, Failure> {
    let effective = config::load(args)?;
    crate::agent::run(effective, args.exit_with_stdin).map(|()| Exit::Ok).map_err(|error| {
        let exit = if error.is::<crate::agent::Superseded>() { Exit::Conflict } else { Exit::Error };
        Failure { exit, ..error.into() }
    })
}

pub(super) fn config_show(args: &AgentArgs) -> Result<Exit, Failure> {
    let effective = config::load(args)?;
    for warning in &effective.warnings {
        output::warn(&format!("warning: {warning}"));
    }
    output::print(&effective.show())?;
    Ok(Exit::Ok)
}

/// A new cluster key, or a new token of the API.
pub(super) fn keygen(token: Option<&str>, next: Option<&Path>) -> Result<Exit, Failure> {
    let Some(role) = token else {
        let key = match next {
            Some(path) => next_cluster_key(path)?,
            None => new_cluster_key()?,
        };
        output::print(&format!("{}\n", key.to_text().as_str()))?;
        return Ok(Exit::Ok);
    };
    let role: Role = role.parse().map_err(|()| Failure::usage(format!("--token: `{role}` is not a role: view, operate or admin")))?;
    let mut secret = [0; 32];
    getrandom::fill(&mut secret).context("get randomness from the system")?;
    let token = hex::encode(secret);
    output::print(&format!("{role} {}\n", token_hash(&token)))?;
    output::warn(&token);
    Ok(Exit::Ok)
}

/// Another key for the cluster of the one in a file.
fn next_cluster_key(path: &Path) -> Result<ClusterKey, Failure> {
    let text = read_text(path)?;
    let present: ClusterKey = text.parse().map_err(|error| Failure::error(format!("{}: {error}", path.display())))?;
    let mut secret = [0; 32];
    getrandom::fill(&mut secret).context("get randomness from the system")?;
    Ok(ClusterKey::new(present.cluster(), secret))
}

/// A cluster key from the system's randomness.
pub(crate) fn new_cluster_key() -> anyhow::Result<ClusterKey> {
    let (mut id, mut secret) = ([0; 8], [0; 32]);
    getrandom::fill(&mut id).and_then(|()| getrandom::fill(&mut secret)).context("get randomness from the system")?;
    Ok(ClusterKey::new(ClusterId(id), secret))
}

/// Checks every file, also after one with faults; the exit code is the first one's.
pub(super) fn validate(files: &[PathBuf]) -> Result<Exit, Failure> {
    let mut exit = Exit::Ok;
    for file in files {
        match check(file) {
            Ok(()) => {}
            Err(gone) if gone.message.is_empty() => return Err(gone),
            Err(failure) => {
                output::warn(&format!("error: {failure}"));
                exit = exit.or(failure.exit);
            }
        }
    }
    Ok(exit)
}

/// Checks a runner, or a node's configuration, by what it holds.
fn check(path: &Path) -> Result<(), Failure> {
    let text = std::fs::read_to_string(path).map_err(|error| Failure::error(format!("cannot read {}: {error}", path.display())))?;
    let format = Format::of_path(path).unwrap_or(Format::Toml);
    let looks_like_a_runner =
        document::tree(&text, format).is_ok_and(|tree| ["reader", "senders", "placement"].iter().any(|key| tree.get(key).is_some()));
    if format == Format::Toml && !looks_like_a_runner {
        config::check_file(path, &text)?;
        output::print(&format!("{}: a configuration without faults\n", path.display()))?;
        return Ok(());
    }
    let spec = document::runner(&text, format, None).map_err(|faults| not_a_runner(path, &faults))?;
    output::print(&format!("{}: runner {} has no faults that can be seen without running it\n", path.display(), spec.name))
}

/// What is wrong with a runner's file.
pub(super) fn not_a_runner(path: &Path, faults: &[SpecFault]) -> Failure {
    let lines: Vec<String> = faults.iter().map(|fault| format!("\n  {}: {}", fault.pointer, fault.detail.replace('\n', "\n    "))).collect();
    Failure::error(format!("{} is not a runner that could run:{}", path.display(), lines.concat()))
}

/// The text of a file, or of standard input.
pub(super) fn read_text(path: &Path) -> Result<String, Failure> {
    let read = if path.as_os_str() == OsStr::new("-") { std::io::read_to_string(std::io::stdin()) } else { std::fs::read_to_string(path) };
    read.map_err(|error| Failure::error(format!("cannot read {}: {error}", path.display())))
}

/// The text of a file, or of standard input, and its format by its ending.
pub(super) fn read_document(path: &Path) -> Result<(String, Format), Failure> {
    if path.as_os_str() == OsStr::new("-") {
        let text = read_text(path)?;
        let format = if text.trim_start().starts_with('{') { Format::Json } else { Format::Toml };
        return Ok((text, format));
    }
    let format = Format::of_path(path);
    let format = format.ok_or_else(|| Failure::usage(format!("{}: a runner is a .toml, .yaml, .yml or .json file", path.display())))?;
    Ok((read_text(path)?, format))
}
