//! `logvine demo`: a whole cluster of real agents on this machine, with sources, a sink, a death and an account.
//!
//! ```text
//! writers ─> files ─HTTP Range─> agents (processes of their own) ─> out/NODE.ndjson ─> sink ─> account
//! ```
//! Here is the order of things. What the lines are: `line`; what is said: `narrate`; the arithmetic: `account`.
//! Leaves nothing behind: agents end when the pipe on their standard input closes, so they cannot outlive this process; files are in one temporary
//! directory, removed at the end, on an error and on SIGINT, SIGTERM and SIGHUP.

mod account;
mod fleet;
mod line;
mod narrate;
mod play;
pub mod serve;
mod sink;
mod view;
mod writers;

use std::{net::Ipv4Addr, path::PathBuf, time::Duration};

use anyhow::Context;

use play::Stage;

use crate::signals::Signals;

/// Starts a cluster of real agents on this machine with sources and a sink, kills one, and accounts for every line. Ctrl-C removes everything.
#[derive(Debug, Clone, clap::Args)]
pub struct DemoArgs {
    /// How many agents, on 127.0.0.1, 127.0.0.2 and so on.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u8).range(1..=100))]
    pub nodes: u8,
    /// How many log files are written, served over HTTP and collected.
    #[arg(long, value_name = "N", default_value_t = 24, value_parser = clap::value_parser!(u32).range(1..=999))]
    pub sources: u32,
    /// How many lines a second each of them grows by.
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub rate: u32,
    /// How long they grow, in seconds; a takeover that takes longer is waited for.
    #[arg(long = "for", value_name = "SECS", default_value_t = 45, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub seconds: u64,
    /// Leave all agents alive.
    #[arg(long)]
    pub no_kill: bool,
    /// Keep the directory with logs, stores and the sink, and say where it is.
    #[arg(long)]
    pub keep: bool,
    /// The gossip port; QUIC and HTTP have the next two. [default: 7946, or others if one of these is in use]
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..=65_533))]
    pub first_port: Option<u16>,
    /// Write what was measured to this file, as JSON.
    #[arg(long, value_name = "FILE", hide = true)]
    pub report: Option<PathBuf>,
}

/// A source of the killed node that goes on elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
struct Takeover {
    /// The node that goes on with it.
    node: String,
    /// Where in its file the first record of that node begins, in bytes.
    offset: Option<u64>,
    /// Lines that the killed node had delivered and that come again.
    lines_again: u64,
    /// From the SIGKILL to the first record.
    after: Duration,
}

/// Why a demo did not end well. Nothing is left behind then either, but for `--keep`.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    #[error("ended by {0}, before the account")]
    Signal(&'static str),
    #[error("the account does not hold: what was written is not what the sink has")]
    Account,
    /// The cluster did not come about or stopped working; says what to look at.
    #[error("{0:#}")]
    Broken(#[from] anyhow::Error),
}

/// Plays the demo to its end.
///
/// Errors: see [`DemoError`].
pub async fn run(args: DemoArgs) -> Result<(), DemoError> {
    // Before the first file and the first process: from here on every end goes through `clear`.
    let mut signals = Signals::listen_with_hangup().context("listen for signals")?;
    // The agents' clients install one too; the first one stays, and all are the same.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut stage = Stage::set(args).await?;
    let end = tokio::select! {
        biased;
        name = signals.next() => Err(DemoError::Signal(name)),
        played = stage.play() => played.map_err(DemoError::from),
    };
    stage.clear().await?;
    if end? { Ok(()) } else { Err(DemoError::Account) }
}

/// The address that the demo serves its sources at.
const SOURCES_ADDRESS: Ipv4Addr = Ipv4Addr::LOCALHOST;
