//! The agent: the shells around `logvine_cluster` and `logvine_gossip` (ARCHITECTURE).

pub mod agent;
pub mod api;
pub mod cli;
pub mod config;
pub mod demo;
pub mod document;
pub mod events;
pub mod policy;
pub mod runner;
pub mod store;
