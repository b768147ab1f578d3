//! What a node decides about the cluster, without IO: `handle_*` in, `poll_*` out (ARCHITECTURE).

mod assignment;
mod attempt;
pub mod balance;
pub mod canary;
pub mod catalog;
pub mod checkpoint;
pub mod command;
pub mod delivery;
pub mod event;
pub mod host;
pub mod instance;
pub mod keys;
pub mod member;
pub mod message;
pub mod name;
pub mod node;
mod progress;
pub mod quantise;
pub mod ranking;
pub mod record;
pub mod rollout;
pub mod selection;
pub mod setting;
pub mod spec;
pub mod steadiness;
pub mod view;
pub mod witness;
