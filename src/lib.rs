//! The agent: the shells around `logvine_cluster` and `logvine_gossip` (ARCHITECTURE).

pub mod config;
pub mod demo;
pub mod policy;
pub mod runner;
