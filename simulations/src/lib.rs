//! A simulated world around the code that ships (DESIGN §9): many real [`logvine_cluster::node::Node`]s, with their gossip and their deliveries, over a
//! simulated network, disks, clocks, sources and sinks, in virtual time, on one thread.
//!
//! ```text
//! seed ─> swarm ─┐                 ┌─> host: process (Node + Plane), disk, clocks
//!                ├─> scenario ─> world ─> network · sources · sinks · operator
//! text ─> script ┘                 └─> facts ─> invariants ─> ledger;  trace ─> hash
//! ```
//! The seed and the commit are the whole run. Nothing here decides what a node decides; nothing here looks at a real clock, disk or thread.

mod beliefs;
pub mod canaries;
mod carry;
pub mod chance;
mod conduct;
mod contests;
pub mod custody;
pub mod disk;
pub mod expectations;
pub mod faults;
pub mod file;
pub mod golden;
pub mod host;
pub mod html;
pub mod invariants;
pub mod knobs;
pub mod knock;
pub mod ledger;
mod loss;
pub mod machine;
pub mod marks;
pub mod measures;
pub mod model;
pub mod network;
pub mod operator;
mod orders;
pub mod plane;
pub mod queue;
pub mod ranges;
pub mod recording;
pub mod report;
mod rings;
pub mod runs;
pub mod scenario;
pub mod scenarios;
pub mod script;
mod settle;
pub mod shrink;
pub mod sink;
pub mod source;
pub mod states;
pub mod story;
pub mod strikes;
pub mod swarm;
pub mod totals;
pub mod trace;
pub mod world;
