//! The agent: the shells around `logvine_cluster` and `logvine_gossip` (ARCHITECTURE).

// `print!` panics when its reader has gone (`| head`): see `cli::output`.
#![cfg_attr(not(test), warn(clippy::print_stdout, clippy::print_stderr))]

const _: () = assert!(!logvine_gossip::canary::COMPILED, "the feature `canary` plants bugs: it is for the simulator, never for an agent");

pub mod agent;
pub mod api;
pub mod cli;
pub mod config;
pub mod demo;
pub mod document;
pub mod events;
pub mod near;
pub mod series;
mod signals;
pub mod store;
